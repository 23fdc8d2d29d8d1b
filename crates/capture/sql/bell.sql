-- Every captured write reads it: one page with room for new versions of its only row.
CREATE TABLE IF NOT EXISTS pregon.bell (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  asleep boolean NOT NULL DEFAULT false,
  alive timestamptz NOT NULL DEFAULT clock_timestamp(),
  most bigint NOT NULL DEFAULT 1073741824
) WITH (fillfactor = 10);
INSERT INTO pregon.bell DEFAULT VALUES ON CONFLICT DO NOTHING

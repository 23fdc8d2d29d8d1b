CREATE TABLE IF NOT EXISTS pregon.cursor (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch uuid NOT NULL DEFAULT gen_random_uuid(),
  position bigint NOT NULL DEFAULT 0,
  pruned bigint NOT NULL DEFAULT 0,
  reader bigint NOT NULL DEFAULT 0
);
INSERT INTO pregon.cursor DEFAULT VALUES ON CONFLICT DO NOTHING

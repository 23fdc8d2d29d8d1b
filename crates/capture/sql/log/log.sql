-- One row for each log. Whoever appends holds it to the commit, so that the order of the numbers is the order of the commits.
CREATE TABLE IF NOT EXISTS pregon.log (
  name text PRIMARY KEY,
  epoch bigint NOT NULL DEFAULT floor(random() * 4294967296)::bigint,
  -- The frames of this epoch have greater numbers.
  began bigint NOT NULL DEFAULT 0,
  -- The number of the newest frame, and the bytes of all frames that there ever were.
  seq bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10)

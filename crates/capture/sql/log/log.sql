-- One row for each log. Appending does not change it: a row that is changed all the time is slow to find while somebody's transaction is open.
CREATE TABLE IF NOT EXISTS pregon.log (
  name text PRIMARY KEY,
  -- Where the log was made: elsewhere it is a copy.
  home text NOT NULL,
  epoch bigint NOT NULL DEFAULT floor(random() * 4294967296)::bigint,
  -- The frames of this epoch have greater numbers.
  began bigint NOT NULL DEFAULT 0,
  -- From this number on all frames are kept.
  first bigint NOT NULL DEFAULT 1
)

CREATE TABLE IF NOT EXISTS pregon.stored (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  payload text NOT NULL,
  created timestamptz NOT NULL DEFAULT clock_timestamp()
)

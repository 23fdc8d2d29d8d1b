CREATE TABLE IF NOT EXISTS pregon.meta (
  key text PRIMARY KEY,
  value text NOT NULL
)

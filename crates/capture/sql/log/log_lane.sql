-- The newest frame of each source, and the place that the source had with it.
CREATE TABLE IF NOT EXISTS pregon.log_lane (
  log text NOT NULL,
  source text NOT NULL,
  seq bigint NOT NULL,
  place bytea NOT NULL,
  PRIMARY KEY (log, source)
) WITH (fillfactor = 50)

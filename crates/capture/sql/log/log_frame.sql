CREATE TABLE IF NOT EXISTS pregon.log_frame (
  log text NOT NULL,
  seq bigint NOT NULL,
  -- By which it is appended once.
  id text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- The bytes of all frames up to this one.
  upto bigint NOT NULL,
  -- Whose frame it is, and the place that the source had with it.
  source text,
  place bytea,
  body bytea NOT NULL,
  PRIMARY KEY (log, seq),
  UNIQUE (log, id)
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
  toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX IF NOT EXISTS log_frame_source ON pregon.log_frame (log, source, seq) WHERE source IS NOT NULL

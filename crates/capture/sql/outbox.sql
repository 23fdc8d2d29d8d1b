-- One sequence value at a time (CACHE 1), because the order of the ids is the order of the changes of one row.
CREATE TABLE IF NOT EXISTS pregon.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  watch text,
  op "char" NOT NULL,
  row text,
  old text,
  channel text,
  event text
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
  toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX IF NOT EXISTS outbox_lost ON pregon.outbox (id) WHERE op = 'X';
-- A new table numbers from the beginning: what anybody knew of another one means nothing here.
UPDATE pregon.cursor SET position = 0, pruned = 0, epoch = gen_random_uuid()

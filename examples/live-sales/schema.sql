-- The shop of the live-sales example: one table, and the trigger that it always had. May be run twice.

CREATE TABLE IF NOT EXISTS ventas (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    producto  text NOT NULL,
    cantidad  integer NOT NULL,
    total     numeric NOT NULL,
    creado    timestamptz NOT NULL DEFAULT now()
);

CREATE OR REPLACE FUNCTION notify_new_sale() RETURNS trigger AS $$
BEGIN
  PERFORM pg_notify('sales_channel', row_to_json(NEW)::text);
  RETURN NEW;
END;
$$ LANGUAGE plpgsql;

DROP TRIGGER IF EXISTS sales_trigger ON ventas;

CREATE TRIGGER sales_trigger
AFTER INSERT ON ventas
FOR EACH ROW
EXECUTE FUNCTION notify_new_sale();

-- What the page in web/ shows beside sales: a stock that goes down with each of them. After schema.sql; may be run twice.

CREATE TABLE IF NOT EXISTS productos (
    producto     text PRIMARY KEY,
    existencias  integer NOT NULL CHECK (existencias >= 0),
    minimo       integer NOT NULL DEFAULT 10
);

-- The day's figures are asked for with each sale.
CREATE INDEX IF NOT EXISTS ventas_creado ON ventas (creado) INCLUDE (total);

-- A sale of more than there is, or of what nobody counts, is a sale all the same.
CREATE OR REPLACE FUNCTION descontar_existencias() RETURNS trigger AS $$
BEGIN
  UPDATE productos SET existencias = greatest(existencias - NEW.cantidad, 0)
  WHERE producto = NEW.producto AND NEW.cantidad > 0;
  RETURN NEW;
END;
$$ LANGUAGE plpgsql;

DROP TRIGGER IF EXISTS existencias_trigger ON ventas;

CREATE TRIGGER existencias_trigger
AFTER INSERT ON ventas
FOR EACH ROW
EXECUTE FUNCTION descontar_existencias();

INSERT INTO productos (producto, existencias, minimo) VALUES
    ('Café de olla', 34, 10),
    ('Chilaquiles verdes', 22, 6),
    ('Pan de muerto', 18, 8),
    ('Agua de jamaica', 40, 10),
    ('Tamal de rajas', 30, 10),
    ('Torta de milanesa', 19, 6),
    ('Churros con cajeta', 25, 8),
    ('Jugo de naranja', 28, 8),
    ('Enchiladas suizas', 16, 5),
    ('Concha de vainilla', 36, 12),
    ('Té de hierbabuena', 24, 6),
    ('Molletes', 21, 7)
ON CONFLICT DO NOTHING;

-- The gym of the turnstile example: members, entries, the trigger that announces them and the till's role. May be run twice,
-- on a database of any name.

CREATE TABLE IF NOT EXISTS miembros (
    id_miembro         integer PRIMARY KEY,
    nombre             text NOT NULL,
    plan               text,
    fecha_vencimiento  date
);

CREATE TABLE IF NOT EXISTS registro_entradas (
    id_entrada     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id_miembro     integer REFERENCES miembros,
    tipo_acceso    text NOT NULL,
    fecha_entrada  timestamptz NOT NULL DEFAULT now()
);

-- Only a member's entry is announced: visitors and staff pass without a word.
CREATE OR REPLACE FUNCTION notificar_nueva_entrada() RETURNS trigger AS $$
DECLARE
  datos json;
BEGIN
  IF NEW.tipo_acceso = 'miembro' THEN
    SELECT json_build_object(
             'id_entrada', NEW.id_entrada,
             'id_miembro', NEW.id_miembro,
             'nombre', m.nombre,
             'tipo_acceso', NEW.tipo_acceso,
             'fecha_entrada', NEW.fecha_entrada,
             'plan', m.plan,
             'fecha_vencimiento', m.fecha_vencimiento)
      INTO datos
      FROM (SELECT 1) AS una
      LEFT JOIN miembros AS m ON m.id_miembro = NEW.id_miembro;
    PERFORM pg_notify('nueva_entrada_canal', datos::text);
  END IF;
  RETURN NEW;
END;
$$ LANGUAGE plpgsql;

DROP TRIGGER IF EXISTS trigger_nueva_entrada ON registro_entradas;

CREATE TRIGGER trigger_nueva_entrada
AFTER INSERT ON registro_entradas
FOR EACH ROW
EXECUTE FUNCTION notificar_nueva_entrada();

-- The till's role connects and reads, no more. Roles belong to the whole server, so it may be there already.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pos_user') THEN
    CREATE ROLE pos_user;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- Another session made it at the same moment.
END;
$$;

ALTER ROLE pos_user LOGIN PASSWORD 'pos';

DO $$
BEGIN
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO pos_user', current_database());
END;
$$;

GRANT SELECT ON miembros, registro_entradas TO pos_user;

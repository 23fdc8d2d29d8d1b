
#variable_conflict use_column
-- The contact that a telephone number and a business-scoped user id name, made if there is none, locked until the end. The
-- user id is believed before the number: a number may change hands, an id may not.
DECLARE
  person {{contactos}};
  other {{contactos}};
  fresh {{contactos}};
  known text;
  mine boolean := false;
BEGIN
  IF user_id IS NOT NULL THEN
    SELECT a.contact INTO known FROM pregon_router.alias AS a WHERE a.name = 'id:' || contact.user_id;
    person.id := known;
    IF known IS NULL THEN
      SELECT c.id INTO person.id FROM {{contactos}} AS c WHERE c.user_id = contact.user_id ORDER BY c.id LIMIT 1;
    END IF;
    SELECT c.* INTO person FROM {{contactos}} AS c WHERE c.id = person.id FOR NO KEY UPDATE;
  END IF;
  IF person.id IS NULL AND telefono IS NOT NULL THEN
    SELECT a.contact INTO known FROM pregon_router.alias AS a WHERE a.name = 'tel:' || contact.telefono;
    person.id := known;
    IF known IS NULL THEN
      SELECT c.id INTO person.id FROM {{contactos}} AS c
       WHERE c.telefono IN (contact.telefono, '+' || contact.telefono) ORDER BY c.id LIMIT 1;
    END IF;
    SELECT c.* INTO person FROM {{contactos}} AS c WHERE c.id = person.id FOR NO KEY UPDATE;
    -- The number has another owner now.
    IF person.user_id IS NOT NULL AND user_id IS NOT NULL AND person.user_id <> contact.user_id THEN
      person := NULL;
    END IF;
  END IF;
  -- Known by the number and by the user id until now, in two lanes and therefore twice: the number's contact goes into the other one,
  -- unless it is somebody else's.
  IF person.id IS NOT NULL AND user_id IS NOT NULL AND telefono IS NOT NULL
     AND ltrim(person.telefono, '+') IS DISTINCT FROM contact.telefono THEN
    SELECT a.contact INTO known FROM pregon_router.alias AS a WHERE a.name = 'tel:' || contact.telefono;
    other.id := known;
    IF known IS NULL THEN
      SELECT c.id INTO other.id FROM {{contactos}} AS c
       WHERE c.telefono IN (contact.telefono, '+' || contact.telefono) AND c.id <> person.id ORDER BY c.id LIMIT 1;
    END IF;
    SELECT c.* INTO other FROM {{contactos}} AS c WHERE c.id = other.id FOR NO KEY UPDATE;
    IF other.id <> person.id AND (other.user_id IS NULL OR other.user_id = contact.user_id) THEN
      nombre := coalesce(nombre, other.nombre);
      UPDATE {{conversaciones}} AS c SET contacto_id = person.id WHERE c.contacto_id = other.id;
      UPDATE pregon_router.alias AS a SET contact = person.id::text WHERE a.contact = other.id::text;
      BEGIN
        DELETE FROM {{contactos}} AS c WHERE c.id = other.id;
      EXCEPTION WHEN foreign_key_violation OR restrict_violation OR insufficient_privilege OR raise_exception THEN
        -- The application holds on to the row. It has no conversations, and its names lead to the other one.
        NULL;
      END;
    END IF;
  END IF;
  IF person.id IS NULL THEN
    -- Names of contacts that were deleted, or that gave the number up.
    DELETE FROM pregon_router.alias AS a WHERE a.name IN ('id:' || contact.user_id, 'tel:' || contact.telefono);
    fresh.telefono := telefono;
    fresh.user_id := user_id;
    fresh.nombre := nombre;
    INSERT INTO {{contactos}} AS c (telefono, user_id, nombre) VALUES (fresh.telefono, fresh.user_id, fresh.nombre)
    RETURNING c.* INTO person;
    mine := true;
  ELSIF (user_id IS NOT NULL AND person.user_id IS DISTINCT FROM contact.user_id)
     OR (telefono IS NOT NULL AND ltrim(person.telefono, '+') IS DISTINCT FROM contact.telefono)
     OR (nombre IS NOT NULL AND person.nombre IS NULL) THEN
    fresh.telefono := telefono;
    fresh.user_id := user_id;
    fresh.nombre := nombre;
    UPDATE {{contactos}} AS c
       SET telefono = CASE WHEN ltrim(c.telefono, '+') = fresh.telefono THEN c.telefono
                           ELSE coalesce(fresh.telefono, c.telefono) END,
           user_id = coalesce(fresh.user_id, c.user_id), nombre = coalesce(c.nombre, fresh.nombre)
     WHERE c.id = person.id RETURNING c.* INTO person;
  END IF;
  FOREACH known IN ARRAY ARRAY['id:' || contact.user_id, 'tel:' || contact.telefono] LOOP
    CONTINUE WHEN known IS NULL OR EXISTS (
      SELECT 1 FROM pregon_router.alias AS a WHERE a.name = known AND a.contact = person.id::text);
    IF mine THEN
      -- Another lane may be making the same contact at this moment: whoever comes second begins again and finds it.
      INSERT INTO pregon_router.alias AS a (name, contact) VALUES (known, person.id::text) ON CONFLICT (name) DO NOTHING;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'the contact is being made elsewhere' USING ERRCODE = 'serialization_failure';
      END IF;
    ELSE
      INSERT INTO pregon_router.alias AS a (name, contact) VALUES (known, person.id::text)
      ON CONFLICT (name) DO UPDATE SET contact = EXCLUDED.contact;
    END IF;
  END LOOP;
  RETURN person;
END

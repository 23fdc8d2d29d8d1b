
#variable_conflict use_column
-- A contact whose number or user id has changed keeps its conversations: the new name leads to it too.
DECLARE
  known text;
  person {{contactos}};
BEGIN
  IF old IS NULL OR new IS NULL THEN
    RETURN;
  END IF;
  SELECT a.contact INTO known FROM pregon_router.alias AS a WHERE a.name = old;
  IF known IS NULL THEN
    RETURN;
  END IF;
  INSERT INTO pregon_router.alias AS a (name, contact) VALUES (new, known)
  ON CONFLICT (name) DO UPDATE SET contact = EXCLUDED.contact;
  person.id := known;
  IF new LIKE 'tel:%' THEN
    person.telefono := substr(new, 5);
    -- A changed number brings another user id, which the next message tells.
    UPDATE {{contactos}} AS c SET telefono = person.telefono, user_id = NULL WHERE c.id = person.id;
  ELSE
    person.user_id := substr(new, 4);
    UPDATE {{contactos}} AS c SET user_id = person.user_id WHERE c.id = person.id;
  END IF;
END

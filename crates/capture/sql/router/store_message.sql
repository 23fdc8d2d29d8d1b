
#variable_conflict use_column
-- Contact, conversation, message and what is published of them: once for each number and wamid.
DECLARE
  person {{contactos}};
  talk {{conversaciones}};
  fresh_talk {{conversaciones}};
  message {{mensajes}};
  stored {{mensajes}};
  heard pregon_router.status;
  at timestamptz := to_timestamp((item ->> 'at')::double precision);
  new_talk boolean := false;
  before text;
BEGIN
  message.numero := item ->> 'numero';
  message.wamid := item ->> 'wamid';
  PERFORM 1 FROM {{mensajes}} AS m WHERE m.numero = message.numero AND m.wamid = message.wamid;
  IF FOUND THEN
    RETURN jsonb_build_object('outcome', 'duplicate');
  END IF;
  person := pregon_router.contact(item ->> 'telefono', item ->> 'user_id', item ->> 'nombre');
  SELECT c.* INTO talk FROM {{conversaciones}} AS c
   WHERE c.contacto_id = person.id AND (c.numero = message.numero OR c.numero IS NULL)
   ORDER BY c.numero IS NULL, c.ts_ultimo_mensaje DESC NULLS LAST, c.id LIMIT 1;
  IF NOT FOUND THEN
    new_talk := true;
    fresh_talk.telefono := item ->> 'telefono';
    fresh_talk.numero := item ->> 'numero';
    fresh_talk.ts_ultimo_mensaje := at;
    fresh_talk.area := {{area}};
    INSERT INTO {{conversaciones}} AS c (contacto_id, telefono, numero, ts_ultimo_mensaje, area)
    VALUES (person.id, fresh_talk.telefono, fresh_talk.numero, fresh_talk.ts_ultimo_mensaje, fresh_talk.area)
    RETURNING c.* INTO talk;
  END IF;
  message.conversacion_id := talk.id;
  message.mensaje := item ->> 'mensaje';
  message.remitente_tipo := item ->> 'remitente_tipo';
  message.tipo := item ->> 'tipo';
  message."timestamp" := at;
  message.raw := item -> 'raw';
  SELECT s.* INTO heard FROM pregon_router.status AS s WHERE s.numero = item ->> 'numero' AND s.wamid = item ->> 'wamid';
  message.estado := pregon_router.state_of(heard.rank, heard.error);
  INSERT INTO {{mensajes}} AS m (conversacion_id, wamid, numero, mensaje, remitente_tipo, tipo, "timestamp", raw, estado)
  VALUES (message.conversacion_id, message.wamid, message.numero, message.mensaje, message.remitente_tipo, message.tipo,
          message."timestamp", message.raw, message.estado)
  ON CONFLICT DO NOTHING RETURNING m.* INTO stored;
  IF stored.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'duplicate');
  END IF;
  before := coalesce(talk.area::text, {{area}});
  IF item ? 'reglas' THEN
    talk := pregon_router.apply_rules(talk, item, to_jsonb(stored), new_talk);
  END IF;
  IF NOT new_talk OR item ? 'reglas' THEN
    fresh_talk.telefono := item ->> 'telefono';
    fresh_talk.numero := item ->> 'numero';
    UPDATE {{conversaciones}} AS c
       SET ts_ultimo_mensaje = greatest(c.ts_ultimo_mensaje, at), numero = coalesce(c.numero, fresh_talk.numero),
           telefono = coalesce(fresh_talk.telefono, c.telefono), area = coalesce(talk.area, {{area}}),
           agente = talk.agente, etiquetas = talk.etiquetas
     WHERE c.id = talk.id RETURNING c.* INTO talk;
  END IF;
  PERFORM pregon.publish('conversacion_' || talk.id, 'message:new', to_jsonb(stored));
  PERFORM pregon_router.tell(to_jsonb(talk), to_jsonb(stored), person.nombre::text, talk.area::text);
  IF talk.area::text <> before AND NOT new_talk THEN
    -- Whoever had it in the inbox learns that it has gone.
    PERFORM pregon_router.tell(to_jsonb(talk), to_jsonb(stored), person.nombre::text, before);
  END IF;
  RETURN jsonb_build_object('outcome', 'stored', 'conversation', talk.id, 'message', stored.id, 'new', new_talk);
END

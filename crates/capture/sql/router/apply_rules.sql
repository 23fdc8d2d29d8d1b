
#variable_conflict use_column
-- What the rules that a message met say of its conversation, in their order: the first area and the first agent count, labels
-- add up, replies and calls are written down to be sent.
DECLARE
  rule jsonb;
  moved boolean := false;
  assigned boolean := false;
  labels text[];
  chosen text;
  channel text;
BEGIN
  FOR rule IN SELECT value FROM jsonb_array_elements(item -> 'reglas') LOOP
    CONTINUE WHEN (rule -> 'first')::boolean AND NOT fresh;
    CONTINUE WHEN rule ? 'has' AND NOT coalesce(talk.etiquetas::text[], '{}')
      @> ARRAY(SELECT jsonb_array_elements_text(rule -> 'has'));
    IF rule ? 'area' AND NOT moved THEN
      talk.area := rule ->> 'area';
      moved := true;
    END IF;
    IF rule ? 'assign' AND NOT assigned THEN
      chosen := pregon_router.assign(talk.area::text, rule ->> 'assign', talk.agente::text);
      IF chosen IS NULL AND rule ? 'otherwise' THEN
        talk.area := rule ->> 'otherwise';
        moved := true;
        chosen := pregon_router.assign(talk.area::text, rule ->> 'assign', NULL);
      END IF;
      talk.agente := chosen;
      assigned := true;
    END IF;
    IF rule ? 'labels' THEN
      labels := ARRAY(SELECT DISTINCT label FROM unnest(coalesce(talk.etiquetas::text[], '{}')
        || ARRAY(SELECT jsonb_array_elements_text(rule -> 'labels'))) AS label ORDER BY label);
      talk.etiquetas := labels;
    END IF;
    IF rule ? 'reply' THEN
      INSERT INTO pregon_router.outgoing (key, kind, target, pair, body, item, until)
      VALUES ((rule ->> 'key') || '/reply', 'reply', item ->> 'numero',
              (item ->> 'numero') || '/' || coalesce(item ->> 'user_id', item ->> 'telefono'), rule -> 'reply',
              jsonb_build_object('numero', item -> 'numero', 'telefono', item -> 'telefono', 'user_id', item -> 'user_id',
                'mensaje', rule -> 'said'),
              to_timestamp((item ->> 'at')::double precision) + interval '24 hours')
      ON CONFLICT (key) DO NOTHING;
    END IF;
    IF rule ? 'webhook' THEN
      INSERT INTO pregon_router.outgoing (key, kind, target, pair, body)
      VALUES ((rule ->> 'key') || '/webhook', 'webhook', rule ->> 'webhook', 'webhook/' || (rule ->> 'key'),
              jsonb_build_object('event', 'message', 'message', stored, 'conversation', to_jsonb(talk)))
      ON CONFLICT (key) DO NOTHING;
    END IF;
    IF rule ? 'bullmq' THEN
      INSERT INTO pregon_router.outgoing (key, kind, target, pair, body)
      VALUES ((rule ->> 'key') || '/bullmq', 'bullmq', rule ->> 'bullmq', 'bullmq/' || (rule ->> 'bullmq') || '/' || talk.id,
              jsonb_build_object('message', stored, 'conversation', to_jsonb(talk)))
      ON CONFLICT (key) DO NOTHING;
    END IF;
    FOR channel IN SELECT jsonb_array_elements_text(coalesce(rule -> 'publish', '[]')) LOOP
      PERFORM pregon.publish(channel, 'message:new', stored);
    END LOOP;
    EXIT WHEN (rule -> 'last')::boolean;
  END LOOP;
  RETURN talk;
END

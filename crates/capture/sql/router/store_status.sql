
#variable_conflict use_column
-- How far a message came: sent < delivered < read < played, in whatever order they are told; a failure stands apart. A status
-- that comes before its message waits for it.
DECLARE
  message {{mensajes}};
  heard pregon_router.status;
  ranks jsonb := '{"sent": 1, "delivered": 2, "read": 3, "played": 4}';
  new_rank smallint := coalesce((ranks ->> (item ->> 'estado'))::smallint, 0);
BEGIN
  INSERT INTO pregon_router.status AS s (numero, wamid, rank, at, error)
  VALUES (item ->> 'numero', item ->> 'wamid', new_rank, to_timestamp((item ->> 'at')::double precision),
          CASE WHEN item ->> 'estado' = 'failed' THEN coalesce(item -> 'raw' -> 'errors', '[]') END)
  ON CONFLICT (numero, wamid) DO UPDATE SET rank = greatest(s.rank, EXCLUDED.rank), at = greatest(s.at, EXCLUDED.at),
    heard = EXCLUDED.heard,
    error = coalesce(s.error, EXCLUDED.error)
  RETURNING s.* INTO heard;
  SELECT m.* INTO message FROM {{mensajes}} AS m WHERE m.numero = heard.numero AND m.wamid = heard.wamid;
  IF message.id IS NULL THEN
    RETURN jsonb_build_object('outcome', 'status');
  END IF;
  message.estado := pregon_router.state_of(heard.rank, heard.error);
  UPDATE {{mensajes}} AS m SET estado = message.estado
   WHERE m.id = message.id AND m.estado IS DISTINCT FROM message.estado;
  IF FOUND THEN
    PERFORM pregon.publish('conversacion_' || message.conversacion_id, 'message:status', jsonb_build_object(
      'id', message.id, 'wamid', message.wamid, 'estado', message.estado, 'error', heard.error));
  END IF;
  RETURN jsonb_build_object('outcome', 'status', 'conversation', message.conversacion_id, 'message', message.id);
END


-- Publishes `data` as `event` on `channel`; whoever may execute this may publish on every channel.
DECLARE
  message text;
BEGIN
  IF coalesce(channel, '') = '' OR coalesce(event, '') = '' THEN
    RAISE EXCEPTION 'pregon.publish needs a channel and an event name' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- The gateway would have to drop such a name, where the caller learns nothing of it.
  IF octet_length(channel) > 255 OR octet_length(event) > 255 THEN
    RAISE EXCEPTION 'pregon.publish: a channel or event name has at most 255 bytes, this has %',
      greatest(octet_length(channel), octet_length(event)) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF channel COLLATE "C" ~ '[[:cntrl:]]' OR event COLLATE "C" ~ '[[:cntrl:]]' THEN
    RAISE EXCEPTION 'pregon.publish: a channel or event name has no control characters (line breaks, tabs)'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  message := '{"c":' || to_json(channel)::text || ',"e":' || to_json(event)::text
    || ',"t":' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    || ',"d":' || coalesce(data::text, 'null') || '}';
  -- In the transaction, at its place among the changes of rows, and of any size; a rollback takes it back.
  PERFORM pg_logical_emit_message(true, 'pregon', message);
END

  message := '{"c":' || to_json(channel)::text || ',"e":' || to_json(event)::text
    || ',"t":' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    || ',"d":' || coalesce(data::text, 'null') || '}';
  -- In the transaction, at its place among the changes of rows, and of any size; a rollback takes it back.
  PERFORM pg_logical_emit_message(true, 'pregon', message);
END

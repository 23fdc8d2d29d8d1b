  head := '{"c":' || to_json(channel)::text || ',"e":' || to_json(event)::text || ',"s":' || nextval('pregon.seq')
    || ',"t":' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
  rest := ',"d":' || coalesce(data::text, 'null') || '}';
  IF octet_length(head) + octet_length(rest) < 7900 THEN
    PERFORM pg_notify('pregon', head || rest);
  ELSE
    PERFORM pg_notify('pregon', pregon.fit(head, rest, NULL));
  END IF;
END

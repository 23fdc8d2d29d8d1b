
#variable_conflict use_column
-- Generated: change the configuration and apply it again. The names of the variables stay clear of any column.
DECLARE
  pregon_op text := left(TG_OP, 1);
  pregon_seq bigint := 0;
  pregon_head text;
  pregon_rest text;
  pregon_payload text;
  pregon_new boolean := TG_OP <> 'DELETE';
  pregon_old boolean := TG_OP <> 'INSERT';
BEGIN
{{statement}}  -- Nothing in here may make the application's write fail: an error becomes the payload.
  BEGIN
{{computed}}{{condition}}    pregon_seq := nextval('pregon.seq');
    pregon_head := {{head}} || pregon_seq || ',"t":'
      || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',"op":"' || pregon_op || '"';
    IF pregon_op = 'T' THEN
      pregon_rest := '}';
    ELSIF pregon_op = 'D' THEN
      pregon_rest := ',"o":' || {{old_row}}::text || '}';
{{update}}    ELSE
      pregon_rest := ',"n":' || {{new_row}}::text || '}';
    END IF;
    IF octet_length(pregon_head) + octet_length(pregon_rest) < 7900 THEN
      pregon_payload := pregon_head || pregon_rest;
    ELSIF pregon_op IN ({{with_old}}) THEN
      -- The old row cannot be read again by its key: the payload is kept whole.
      pregon_payload := pregon.fit(pregon_head, pregon_rest, NULL);
    ELSE
      pregon_payload := pregon.fit(pregon_head, pregon_rest, {{new_key}});
    END IF;
    -- Whatever has become of that function and of its table.
    IF pregon_payload IS NULL OR octet_length(pregon_payload) > 7999 THEN
      RAISE EXCEPTION 'pregon.fit gives no payload that fits a notification';
    END IF;
  EXCEPTION WHEN OTHERS THEN
    pregon_payload := {{head}} || pregon_seq || ',"t":'
      || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',"op":"' || pregon_op
      || '","err":' || to_json(left(SQLSTATE || ' ' || SQLERRM, 400))::text || '}';
  END;
  -- Outside of the guarded block, so that a bulk write keeps no notifications in a subtransaction per row.
  PERFORM pg_notify('pregon', pregon_payload);
{{late}}  RETURN NULL;
END

  -- A trigger has written watched rows in this transaction, perhaps this one before its turn came: what became of it is told last.
  IF pg_trigger_depth() > 1 OR current_setting('pregon.nested', true) = 'on' THEN
    IF current_setting('pregon.nested', true) = 'on' AND pregon_op <> 'T' AND pregon_rest IS NOT NULL THEN
      DECLARE
        pregon_now text;
        pregon_row text;
      BEGIN
{{now}}        IF TG_OP <> 'DELETE' THEN
          pregon_row := {{new_row}}::text;
        END IF;
        pregon_rest := CASE
          WHEN pregon_op = 'D' THEN '"I","n":' || pregon_now
          WHEN pregon_now IS NULL THEN '"D","o":' || pregon_row
          WHEN pregon_now <> pregon_row THEN '"U","n":' || pregon_now || coalesce(',"o":' || {{old_of_update}}, '') END || '}';
        IF pregon_rest IS NULL THEN
          pregon_payload := NULL;
        ELSE
          pregon_head := {{head}} || nextval('pregon.seq') || ',"t":'
            || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',"op":';
          IF octet_length(pregon_head) + octet_length(pregon_rest) < 7900 THEN
            pregon_payload := pregon_head || pregon_rest;
          ELSE
            pregon_payload := pregon.fit(pregon_head, pregon_rest, NULL);
            IF pregon_payload IS NULL OR octet_length(pregon_payload) > 7999 THEN
              RAISE EXCEPTION 'pregon.fit gives no payload that fits a notification';
            END IF;
          END IF;
        END IF;
      EXCEPTION WHEN OTHERS THEN
        pregon_payload := {{head}} || pregon_seq || ',"t":'
          || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',"op":"' || pregon_op
          || '","err":' || to_json(left(SQLSTATE || ' ' || SQLERRM, 400))::text || '}';
      END;
      IF pregon_payload IS NOT NULL THEN
        PERFORM pg_notify('pregon', pregon_payload);
      END IF;
    END IF;
    PERFORM set_config('pregon.nested', 'on', true);
  END IF;

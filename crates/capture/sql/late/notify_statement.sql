    -- As with single rows: what became of those that a trigger has written before their turn came.
    IF pg_trigger_depth() > 1 OR current_setting('pregon.nested', true) = 'on' THEN
      IF current_setting('pregon.nested', true) = 'on' AND pregon_payload IS NULL THEN
        BEGIN
{{check}}          PERFORM count(pg_notify('pregon', CASE
              WHEN octet_length(pregon_z.pregon_head) + octet_length(pregon_z.pregon_rest) < 7900
              THEN pregon_z.pregon_head || pregon_z.pregon_rest
              ELSE coalesce(pregon.fit(pregon_z.pregon_head, pregon_z.pregon_rest, NULL),
                ('pregon.fit gives no payload for ' || pregon_z.pregon_head)::int::text) END))
            FROM ({{rows}}) AS pregon_y
           CROSS JOIN LATERAL (
             SELECT {{head}} || nextval('pregon.seq') || ',"t":'
                 || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',"op":' AS pregon_head,
               CASE WHEN pregon_y.pregon_now IS NULL THEN '"D","o":' || pregon_y.pregon_row
                    ELSE '"U","n":' || pregon_y.pregon_now || coalesce(',"o":' || {{old_of_update}}, '') END || '}' AS pregon_rest
             OFFSET 0) AS pregon_z
           WHERE pregon_y.pregon_now IS DISTINCT FROM pregon_y.pregon_row;
        EXCEPTION WHEN OTHERS THEN
          pregon_payload := {{head}} || '0,"t":' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
            || ',"op":"I","err":' || to_json(left(SQLSTATE || ' ' || SQLERRM, 400))::text || '}';
        END;
      END IF;
      PERFORM set_config('pregon.nested', 'on', true);
    END IF;

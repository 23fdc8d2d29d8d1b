  IF TG_OP = 'INSERT' AND TG_LEVEL = 'STATEMENT' THEN
    -- All rows of the statement in one guarded block; `count` keeps the results from piling up.
    BEGIN
      PERFORM count(pg_notify('pregon', CASE
          WHEN octet_length(pregon_x.pregon_head) + octet_length(pregon_x.pregon_rest) < 7900
          THEN pregon_x.pregon_head || pregon_x.pregon_rest
          -- An error with these words where it gives none: no payload would be an empty one.
          ELSE coalesce(pregon.fit(pregon_x.pregon_head, pregon_x.pregon_rest, {{key}}),
            ('pregon.fit gives no payload for ' || pregon_x.pregon_head)::int::text) END))
        FROM pregon_rows AS {{alias}}
       CROSS JOIN LATERAL (
         SELECT {{head}} || nextval('pregon.seq') || ',"t":'
             || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ',"op":"I"' AS pregon_head,
           ',"n":' || {{row}}::text || '}' AS pregon_rest
         OFFSET 0) AS pregon_x{{where}};
    EXCEPTION WHEN OTHERS THEN
      pregon_payload := {{head}} || '0,"t":' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        || ',"op":"I","err":' || to_json(left(SQLSTATE || ' ' || SQLERRM, 400))::text || '}';
    END;
{{late}}    IF pregon_payload IS NOT NULL THEN
      PERFORM pg_notify('pregon', pregon_payload);
    END IF;
    RETURN NULL;
  END IF;

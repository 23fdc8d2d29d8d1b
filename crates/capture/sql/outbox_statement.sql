  IF TG_OP = 'INSERT' AND TG_LEVEL = 'STATEMENT' THEN
    BEGIN
      -- A few rows are rendered first and written outside of the guarded block, which then takes no transaction number.
      IF (SELECT count(*) FROM (SELECT FROM pregon_rows LIMIT 257) AS pregon_x) < 257 THEN
        SELECT array_agg({{row}}::text), count(*) INTO pregon_list, pregon_count
          FROM pregon_rows AS {{alias}}{{where}};
      ELSE
        INSERT INTO pregon.outbox (watch, op, row) SELECT {{watch}}, 'I', {{row}}::text
          FROM pregon_rows AS {{alias}}{{where}};
        GET DIAGNOSTICS pregon_count = ROW_COUNT;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      pregon_error := left(SQLSTATE || ' ' || SQLERRM, 400);
    END;
    IF pregon_error IS NOT NULL THEN
      pregon_count := 1;
      INSERT INTO pregon.outbox (watch, op, row) VALUES ({{watch}}, 'E', pregon_error);
    ELSIF pregon_list IS NOT NULL THEN
      INSERT INTO pregon.outbox (watch, op, row) SELECT {{watch}}, 'I', pregon_x.pregon_row
        FROM unnest(pregon_list) AS pregon_x (pregon_row);
    END IF;
{{late}}    IF pregon_count > 0
       AND (SELECT asleep OR alive < clock_timestamp() - interval '1 minute' FROM pregon.bell) THEN
      PERFORM pregon.ring(pregon_count);
    END IF;
    RETURN NULL;
  END IF;

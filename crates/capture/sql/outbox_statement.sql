  IF TG_OP = 'INSERT' AND TG_LEVEL = 'STATEMENT' THEN
    BEGIN
      -- A few rows are rendered first and written outside of the guarded block, which then takes no transaction number.
      SELECT array_agg({{row}}::text){{filter}}, count(*) INTO pregon_list, pregon_count
        FROM (SELECT * FROM pregon_rows LIMIT 257) AS {{alias}};
      IF pregon_list IS NOT NULL OR pregon_count = 257 THEN
        {{look}}
      END IF;
    EXCEPTION WHEN OTHERS THEN
      IF pregon_looks IS NULL THEN
        pregon_op := 'E';
        pregon_list := ARRAY[left(SQLSTATE || ' ' || SQLERRM, 400)];
      END IF;
    END;
    IF pregon_sound AND pregon_list IS NOT NULL AND pregon_count < 257 THEN
      INSERT INTO pregon.outbox (watch, op, row) SELECT {{watch}}, pregon_op, pregon_x.pregon_row
        FROM unnest(pregon_list) AS pregon_x (pregon_row) ON CONFLICT (id) DO NOTHING;
      GET DIAGNOSTICS pregon_written = ROW_COUNT;
      pregon_sound := pregon_written = cardinality(pregon_list);
    END IF;
    IF pregon_count = 257 OR pregon_sound IS NOT TRUE AND pregon_list IS NOT NULL THEN
      IF pregon_sound IS NOT TRUE THEN
        {{doubt}}
      END IF;
      BEGIN
        IF pregon_written > 0 THEN
          -- Some were written, nobody knows which: one row for all.
          INSERT INTO pregon.outbox (watch, op, row) VALUES ({{watch}}, 'E', 'some rows of a statement were not written');
        ELSE
          INSERT INTO pregon.outbox (watch, op, row) SELECT {{watch}}, pregon_op, pregon_x.pregon_row
            FROM unnest(pregon_list) AS pregon_x (pregon_row);
        END IF;
        IF pregon_count = 257 AND pregon_op <> 'E' THEN
          -- Those beyond them: rendered first, they would take the memory of all.
          INSERT INTO pregon.outbox (watch, op, row) SELECT {{watch}}, 'I', {{row}}::text
            FROM (SELECT * FROM pregon_rows OFFSET 257) AS {{alias}}{{where}};
          GET DIAGNOSTICS pregon_written = ROW_COUNT;
          pregon_count := pregon_count + pregon_written;
        END IF;
      EXCEPTION WHEN OTHERS THEN
        -- One of the rows cannot be rendered, or the outbox takes none.
        pregon_op := 'E';
        pregon_row := left(SQLSTATE || ' ' || SQLERRM, 400);
        BEGIN
          INSERT INTO pregon.outbox (watch, op, row) VALUES ({{watch}}, 'E', pregon_row);
        EXCEPTION WHEN OTHERS THEN
          {{lost}}
        END;
      END;
    END IF;
    {{ring}}
{{late}}    RETURN NULL;
  END IF;

    -- As with single rows: what became of those that a trigger has written before their turn came.
    IF pg_trigger_depth() > 1 OR current_setting('pregon.nested', true) = 'on' THEN
      IF current_setting('pregon.nested', true) = 'on' AND pregon_count > 0 AND pregon_op <> 'E' THEN
        BEGIN
{{check}}          INSERT INTO pregon.outbox (watch, op, row, old)
            SELECT {{watch}}, CASE WHEN pregon_y.pregon_now IS NULL THEN 'D' ELSE 'U' END, pregon_y.pregon_now,
                   CASE WHEN pregon_y.pregon_now IS NULL THEN pregon_y.pregon_row ELSE {{old_of_update}} END
              FROM ({{rows}}) AS pregon_y
             WHERE pregon_y.pregon_now IS DISTINCT FROM pregon_y.pregon_row;
        EXCEPTION WHEN OTHERS THEN
          pregon_row := left(SQLSTATE || ' ' || SQLERRM, 400);
          BEGIN
            INSERT INTO pregon.outbox (watch, op, row) VALUES ({{watch}}, 'E', pregon_row);
          EXCEPTION WHEN OTHERS THEN
            {{lost}}
          END;
        END;
      END IF;
      PERFORM set_config('pregon.nested', 'on', true);
    END IF;

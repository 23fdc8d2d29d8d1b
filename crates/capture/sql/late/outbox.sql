  -- A trigger has written watched rows in this transaction, perhaps this one before its turn came: what became of it is told last.
  IF pg_trigger_depth() > 1 OR current_setting('pregon.nested', true) = 'on' THEN
    IF current_setting('pregon.nested', true) = 'on' AND pregon_op NOT IN ('T', 'E') THEN
      DECLARE
        pregon_now text;
      BEGIN
{{now}}        IF pregon_op = 'D' THEN
          pregon_op := CASE WHEN pregon_now IS NULL THEN '' ELSE 'I' END;
          pregon_before := NULL;
        ELSIF pregon_now IS NULL THEN
          pregon_op := 'D';
          pregon_before := pregon_row;
        ELSE
          pregon_op := CASE WHEN pregon_now = pregon_row THEN '' ELSE 'U' END;
          pregon_before := {{old_of_update}};
        END IF;
        pregon_row := pregon_now;
      EXCEPTION WHEN OTHERS THEN
        pregon_op := 'E';
        pregon_row := left(SQLSTATE || ' ' || SQLERRM, 400);
        pregon_before := NULL;
      END;
      IF pregon_op <> '' THEN
        {{write}}
      END IF;
    END IF;
    PERFORM set_config('pregon.nested', 'on', true);
  END IF;


#variable_conflict use_column
-- Generated: change the configuration and apply it again. The names of the variables stay clear of any column.
DECLARE
  pregon_op text := left(TG_OP, 1);
  pregon_new boolean := TG_OP <> 'DELETE';
  pregon_old boolean := TG_OP <> 'INSERT';
  pregon_row text;
  pregon_before text;
  pregon_error text;
  pregon_list text[];
  pregon_count bigint := 0;
BEGIN
{{statement}}  -- Nothing in here may make the application's write fail: an error becomes a row of its own.
  BEGIN
{{condition}}    IF pregon_op IN ('I', 'U') THEN
      pregon_row := {{new_row}}::text;
    END IF;
    IF pregon_op IN ({{with_old}}) THEN
      pregon_before := {{old_row}}::text;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    pregon_error := left(SQLSTATE || ' ' || SQLERRM, 400);
  END;
  -- Outside of the guarded block, so that a bulk write takes no transaction number per row; before the bell is looked at, so
  -- that whoever reads finds this transaction by its lock on the outbox.
  INSERT INTO pregon.outbox (watch, op, row, old) VALUES (
    {{watch}}, CASE WHEN pregon_error IS NULL THEN pregon_op ELSE 'E' END, coalesce(pregon_error, pregon_row), pregon_before);
{{late}}  IF (SELECT asleep OR alive < clock_timestamp() - interval '1 minute' FROM pregon.bell) THEN
    PERFORM pregon.ring(1);
  END IF;
  RETURN NULL;
END

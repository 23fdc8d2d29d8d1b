
#variable_conflict use_column
-- Generated: change the configuration and apply it again. The names of the variables stay clear of any column.
DECLARE
  pregon_op text := 'I';
  pregon_new boolean;
  pregon_old boolean;
  pregon_row text;
  pregon_before text;
  pregon_list text[];
  pregon_count bigint := 1;
  pregon_written bigint;
  pregon_flag text := current_setting('pregon.write', true);
  pregon_sound boolean;
  pregon_asleep boolean;
  pregon_away boolean;
  pregon_looks boolean;
  pregon_long boolean;
BEGIN
  IF pregon_flag <> '' THEN
    IF pregon_flag = 'lost' THEN
      RETURN NULL;
    END IF;
    pregon_sound := true;
  END IF;
{{statement}}  pregon_op := left(TG_OP, 1);
  pregon_new := TG_OP <> 'DELETE';
  pregon_old := TG_OP <> 'INSERT';
  -- Nothing in here may make the application's write fail: an error becomes a row of its own.
  BEGIN
{{computed}}{{condition}}    IF pregon_op IN ('I', 'U') THEN
      pregon_row := {{new_row}}::text;
    END IF;
    IF pregon_op IN ({{with_old}}) THEN
      pregon_before := {{old_row}}::text;
    END IF;
    {{look}}
  EXCEPTION WHEN OTHERS THEN
    IF pregon_looks IS NULL THEN
      pregon_op := 'E';
      pregon_row := left(SQLSTATE || ' ' || SQLERRM, 400);
      pregon_before := NULL;
    END IF;
  END;
  {{write}}
  {{ring}}
{{late}}  RETURN NULL;
END

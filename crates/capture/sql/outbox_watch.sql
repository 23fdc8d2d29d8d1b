
#variable_conflict use_column
-- Generated: change the configuration and apply it again. The names of the variables stay clear of any column.
DECLARE
  pregon_op text := left(TG_OP, 1);
  pregon_new boolean := TG_OP <> 'DELETE';
  pregon_old boolean := TG_OP <> 'INSERT';
  pregon_row text;
  pregon_before text;
  pregon_list text[];
  pregon_count bigint := 1;
  pregon_written bigint;
  pregon_flag text := current_setting('pregon.write', true);
  pregon_sound boolean := pregon_flag = 'fine';
  pregon_asleep boolean;
  pregon_away boolean;
  pregon_looks boolean;
BEGIN
  IF pregon_flag = 'lost' THEN
    RETURN NULL;
  END IF;
{{statement}}  -- Nothing in here may make the application's write fail: an error becomes a row of its own.
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

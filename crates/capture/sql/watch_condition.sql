    IF TG_OP <> 'TRUNCATE' THEN
      IF pregon_new THEN
        pregon_new := coalesce((SELECT (
{{condition}}
) FROM (SELECT ({{new}}).*) AS {{alias}}), false);
      END IF;
      IF pregon_old THEN
        pregon_old := coalesce((SELECT (
{{condition}}
) FROM (SELECT ({{old}}).*) AS {{alias}}), false);
      END IF;
      IF NOT pregon_new AND NOT pregon_old THEN
        RETURN NULL;
      END IF;
      -- A row that enters the condition is an insert to whoever follows it, one that leaves it a delete.
      pregon_op := CASE WHEN pregon_new AND pregon_old THEN 'U' WHEN pregon_new THEN 'I' ELSE 'D' END;
    END IF;

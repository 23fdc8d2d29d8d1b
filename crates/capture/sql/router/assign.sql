
#variable_conflict use_column
-- An agent of an area who is there. Whoever has the conversation keeps it while there, with `sticky` in any case; nobody there
-- means nobody, and the conversation waits for its area.
DECLARE
  free text[];
  turn bigint;
  chosen text;
BEGIN
  IF how = 'sticky' AND present IS NOT NULL THEN
    RETURN present;
  END IF;
  free := ARRAY(SELECT a.id::text FROM {{agentes}} AS a WHERE a.area::text = assign.area AND a.en_linea ORDER BY a.id);
  IF cardinality(free) = 0 OR present = ANY (free) THEN
    RETURN CASE WHEN cardinality(free) > 0 THEN present END;
  END IF;
  IF how = 'least_loaded' THEN
    SELECT f.id INTO chosen FROM unnest(free) WITH ORDINALITY AS f(id, nr)
     ORDER BY (SELECT count(*) FROM {{conversaciones}} AS c
                WHERE c.agente::text = f.id AND c.ts_ultimo_mensaje > clock_timestamp() - interval '24 hours'), f.nr LIMIT 1;
    RETURN chosen;
  END IF;
  INSERT INTO pregon_router.turn AS t (area, number) VALUES (assign.area, 0)
  ON CONFLICT (area) DO UPDATE SET number = t.number + 1 RETURNING t.number INTO turn;
  RETURN free[1 + turn % cardinality(free)];
END

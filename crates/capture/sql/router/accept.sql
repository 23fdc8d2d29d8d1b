-- Keeps deliveries and what has to be done for them, in the order of arrival. `items` is [{"d": number of the body, "l": lane, "i": item}].
WITH given AS MATERIALIZED (
  SELECT nextval('pregon_router.inbox_id_seq') AS id, body.body, body.nr
    FROM unnest($1::bytea[]) WITH ORDINALITY AS body(body, nr)
), kept AS (
  INSERT INTO pregon_router.inbox (id, body) SELECT id, body FROM given ORDER BY nr
), work AS (
  INSERT INTO pregon_router.work (delivery, lane, item)
  SELECT given.id, (item.value ->> 'l')::smallint, (item.value -> 'i')::jsonb
    FROM json_array_elements($2::json) WITH ORDINALITY AS item(value, nr)
    JOIN given ON given.nr = (item.value ->> 'd')::bigint
   ORDER BY item.nr
)
SELECT id::text FROM given ORDER BY nr

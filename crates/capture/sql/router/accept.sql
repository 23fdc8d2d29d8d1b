-- Keeps deliveries and what has to be done for them, in the order of arrival. `items` is [{"d": number of the body, "l": lane, "w": contact, "i": item}].
WITH given AS MATERIALIZED (
  SELECT nextval('pregon_router.inbox_id_seq') AS id, body.body, body.nr
    FROM unnest($1::bytea[]) WITH ORDINALITY AS body(body, nr)
), kept AS (
  INSERT INTO pregon_router.inbox (id, body) SELECT id, body FROM given ORDER BY nr
), work AS (
  INSERT INTO pregon_router.work (delivery, lane, who, item)
  SELECT given.id, item.l, item.w, item.i
    FROM ROWS FROM (json_to_recordset($2::json) AS (d bigint, l smallint, w bigint, i jsonb)) WITH ORDINALITY AS item(d, l, w, i, nr)
    JOIN given ON given.nr = item.d
   ORDER BY item.nr
)
SELECT count(*)::text FROM given

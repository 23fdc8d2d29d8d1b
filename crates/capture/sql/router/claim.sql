-- Takes what is to be sent, of some kinds (`$2`), for a minute: the oldest of each pair, where the pair may be written to again.
WITH ready AS (
  SELECT o.id FROM pregon_router.outgoing AS o
   WHERE NOT o.dead AND o.kind = ANY ($2::text[]) AND o.due <= clock_timestamp()
     AND NOT EXISTS (SELECT 1 FROM pregon_router.outgoing AS e WHERE e.pair = o.pair AND e.id < o.id AND NOT e.dead)
     AND NOT EXISTS (SELECT 1 FROM pregon_router.pace AS p WHERE p.pair = o.pair AND p.next > clock_timestamp())
   ORDER BY o.due LIMIT $1::int FOR UPDATE SKIP LOCKED
)
UPDATE pregon_router.outgoing AS o SET attempts = o.attempts + 1, due = clock_timestamp() + interval '60 seconds'
  FROM ready WHERE o.id = ready.id
RETURNING o.id::text, o.kind, o.target, o.key, o.body::text, o.attempts::text, coalesce(o.until < clock_timestamp(), false)::text

-- What was handed over goes (`$1`); what was taken and not handed over (`$2` without `$1`) may be taken again.
WITH gone AS (
  DELETE FROM pregon_router.outgoing WHERE id = ANY ($1::bigint[]) RETURNING 1
), back AS (
  UPDATE pregon_router.outgoing SET due = clock_timestamp() WHERE id = ANY ($2::bigint[]) AND NOT id = ANY ($1::bigint[]) RETURNING 1
)
SELECT ((SELECT count(*) FROM gone) + (SELECT count(*) FROM back))::text


-- Deletes the oldest rows of the outbox where it has outgrown its limit, and leaves a row that says so, which becomes a gap.
-- Estimates by ids and the width of the newest rows: the size of the table would count what vacuum has not yet freed.
DECLARE
  oldest bigint := (SELECT o.id FROM pregon.outbox AS o ORDER BY o.id LIMIT 1);
  newest bigint := (SELECT o.id FROM pregon.outbox AS o ORDER BY o.id DESC LIMIT 1);
  width numeric;
  upto bigint;
BEGIN
  SELECT avg(100 + coalesce(pg_column_size(n.row), 0) + coalesce(pg_column_size(n.old), 0)) INTO width
    FROM (SELECT o.row, o.old FROM pregon.outbox AS o ORDER BY o.id DESC LIMIT 200) AS n;
  IF coalesce((newest - oldest + 1) * width, 0) <= (SELECT b.most FROM pregon.bell AS b) THEN
    RETURN 0;
  END IF;
  WITH gone AS (
    DELETE FROM pregon.outbox AS o USING (
        SELECT d.id FROM pregon.outbox AS d WHERE d.id <= newest ORDER BY d.id LIMIT at_most FOR UPDATE SKIP LOCKED) AS d
     WHERE o.id = d.id RETURNING o.id)
  SELECT max(gone.id) INTO upto FROM gone;
  IF upto IS NULL THEN
    RETURN 0;
  END IF;
  INSERT INTO pregon.outbox (op, row) VALUES ('X', upto::text);
  RETURN upto;
END

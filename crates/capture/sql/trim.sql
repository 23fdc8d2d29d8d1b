
-- Deletes the oldest rows of the outbox where it has outgrown its limit, as many as it takes and at most so many at once, and leaves a
-- row that says so, which becomes a gap.
-- Estimates by ids and the width of the newest rows: the size of the table would count what vacuum has not yet freed.
DECLARE
  oldest bigint := (SELECT o.id FROM pregon.outbox AS o ORDER BY o.id LIMIT 1);
  newest bigint := (SELECT o.id FROM pregon.outbox AS o ORDER BY o.id DESC LIMIT 1);
  width numeric;
  excess numeric;
  upto bigint;
BEGIN
  SELECT avg(100 + coalesce(pg_column_size(n.row), 0) + coalesce(pg_column_size(n.old), 0)) INTO width
    FROM (SELECT o.row, o.old FROM pregon.outbox AS o ORDER BY o.id DESC LIMIT 200) AS n;
  excess := (newest - oldest + 1) * width - (SELECT b.most FROM pregon.bell AS b);
  IF coalesce(excess, 0) <= 0 THEN
    RETURN 0;
  END IF;
  WITH gone AS (
    DELETE FROM pregon.outbox AS o USING (
        SELECT d.id FROM pregon.outbox AS d WHERE d.id <= newest ORDER BY d.id
         -- A hundredth more, so that the next row does not outgrow it again.
         LIMIT least(at_most, ceil(excess / width)::bigint + 16 + (newest - oldest) / 100) FOR UPDATE SKIP LOCKED) AS d
     WHERE o.id = d.id RETURNING o.id)
  SELECT max(gone.id) INTO upto FROM gone;
  IF upto IS NULL THEN
    RETURN 0;
  END IF;
  INSERT INTO pregon.outbox (op, row) VALUES ('X', upto::text);
  RETURN upto;
END

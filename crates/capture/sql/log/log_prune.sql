
-- Removes the oldest frames: those that are older, and those beyond so many bytes. At most a piece at a time, so that no call takes long.
-- The newest one stays: it tells where clients are that have everything.
DECLARE
  kept bigint;
  newest bigint;
  removed bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('pregon.log_prune ' || log_name, 0)) THEN
    RETURN 0;
  END IF;
  SELECT l.bytes - most, l.seq INTO kept, newest FROM pregon.log AS l WHERE l.name = log_name;
  DELETE FROM pregon.log_frame AS f WHERE f.log = log_name AND f.seq IN (
    SELECT o.seq FROM (SELECT g.seq, g.at, g.upto FROM pregon.log_frame AS g WHERE g.log = log_name ORDER BY g.seq LIMIT 5000) AS o
     WHERE (o.at < older OR o.upto <= kept) AND o.seq < newest);
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END

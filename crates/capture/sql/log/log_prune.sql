
-- Removes the oldest frames: those that are older, and those beyond so many bytes. At most a piece at a time, so that no call takes long.
-- The newest one stays, because it tells where clients are that have everything, and the newest of each source for its place.
DECLARE
  begins bigint;
  newest bigint;
  kept bigint;
  cut bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('pregon log_prune ' || log_name, 0)) THEN
    RETURN 0;
  END IF;
  SELECT l.first INTO begins FROM pregon.log AS l WHERE l.name = log_name;
  SELECT f.seq, f.upto - most INTO newest, kept FROM pregon.log_frame AS f WHERE f.log = log_name ORDER BY f.seq DESC LIMIT 1;
  SELECT max(o.seq) INTO cut FROM (
    SELECT f.seq, f.at, f.upto FROM pregon.log_frame AS f WHERE f.log = log_name AND f.seq >= begins ORDER BY f.seq LIMIT 5000) AS o
   WHERE (o.at < older OR o.upto <= kept) AND o.seq < newest;
  IF cut IS NULL THEN
    RETURN 0;
  END IF;
  DELETE FROM pregon.log_frame AS f WHERE f.log = log_name AND f.seq <= cut AND (f.source IS NULL OR EXISTS (
    SELECT FROM pregon.log_frame AS n WHERE n.log = log_name AND n.source = f.source AND n.seq > f.seq));
  UPDATE pregon.log AS l SET first = cut + 1 WHERE l.name = log_name;
  RETURN cut - begins + 1;
END


-- A part of the history was lost: another epoch begins, behind every number that may have been given. Whether this call began it.
DECLARE
  newest bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('pregon log ' || log_name, 0));
  SELECT f.seq INTO newest FROM pregon.log_frame AS f WHERE f.log = log_name ORDER BY f.seq DESC LIMIT 1;
  newest := greatest(coalesce(newest, 0), given) + 1000000;
  UPDATE pregon.log AS l
     SET epoch = floor(random() * 4294967296)::bigint, began = greatest(l.began + 1000000, newest),
         first = greatest(l.began + 1000000, newest) + 1
   WHERE l.name = log_name AND l.epoch = history;
  IF FOUND THEN
    PERFORM pg_notify('pregon_log', log_name);
  END IF;
  RETURN FOUND;
END

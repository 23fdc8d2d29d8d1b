
-- Appends one frame and gives its number, or less than 0 where the frame was appended before. With a source, only behind the frame that
-- the source appended last.
DECLARE
  known bigint;
  number bigint;
  newest bigint;
  total bigint;
BEGIN
  -- Held to the end of the commit, so that the order of the numbers is the order of the commits.
  PERFORM pg_advisory_xact_lock(hashtextextended('pregon log ' || log_name, 0));
  SELECT -f.seq INTO known FROM pregon.log_frame AS f WHERE f.log = log_name AND f.id = frame;
  IF FOUND THEN
    RETURN known;
  END IF;
  SELECT l.began INTO number FROM pregon.log AS l WHERE l.name = log_name AND l.epoch = history;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the log has another history' USING ERRCODE = 'PR002';
  END IF;
  IF source_name IS NOT NULL THEN
    SELECT f.seq INTO known FROM pregon.log_frame AS f WHERE f.log = log_name AND f.source = source_name ORDER BY f.seq DESC LIMIT 1;
    IF coalesce(known, 0) <> behind THEN
      RAISE EXCEPTION 'somebody else has appended for this source' USING ERRCODE = 'PR001';
    END IF;
  END IF;
  SELECT f.seq, f.upto INTO newest, total FROM pregon.log_frame AS f WHERE f.log = log_name ORDER BY f.seq DESC LIMIT 1;
  number := greatest(number, coalesce(newest, 0)) + 1;
  INSERT INTO pregon.log_frame (log, seq, id, upto, source, place, body)
    VALUES (log_name, number, frame, coalesce(total, 0) + octet_length(body), source_name, place, body);
  PERFORM pg_notify('pregon_log', log_name);
  RETURN number;
END

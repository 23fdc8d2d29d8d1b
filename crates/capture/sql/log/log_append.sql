
-- Appends one frame and gives its number, or less than 0 where the frame was appended before. With a source, only behind the frame that
-- the source appended last.
DECLARE
  known bigint;
  number bigint;
  total bigint;
BEGIN
  SELECT -f.seq INTO known FROM pregon.log_frame AS f WHERE f.log = log_name AND f.id = frame;
  IF FOUND THEN
    RETURN known;
  END IF;
  UPDATE pregon.log AS l SET seq = l.seq + 1, bytes = l.bytes + octet_length(body) WHERE l.name = log_name AND l.epoch = history
    RETURNING l.seq, l.bytes INTO number, total;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the log has another history' USING ERRCODE = 'PR002';
  END IF;
  IF source_name IS NOT NULL THEN
    IF behind = 0 THEN
      INSERT INTO pregon.log_lane AS a VALUES (log_name, source_name, number, place) ON CONFLICT DO NOTHING;
    ELSE
      UPDATE pregon.log_lane AS a SET seq = number, place = log_append.place
       WHERE a.log = log_name AND a.source = source_name AND a.seq = behind;
    END IF;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'somebody else has appended for this source' USING ERRCODE = 'PR001';
    END IF;
  END IF;
  INSERT INTO pregon.log_frame (log, seq, id, upto, body) VALUES (log_name, number, frame, total, body);
  PERFORM pg_notify('pregon_log', log_name);
  RETURN number;
END


-- Puts right what differs with the rows: a sequence that would give an id that a row has (a copy by a subscription or of the data alone, a
-- setval), or none any more; the one row of a table of ours. Returns whether the outbox can take rows again.
DECLARE
  upto bigint;
  last bigint;
BEGIN
  INSERT INTO pregon.bell DEFAULT VALUES ON CONFLICT DO NOTHING;
  INSERT INTO pregon.cursor DEFAULT VALUES ON CONFLICT DO NOTHING;
  SELECT greatest(c.position, c.pruned, (SELECT o.id FROM pregon.outbox AS o ORDER BY o.id DESC LIMIT 1)) INTO upto
    FROM pregon.cursor AS c;
  -- A sequence that was restarted has given nothing yet, whatever its value.
  SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END INTO last FROM pregon.outbox_id_seq AS s;
  IF last < upto OR last >= 9000000000000000000 AND upto < 9000000000000000000 THEN
    PERFORM setval('pregon.outbox_id_seq', greatest(1, upto));
    last := upto;
  END IF;
  RETURN last < 9000000000000000000;
END

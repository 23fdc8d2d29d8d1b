
-- Puts right what differs with the rows: a sequence that would give an id that a row has (a copy by a subscription or of the data alone, a
-- setval), or none any more; the one row of a table of ours. Returns whether the outbox can take rows again.
DECLARE
  place bigint;
  gone bigint;
  upto bigint;
  last bigint;
  lost boolean;
BEGIN
  INSERT INTO pregon.bell DEFAULT VALUES ON CONFLICT DO NOTHING;
  INSERT INTO pregon.cursor DEFAULT VALUES ON CONFLICT DO NOTHING;
  SELECT greatest(c.position, c.pruned), c.pruned INTO place, gone FROM pregon.cursor AS c;
  upto := greatest(place, (SELECT o.id FROM pregon.outbox AS o ORDER BY o.id DESC LIMIT 1));
  -- A sequence that was restarted has given nothing yet, whatever its value.
  SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END INTO last FROM pregon.outbox_id_seq AS s;
  -- Whoever wrote while it was behind the place was not read: nobody looks there again. Where it has passed the place since then, rows
  -- stand where all had been deleted. A few ids are enough to see that, and the rest of the index is full of what was deleted.
  lost := last < place;
  DELETE FROM pregon.outbox AS o WHERE o.id > gone - 1000 AND o.id <= gone;
  lost := lost OR FOUND;
  IF last < upto OR last >= 9000000000000000000 AND upto < 9000000000000000000 THEN
    PERFORM setval('pregon.outbox_id_seq', greatest(1, upto));
    last := upto;
  END IF;
  IF lost THEN
    PERFORM nextval('pregon.seq');
  END IF;
  RETURN last < 9000000000000000000;
END

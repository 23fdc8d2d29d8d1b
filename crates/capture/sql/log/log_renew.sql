
-- A part of the history was lost: another epoch begins, behind every number that may have been given. Whether this call began it.
BEGIN
  UPDATE pregon.log AS l
     SET epoch = floor(random() * 4294967296)::bigint, seq = greatest(l.seq, given) + 1000000, began = greatest(l.seq, given) + 1000000
   WHERE l.name = log_name AND l.epoch = history;
  IF FOUND THEN
    PERFORM pg_notify('pregon_log', log_name);
  END IF;
  RETURN FOUND;
END

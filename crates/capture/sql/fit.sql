
-- A payload that NOTIFY cannot carry: the row's key instead, or a reference to the payload in pregon.stored.
DECLARE
  stored_id bigint;
BEGIN
  IF key IS NOT NULL AND octet_length(head) + octet_length(key) < 7890 THEN
    RETURN head || ',"k":' || key || '}';
  END IF;
  INSERT INTO pregon.stored (payload) VALUES (head || rest) RETURNING id INTO stored_id;
  IF stored_id IS NULL THEN
    RAISE EXCEPTION 'pregon.stored did not take a payload';
  END IF;
  -- Old payloads go a few at a time. Only under READ COMMITTED: elsewhere the DELETE could make the caller's
  -- transaction fail with a serialization error.
  IF current_setting('transaction_isolation') = 'read committed' THEN
    DELETE FROM pregon.stored WHERE id IN (
      SELECT old.id FROM pregon.stored AS old WHERE old.created < clock_timestamp() - interval '10 minutes'
       ORDER BY old.id LIMIT 20 FOR UPDATE SKIP LOCKED);
  END IF;
  RETURN '{' || substring(head FROM '"s":[0-9]+,"t":[0-9]+') || ',"ref":' || stored_id || '}';
END

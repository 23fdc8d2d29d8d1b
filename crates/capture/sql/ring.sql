
-- Wakes the gateway that waits for it. Where no gateway has been seen for a while, keeps the outbox from growing on.
DECLARE
  asleep boolean;
  away boolean;
BEGIN
  SELECT b.asleep, b.alive < clock_timestamp() - interval '1 minute' INTO asleep, away FROM pregon.bell AS b;
  IF NOT away THEN
    -- With a notification, PREPARE TRANSACTION fails, and where the queue is full the commit: the gateway looks by itself then.
    IF asleep AND current_setting('max_prepared_transactions') = '0' AND pg_notification_queue_usage() < 0.5 THEN
      PERFORM pg_notify('pregon_wake', '');
    END IF;
  -- One row of 256, so that the others do not pay for it. Elsewhere than in READ COMMITTED the DELETE could make the caller's
  -- transaction fail.
  ELSIF random() * 256 < written AND current_setting('transaction_isolation') = 'read committed' THEN
    BEGIN
      PERFORM pregon.trim(greatest(512, 2 * written));
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END IF;
END

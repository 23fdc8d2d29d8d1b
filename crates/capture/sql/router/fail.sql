
#variable_conflict use_column
-- An item that failed is tried again after 1 s, 2 s, 4 s … and becomes a dead letter after as many attempts as `patience` says.
DECLARE
  tried integer;
BEGIN
  UPDATE pregon_router.work AS w
     SET attempts = w.attempts + 1, error = left(reason, 1000),
         due = clock_timestamp() + make_interval(secs => least(power(2, w.attempts), 900) * (0.75 + random() / 2))
   WHERE w.id = item_id RETURNING w.attempts INTO tried;
  IF tried < patience THEN
    RETURN jsonb_build_object('outcome', 'failed', 'error', reason, 'attempts', tried);
  END IF;
  INSERT INTO pregon_router.dead_letter (id, delivery, lane, who, item, received, attempts, error)
  SELECT w.id, w.delivery, w.lane, w.who, w.item, w.received, w.attempts, w.error
    FROM pregon_router.work AS w WHERE w.id = item_id;
  RETURN jsonb_build_object('outcome', 'dead', 'error', reason, 'attempts', tried);
END


#variable_conflict use_column
-- The first item of some lanes took longer than a statement may, by itself: it fails as any other would.
DECLARE
  first bigint;
BEGIN
  SELECT w.id INTO first FROM pregon_router.work AS w
   WHERE w.lane = ANY (lanes) AND (w.due IS NULL OR w.due <= clock_timestamp())
     AND NOT EXISTS (SELECT FROM pregon_router.work AS h WHERE h.lane = w.lane AND h.who = w.who AND h.due > clock_timestamp())
   ORDER BY w.id LIMIT 1;
  IF pregon_router.fail(first, reason, patience) ->> 'outcome' = 'dead' THEN
    DELETE FROM pregon_router.work AS w WHERE w.id = first;
  END IF;
END

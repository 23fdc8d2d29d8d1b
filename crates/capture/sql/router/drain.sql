
#variable_conflict use_column
-- Does the work of some lanes, in order. A lane that another process has at the moment is left to it. All of it is one
-- transaction; an item that fails is set aside, so that its neighbours go on.
DECLARE
  held integer[] := '{}';
  wanted integer;
  work record;
  began timestamptz;
  answer jsonb;
  done jsonb[] := '{}';
  gone bigint[] := '{}';
  careful boolean := false;
  seen integer;
BEGIN
  FOREACH wanted IN ARRAY lanes LOOP
    IF pg_try_advisory_xact_lock({{lock}}, wanted) THEN
      held := held || wanted;
    END IF;
  END LOOP;
  LOOP
    BEGIN
      done := '{}';
      gone := '{}';
      seen := 0;
      FOR work IN
        SELECT w.* FROM pregon_router.work AS w
         WHERE w.lane = ANY (held) AND (w.due IS NULL OR w.due <= clock_timestamp())
         ORDER BY w.id LIMIT most
      LOOP
        began := clock_timestamp();
        seen := seen + 1;
        IF careful THEN
          BEGIN
            answer := pregon_router.store(work.item, work.delivery);
          EXCEPTION WHEN OTHERS THEN
            -- What passes by itself is no fault of the item: the whole transaction is tried again.
            IF SQLSTATE IN ('40001', '40P01', '55P03') OR left(SQLSTATE, 2) IN ('08', '53', '57', '58') THEN
              RAISE;
            END IF;
            -- What cannot be read will not be readable later.
            answer := pregon_router.fail(work.id, SQLSTATE || ' ' || SQLERRM,
              CASE WHEN work.item ->> 'kind' = 'unreadable' THEN 1 ELSE patience END);
          END;
        ELSE
          answer := pregon_router.store(work.item, work.delivery);
        END IF;
        IF answer ->> 'outcome' <> 'failed' THEN
          gone := gone || work.id;
        END IF;
        done := done || (answer || jsonb_build_object(
          'work', work.id, 'delivery', work.delivery, 'kind', work.item ->> 'kind', 'wamid', work.item ->> 'wamid',
          'took', round((extract(epoch FROM clock_timestamp() - began) * 1000)::numeric, 3),
          'age', round((extract(epoch FROM clock_timestamp() - work.received) * 1000)::numeric, 3)));
      END LOOP;
      -- By an array of ids: a join would be planned for the few rows that there were when somebody last counted.
      DELETE FROM pregon_router.work AS w WHERE w.id = ANY (gone);
      EXIT;
    EXCEPTION WHEN OTHERS THEN
      IF careful OR SQLSTATE IN ('40001', '40P01', '55P03') OR left(SQLSTATE, 2) IN ('08', '53', '57', '58') THEN
        RAISE;
      END IF;
      careful := true;
    END;
  END LOOP;
  RETURN jsonb_build_object('done', to_jsonb(done), 'more', seen >= most);
END


#variable_conflict use_column
-- Does the work of some lanes, in order. A lane that another process has at the moment is left to it. All of it is one
-- transaction. An item that fails is tried again later, and what came after it of the same contact waits for it; other contacts go on.
DECLARE
  held integer[] := '{}';
  wanted integer;
  work record;
  began timestamptz;
  answer jsonb;
  broken text;
  done jsonb[] := '{}';
  gone bigint[] := '{}';
  waiting bigint[];
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
      waiting := ARRAY(SELECT DISTINCT h.who FROM pregon_router.work AS h
                        WHERE h.lane = ANY (held) AND h.due > clock_timestamp() AND h.who IS NOT NULL);
      -- Lane by lane, so that a long queue is not sorted for the few of it that are taken.
      FOR work IN
        SELECT w.* FROM unnest(held) AS l(lane) CROSS JOIN LATERAL (
          SELECT o.* FROM pregon_router.work AS o
           WHERE o.lane = l.lane::smallint AND (o.due IS NULL OR o.due <= clock_timestamp())
             AND (o.who IS NULL OR o.who <> ALL (waiting))
           ORDER BY o.id LIMIT most) AS w
         ORDER BY w.id LIMIT most
      LOOP
        began := clock_timestamp();
        seen := seen + 1;
        CONTINUE WHEN work.who = ANY (waiting);
        IF careful THEN
          BEGIN
            answer := pregon_router.store(work.item, work.delivery);
          EXCEPTION WHEN OTHERS THEN
            -- What passes by itself is no fault of the item: the whole transaction is tried again.
            IF SQLSTATE IN ('40001', '40P01', '55P03') OR left(SQLSTATE, 2) IN ('08', '53', '57', '58') THEN
              RAISE;
            END IF;
            GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
            -- What cannot be read will not be readable later.
            answer := pregon_router.fail(work.id, SQLSTATE || ' ' || SQLERRM,
              CASE WHEN work.item ->> 'kind' = 'unreadable' THEN 1 ELSE patience END)
              || jsonb_build_object('constraint', nullif(broken, ''));
          END;
        ELSE
          answer := pregon_router.store(work.item, work.delivery);
        END IF;
        IF answer ->> 'outcome' <> 'failed' THEN
          gone := gone || work.id;
        ELSIF work.who IS NOT NULL THEN
          waiting := waiting || work.who;
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

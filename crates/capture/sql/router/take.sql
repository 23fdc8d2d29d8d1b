
#variable_conflict use_column
-- Stores what waits in Redis, [{"l": lane, "m", "s": id of the entry, "t": when it came, "w": contact, "i": item, "b": body}], in order. `how`:
-- `quick` does all of it or says `again`, `careful` sets aside what fails, `aside` all of it. What is set aside becomes work as that of
-- an inbox in the database, and so does what comes after it of the same contact.
-- The place of a lane moves in the same transaction, under the lane's lock: what another process has stored meanwhile is passed over,
-- whoever comes with it and however late.
DECLARE
  held integer[] := '{}';
  busy integer[] := '{}';
  wanted integer;
  entry record;
  began timestamptz;
  answer jsonb;
  broken text;
  done jsonb[] := '{}';
  waiting bigint[] := '{}';
  kept bigint;
  kept_of text := '';
  work_id bigint;
BEGIN
  FOREACH wanted IN ARRAY lanes LOOP
    IF pg_try_advisory_xact_lock({{lock}}, wanted) THEN
      held := held || wanted;
    ELSE
      busy := busy || wanted;
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pregon_router.work AS w WHERE w.lane = ANY (held)) THEN
    waiting := ARRAY(SELECT DISTINCT w.who FROM pregon_router.work AS w WHERE w.lane = ANY (held) AND w.who IS NOT NULL);
  END IF;
  BEGIN
    FOR entry IN
      SELECT e.* FROM ROWS FROM (jsonb_to_recordset(entries) AS (l smallint, m bigint, s bigint, t bigint, w bigint, i jsonb, b text))
             WITH ORDINALITY AS e(l, m, s, t, w, i, b, nr)
        LEFT JOIN pregon_router.place AS p ON p.era = take.era AND p.lane = e.l
       WHERE e.l = ANY (held) AND (p.lane IS NULL OR (e.m, e.s) > (p.ms, p.seq))
       ORDER BY e.nr
    LOOP
      began := clock_timestamp();
      answer := NULL;
      work_id := NULL;
      IF how <> 'aside' AND (entry.w IS NULL OR entry.w <> ALL (waiting)) THEN
        BEGIN
          answer := pregon_router.store(entry.i, NULL);
        EXCEPTION WHEN OTHERS THEN
          IF how = 'quick' OR SQLSTATE IN ('40001', '40P01', '55P03') OR left(SQLSTATE, 2) IN ('08', '53', '57', '58') THEN
            RAISE;
          END IF;
          GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
          answer := jsonb_build_object('outcome', 'failed', 'error', SQLSTATE || ' ' || SQLERRM);
        END;
      ELSIF how = 'quick' THEN
        RAISE EXCEPTION 'it has to wait for another' USING ERRCODE = 'raise_exception';
      END IF;
      IF answer IS NULL OR answer ->> 'outcome' = 'failed' THEN
        IF kept_of <> entry.l || ' ' || entry.m || ' ' || entry.s THEN
          INSERT INTO pregon_router.inbox (received, body)
          VALUES (to_timestamp(entry.t / 1000.0),
                  coalesce(decode(entry.b, 'base64'), convert_to(coalesce(entry.i -> 'raw', '{}')::text, 'UTF8')))
          RETURNING id INTO kept;
          kept_of := entry.l || ' ' || entry.m || ' ' || entry.s;
        END IF;
        INSERT INTO pregon_router.work AS w (delivery, lane, who, item, received)
        VALUES (kept, entry.l, entry.w, entry.i, to_timestamp(entry.t / 1000.0)) RETURNING w.id INTO work_id;
        IF answer IS NOT NULL THEN
          answer := pregon_router.fail(work_id, answer ->> 'error',
            CASE WHEN entry.i ->> 'kind' = 'unreadable' THEN 1 ELSE patience END)
            || jsonb_build_object('constraint', nullif(broken, ''));
        END IF;
        IF answer ->> 'outcome' = 'dead' THEN
          DELETE FROM pregon_router.work AS w WHERE w.id = work_id;
        ELSIF entry.w IS NOT NULL THEN
          waiting := waiting || entry.w;
        END IF;
      END IF;
      IF answer IS NOT NULL THEN
        done := done || (answer || jsonb_build_object(
          'work', work_id, 'delivery', CASE WHEN work_id IS NOT NULL THEN kept END, 'kind', entry.i ->> 'kind', 'wamid', entry.i ->> 'wamid',
          'took', round((extract(epoch FROM clock_timestamp() - began) * 1000)::numeric, 3),
          'age', round((extract(epoch FROM clock_timestamp()) * 1000 - entry.t)::numeric, 3)));
      END IF;
    END LOOP;
    INSERT INTO pregon_router.place AS p (era, lane, ms, seq)
    SELECT DISTINCT ON (e.l) take.era, e.l, e.m, e.s
      FROM jsonb_to_recordset(entries) AS e(l smallint, m bigint, s bigint) WHERE e.l = ANY (held) ORDER BY e.l, e.m DESC, e.s DESC
    ON CONFLICT (era, lane) DO UPDATE SET ms = EXCLUDED.ms, seq = EXCLUDED.seq WHERE (EXCLUDED.ms, EXCLUDED.seq) > (p.ms, p.seq);
  EXCEPTION WHEN OTHERS THEN
    IF how <> 'quick' OR SQLSTATE IN ('40001', '40P01', '55P03') OR left(SQLSTATE, 2) IN ('08', '53', '57', '58') THEN
      RAISE;
    END IF;
    RETURN jsonb_build_object('done', '[]'::jsonb, 'busy', to_jsonb(busy), 'again', true);
  END;
  RETURN jsonb_build_object('done', to_jsonb(done), 'busy', to_jsonb(busy), 'again', false);
END

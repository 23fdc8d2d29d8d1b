
-- Why the outbox could not take a row, or not give it; null where nothing is wrong. It is called IMMUTABLE so that a plan keeps the
-- answer: whoever asks with a constant is answered once for each session and each change of a table that the plan names, whoever asks
-- with the time of day every time. It looks at definitions only; what changes with the rows is for pregon.mend.
DECLARE
  columns CONSTANT text := 'id bigint not null, at timestamp with time zone not null, watch text, op "char" not null, row text, old text, '
    'channel text, event text';
  outbox oid;
  reason text;
BEGIN
  IF NOT has_schema_privilege('pregon', 'USAGE') THEN
    RETURN format('role %s has no USAGE on schema pregon', current_user);
  END IF;
  outbox := to_regclass('pregon.outbox');
  SELECT format('%s %s is missing', n.word, n.name) INTO reason
    FROM (VALUES ('table', 'pregon.outbox', 'r'), ('table', 'pregon.bell', 'r'), ('table', 'pregon.cursor', 'r'), ('sequence', 'pregon.seq', 'S'),
            ('sequence', 'pregon.outbox_id_seq', 'S')) AS n (word, name, kind)
   WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass(n.name) AND c.relkind::text = n.kind) LIMIT 1;
  IF reason IS NOT NULL THEN
    RETURN reason;
  END IF;
  SELECT format('%s: %s', c.oid::regclass, k.reason) INTO reason
    FROM pg_class AS c CROSS JOIN LATERAL (SELECT CASE
      WHEN c.relpersistence <> 'p' THEN 'it is UNLOGGED, so that a crash of the server empties it'
      WHEN c.relrowsecurity THEN 'row level security is on'
      WHEN NOT has_table_privilege(c.oid, 'SELECT') OR NOT has_table_privilege(c.oid, 'INSERT')
        THEN format('role %s lacks a right on it', current_user)
      WHEN EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgenabled <> 'D') THEN 'it has a trigger or a foreign key'
      WHEN EXISTS (SELECT FROM pg_rewrite AS w WHERE w.ev_class = c.oid) THEN 'it has a rule'
      WHEN EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent)) THEN 'it inherits or is inherited'
      END AS reason) AS k
   WHERE c.oid IN (outbox, to_regclass('pregon.bell'), to_regclass('pregon.cursor')) AND k.reason IS NOT NULL LIMIT 1;
  IF reason IS NOT NULL THEN
    RETURN reason;
  END IF;
  -- A column more is no harm as long as it may be null.
  SELECT string_agg(format('%s %s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' END), ', '
           ORDER BY a.attnum) INTO reason
    FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
   WHERE a.attrelid = outbox AND a.attnum > 0 AND NOT a.attisdropped
     AND (a.attname IN ('id', 'at', 'watch', 'op', 'row', 'old', 'channel', 'event') OR a.attnotnull OR a.atthasdef OR a.attidentity <> ''
          OR y.typtype = 'd');
  IF reason IS DISTINCT FROM columns THEN
    RETURN 'pregon.outbox: its columns are ' || coalesce(reason, 'gone');
  END IF;
  SELECT format('column %s has another default', a.attname) INTO reason
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = outbox AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated::text || coalesce(pg_get_expr(d.adbin, d.adrelid), a.attidentity::text)
         <> CASE a.attname WHEN 'at' THEN 'clock_timestamp()' WHEN 'id' THEN 'a' ELSE '' END LIMIT 1;
  IF reason IS NULL THEN
    SELECT format('constraint %s', k.conname) INTO reason
      FROM pg_constraint AS k WHERE k.conrelid = outbox AND k.contype NOT IN ('p', 'n') LIMIT 1;
  END IF;
  IF reason IS NULL THEN
    SELECT format('index %s', i.indexrelid::regclass) INTO reason FROM pg_index AS i
     WHERE i.indrelid = outbox AND NOT i.indisprimary AND i.indexrelid IS DISTINCT FROM to_regclass('pregon.outbox_lost') LIMIT 1;
  END IF;
  IF reason IS NULL AND NOT EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = 'id'
      WHERE i.indrelid = outbox AND i.indisprimary AND i.indisvalid AND i.indkey::text = a.attnum::text) THEN
    reason := 'it has no primary key';
  END IF;
  IF reason IS NULL AND NOT EXISTS (SELECT FROM pg_sequence AS s WHERE s.seqrelid = to_regclass(pg_get_serial_sequence('pregon.outbox', 'id'))
      AND s.seqrelid = to_regclass('pregon.outbox_id_seq') AND s.seqtypid = 'int8'::regtype AND s.seqincrement = 1 AND s.seqcache = 1
      AND NOT s.seqcycle AND s.seqmax = 9223372036854775807) THEN
    reason := 'its sequence is not as it was made (CACHE 1, INCREMENT 1, NO CYCLE, no MAXVALUE)';
  END IF;
  IF reason IS NOT NULL THEN
    RETURN 'pregon.outbox: ' || reason;
  END IF;
  SELECT format('%s: role %s may not use it', n.name, current_user) INTO reason
    FROM (VALUES ('pregon.mend()'), ('pregon.ring(bigint)'), ('pregon.trim(bigint)')) AS n (name)
   WHERE NOT coalesce(has_function_privilege(to_regprocedure(n.name), 'EXECUTE'), false) LIMIT 1;
  IF reason IS NULL AND NOT has_sequence_privilege('pregon.seq', 'USAGE') THEN
    reason := format('pregon.seq: role %s may not use it', current_user);
  END IF;
  RETURN reason;
END

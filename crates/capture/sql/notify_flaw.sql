-- Why notifications could not carry a change, or its payload not be kept; no row where nothing is wrong. Everything by names, so that whoever
-- lacks a right is told the reason and gets no error.
WITH n AS (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'pregon'),
  f AS (SELECT p.proowner AS owner, p.oid FROM pg_proc p JOIN n ON n.oid = p.pronamespace WHERE p.proname = 'fit' LIMIT 1),
  o AS (SELECT coalesce((SELECT p.proowner FROM pg_proc p WHERE p.prosecdef AND obj_description(p.oid, 'pg_proc') LIKE 'pregon: %' ORDER BY p.oid LIMIT 1),
          (SELECT f.owner FROM f)) AS owner),
  c AS (SELECT c.* FROM pg_class c JOIN n ON n.oid = c.relnamespace),
  seq AS (SELECT c.oid, c.relname, s.*, CASE WHEN has_sequence_privilege(c.oid, 'SELECT, USAGE') THEN pg_sequence_last_value(c.oid) END AS last FROM c JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.relkind = 'S'),
  stored AS (SELECT c.* FROM c WHERE c.relname = 'stored'),
  own AS (SELECT seq.* FROM seq JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = seq.oid AND d.deptype = 'i'
            JOIN stored ON d.refobjid = stored.oid),
  reason (nr, reason) AS (
    SELECT 1, 'schema pregon is missing' WHERE NOT EXISTS (SELECT FROM n)
    UNION ALL SELECT 2, format('role %s has no USAGE on schema pregon', pg_get_userbyid(o.owner)) FROM o, n
     WHERE NOT has_schema_privilege(o.owner, n.oid, 'USAGE')
    UNION ALL SELECT 3, format('%s pregon.%s is missing', w.word, w.name)
      FROM (VALUES ('sequence', 'seq', 'S'), ('table', 'stored', 'r')) AS w (word, name, kind)
     WHERE NOT EXISTS (SELECT FROM c WHERE c.relname = w.name AND c.relkind::text = w.kind)
    UNION ALL SELECT 4, 'function pregon.fit is missing' WHERE NOT EXISTS (SELECT FROM f)
    UNION ALL SELECT 5, format('pregon.fit: role %s may not use it', pg_get_userbyid(o.owner)) FROM o, f
     WHERE NOT has_function_privilege(o.owner, f.oid, 'EXECUTE')
    UNION ALL SELECT 6, format('pregon.seq: role %s may not use it', pg_get_userbyid(o.owner)) FROM o, seq
     WHERE seq.relname = 'seq' AND NOT has_sequence_privilege(o.owner, seq.oid, 'USAGE')
    UNION ALL SELECT 7, format('pregon.%s: it is at its end', s.relname)
      FROM (SELECT * FROM seq WHERE relname = 'seq' UNION ALL SELECT * FROM own) AS s
     WHERE s.seqincrement < 0 OR (NOT s.seqcycle AND s.seqmax - coalesce(s.last, s.seqstart) < 1000000)
    UNION ALL SELECT 8, 'pregon.stored: ' || k.reason FROM stored AS c, o CROSS JOIN LATERAL (SELECT CASE
      WHEN c.relrowsecurity THEN 'row level security is on'
      WHEN NOT has_table_privilege(o.owner, c.oid, 'SELECT') OR NOT has_table_privilege(o.owner, c.oid, 'INSERT')
           OR NOT has_table_privilege(o.owner, c.oid, 'DELETE') THEN format('role %s lacks a right on it', pg_get_userbyid(o.owner))
      WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled <> 'D') THEN 'it has a trigger or a foreign key'
      WHEN EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid) THEN 'it has a rule'
      WHEN EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) THEN 'it inherits or is inherited'
      WHEN EXISTS (SELECT FROM pg_constraint x WHERE x.conrelid = c.oid AND x.contype NOT IN ('p', 'n')) THEN 'it has a constraint'
      WHEN EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND NOT x.indisprimary) THEN 'it has an index'
      WHEN NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid) THEN 'it has no primary key'
      WHEN 'created timestamp with time zone not null, id bigint not null, payload text not null' IS DISTINCT FROM (
        SELECT string_agg(format('%s %s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' END), ', '
                 ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND (a.attnotnull OR a.attname IN ('id', 'payload', 'created') OR a.atthasdef)) THEN 'its columns are not as they were made'
      WHEN NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'id' AND a.attidentity <> '')
           OR NOT EXISTS (SELECT FROM own) THEN 'its numbers come from nowhere'
      END AS reason) AS k WHERE k.reason IS NOT NULL)
SELECT reason FROM reason WHERE reason IS NOT NULL ORDER BY nr LIMIT 1

-- What a database consists of, a line each, so that a load can be compared with what was dumped: names, types, flags and
-- references, the text of functions, and whether there is an expression, never its text: the server prints some
-- expressions in another way once they were read back, and some in another way in each version.
-- Left out: what belongs to an extension, and what pg_dump leaves out (temporary, invalid, subscriptions).
WITH own AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), member AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
), relation AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS shown
  FROM pg_class c JOIN own n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
)
SELECT concat_ws(' ', 'schema', quote_ident(nspname)) FROM own n
WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid)
UNION ALL
SELECT concat_ws(' ', 'relation', shown, relkind, relpersistence, relrowsecurity, relforcerowsecurity, relispartition)
FROM relation
UNION ALL
-- A table that inherits may get its columns in another order when it is loaded.
SELECT concat_ws(' ', 'column', r.shown, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull,
  a.atthasdef, a.attidentity, a.attgenerated,
  CASE WHEN NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = r.oid)
    THEN (row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum))::text END)
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'S'
UNION ALL
SELECT concat_ws(' ', 'constraint', coalesce(r.shown, t.typname), quote_ident(k.conname), k.contype, k.condeferrable,
  k.condeferred, k.convalidated,
  (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY o) FROM unnest(k.conkey) WITH ORDINALITY AS c(n, o)
   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.n),
  CASE WHEN k.confrelid <> 0 THEN k.confrelid::regclass::text END,
  (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY o) FROM unnest(k.confkey) WITH ORDINALITY AS c(n, o)
   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.n), k.confupdtype, k.confdeltype)
FROM pg_constraint k LEFT JOIN relation r ON r.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND k.conparentid = 0 AND (r.oid IS NOT NULL OR k.conrelid = 0)
  AND k.connamespace IN (SELECT oid FROM own)
  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = k.contypid)
UNION ALL
SELECT concat_ws(' ', 'index', r.shown, quote_ident(c.relname), m.amname, i.indisunique, i.indisprimary, i.indnkeyatts,
  i.indpred IS NOT NULL, i.indexprs IS NOT NULL,
  (SELECT string_agg(coalesce(quote_ident(a.attname), '()'), ',' ORDER BY o)
   FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(n, o)
   LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n AND k.n <> 0))
FROM pg_index i JOIN relation r ON r.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am m ON m.oid = c.relam
WHERE i.indisvalid
UNION ALL
SELECT concat_ws(' ', 'sequence', r.shown, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
  s.seqcache, s.seqcycle)
FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
SELECT concat_ws(' ', 'function', p.oid::regprocedure, p.prokind, l.lanname, format_type(p.prorettype, NULL), p.proretset,
  p.provolatile, p.prosecdef, p.proisstrict, p.proparallel, array_to_string(p.proconfig, ','), md5(p.prosrc))
FROM pg_proc p JOIN own n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
UNION ALL
SELECT concat_ws(' ', 'trigger', r.shown, quote_ident(t.tgname), t.tgtype, t.tgenabled, t.tgfoid::regprocedure,
  t.tgqual IS NOT NULL)
FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT concat_ws(' ', 'rule', r.shown, quote_ident(w.rulename), w.ev_type, w.ev_enabled, w.is_instead)
FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT concat_ws(' ', 'policy', r.shown, quote_ident(p.polname), p.polcmd, p.polpermissive)
FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
UNION ALL
SELECT concat_ws(' ', 'type', t.oid::regtype, t.typtype, t.typnotnull,
  CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
  (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t JOIN own n ON n.oid = t.typnamespace
WHERE t.typtype IN ('d', 'e', 'r')
  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
UNION ALL
SELECT concat_ws(' ', 'extension', quote_ident(e.extname), quote_ident(n.nspname))
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
UNION ALL
SELECT concat_ws(' ', 'event trigger', quote_ident(evtname), evtevent, evtenabled, evtfoid::regprocedure)
FROM pg_event_trigger
UNION ALL
SELECT concat_ws(' ', 'publication', quote_ident(pubname), puballtables) FROM pg_publication

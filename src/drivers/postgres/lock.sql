-- Ends the sessions that the account may end, and locks every table: readers stay, and pg_dump is one of them.
DO $stillpoint$
DECLARE
  line text;
BEGIN
  PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) me
  WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND (me.rolsuper OR NOT r.rolsuper AND (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')));
  FOR line IN
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.oid
  LOOP
    EXECUTE format('LOCK TABLE ONLY %s IN EXCLUSIVE MODE', line);
  END LOOP;
END
$stillpoint$

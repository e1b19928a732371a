-- Empties the database of everything that a dump of it would bring again. What belongs to extensions stays, and so do
-- schemas that can't be made anew. Fails for a table that is not locked: it came after the safety dump.
DO $stillpoint$
DECLARE
  line text;
  entry record;
BEGIN
  SELECT format('%I.%I', n.nspname, c.relname) INTO line
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    AND NOT EXISTS (SELECT FROM pg_locks l
      WHERE l.pid = pg_backend_pid() AND l.relation = c.oid AND l.mode = 'ExclusiveLock' AND l.granted)
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the table % was made after the hold had begun: stop what goes round the gateway', line;
  END IF;

  -- All names first: what goes with something else is not there any more when its turn comes.
  FOR line IN
    WITH own AS (
      SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    ), object(class, id, turn) AS (
      SELECT 'pg_class'::regclass::oid, oid, CASE relkind WHEN 'S' THEN 3 WHEN 'v' THEN 0 WHEN 'm' THEN 0 ELSE 1 END
      FROM pg_class
      WHERE relnamespace IN (SELECT oid FROM own) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
      -- Before the functions that come with a range.
      UNION ALL SELECT 'pg_type'::regclass, t.oid, 2 FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE t.typnamespace IN (SELECT oid FROM own) AND t.typtype <> 'm' AND (c.oid IS NULL OR c.relkind = 'c')
        AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
      UNION ALL SELECT 'pg_opfamily'::regclass, oid, 4 FROM pg_opfamily WHERE opfnamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_opclass'::regclass, oid, 5 FROM pg_opclass WHERE opcnamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_operator'::regclass, oid, 6 FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_proc'::regclass, oid, 7 FROM pg_proc WHERE pronamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_ts_config'::regclass, oid, 8 FROM pg_ts_config WHERE cfgnamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 9 FROM pg_ts_dict WHERE dictnamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 10 FROM pg_statistic_ext
      WHERE stxnamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_conversion'::regclass, oid, 11 FROM pg_conversion WHERE connamespace IN (SELECT oid FROM own)
      UNION ALL SELECT 'pg_collation'::regclass, oid, 12 FROM pg_collation WHERE collnamespace IN (SELECT oid FROM own)
    )
    SELECT format('DROP %s IF EXISTS %s CASCADE', CASE
        WHEN i.type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE'
        WHEN i.type = 'composite type' THEN 'TYPE'
        WHEN i.type = 'statistics object' THEN 'STATISTICS'
        ELSE i.type END, i.identity)
    FROM object o CROSS JOIN LATERAL pg_identify_object(o.class, o.id, 0) i
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.id AND d.deptype = 'e')
    ORDER BY o.turn
  LOOP
    EXECUTE line;
  END LOOP;

  PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;

  -- Rows that belong to the owner of the database, in tables that an extension brought.
  FOR line IN
    SELECT format('%s %s', c.oid::regclass, coalesce(x.condition, ''))
    FROM pg_extension e CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) AS x(relation, condition)
    JOIN pg_class c ON c.oid = x.relation WHERE c.relkind = 'r'
  LOOP
    EXECUTE format('SELECT 1 WHERE EXISTS (SELECT FROM %s)', line) INTO entry;
    IF entry IS NOT NULL THEN
      EXECUTE format('DELETE FROM %s', line);
    END IF;
  END LOOP;

  FOR entry IN
    SELECT n.nspname AS name FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public') AND pg_has_role(n.nspowner, 'USAGE')
      AND has_database_privilege(current_database(), 'CREATE')
      AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
      AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid)
  LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', entry.name);
  END LOOP;

  -- What was granted since, and would be granted on what is made now.
  FOR entry IN
    SELECT r.rolname AS owner, n.nspname AS name,
      CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' ELSE 'TYPES' END AS kind,
      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS whom
    FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace JOIN pg_roles r ON r.oid = d.defaclrole
    CROSS JOIN LATERAL aclexplode(d.defaclacl) a GROUP BY 1, 2, 3, 4
  LOOP
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I REVOKE ALL ON %s FROM %s',
      entry.owner, entry.name, entry.kind, entry.whom);
  END LOOP;
  FOR entry IN
    SELECT DISTINCT n.nspname AS name,
      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS whom
    FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
    WHERE n.nspname = 'public' AND pg_has_role(n.nspowner, 'USAGE') AND a.grantee <> n.nspowner
  LOOP
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s', entry.name, entry.whom);
  END LOOP;
  FOR entry IN
    SELECT n.nspname AS name, a.privilege_type AS privilege,
      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS whom
    FROM pg_namespace n JOIN pg_init_privs i ON i.objoid = n.oid AND i.classoid = 'pg_namespace'::regclass
    CROSS JOIN LATERAL aclexplode(i.initprivs) a
    WHERE n.nspname = 'public' AND pg_has_role(n.nspowner, 'USAGE') AND a.grantee <> n.nspowner
  LOOP
    EXECUTE format('GRANT %s ON SCHEMA %I TO %s', entry.privilege, entry.name, entry.whom);
  END LOOP;
END
$stillpoint$

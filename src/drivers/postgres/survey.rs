//! Looking at a database: what it holds, what its account may, what can't be promised of it.

use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;

use super::session::{Session, ident};
use crate::domain::Bytes;
use crate::domain::manifest::Facts;
use crate::drivers::Error;

/// What was found by looking.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub size: Bytes,
    /// For the snapshot's page (R15).
    pub limits: Vec<String>,
    pub way: Way,
}

/// How this account can restore it as things are. Reasons come with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Loaded beside, and names exchanged.
    Beside,
    /// Dropped and loaded in one transaction, while visitors are asked to come back.
    InPlace {
        why: String,
    },
    Not {
        why: String,
    },
}

pub(super) fn in_words(way: &Way) -> String {
    match way {
        Way::Beside => "It is loaded beside, and names are exchanged.".to_owned(),
        Way::InPlace { why } => format!(
            "A restore replaces it in place, in one transaction, as maintenance: visitors are asked to come back (503) for \
             as long as that takes, because {why}."
        ),
        Way::Not { why } => format!("It can't be restored as things are: {why}."),
    }
}

/// What counts large objects among the facts.
pub(super) const LARGE_OBJECTS: &str = "large objects";

/// Own tables and those of schemas that are not the server's. Of an extension's own, `pg_dump` reads a few: those that it
/// may not read it does not ask for.
const TABLES: &str = "
  SELECT c.oid::int8, format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  ORDER BY c.oid";

/// What `pg_dump` will have to read and may not.
const UNREADABLE: &str = "
  SELECT format('%I.%I', n.nspname, c.relname), n.nspname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
    AND n.nspname <> 'information_schema'
    AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
      ELSE has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid) END)
    AND NOT EXISTS (SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ORDER BY 1 LIMIT 3";

#[derive(sqlx::FromRow)]
struct Standing {
    size: i64,
    standby: bool,
    may_create: bool,
    owns: bool,
    owner: String,
    unlogged: Vec<String>,
    foreign_tables: Vec<String>,
    subscriptions: Vec<String>,
    slots: Vec<String>,
    /// Extensions that only a superuser may create.
    extensions: Vec<String>,
    /// Accounts with sessions that ours may not end.
    sessions: Vec<String>,
}

const STANDING: &str = "
  WITH me AS (SELECT * FROM pg_roles WHERE rolname = current_user),
  relation AS (
    SELECT c.relkind, c.relpersistence, format('%I.%I', n.nspname, c.relname) AS shown
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
  SELECT pg_database_size(d.oid) AS size, pg_is_in_recovery() AS standby,
    me.rolcreatedb OR me.rolsuper AS may_create, pg_has_role(d.datdba, 'USAGE') AS owns,
    pg_get_userbyid(d.datdba)::text AS owner,
    ARRAY(SELECT shown FROM relation WHERE relkind = 'r' AND relpersistence = 'u' ORDER BY 1) AS unlogged,
    ARRAY(SELECT shown FROM relation WHERE relkind = 'f' ORDER BY 1) AS foreign_tables,
    ARRAY(SELECT subname::text FROM pg_subscription WHERE subdbid = d.oid ORDER BY 1) AS subscriptions,
    ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE database = d.datname ORDER BY 1) AS slots,
    ARRAY(SELECT e.extname::text FROM pg_extension e WHERE NOT me.rolsuper AND e.extname <> 'plpgsql'
      AND NOT EXISTS (SELECT FROM pg_available_extension_versions v
        WHERE v.name = e.extname AND v.version = e.extversion AND (v.trusted OR NOT v.superuser)) ORDER BY 1) AS extensions,
    ARRAY(SELECT DISTINCT r.rolname::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
      WHERE a.datid = d.oid AND NOT (me.rolsuper OR NOT r.rolsuper
        AND (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))
      ORDER BY 1) AS sessions
  FROM pg_database d, me WHERE d.datname = current_database()";

/// # Errors
/// [`Error::Unsuitable`] for a standby, [`Error::NotPermitted`] when something in it can't be read.
pub(super) fn look(session: &mut Session) -> Result<Survey, Error> {
    let (user, database) = (session.address.user.clone(), session.address.database.clone());
    let (found, unreadable) = session.run("look at", async |db| {
        let found: Standing = sqlx::query_as(STANDING).fetch_one(&mut *db).await?;
        let unreadable: Vec<(String, String)> = sqlx::query_as(UNREADABLE).fetch_all(db).await?;
        Ok((found, unreadable))
    })?;
    if found.standby {
        let why = "is on a standby server, which can't be restored into: declare its primary".to_owned();
        return Err(Error::Unsuitable { database, why });
    }
    if let Some((table, schema)) = unreadable.first() {
        let (me, schema) = (ident(&user), ident(schema));
        let remedy = format!(
            "GRANT USAGE ON SCHEMA {schema} TO {me}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {me}; GRANT SELECT ON \
             ALL SEQUENCES IN SCHEMA {schema} TO {me}; and where row level security hides rows, ALTER ROLE {me} BYPASSRLS"
        );
        return Err(Error::NotPermitted { user, what: format!("read all of `{table}`, so no dump is whole"), remedy });
    }
    // Because of the first it can't be loaded beside, because of the second it can't be exchanged.
    let (mut rights, mut obstacles) = (Vec::new(), Vec::new());
    let mut limits =
        vec!["Roles, their passwords and tablespaces belong to the server and are not in the snapshot.".to_owned()];
    if !found.may_create {
        rights.push(format!("the account may not create databases: ALTER ROLE {} CREATEDB", ident(&user)));
    }
    if !found.owns {
        rights.push(format!(
            "the account does not own the database: GRANT {} TO {}",
            ident(&found.owner),
            ident(&user)
        ));
    }
    if !found.extensions.is_empty() {
        let names = found.extensions.join(", ");
        rights.push(format!("only a superuser may create {names}, which it uses: declare an account that is one"));
    }
    if !found.sessions.is_empty() {
        let (names, me) = (found.sessions.join(", "), ident(&user));
        obstacles.push(format!(
            "the account may not end the sessions of {names}: GRANT pg_signal_backend TO {me}, or end them, if they are a \
             superuser's"
        ));
    }
    for (what, names) in [("subscription", &found.subscriptions), ("logical replication slot", &found.slots)] {
        if !names.is_empty() {
            let names = names.join(", ");
            limits.push(format!("The {what} {names} is not in the snapshot."));
            obstacles.push(format!("it has the {what} {names}, which would not go along: drop it first"));
        }
    }
    if !found.unlogged.is_empty() {
        let names = found.unlogged.join(", ");
        limits.push(format!("The server empties unlogged tables after a crash, so they may be found empty: {names}."));
    }
    if !found.foreign_tables.is_empty() {
        let names = found.foreign_tables.join(", ");
        limits.push(format!("The rows of foreign tables are on other servers and not in the snapshot: {names}."));
    }
    let way = if rights.is_empty() && obstacles.is_empty() {
        Way::Beside
    } else if rights.is_empty() {
        Way::Not { why: obstacles.join("; ") }
    } else {
        let hindrances: Vec<String> =
            session.run("look at", async |db| sqlx::query_scalar(HINDRANCES).fetch_all(db).await)?;
        let why = rights.join("; ");
        match hindrances.as_slice() {
            [] => Way::InPlace { why },
            some => {
                rights.extend(obstacles);
                Way::Not { why: format!("{}; nor in place, since {}", rights.join("; "), some.join("; ")) }
            }
        }
    };
    if way != Way::Beside {
        limits.push(in_words(&way));
    }
    Ok(Survey { size: Bytes(u64::try_from(found.size).unwrap_or(0)), limits, way })
}

/// Why it can't all be dropped and made anew in one transaction.
const HINDRANCES: &str = "
  WITH own AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  ), member AS (
    -- Of an extension, or of what goes only together with it: a range's functions belong to the server's first role.
    SELECT classid, objid FROM pg_depend WHERE deptype IN ('e', 'i')
  ), object(class, id, owner, shown) AS (
    SELECT 'pg_class'::regclass::oid, c.oid, c.relowner, format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN own n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner, format('%I.%I', n.nspname, p.proname)
    FROM pg_proc p JOIN own n ON n.oid = p.pronamespace
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typowner, format('%I.%I', n.nspname, t.typname)
    FROM pg_type t JOIN own n ON n.oid = t.typnamespace WHERE t.typtype IN ('d', 'e', 'r')
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner, 'the large object ' || oid FROM pg_largeobject_metadata
  )
  SELECT format('%s belongs to %I, which the account does not act for: GRANT %2$I TO %I', min(shown),
    pg_get_userbyid(owner), current_user)
  FROM object o
  WHERE NOT pg_has_role(owner, 'USAGE')
    AND NOT EXISTS (SELECT FROM member m WHERE m.classid = o.class AND m.objid = o.id)
  GROUP BY owner
  UNION ALL
  SELECT format('the account may make nothing in the schema %I: GRANT CREATE ON SCHEMA %1$I TO %I', nspname, current_user)
  FROM own WHERE NOT has_schema_privilege(oid, 'CREATE')
    AND EXISTS (SELECT FROM object o JOIN pg_class c ON o.class = 'pg_class'::regclass AND c.oid = o.id
      WHERE c.relnamespace = own.oid AND NOT EXISTS (SELECT FROM member m WHERE m.classid = o.class AND m.objid = o.id))
  UNION ALL
  SELECT format('it has the %s %I, which is not replaced in place', what, name)
  FROM (
    SELECT 'pg_event_trigger'::regclass, oid, 'event trigger', evtname FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid, 'publication', pubname FROM pg_publication
    UNION ALL SELECT 'pg_subscription'::regclass, oid, 'subscription', subname FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 'foreign server', srvname FROM pg_foreign_server
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 'foreign data wrapper', fdwname
    FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_language'::regclass, oid, 'language', lanname FROM pg_language WHERE oid >= 16384
  ) AS whole(class, id, what, name)
  WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = whole.class AND m.objid = whole.id)
  UNION ALL
  SELECT format('it has default privileges of %I for the whole database, which are not replaced in place', r.rolname)
  FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole WHERE d.defaclnamespace = 0
  UNION ALL
  SELECT format('default privileges of %I can''t be replaced by the account: GRANT %1$I TO %I', r.rolname, current_user)
  FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole
  WHERE d.defaclnamespace <> 0 AND NOT pg_has_role(r.oid, 'USAGE')";

/// Of these extensions those that are not there and that the account may not make.
pub(super) const NOT_TO_BE_MADE: &str = "
  SELECT w.name FROM unnest($1::text[]) AS w(name)
  WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = w.name)
    AND NOT EXISTS (SELECT FROM pg_available_extension_versions v
      WHERE v.name = w.name AND (NOT v.superuser OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        OR v.trusted AND has_database_privilege(current_database(), 'CREATE')))";

pub(super) fn size(session: &mut Session) -> Result<Bytes, Error> {
    let size: i64 = session.run("measure", async |db| {
        sqlx::query_scalar("SELECT pg_database_size(current_database())").fetch_one(db).await
    })?;
    Ok(Bytes(u64::try_from(size).unwrap_or(0)))
}

/// Tables by oid, with their quoted names.
pub(super) fn tables(session: &mut Session) -> Result<Vec<(i64, String)>, Error> {
    session.run("list the tables of", async |db| sqlx::query_as(TABLES).fetch_all(db).await)
}

/// Rows by table and the schema's hash, as the session sees them.
pub(super) fn facts(session: &mut Session) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let tables: Vec<String> = session
        .run("list the tables of", async |db| sqlx::query_scalar(AssertSqlSafe(counted())).fetch_all(db).await)?;
    for table in tables {
        let count = format!("SELECT count(*) FROM ONLY {table}");
        let rows: i64 = session.run_long("count the rows of", async |db| {
            sqlx::query_scalar(AssertSqlSafe(count)).persistent(false).fetch_one(db).await
        })?;
        facts.rows.insert(table, u64::try_from(rows).unwrap_or(0));
    }
    let (objects, lines) = session.run("read the schema of", async |db| {
        let objects: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_largeobject_metadata").fetch_one(&mut *db).await?;
        let lines: Vec<String> = sqlx::query_scalar(include_str!("schema.sql")).fetch_all(db).await?;
        Ok((objects, lines))
    })?;
    if objects > 0 {
        facts.rows.insert(LARGE_OBJECTS.to_owned(), u64::try_from(objects).unwrap_or(0));
    }
    facts.schema = checksum(lines);
    Ok(facts)
}

/// The quoted names of the tables whose rows are counted.
pub(super) fn counted() -> String {
    // An extension's own tables hold what it brings. A partitioned table's rows are its partitions'.
    format!(
        "SELECT shown FROM ({TABLES}) AS t(oid, shown) JOIN pg_class c ON c.oid = t.oid WHERE c.relkind = 'r'
         AND NOT EXISTS (SELECT FROM pg_depend d
           WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid AND d.deptype = 'e') ORDER BY 1"
    )
}

/// Of the schema's lines, in whatever order they come.
pub(super) fn checksum(mut lines: Vec<String>) -> String {
    // Sorted here and not by the server, whose order is the database's collation's.
    lines.sort_unstable();
    let mut hash = Sha256::new();
    for line in lines {
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line);
    }
    hex::encode(hash.finalize())
}

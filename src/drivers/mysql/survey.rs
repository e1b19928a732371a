//! Looking at a database: what it holds, what its account may, what can't be promised of it.

use super::objects::{self, Object};
use super::rights::Rights;
use super::session::{Session, ident, literal};
use crate::domain::Bytes;
use crate::drivers::Error;

/// The table that tells which schema holds what, while a restore is under way: no part of anybody's data.
pub(super) const MARK: &str = "stillpoint_swap";

/// Tables without transactions up to this sum are copied while they are locked.
pub(super) const COPIED: u64 = 4 << 20;

/// What was found by looking.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub size: Bytes,
    /// For the snapshot's page (R15).
    pub limits: Vec<String>,
    /// Why it can't be restored by this account as things are, each with what to do.
    pub obstacles: Vec<String>,
    pub objects: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub name: String,
    pub kind: TableKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableKind {
    /// Read through the view.
    Transactional,
    /// MyISAM, Aria, MEMORY, …: has no past.
    Plain,
    /// MariaDB's.
    Sequence,
}

/// Sequences first: tables draw on them.
pub(super) fn tables(session: &mut Session, schema: &str) -> Result<Vec<Table>, Error> {
    let list = format!(
        "SELECT t.TABLE_NAME, t.TABLE_TYPE, e.TRANSACTIONS FROM information_schema.TABLES t
         LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
         WHERE t.TABLE_SCHEMA = {} AND t.TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'TEMPORARY') AND t.TABLE_NAME <> '{MARK}'
         ORDER BY t.TABLE_TYPE <> 'SEQUENCE', t.TABLE_NAME",
        literal(schema)
    );
    let rows = session.rows("list the tables of", &list)?;
    let table = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten().unwrap_or_default();
        let (name, word, transactions) = (next(), next(), next());
        let kind = match (word.as_str(), transactions.as_str()) {
            ("SEQUENCE", _) => TableKind::Sequence,
            (_, "YES") => TableKind::Transactional,
            _ => TableKind::Plain,
        };
        Table { name, kind }
    };
    Ok(rows.into_iter().map(table).collect())
}

/// To read all of a database.
const READING: [&str; 5] = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "EXECUTE"];

/// To load another one and to exchange both.
const RESTORING: [&str; 15] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EXECUTE",
    "TRIGGER",
    "EVENT",
];

/// A sentence's names.
type Found = (String, Vec<String>);

/// `beside` is what a restore would call what it loads.
///
/// # Errors
/// [`Error::NotPermitted`] when something in it can't be read: it would be missing from a dump without a word.
pub(super) fn look(session: &mut Session, beside: &str) -> Result<Survey, Error> {
    let schema = session.address.database.clone();
    let user = session.address.user.clone();
    let account = account(session)?;
    let rights = Rights::read(session)?;
    let missing = rights.missing(&schema, &READING);
    if !missing.is_empty() {
        return Err(Error::NotPermitted {
            user,
            what: format!("read all of the database `{schema}`, so no dump is whole"),
            remedy: format!("GRANT {} ON {}.* TO {account}", missing.join(", "), pattern(&schema)),
        });
    }
    let size = size(session, &schema)?;
    let objects = objects::read(session, &schema)?;
    let mut limits =
        vec!["Accounts, their passwords and grants belong to the server and are not in the snapshot.".to_owned()];
    for (sentence, names) in peculiarities(session, &schema)? {
        if !names.is_empty() {
            limits.push(format!("{sentence}: {}.", names.join(", ")));
        }
    }
    let passing: Vec<&str> =
        objects.iter().filter(|object| object.passing).map(|object| object.name.as_str()).collect();
    if !passing.is_empty() {
        limits.push(format!(
            "Events that go once they have run may be gone when it is restored: {}.",
            passing.join(", ")
        ));
    }

    let mut obstacles = Vec::new();
    for on in [schema.as_str(), beside] {
        let missing = rights.missing(on, &RESTORING);
        if !missing.is_empty() {
            let on = if on == schema { pattern(&schema) } else { ident(&(escaped(&schema) + "\\_stillpoint\\_%")) };
            let missing = missing.join(", ");
            obstacles.push(format!(
                "the account may not {missing}: GRANT ALL ON {on}.* TO {account} (it can't be restored in place either, since \
                 the server takes back no change of a table)"
            ));
        }
    }
    let mine = |object: &&Object| object.definer().is_some_and(|definer| definer.replace('`', "'") != account);
    let foreign: Vec<&str> = objects.iter().filter(mine).map(|object| object.name.as_str()).collect();
    let (for_definers, for_sessions): (&[&str], _) = match session.mariadb {
        true => (&["SET USER", "SUPER"], "CONNECTION ADMIN"),
        false => (&["SET_USER_ID", "SET_ANY_DEFINER", "SUPER"], "CONNECTION_ADMIN"),
    };
    if !foreign.is_empty() && !for_definers.iter().any(|right| rights.everywhere(right)) {
        let (names, right) = (foreign.join(", "), for_definers[0]);
        obstacles.push(format!("{names} run as another account: GRANT {right} ON *.* TO {account}"));
    }
    if objects.iter().any(|object| object.kind != objects::Kind::View && object.kind != objects::Kind::Event)
        && !["SUPER", "BINLOG ADMIN"].iter().any(|right| rights.everywhere(right))
        && session.one("look at", "SELECT @@log_bin AND NOT @@log_bin_trust_function_creators")?.as_deref() == Some("1")
    {
        obstacles.push(
            "its triggers and routines can't be made by the account while the binary log is on: SET GLOBAL \
             log_bin_trust_function_creators = 1 (in the server's configuration too)"
                .to_owned(),
        );
    }
    let elsewhere = session.rows(
        "read the foreign keys on",
        &format!(
            "SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS
             WHERE UNIQUE_CONSTRAINT_SCHEMA = {0} AND CONSTRAINT_SCHEMA <> {0}",
            literal(&schema)
        ),
    )?;
    let elsewhere: Vec<String> = elsewhere.into_iter().flatten().flatten().collect();
    if !elsewhere.is_empty() {
        let names = elsewhere.join(", ");
        obstacles.push(format!("foreign keys of other databases lead into it ({names}): drop them first"));
    }
    limits.extend(obstacles.iter().map(|obstacle| format!("It can't be restored as things are: {obstacle}.")));
    if !["PROCESS", "SUPER"].iter().any(|right| rights.everywhere(right))
        || ![for_sessions, "SUPER"].iter().any(|right| rights.everywhere(right))
    {
        limits.push(format!(
            "Other accounts' transactions that stand in a restore's way can't be ended by the account, and make it fail: \
             GRANT PROCESS, {for_sessions} ON *.* TO {account}."
        ));
    }
    Ok(Survey { size, limits, obstacles, objects })
}

pub(super) fn size(session: &mut Session, schema: &str) -> Result<Bytes, Error> {
    let size = session.one(
        "measure",
        &format!(
            "SELECT CAST(coalesce(sum(DATA_LENGTH + INDEX_LENGTH), 0) AS UNSIGNED) FROM information_schema.TABLES
             WHERE TABLE_SCHEMA = {}",
            literal(schema)
        ),
    )?;
    Ok(Bytes(size.and_then(|size| size.parse().ok()).unwrap_or(0)))
}

/// As a grant names it: the account that the server took us for.
fn account(session: &mut Session) -> Result<String, Error> {
    let account = session.one("ask who we are for", "SELECT CURRENT_USER()")?.unwrap_or_default();
    let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
    Ok(format!("{}@{}", literal(user), literal(host)))
}

/// A name where a grant takes a pattern.
fn pattern(schema: &str) -> String {
    ident(&escaped(schema))
}

fn escaped(schema: &str) -> String {
    schema.replace('_', "\\_").replace('%', "\\%")
}

/// What can't be promised, and of what.
fn peculiarities(session: &mut Session, schema: &str) -> Result<Vec<Found>, Error> {
    let name = literal(schema);
    let mut list = |sql: String| -> Result<Vec<String>, Error> {
        Ok(session.rows("look at the tables of", &sql)?.into_iter().flatten().flatten().collect())
    };
    let of_tables = |what: &str, condition: &str| {
        format!(
            "SELECT {what} FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
             WHERE TABLE_SCHEMA = {name} AND TABLE_NAME <> '{MARK}' AND {condition} ORDER BY 1"
        )
    };
    let plain = "TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE') AND coalesce(e.TRANSACTIONS, 'NO') <> 'YES'";
    let together: u64 = list(of_tables("CAST(coalesce(sum(DATA_LENGTH), 0) AS UNSIGNED)", plain))?
        .first()
        .and_then(|sum| sum.parse().ok())
        .unwrap_or(0);
    let plain = list(of_tables("CONCAT(TABLE_NAME, ' (', t.ENGINE, ')')", plain))?;
    let sentence = if together <= COPIED {
        "Tables without transactions were copied under a lock while the view was opened"
    } else {
        "Tables without transactions are not at the snapshot's instant but were read after it; ALTER TABLE … ENGINE=InnoDB \
         changes that"
    };
    let mut found = vec![(sentence.to_owned(), plain)];
    found.push((
        "The server empties MEMORY tables when it restarts".to_owned(),
        list(of_tables("TABLE_NAME", "t.ENGINE = 'MEMORY' AND TABLE_TYPE <> 'VIEW'"))?,
    ));
    found.push((
        "The history of versioned tables is not in the snapshot, only their present rows".to_owned(),
        list(of_tables("TABLE_NAME", "TABLE_TYPE = 'SYSTEM VERSIONED'"))?,
    ));
    found.push((
        "Rows of these tables are on other servers or in other tables, and are copied as their own".to_owned(),
        list(of_tables("TABLE_NAME", "t.ENGINE IN ('FEDERATED', 'CONNECT', 'SPIDER', 'MRG_MyISAM')"))?,
    ));
    found.push((
        "Views that draw on what is not there any more are not in the snapshot".to_owned(),
        list(of_tables("TABLE_NAME", &format!("TABLE_TYPE = 'VIEW' AND {}", objects::BROKEN)))?,
    ));
    found.push((
        "Defaults that draw on a sequence name their database, and keep that name when restored elsewhere".to_owned(),
        list(format!(
            "SELECT CONCAT(TABLE_NAME, '.', COLUMN_NAME) FROM information_schema.COLUMNS
             WHERE TABLE_SCHEMA = {name} AND COLUMN_DEFAULT LIKE '%nextval(%' ORDER BY 1"
        ))?,
    ));
    Ok(found)
}

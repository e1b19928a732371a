//! What a database has beside its tables: routines, views, triggers and events, as the commands that make them.
//!
//! **Invariant:** events are always made disabled, and enabled by a command of their own: one that is made where it is only
//! being loaded must not run there.

use serde::{Deserialize, Serialize};

use super::session::{Cells, Session, ident, literal};
use crate::drivers::Error;

/// One of them. Two that are equal do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    pub kind: Kind,
    pub name: String,
    /// The command, with its definer.
    pub create: String,
    /// What the command was read under, which stays with the object.
    pub sql_mode: String,
    pub collation: String,
    pub time_zone: Option<String>,
    /// Of an event.
    #[serde(default)]
    pub enabled: bool,
    /// An event that goes when it has run: whether it is there depends on the time.
    #[serde(default)]
    pub passing: bool,
    /// Of a view: names and types.
    #[serde(default)]
    pub columns: Vec<(String, String)>,
}

/// In the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Package,
    PackageBody,
    Function,
    Procedure,
    View,
    Trigger,
    Event,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Package => "PACKAGE",
            Self::PackageBody => "PACKAGE BODY",
            Self::Function => "FUNCTION",
            Self::Procedure => "PROCEDURE",
            Self::View => "VIEW",
            Self::Trigger => "TRIGGER",
            Self::Event => "EVENT",
        }
    }

    fn of_routine(word: &str) -> Option<Self> {
        [Self::Package, Self::PackageBody, Self::Function, Self::Procedure].into_iter().find(|kind| kind.word() == word)
    }
}

impl Object {
    /// What it is made under.
    pub fn settings(&self) -> String {
        let zone = self.time_zone.as_deref().unwrap_or("+00:00");
        format!(
            "SET sql_mode = {}, collation_connection = {}, time_zone = {}",
            literal(&self.sql_mode),
            literal(&self.collation),
            literal(zone)
        )
    }

    pub fn drop_command(&self, schema: &str) -> String {
        format!("DROP {} IF EXISTS {}.{}", self.kind.word(), ident(schema), ident(&self.name))
    }

    pub fn enable_command(&self) -> Option<String> {
        self.enabled.then(|| format!("ALTER EVENT {} ENABLE", ident(&self.name)))
    }

    /// `user@host` as the command says it.
    pub fn definer(&self) -> Option<&str> {
        let (_, rest) = self.create.split_once("DEFINER=")?;
        rest.split([' ']).next()
    }
}

/// After [`Object::settings`].
pub(super) const PLAIN: &str = "SET sql_mode = '', time_zone = '+00:00', NAMES utf8mb4";

/// All of a schema, in the order in which they can be made. Views that draw on what is not there any more are left out:
/// nothing could make them.
///
/// # Errors
/// [`Error::NotPermitted`] when the account may not see what something does.
pub(super) fn read(session: &mut Session, schema: &str) -> Result<Vec<Object>, Error> {
    // A view's text names the schema of its tables, unless it is the one in use.
    session.command("use", &format!("USE {}", ident(schema)))?;
    let mut objects = routines(session, schema)?;
    objects.extend(views(session, schema)?);
    objects.extend(triggers(session, schema)?);
    objects.extend(events(session, schema)?);
    // Triggers keep the order in which they fire.
    objects.sort_by(|one, other| {
        let key = |object: &Object| {
            (object.kind, if object.kind == Kind::Trigger { "" } else { object.name.as_str() }.to_owned())
        };
        key(one).cmp(&key(other))
    });
    Ok(objects)
}

fn cell(row: &Cells, index: usize) -> String {
    row.get(index).cloned().flatten().unwrap_or_default()
}

fn routines(session: &mut Session, schema: &str) -> Result<Vec<Object>, Error> {
    let list = format!(
        "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {} ORDER BY 1, 2",
        literal(schema)
    );
    let mut objects = Vec::new();
    for row in session.rows("list the routines of", &list)? {
        let Some(kind) = Kind::of_routine(&cell(&row, 0)) else { continue };
        let name = cell(&row, 1);
        let show = format!("SHOW CREATE {} {}", kind.word(), ident(&name));
        let shown = session.rows("read the routines of", &show)?.into_iter().next().unwrap_or_default();
        // Name, mode, command, character set, collation.
        let Some(create) = shown.get(2).cloned().flatten() else {
            let (user, sql) = (session.address.user.clone(), session.mariadb);
            return Err(Error::NotPermitted {
                what: format!("see what `{name}` of the database `{schema}` does, so no dump is whole"),
                remedy: match sql {
                    true => format!("GRANT SELECT ON mysql.proc TO {}", literal(&user)),
                    false => format!("GRANT SHOW_ROUTINE ON *.* TO {}", literal(&user)),
                },
                user,
            });
        };
        objects.push(object(kind, name, create, &cell(&shown, 1), &cell(&shown, 4)));
    }
    Ok(objects)
}

fn object(kind: Kind, name: String, create: String, sql_mode: &str, collation: &str) -> Object {
    let (sql_mode, collation) = (sql_mode.to_owned(), collation.to_owned());
    let columns = Vec::new();
    Object { kind, name, create, sql_mode, collation, time_zone: None, enabled: false, passing: false, columns }
}

/// The comment of a view that draws on what is gone is the server's complaint.
pub(super) const BROKEN: &str = "TABLE_COMMENT LIKE '%references invalid%'";

fn views(session: &mut Session, schema: &str) -> Result<Vec<Object>, Error> {
    let list = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'VIEW'
         AND NOT {BROKEN} ORDER BY 1",
        literal(schema)
    );
    let names = session.rows("list the views of", &list)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let columns = session.rows(
        "read the views of",
        &format!(
            "SELECT c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE FROM information_schema.COLUMNS c
             JOIN information_schema.VIEWS v ON v.TABLE_SCHEMA = c.TABLE_SCHEMA AND v.TABLE_NAME = c.TABLE_NAME
             WHERE c.TABLE_SCHEMA = {} ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION",
            literal(schema)
        ),
    )?;
    let mut objects = Vec::new();
    for row in names {
        let name = cell(&row, 0);
        let shown = session.rows("read the views of", &format!("SHOW CREATE VIEW {}", ident(&name)))?;
        let shown = shown.into_iter().next().unwrap_or_default();
        let own = columns.iter().filter(|column| cell(column, 0) == name);
        let columns = own.map(|column| (cell(column, 1), cell(column, 2))).collect();
        let plain = object(Kind::View, name, cell(&shown, 1), "", &cell(&shown, 3));
        objects.push(Object { columns, ..plain });
    }
    Ok(objects)
}

/// Put together from their parts: the server keeps the command as it was typed, which may name the schema.
fn triggers(session: &mut Session, schema: &str) -> Result<Vec<Object>, Error> {
    let list = format!(
        "SELECT TRIGGER_NAME, DEFINER, ACTION_TIMING, EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_STATEMENT, SQL_MODE,
           COLLATION_CONNECTION
         FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {}
         ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
        literal(schema)
    );
    let rows = session.rows("list the triggers of", &list)?;
    Ok(rows
        .iter()
        .map(|row| {
            let name = cell(row, 0);
            let definer = cell(row, 1);
            // A host holds no `@`.
            let definer = match definer.rsplit_once('@') {
                Some((user, host)) => format!("{}@{}", ident(user), ident(host)),
                None => ident(&definer),
            };
            let create = format!(
                "CREATE DEFINER={definer} TRIGGER {} {} {} ON {} FOR EACH ROW {}",
                ident(&name),
                cell(row, 2),
                cell(row, 3),
                ident(&cell(row, 4)),
                cell(row, 5)
            );
            object(Kind::Trigger, name, create, &cell(row, 6), &cell(row, 7))
        })
        .collect())
}

fn events(session: &mut Session, schema: &str) -> Result<Vec<Object>, Error> {
    let list = format!(
        "SELECT EVENT_NAME, EVENT_TYPE = 'ONE TIME' AND ON_COMPLETION = 'NOT PRESERVE' FROM information_schema.EVENTS
         WHERE EVENT_SCHEMA = {} ORDER BY 1",
        literal(schema)
    );
    let mut objects = Vec::new();
    for row in session.rows("list the events of", &list)? {
        let name = cell(&row, 0);
        let shown = session.rows("read the events of", &format!("SHOW CREATE EVENT {}", ident(&name)))?;
        // Name, mode, zone, command, character set, collation.
        let shown = shown.into_iter().next().unwrap_or_default();
        let (create, enabled) = disabled(&cell(&shown, 3));
        let plain = object(Kind::Event, name, create, &cell(&shown, 1), &cell(&shown, 5));
        objects.push(Object { time_zone: Some(cell(&shown, 2)), enabled, passing: cell(&row, 1) == "1", ..plain });
    }
    Ok(objects)
}

/// The same event, but disabled; and whether it was enabled.
fn disabled(create: &str) -> (String, bool) {
    let enabled = ["PRESERVE ENABLE ", "PRESERVE ENABLE\n"].iter().filter_map(|text| create.find(text)).min();
    match enabled {
        Some(at) => {
            let (before, after) = create.split_at(at + "PRESERVE ".len());
            (format!("{before}DISABLE{}", &after["ENABLE".len()..]), true)
        }
        None => (create.to_owned(), false),
    }
}

/// Before tables change hands: drops every trigger, which binds its table to its schema, and what is not wanted.
///
/// # Errors
/// What the server says to a command.
pub(super) fn make_way(session: &mut Session, schema: &str, wanted: &[Object]) -> Result<(), Error> {
    let present = read(session, schema)?;
    for object in present.iter().filter(|object| object.kind == Kind::Trigger || !wanted.contains(object)).rev() {
        session.command("drop an old part of", &object.drop_command(schema))?;
    }
    Ok(())
}

/// Makes the schema's objects what is wanted, touching nothing that is so already.
///
/// # Errors
/// What the server says to a command; what was done until then stays, and a later call goes on from there.
pub(super) fn conform(session: &mut Session, schema: &str, wanted: &[Object]) -> Result<(), Error> {
    let present = read(session, schema)?;
    for object in present.iter().filter(|object| !wanted.contains(object)).rev() {
        session.command("drop an old part of", &object.drop_command(schema))?;
    }
    let mut missing: Vec<&Object> = wanted.iter().filter(|object| !present.contains(object)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // A view may draw on one that comes later.
    while !missing.is_empty() {
        let mut left = Vec::new();
        let mut refused = None;
        let count = missing.len();
        for object in missing {
            match make(session, schema, object) {
                Ok(()) => {}
                Err(error) if object.kind == Kind::View => {
                    refused = Some(error);
                    left.push(object);
                }
                Err(error) => return Err(error),
            }
        }
        if left.len() == count
            && let Some(error) = refused
        {
            return Err(error);
        }
        missing = left;
    }
    session.command("settle", PLAIN)
}

fn make(session: &mut Session, schema: &str, object: &Object) -> Result<(), Error> {
    session.command("set up a part of", &object.settings())?;
    // It may be a view that could not be read, or an event that was half made.
    session.command("make room in", &object.drop_command(schema))?;
    session.command("make a part of", &object.create)?;
    match object.enable_command() {
        Some(enable) => session.command("enable an event of", &enable),
        None => Ok(()),
    }
}

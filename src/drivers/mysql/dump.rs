//! A database as plain SQL that the stock client loads.
//!
//! **Invariant:** the last line says that it is the last one, and a line before it where a load that must not run events
//! ends. Every statement but those of routines, triggers and events stands on a line of its own: a line break inside a
//! text is escaped.

use std::io::Write;

use super::objects::{Kind, Object};
use super::session::{Session, bytes, explain, ident, literal};
use super::survey::{Table, TableKind};
use crate::drivers::Error;

/// Before the commands that enable events.
pub(super) const EVENTS: &str = "-- Stillpoint: from here on events run";
pub(super) const END: &str = "-- Stillpoint: the dump is complete";

/// About the length of an INSERT: a row of any size is one too.
const STATEMENT: usize = 1 << 20;
/// Longer binary values are written as text, which is half as long: a server takes no statement that is longer than its
/// `max_allowed_packet`.
const HEX: usize = 64 << 10;
/// Rows between two looks at whether it shall end.
const LOOK: u64 = 512;

/// Counts what is written.
pub(super) struct Counted<'a> {
    pub out: &'a mut dyn Write,
    pub written: u64,
}

impl Counted<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::Output)
    }

    fn line(&mut self, text: &str) -> Result<(), Error> {
        self.put(text.as_bytes())?;
        self.put(b"\n")
    }
}

pub(super) fn head(session: &Session, out: &mut Counted<'_>) -> Result<(), Error> {
    // No line break of a name ends the comment.
    let name = session.address.database.replace(['\n', '\r'], " ");
    out.line(&format!("-- Stillpoint: dump of the database {name}, from {}", session.version))?;
    out.line("SET NAMES utf8mb4;")?;
    // Not `unique_checks = 0`: with that, MariaDB fills an empty table through files of its own, which takes twice as long.
    out.line("SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0;")
}

/// The table's command; a sequence's, and its number.
pub(super) fn definition(
    session: &mut Session,
    schema: &str,
    table: &Table,
    out: &mut Counted<'_>,
) -> Result<(), Error> {
    let name = format!("{}.{}", ident(schema), ident(&table.name));
    let sequence = table.kind == TableKind::Sequence;
    let word = if sequence { "SEQUENCE" } else { "TABLE" };
    let shown = session.rows("read the definition of a table of", &format!("SHOW CREATE {word} {name}"))?;
    let create = shown.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
    let Some(create) = create else {
        return Err(Error::Redefined { database: schema.to_owned(), what: format!("the table `{}`", table.name) });
    };
    out.line(&format!("{create};"))?;
    if sequence {
        let next = session.one("read a sequence of", &format!("SELECT next_not_cached_value FROM {name}"))?;
        out.line(&format!("SELECT SETVAL({}, {}, 0);", ident(&table.name), next.unwrap_or_else(|| "1".to_owned())))?;
    }
    Ok(())
}

/// How a column's values are written.
#[derive(Clone, Copy)]
enum Form {
    Number,
    Binary,
    Text,
}

impl Form {
    fn of(data_type: &str) -> Self {
        match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" | "year" => {
                Self::Number
            }
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "bit" | "vector"
            | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" => Self::Binary,
            _ => Self::Text,
        }
    }

    fn write(self, value: &[u8], into: &mut Vec<u8>) {
        match self {
            Self::Number => into.extend_from_slice(value),
            Self::Binary if value.is_empty() => into.extend_from_slice(b"''"),
            Self::Binary if value.len() <= HEX => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                into.extend_from_slice(b"0x");
                for byte in value {
                    into.push(DIGITS[usize::from(byte >> 4)]);
                    into.push(DIGITS[usize::from(byte & 15)]);
                }
            }
            Self::Binary => {
                into.extend_from_slice(b"_binary");
                quote(value, into);
            }
            Self::Text => quote(value, into),
        }
    }
}

/// What stands after the backslash, by byte; 0: the byte stands for itself. A table, as every byte of a text is looked at.
const ESCAPED: [u8; 256] = {
    let mut escaped = [0; 256];
    escaped[b'\'' as usize] = b'\'';
    escaped[b'\\' as usize] = b'\\';
    escaped[b'\n' as usize] = b'n';
    escaped[b'\r' as usize] = b'r';
    escaped[0] = b'0';
    escaped[0x1a] = b'Z';
    escaped
};

fn quote(value: &[u8], into: &mut Vec<u8>) {
    into.push(b'\'');
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| ESCAPED[usize::from(*byte)] != 0) {
        into.extend_from_slice(&rest[..at]);
        into.extend_from_slice(&[b'\\', ESCAPED[usize::from(rest[at])]]);
        rest = &rest[at + 1..];
    }
    into.extend_from_slice(rest);
    into.push(b'\'');
}

/// A table's rows; gives how many.
pub(super) fn rows(
    session: &mut Session,
    schema: &str,
    table: &str,
    out: &mut Counted<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, Error> {
    let columns = session.rows(
        "read the columns of",
        &format!(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}
             AND coalesce(GENERATION_EXPRESSION, '') = '' ORDER BY ORDINAL_POSITION",
            literal(schema),
            literal(table)
        ),
    )?;
    let mut names = Vec::new();
    let mut forms = Vec::new();
    for column in columns {
        let mut cells = column.into_iter().flatten();
        names.push(ident(&cells.next().unwrap_or_default()));
        forms.push(Form::of(&cells.next().unwrap_or_default().to_ascii_lowercase()));
    }
    let names = names.join(",");
    let insert = format!("INSERT INTO {} ({names}) VALUES ", ident(table));
    let address = session.address.clone();
    let mut statement: Vec<u8> = Vec::with_capacity(STATEMENT + STATEMENT / 8);
    let mut count: u64 = 0;
    let select = format!("SELECT {names} FROM {}.{}", ident(schema), ident(table));
    session.each("read a table of", select, |row| {
        if count.is_multiple_of(LOOK) && cancelled() {
            return Err(Error::Cancelled);
        }
        if count == 0 {
            // One transaction a table: what a server fills from empty in one go, it fills faster.
            out.line("START TRANSACTION;")?;
        }
        count += 1;
        if statement.is_empty() {
            statement.extend_from_slice(insert.as_bytes());
            statement.push(b'(');
        } else {
            statement.extend_from_slice(b",(");
        }
        for (index, form) in forms.iter().enumerate() {
            if index > 0 {
                statement.push(b',');
            }
            match bytes(row, index).map_err(|error| explain(&address, "read a table of", error))? {
                Some(value) => form.write(value, &mut statement),
                None => statement.extend_from_slice(b"NULL"),
            }
        }
        statement.push(b')');
        if statement.len() >= STATEMENT {
            statement.extend_from_slice(b";\n");
            out.put(&statement)?;
            statement.clear();
        }
        Ok(())
    })?;
    if !statement.is_empty() {
        statement.extend_from_slice(b";\n");
        out.put(&statement)?;
    }
    if count > 0 {
        out.line("COMMIT;")?;
    }
    Ok(count)
}

/// Everything but tables, and the end.
pub(super) fn tail(objects: &[Object], out: &mut Counted<'_>) -> Result<(), Error> {
    // A view may draw on one that comes later: first all have their columns.
    for view in objects.iter().filter(|object| object.kind == Kind::View) {
        let columns: Vec<String> = view.columns.iter().map(|(name, _)| format!("1 AS {}", ident(name))).collect();
        if !columns.is_empty() {
            out.line(&format!("CREATE VIEW {} AS SELECT {};", ident(&view.name), columns.join(", ")))?;
        }
    }
    for object in objects {
        out.line(&format!("{};", object.settings()))?;
        let name = ident(&object.name);
        match object.kind {
            Kind::View => {
                out.line(&format!("DROP VIEW IF EXISTS {name};"))?;
                out.line(&format!("{};", object.create))?;
            }
            _ => {
                // One that no text of theirs holds.
                let mut delimiter = ";;".to_owned();
                while object.create.contains(&delimiter) {
                    delimiter.push(';');
                }
                out.line(&format!("DELIMITER {delimiter}\n{}\n{delimiter}\nDELIMITER ;", object.create))?;
            }
        }
    }
    out.line("SET sql_mode = DEFAULT, time_zone = DEFAULT, foreign_key_checks = DEFAULT;")?;
    out.line("SET NAMES utf8mb4;")?;
    out.line(EVENTS)?;
    for object in objects {
        if let Some(enable) = object.enable_command() {
            out.line(&format!("{enable};"))?;
        }
    }
    out.line(END)?;
    out.out.flush().map_err(Error::Output)
}

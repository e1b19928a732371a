//! What a database is recognised by: rows by table and a checksum of its schema, which survive a dump and a load (R22).
//!
//! Names, types, flags and references, and the text of triggers, routines and events; of a view its columns and of a
//! default that there is one: the server prints some expressions in another way once they were read back.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::objects::{Kind, Object};
use super::session::{Session, ident, literal};
use super::survey::{Table, TableKind};
use crate::domain::manifest::Facts;
use crate::drivers::Error;

const LINES: [&str; 5] = [
    "SELECT TABLE_NAME, 'table', TABLE_TYPE, ENGINE, TABLE_COLLATION, CREATE_OPTIONS LIKE '%partitioned%',
       TABLE_COMMENT
     FROM information_schema.TABLES WHERE TABLE_SCHEMA = $",
    "SELECT TABLE_NAME, 'column', ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT IS NOT NULL,
       CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, coalesce(GENERATION_EXPRESSION, '') <> '', COLUMN_COMMENT
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = $",
    "SELECT TABLE_NAME, 'index', INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART, INDEX_TYPE, COLLATION
     FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = $",
    "SELECT TABLE_NAME, 'key', CONSTRAINT_NAME, ORDINAL_POSITION, COLUMN_NAME,
       IF(REFERENCED_TABLE_SCHEMA = TABLE_SCHEMA, '', REFERENCED_TABLE_SCHEMA), REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
     FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = $",
    "SELECT TABLE_NAME, 'reference', CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE
     FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = $",
];

const CHECKS: &str = "SELECT TABLE_NAME, 'constraint', CONSTRAINT_NAME, CONSTRAINT_TYPE
     FROM information_schema.TABLE_CONSTRAINTS WHERE TABLE_SCHEMA = $";

/// `counted` has the rows of tables that were counted already.
pub(super) fn facts(
    session: &mut Session,
    schema: &str,
    tables: &[Table],
    objects: &[Object],
    counted: &BTreeMap<String, u64>,
) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let mut lines: Vec<String> = Vec::new();
    for table in tables {
        let name = format!("{}.{}", ident(schema), ident(&table.name));
        if table.kind == TableKind::Sequence {
            let shown = session.rows("read the sequences of", &format!("SHOW CREATE SEQUENCE {name}"))?;
            lines.push(format!("{shown:?}"));
            continue;
        }
        let rows = match counted.get(&table.name) {
            Some(rows) => *rows,
            None => session.count("count the rows of", &format!("SELECT count(*) FROM {name}"))?,
        };
        facts.rows.insert(table.name.clone(), rows);
    }
    let known: BTreeSet<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    for query in LINES.into_iter().chain([CHECKS]) {
        for row in session.rows("read the schema of", &query.replace('$', &literal(schema)))? {
            let of = row.first().and_then(Option::as_deref).unwrap_or_default();
            if known.contains(of) {
                lines.push(format!("{row:?}"));
            }
        }
    }
    for object in objects.iter().filter(|object| !object.passing) {
        let text = match object.kind {
            Kind::View => object.create.split(" VIEW ").next().unwrap_or_default(),
            _ => object.create.as_str(),
        };
        let (mode, zone) = (&object.sql_mode, &object.time_zone);
        let own = (object.kind, &object.name, object.enabled, &object.columns);
        lines.push(format!("{own:?} {mode:?} {zone:?} {text:?}"));
    }
    // Here and not by the server, whose order is a collation's.
    lines.sort_unstable();
    let mut hash = Sha256::new();
    for line in lines {
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line);
    }
    facts.schema = hex::encode(hash.finalize());
    Ok(facts)
}

//! Dumps of single services for people (R26): what the file of each kind is, what it is called, how it is loaded again.
//!
//! **Invariant:** every kind's file is one that the database's own tools read as it is.

use serde::{Deserialize, Serialize};

use super::environment::words;
use super::ids::{EnvironmentName, ServiceName, SnapshotName};
use super::time::Timestamp;

/// What a dump of one kind of service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    kind: &'static str,
    /// Without the dot.
    pub extension: &'static str,
    pub media_type: &'static str,
    /// For people: "a database file of SQLite".
    pub what: &'static str,
}

const FORMS: [Form; 5] = [
    Form {
        kind: "sqlite",
        extension: "db",
        media_type: "application/vnd.sqlite3",
        what: "the database file itself, which SQLite opens",
    },
    Form {
        kind: "postgresql",
        extension: "dump",
        media_type: "application/octet-stream",
        what: "an archive of pg_dump, for pg_restore of the same or a newer version",
    },
    Form {
        kind: "mysql",
        extension: "sql",
        media_type: "application/sql",
        what: "SQL for the client of MySQL or MariaDB, into a new database",
    },
    Form {
        kind: "redis",
        extension: "rdb",
        media_type: "application/octet-stream",
        what: "a file that a Redis or Valkey server of the same or a newer version reads when it starts",
    },
    Form {
        kind: "solr",
        extension: "tar",
        media_type: "application/x-tar",
        what: "the directory of a core, configuration and index, for a Solr server of the same or the next major version",
    },
];

impl Form {
    /// Of a kind of service as manifests name it; `None` for one that only a newer version knows.
    pub fn of(kind: &str) -> Option<Self> {
        FORMS.into_iter().find(|form| form.kind == kind)
    }

    /// The command line that loads it, for people: DATABASE and DIRECTORY are theirs to choose. `docs/recovery.md` says more.
    pub fn load(&self, file: &str, compression: Compression) -> String {
        let plain = file.strip_suffix(".gz").unwrap_or(file);
        let name = plain.rsplit('/').next().unwrap_or(plain);
        let (unpacked, piped) = match compression {
            Compression::None => (String::new(), String::new()),
            Compression::Gzip => (format!("gunzip {file} && "), format!("gunzip -c {file} | ")),
        };
        match self.kind {
            "sqlite" => format!("{unpacked}sqlite3 {plain}"),
            "postgresql" if piped.is_empty() => format!("pg_restore --exit-on-error --dbname=DATABASE {file}"),
            "postgresql" => format!("{piped}pg_restore --exit-on-error --dbname=DATABASE"),
            "mysql" => {
                let client = "mariadb --binary-mode --comments --default-character-set=utf8mb4 DATABASE";
                if piped.is_empty() { format!("{client} < {file}") } else { format!("{piped}{client}") }
            }
            "solr" if piped.is_empty() => format!("tar -xf {file} -C DIRECTORY"),
            "solr" => format!("{piped}tar -x -C DIRECTORY"),
            _ => format!("{unpacked}mv {plain} DIRECTORY/ && redis-server --dir DIRECTORY --dbfilename {name}"),
        }
    }
}

/// How a dump is packed for the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
}

impl Compression {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
        }
    }
}

words!(Compression, "a compression (gzip, none)", [Self::None, Self::Gzip]);

/// Which state of the service a dump shows.
#[derive(Debug, Clone, Copy)]
pub enum Shows<'a> {
    /// As it was then, in the live environment.
    Live(Timestamp),
    Snapshot(&'a SnapshotName),
}

/// `main--database--20150619T171142Z.dump.gz`: ids hold only characters that are safe in file names and headers.
pub fn file_name(
    environment: &EnvironmentName,
    service: &ServiceName,
    shows: Shows<'_>,
    form: Form,
    compression: Compression,
) -> String {
    let of = match shows {
        Shows::Live(at) => stamp(at),
        Shows::Snapshot(name) => name.to_string(),
    };
    let packed = if compression == Compression::Gzip { ".gz" } else { "" };
    format!("{environment}--{service}--{of}.{}{packed}", form.extension)
}

/// `20150619T171142Z`
pub fn stamp(at: Timestamp) -> String {
    let digits: String = at.table().chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    format!("{}Z", digits.replace(' ', "T"))
}

/// Whether a name that a server gave can be a file's, in whatever directory it is put.
pub fn is_file_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    !text.is_empty() && text.len() <= 255 && !text.starts_with('.') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_434_733_902_000_001);

    fn form(kind: &str) -> Form {
        Form::of(kind).expect("a known kind")
    }

    #[test]
    fn a_file_says_of_what_and_of_when_it_is() {
        let main = EnvironmentName::parse("main").expect("a name");
        let database = ServiceName::parse("database").expect("a name");
        let snapshot = SnapshotName::parse("2ca4d90639f706283fee").expect("a name");
        let live = file_name(&main, &database, Shows::Live(AT), form("postgresql"), Compression::None);
        assert_eq!(live, "main--database--20150619T171142Z.dump");
        let stored = file_name(&main, &database, Shows::Snapshot(&snapshot), form("mysql"), Compression::Gzip);
        assert_eq!(stored, "main--database--2ca4d90639f706283fee.sql.gz");
        assert!(is_file_name(&live) && is_file_name(&stored));
        for text in ["", "..", ".bashrc", "a/b", "a\\b", "a b", "a\n", "\u{e4}"] {
            assert!(!is_file_name(text), "{text:?}");
        }
    }

    #[test]
    fn every_kind_says_how_it_is_loaded() {
        let table = [
            ("sqlite", "sqlite3 a.db", "gunzip a.db.gz && sqlite3 a.db"),
            (
                "postgresql",
                "pg_restore --exit-on-error --dbname=DATABASE a.dump",
                "gunzip -c a.dump.gz | pg_restore --exit-on-error --dbname=DATABASE",
            ),
            (
                "mysql",
                "mariadb --binary-mode --comments --default-character-set=utf8mb4 DATABASE < a.sql",
                "gunzip -c a.sql.gz | mariadb --binary-mode --comments --default-character-set=utf8mb4 DATABASE",
            ),
            (
                "redis",
                "mv a.rdb DIRECTORY/ && redis-server --dir DIRECTORY --dbfilename a.rdb",
                "gunzip a.rdb.gz && mv a.rdb DIRECTORY/ && redis-server --dir DIRECTORY --dbfilename a.rdb",
            ),
            ("solr", "tar -xf a.tar -C DIRECTORY", "gunzip -c a.tar.gz | tar -x -C DIRECTORY"),
        ];
        for (kind, plain, packed) in table {
            let form = form(kind);
            let file = format!("a.{}", form.extension);
            assert_eq!(form.load(&file, Compression::None), plain);
            assert_eq!(form.load(&format!("{file}.gz"), Compression::Gzip), packed);
        }
        assert_eq!(Form::of("mount"), None);
    }
}

//! Servers of other versions than a snapshot's: said before a restore, not found out by it (R25).

use crate::domain::manifest::ServiceEntry;
use crate::domain::view::Versions;

/// Whether a version is of a later series than another one: `16.3` than `15.13 (Debian …)`. Those of different products
/// are not to be compared.
pub fn is_newer(kind: &str, version: &str, than: &str) -> bool {
    if product(kind, version) != product(kind, than) {
        return false;
    }
    match (series(kind, version), series(kind, than)) {
        // What says no version says nothing of its age.
        (version, than) if version.is_empty() || than.is_empty() => false,
        (version, than) => version > than,
    }
}

/// Which of the products that one driver serves says that of itself; of drivers that serve one, nothing.
fn product(kind: &str, version: &str) -> &'static str {
    match kind {
        "mysql" if version.to_ascii_lowercase().contains("mariadb") => "MariaDB",
        "mysql" => "MySQL",
        "redis" if version.starts_with("Valkey") => "Valkey",
        "redis" => "Redis",
        _ => "",
    }
}

/// The numbers that tell series apart, within which dumps go both ways.
fn series(kind: &str, version: &str) -> Vec<u32> {
    // A series of PostgreSQL, and of Solr, has one number, those of the others have two.
    let numbers = if matches!(kind, "postgresql" | "solr") { 1 } else { 2 };
    let start = version.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    start.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse().ok()).take(numbers).collect()
}

/// The snapshot's server beside the one that it goes to.
pub fn compare(entry: &ServiceEntry, server: &str) -> Versions {
    Versions {
        service: entry.name.clone(),
        snapshot: entry.version.clone(),
        server: server.to_owned(),
        older: is_newer(&entry.kind, &entry.version, server),
        other: product(&entry.kind, &entry.version) != product(&entry.kind, server),
    }
}

impl Versions {
    /// What is to be minded, if anything is.
    pub fn warning(&self) -> Option<String> {
        let Self { service, snapshot, server, .. } = self;
        if self.other {
            return Some(format!(
                "The service {service} is on {server}, and the snapshot is of {snapshot}: another product, which may \
                 understand things differently without saying so. It is tried beside the live data, and nothing is replaced \
                 if it fails; better restore into a server of the snapshot's product."
            ));
        }
        self.older.then(|| {
            format!(
                "The service {service} is on version {server}, and the snapshot is of {snapshot}: an older server may not \
                 understand what a newer one wrote. It is tried beside the live data, and nothing is replaced if it fails; \
                 better upgrade the server first."
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_what_dumps_are_exchanged_within() {
        for (kind, version, than, newer) in [
            ("postgresql", "16.3", "15.13 (Debian 15.13-0+deb12u1)", true),
            ("postgresql", "15.14", "15.13 (Debian 15.13-0+deb12u1)", false),
            ("postgresql", "15.3", "16.0", false),
            ("mysql", "10.11.6-MariaDB", "10.6.18-MariaDB", true),
            ("mysql", "10.11.6-MariaDB", "10.11.2-MariaDB-1:10.11.2", false),
            ("mysql", "8.4.0", "8.0.36", true),
            ("redis", "7.2.5", "7.0.15", true),
            ("redis", "Valkey 8.0.1", "Valkey 7.2.6", true),
            ("sqlite", "3.46.0", "3.45.1", true),
            ("mysql", "10.11.6-MariaDB", "8.0.36", false),
            ("redis", "7.4.1", "Valkey 7.2.6", false),
            ("command", "", "1.0", false),
            ("command", "of last week", "1.0", false),
        ] {
            assert_eq!(is_newer(kind, version, than), newer, "{kind} {version} against {than}");
        }
    }

    fn entry_of(kind: &str, version: &str) -> ServiceEntry {
        serde_json::from_value(serde_json::json!({
            "name": "database", "kind": kind, "version": version, "position": "1", "facts": { "rows": {}, "schema": "" }
        }))
        .expect("an entry")
    }

    #[test]
    fn another_product_is_warned_of_whatever_its_number() {
        for (kind, snapshot, server) in [
            ("mysql", "10.11.6-MariaDB", "8.0.36"),
            ("mysql", "8.0.36", "10.11.6-MariaDB"),
            ("redis", "7.4.1", "Valkey 8.0.1"),
            ("redis", "Valkey 8.0.1", "7.2.4"),
        ] {
            let warning = compare(&entry_of(kind, snapshot), server).warning().expect("it is another product");
            assert!(warning.contains("another product"), "{warning}");
        }
        assert_eq!(compare(&entry_of("redis", "Valkey 8.0.1"), "Valkey 8.0.2").warning(), None);
    }

    #[test]
    fn of_one_product_only_an_older_server_is_warned_of() {
        let entry = |version| entry_of("postgresql", version);
        assert_eq!(compare(&entry("15.3"), "15.1").warning(), None);
        assert_eq!(compare(&entry("14.9"), "15.1").warning(), None);
        let warning = compare(&entry("16.1"), "15.1").warning().expect("it is older");
        assert!(warning.contains("database is on version 15.1, and the snapshot is of 16.1"), "{warning}");
    }
}

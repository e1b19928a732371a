//! How new environments of a project are made (R21): what an operator laid down, and what follows from it for one of
//! them.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::domain::environment::{
    CommandLine, Composition, EnvironmentKind, MountSpec, ServiceConnection, ServiceSpec,
};
use crate::domain::ids::{EnvironmentName, ServiceName};

/// A project's provisioning contract: operators write it, since it names places and a program (R6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// Absolute path of a directory; SQLite databases and mounts of a new environment lie in one of its name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Type of new environments: roles and plans go by it.
    #[serde(rename = "type", default = "development")]
    pub kind: EnvironmentKind,
    /// Host name that the gateway serves, with `{name}` for the environment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The program that makes what no driver does, and starts the application; see docs/provisioning.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<CommandLine>,
}

fn development() -> EnvironmentKind {
    EnvironmentKind::Development
}

/// What a new environment will consist of, before anything is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blueprint {
    /// Without routes: where the application listens is known when it has been started.
    pub composition: Composition,
    /// Services that the program has to make, and their kinds.
    pub asked: Vec<(ServiceName, &'static str)>,
    /// The environment's own directory, when anything of it lies in one.
    pub directory: Option<String>,
    pub host: Option<String>,
    /// Whether a program starts its application.
    pub is_started: bool,
}

impl Blueprint {
    /// With the services that the program will make, which stand at the parent's addresses: for planning by name and kind
    /// alone, never for connecting.
    pub fn planned(&self, parent: &Composition) -> Composition {
        let mut planned = self.composition.clone();
        let is_asked = |service: &&ServiceSpec| self.asked.iter().any(|(name, _)| *name == service.name);
        planned.services.extend(parent.services.iter().filter(is_asked).cloned());
        planned
    }
}

/// Names of databases are cut off past this by PostgreSQL, and refused by MySQL.
const LONGEST: usize = 63;

impl Provision {
    /// An environment of this name with the services and mounts of `parent`: databases of servers beside the parent's,
    /// with the same account; files in the contract's directory.
    ///
    /// # Errors
    /// What the contract does not say how to make.
    pub fn blueprint(&self, name: &EnvironmentName, parent: &Composition) -> Result<Blueprint, Refusal> {
        let directory = self.directory.as_ref().map(|directory| format!("{}/{name}", directory.trim_end_matches('/')));
        let within = |what: String| {
            directory.as_ref().map(|directory| format!("{directory}/{what}")).ok_or_else(|| {
                Refusal::new("The project's provisioning names no directory, so files have no place.")
                    .instead("Ask the operator to set `directory` in the project's [project.provision].")
            })
        };
        let mut composition = Composition::default();
        let mut asked = Vec::new();
        for service in &parent.services {
            let connection = match service.connection.clone() {
                ServiceConnection::Sqlite { .. } => {
                    ServiceConnection::Sqlite { path: within(format!("{}.db", service.name))? }
                }
                ServiceConnection::Postgres { host, port, user, password, database } => {
                    let database = beside(&database, name)?;
                    ServiceConnection::Postgres { host, port, user, password, database }
                }
                ServiceConnection::Mysql { host, port, user, password, database } => {
                    let database = beside(&database, name)?;
                    ServiceConnection::Mysql { host, port, user, password, database }
                }
                // Beside the parent's; elsewhere the program makes it.
                ServiceConnection::Solr { url, user, password, core, path: Some(path) } => {
                    let core = beside(&core, name)?;
                    ServiceConnection::Solr { url, user, password, core, path: Some(path) }
                }
                other => {
                    asked.push((service.name.clone(), other.kind()));
                    continue;
                }
            };
            composition.services.push(ServiceSpec { name: service.name.clone(), connection });
        }
        if let (Some((service, kind)), None) = (asked.first(), &self.program) {
            let reason = format!("Nothing says how a {kind} service is made, which {service} is.");
            let instead =
                "Ask the operator for a `program` in the project's [project.provision], or leave the service out.";
            return Err(Refusal::new(reason).instead(instead));
        }
        for mount in &parent.mounts {
            let path = within(mount.name.to_string())?;
            composition.mounts.push(MountSpec { path, ..mount.clone() });
        }
        let in_files = |service: &ServiceSpec| service.connection.file().is_some();
        let is_used = !composition.mounts.is_empty() || composition.services.iter().any(in_files);
        let host = self.host.as_ref().map(|host| host.replace("{name}", name.as_str()).to_lowercase());
        let is_started = self.program.is_some();
        Ok(Blueprint { composition, asked, directory: directory.filter(|_| is_used), host, is_started })
    }
}

/// `shop` and `try-out` give `shop_try_out`.
fn beside(database: &str, name: &EnvironmentName) -> Result<String, Refusal> {
    let database = format!("{database}_{}", name.as_str().replace('-', "_"));
    if database.len() > LONGEST {
        return Err(Refusal::new(format!(
            "The database's name would be {database}, which is longer than {LONGEST} letters."
        ))
        .instead("Choose a shorter name for the environment."));
    }
    Ok(database)
}

/// A name for an environment that was given none: the parent's with the first number that is free.
///
/// # Panics
/// Never: a shortened name with a number is a name.
pub fn made_up(parent: &EnvironmentName, is_taken: impl Fn(&EnvironmentName) -> bool) -> EnvironmentName {
    let stem = &parent.as_str()[..parent.as_str().len().min(52)];
    let numbered = (2u64..).map(|number| EnvironmentName::parse(format!("{stem}-{number}")).expect("still a name"));
    let mut free = numbered.skip_while(|name| is_taken(name));
    free.next().expect("numbers do not end")
}

/// A name as near to what was typed as one can be, for a message; `None` where nothing of it can be kept.
pub fn nearest(text: &str) -> Option<EnvironmentName> {
    let kept: String = text.chars().take(200).flat_map(char::to_lowercase).collect();
    let is_allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let words: Vec<&str> = kept.split(|letter| !is_allowed(letter)).filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    EnvironmentName::parse(name[..name.len().min(63)].trim_end_matches('-')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn name(text: &str) -> EnvironmentName {
        EnvironmentName::parse(text).expect("a valid name")
    }

    fn service(name: &str, connection: ServiceConnection) -> ServiceSpec {
        ServiceSpec { name: name.parse().expect("a valid name"), connection }
    }

    fn parent() -> Composition {
        let (host, user) = ("db".to_owned(), "shop".to_owned());
        let postgres = ServiceConnection::Postgres {
            host,
            port: 5432,
            user,
            password: Secret::new("secret"),
            database: "shop".to_owned(),
        };
        let files = MountSpec {
            name: "uploads".parse().expect("a valid name"),
            path: "/srv/shop/uploads".to_owned(),
            exclude: vec!["cache".to_owned()],
        };
        Composition {
            services: vec![
                service("database", postgres),
                service("index", ServiceConnection::Sqlite { path: "/srv/shop/index.db".to_owned() }),
            ],
            mounts: vec![files],
            ..Composition::default()
        }
    }

    fn contract() -> Provision {
        Provision {
            directory: Some("/srv/environments/".to_owned()),
            kind: EnvironmentKind::Development,
            host: Some("{name}.Shop.example.org".to_owned()),
            program: None,
        }
    }

    #[test]
    fn a_new_environment_has_its_parents_parts_in_places_of_its_own() {
        let blueprint = contract().blueprint(&name("try-out"), &parent()).expect("all can be made");
        let places: Vec<String> =
            blueprint.composition.services.iter().map(|service| service.connection.place()).collect();
        assert_eq!(places, ["shop_try_out at db:5432", "/srv/environments/try-out/index.db"]);
        let [mount] = &blueprint.composition.mounts[..] else { panic!("one mount") };
        assert_eq!((mount.path.as_str(), mount.exclude.len()), ("/srv/environments/try-out/uploads", 1));
        assert_eq!(blueprint.host.as_deref(), Some("try-out.shop.example.org"));
        assert_eq!(blueprint.directory.as_deref(), Some("/srv/environments/try-out"));
    }

    #[test]
    fn a_core_is_made_beside_its_parents_where_its_directory_is_known() {
        let solr = |path: Option<&str>| ServiceConnection::Solr {
            url: "http://search:8983/solr".to_owned(),
            user: String::new(),
            password: Secret::new(""),
            core: "shop".to_owned(),
            path: path.map(str::to_owned),
        };
        let with = |connection| Composition { services: vec![service("search", connection)], ..Composition::default() };
        let made = contract().blueprint(&name("try-out"), &with(solr(Some("/var/solr/data")))).expect("it can be made");
        assert_eq!(made.composition.services[0].connection.place(), "shop_try_out at http://search:8983/solr");
        let refused = contract().blueprint(&name("try-out"), &with(solr(None))).expect_err("nobody makes it");
        assert!(refused.to_string().contains("a solr service is made"), "{refused}");
    }

    #[test]
    fn what_no_driver_makes_is_asked_of_the_program_or_refused() {
        let redis = ServiceConnection::Redis {
            host: "cache".to_owned(),
            port: 6379,
            user: String::new(),
            password: Secret::new(""),
        };
        let mut parent = parent();
        parent.services.push(service("cache", redis));
        let refused = contract().blueprint(&name("copy"), &parent).expect_err("nobody makes it");
        assert!(refused.to_string().contains("a redis service is made, which cache is"), "{refused}");
        let program = CommandLine::new(vec!["/usr/local/bin/environment".to_owned()]).expect("an absolute path");
        let asked = Provision { program: Some(program), ..contract() }.blueprint(&name("copy"), &parent);
        assert_eq!(asked.expect("the program makes it").asked, [("cache".parse().expect("a valid name"), "redis")]);
    }

    #[test]
    fn files_without_a_directory_and_names_that_are_too_long_are_refused() {
        let nowhere = Provision { directory: None, ..contract() };
        assert!(nowhere.blueprint(&name("copy"), &parent()).expect_err("no place").to_string().contains("`directory`"));
        let refused = contract().blueprint(&name(&"a".repeat(63)), &parent()).expect_err("too long");
        assert!(refused.to_string().contains("shorter name"), "{refused}");
    }

    #[test]
    fn what_git_would_refuse_is_no_name_and_has_one_near_it() {
        // git-check-ref-format(1), rule by rule; and what git would take and no host name could carry.
        let table = [
            (".hidden", Some("hidden")),
            ("feature/.x", Some("feature-x")),
            ("shop.lock", Some("shop-lock")),
            ("a..b", Some("a-b")),
            ("a b", Some("a-b")),
            ("a~1", Some("a-1")),
            ("a^", Some("a")),
            ("a:b", Some("a-b")),
            ("a?", Some("a")),
            ("a*", Some("a")),
            ("a[1]", Some("a-1")),
            ("/a", Some("a")),
            ("a//b", Some("a-b")),
            ("a/", Some("a")),
            ("a.", Some("a")),
            ("a@{1}", Some("a-1")),
            ("@", None),
            ("a\\b", Some("a-b")),
            ("a\u{7f}", Some("a")),
            ("-rf", Some("rf")),
            ("", None),
            ("Feature/Checkout", Some("feature-checkout")),
            ("umlaut-\u{e4}", Some("umlaut")),
        ];
        for (text, near) in table {
            assert!(EnvironmentName::parse(text).is_err(), "{text:?}");
            assert_eq!(nearest(text), near.map(name), "{text:?}");
        }
        assert_eq!(nearest(&"a".repeat(70)).map(|name| name.as_str().len()), Some(63));
    }

    #[test]
    fn a_made_up_name_is_the_first_that_is_free() {
        let taken = ["main-2", "main-3"];
        assert_eq!(made_up(&name("main"), |name| taken.contains(&name.as_str())), name("main-4"));
        assert_eq!(made_up(&name(&"a".repeat(63)), |_| false).as_str().len(), 54);
    }
}

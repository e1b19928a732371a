//! Projects, environments, and what an environment consists of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
pub use super::command::{CommandLine, ProjectCommands};
use super::ids::{EnvironmentId, EnvironmentName, MountName, PlanId, ProjectId, RegionId, ServiceName};
use super::scope::{PartName, Scope};
use super::secret::Secret;
use super::time::Timestamp;

/// A site or shop under one plan, in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub title: String,
    pub region: RegionId,
    pub plan: PlanId,
    pub created_at: Timestamp,
    /// Taken out of the console then: operators alone see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

/// A branch of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub id: EnvironmentId,
    pub project: ProjectId,
    pub name: EnvironmentName,
    pub title: String,
    pub parent: Option<EnvironmentName>,
    pub kind: EnvironmentKind,
    pub status: EnvironmentStatus,
    /// Marked live: real visitors use it. The project's *store is live* when its production environment is.
    pub live: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Whether a project's store is live: its production environment is.
pub fn store_is_live(environments: &[Environment]) -> bool {
    environments.iter().any(|environment| environment.kind == EnvironmentKind::Production && environment.live)
}

/// U's `type`. S0's "integration" is `development`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentKind {
    Production,
    Staging,
    Development,
}

impl EnvironmentKind {
    pub const ALL: [Self; 3] = [Self::Production, Self::Staging, Self::Development];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentStatus {
    Active,
    Inactive,
    /// Taken out of the console; its snapshots and its feed are kept.
    Removed,
}

impl EnvironmentStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Removed => "removed",
        }
    }
}

/// A word that is not one of a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct UnknownWord {
    pub found: String,
    pub expected: &'static str,
}

macro_rules! words {
    ($type:ty, $expected:literal) => {
        $crate::domain::environment::words!(@of $type, $expected, <$type>::ALL);
    };
    ($type:ty, $expected:literal, [$($value:expr),+ $(,)?]) => {
        $crate::domain::environment::words!(@of $type, $expected, [$($value),+]);
    };
    (@of $type:ty, $expected:literal, $all:expr) => {
        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl ::std::str::FromStr for $type {
            type Err = $crate::domain::environment::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $all.into_iter().find(|value| value.as_str() == text).ok_or_else(|| {
                    $crate::domain::environment::UnknownWord { found: text.to_owned(), expected: $expected }
                })
            }
        }
    };
}
pub(crate) use words;

words!(
    EnvironmentKind,
    "an environment type (production, staging, development)",
    [Self::Production, Self::Staging, Self::Development]
);
words!(
    EnvironmentStatus,
    "an environment status (active, inactive, removed)",
    [Self::Active, Self::Inactive, Self::Removed]
);

/// A service of an environment, as declared. What reaches it (a path, an address with a password) is sealed at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    pub name: ServiceName,
    #[serde(flatten)]
    pub connection: ServiceConnection,
}

/// How to reach a service; one variant a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServiceConnection {
    /// A SQLite database file; absolute path.
    Sqlite { path: String },
    /// A database of a PostgreSQL server. `host` may be the absolute path of its socket's directory; an empty password is
    /// none.
    #[serde(rename = "postgresql")]
    Postgres { host: String, port: u16, user: String, password: Secret, database: String },
    /// A database of a MySQL or MariaDB server. `host` may be the absolute path of its socket; an empty password is none.
    Mysql { host: String, port: u16, user: String, password: Secret, database: String },
    /// A Redis or Valkey server with all its databases. `host` may be the absolute path of its socket; an empty user is
    /// the server's default one, an empty password is none.
    Redis { host: String, port: u16, user: String, password: Secret },
    /// A core of a Solr server, or a collection of SolrCloud or its alias. `path`: the directory of the server's cores as
    /// the worker sees it, which a restore needs; an empty user is none.
    Solr { url: String, user: String, password: Secret, core: String, path: Option<String> },
    /// Anything else, through a program of the operator's (R6).
    Command { command: CommandLine },
}

impl ServiceConnection {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgresql",
            Self::Mysql { .. } => "mysql",
            Self::Redis { .. } => "redis",
            Self::Solr { .. } => "solr",
            Self::Command { .. } => "command",
        }
    }
}

/// A directory that holds files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountSpec {
    pub name: MountName,
    /// Absolute path of the directory.
    pub path: String,
    /// Paths under it that are left out, relative, e.g. `cache`. What they hold is not in the snapshot (R15).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// A host name that the gateway serves for the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Without port, lower case, e.g. `main.demo.localhost`.
    pub host: String,
    /// Where requests go: `http://127.0.0.1:8081`.
    pub upstream: String,
}

/// Commands that the operator named for an environment (R6). Run with their word behind them: `pause`, `resume`,
/// `after-restore`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Stops what writes round the gate: cron jobs, queue workers. Never without [`Self::resume`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<CommandLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<CommandLine>,
    /// Makes data of another environment this one's own, before its gate opens (R25).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_restore: Option<CommandLine>,
}

impl Commands {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn lines(&self) -> impl Iterator<Item = &CommandLine> {
        [&self.pause, &self.resume, &self.after_restore].into_iter().flatten()
    }
}

/// All that an environment consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Composition {
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
    #[serde(default)]
    pub mounts: Vec<MountSpec>,
    #[serde(default)]
    pub routes: Vec<RouteSpec>,
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub commands: Commands,
    /// How much is declared for whole parts; a part that is not there may use what there is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<PartName, Bytes>,
}

impl Composition {
    /// With these parts alone, no routes and no commands.
    #[must_use]
    pub fn only(&self, scope: &Scope) -> Self {
        let services = self.services.iter().filter(|service| scope.has(&PartName::Service(service.name.clone())));
        let mounts = self.mounts.iter().filter(|mount| scope.touches(&mount.name));
        Self { services: services.cloned().collect(), mounts: mounts.cloned().collect(), ..Self::default() }
    }
}

impl ServiceConnection {
    /// The file that holds the data, when it is one: no mount may contain it.
    pub fn file(&self) -> Option<std::path::PathBuf> {
        match self {
            Self::Sqlite { path } => Some(path.into()),
            Self::Postgres { .. } => None,
            Self::Mysql { .. } => None,
            Self::Redis { .. } | Self::Solr { .. } | Self::Command { .. } => None,
        }
    }

    /// A directory of a server that a restore writes into.
    pub fn directory(&self) -> Option<std::path::PathBuf> {
        match self {
            Self::Solr { path, .. } => path.as_ref().map(Into::into),
            _ => None,
        }
    }

    /// What it reaches, without account and password: two services of one place would overwrite each other.
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite { path } => path.clone(),
            Self::Postgres { host, port, database, .. } => format!("{database} at {host}:{port}"),
            Self::Mysql { host, port, database, .. } => format!("{database} at {host}:{port}"),
            Self::Redis { host, .. } if host.starts_with('/') => host.clone(),
            Self::Redis { host, port, .. } => format!("redis at {host}:{port}"),
            Self::Solr { url, core, .. } => format!("{core} at {}", url.trim_end_matches('/')),
            Self::Command { command } => format!("behind `{command}`"),
        }
    }

    /// Whether it may lead to what `place` (as [`Self::place`] told it) led to: a host has many names, so those don't count.
    pub fn may_be(&self, place: &str) -> bool {
        let own = self.place();
        let hostless = |place: &str| {
            let (what, at) = place.rsplit_once(" at ")?;
            let (_, rest) = at.rsplit_once(':')?;
            Some((what.to_owned(), rest.to_owned()))
        };
        own == place || hostless(&own).is_some_and(|own| hostless(place) == Some(own))
    }
}

impl Composition {
    /// Services first, then mounts, as declared, each with its kind.
    pub fn names(&self) -> Vec<(PartName, String)> {
        let services = self.services.iter();
        let services = services.map(|it| (PartName::Service(it.name.clone()), it.connection.kind().to_owned()));
        let mounts = self.mounts.iter().map(|it| (PartName::Mount(it.name.clone()), "mount".to_owned()));
        services.chain(mounts).collect()
    }

    /// Whether it has this service, or this mount as a whole.
    pub fn has(&self, part: &PartName) -> bool {
        self.names().iter().any(|(name, _)| name == part)
    }

    /// Files of databases.
    pub fn databases(&self) -> Vec<std::path::PathBuf> {
        self.services.iter().filter_map(|service| service.connection.file()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_every_name_of_its_host() {
        let at = |host: &str, port, database: &str| ServiceConnection::Postgres {
            host: host.to_owned(),
            port,
            user: "shop".to_owned(),
            password: Secret::new(""),
            database: database.to_owned(),
        };
        let place = at("127.0.0.1", 5432, "shop").place();
        for (connection, expected) in [
            (at("127.0.0.1", 5432, "shop"), true),
            (at("db.internal", 5432, "shop"), true),
            (at("127.0.0.1", 5433, "shop"), false),
            (at("127.0.0.1", 5432, "other"), false),
            (ServiceConnection::Sqlite { path: "/srv/shop.db".to_owned() }, false),
        ] {
            assert_eq!(connection.may_be(&place), expected, "{}", connection.place());
        }
    }
}

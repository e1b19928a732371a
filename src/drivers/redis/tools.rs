//! The server's own program, `redis-server` or `valkey-server`: found, and matched with the server that is declared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::session::Info;
use crate::drivers::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Redis,
    Valkey,
}

impl Family {
    pub fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }
}

/// Major and minor: what is written differs between those, not between patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub u32, pub u32);

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok());
        Some(Self(parts.next()??, parts.next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Which software a server or a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Software {
    pub family: Family,
    pub version: Version,
}

/// The newest Redis whose files Valkey reads: where the two parted.
const COMMON: Version = Version(7, 2);

impl Software {
    /// Valkey says which Redis it is like in `redis_version`.
    pub fn of(server: &Info) -> Option<Self> {
        let valkey = server.text("valkey_version");
        if valkey.is_empty() {
            return Some(Self { family: Family::Redis, version: Version::parse(server.text("redis_version"))? });
        }
        Some(Self { family: Family::Valkey, version: Version::parse(valkey)? })
    }

    /// Whether this program reads all that such a server writes.
    fn reads(self, server: Self) -> bool {
        match (self.family, server.family) {
            (mine, its) if mine == its => self.version >= server.version,
            (Family::Valkey, Family::Redis) => server.version <= COMMON,
            _ => false,
        }
    }

    /// Whether such a server understands what this program writes: both number the format of their files.
    pub fn writes_for(self, server: Self) -> bool {
        match (self.format(), server.format()) {
            (Some(mine), Some(its)) => mine <= its,
            _ => self == server,
        }
    }

    fn format(self) -> Option<u32> {
        match (self.family, self.version) {
            (Family::Redis, Version(6, _)) => Some(9),
            (Family::Redis, Version(7, 0)) => Some(10),
            (Family::Redis, Version(7, 2)) | (Family::Valkey, Version(7 | 8, _)) => Some(11),
            (Family::Redis, Version(7, 4)) => Some(12),
            _ => None,
        }
    }
}

/// A program that was found.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub program: PathBuf,
    pub software: Software,
}

/// Where the programs are looked for.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub places: Vec<PathBuf>,
}

impl Tools {
    pub fn installed() -> Self {
        let mut places: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
        places.extend(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
        Self { places }
    }

    /// The program of the server's own version, else the oldest of those that read what the server writes.
    ///
    /// # Errors
    /// [`Error::ToolMissing`], [`Error::ToolFailed`] when all that are there are too old.
    pub fn find(&self, server: Software) -> Result<Tool, Error> {
        let names = [Family::Redis.program(), Family::Valkey.program()];
        let programs = self.places.iter().flat_map(|place| names.map(|name| place.join(name)));
        let found: Vec<Tool> =
            programs.filter_map(|program| Some(Tool { software: look(&program)?, program })).collect();
        let fitting = found.iter().filter(|tool| tool.software.reads(server));
        let nearest = fitting.min_by_key(|tool| (tool.software.family != server.family, tool.software.version));
        let name = server.family.program();
        match (nearest, found.is_empty()) {
            (Some(tool), _) => Ok(tool.clone()),
            (None, true) => Err(Error::ToolMissing { tool: name, package: name.to_owned() }),
            (None, false) => {
                let detail = format!(
                    "none on the worker's machine reads what the server, {:?} {}, writes: install the package {name} in \
                     version {} or later",
                    server.family, server.version, server.version
                );
                Err(Error::ToolFailed { tool: name, detail })
            }
        }
    }
}

/// `Redis server v=7.0.15 sha=00000000:0 …`, `Valkey server v=8.0.1 …`
fn look(program: &Path) -> Option<Software> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let family = if text.starts_with("Valkey") { Family::Valkey } else { Family::Redis };
    Some(Software { family, version: Version::parse(text.split_once("v=")?.1.split_whitespace().next()?)? })
}

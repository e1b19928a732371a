//! Parts of an environment, and a choice among them (R26).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{InvalidId, MountName, ServiceName};

/// A service, a mount, or a path in one: written `service:database`, `mount:uploads`, `mount:uploads/2024/photos`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PartName {
    Service(ServiceName),
    Mount(MountName),
    /// A file or a directory with everything in it.
    Path(MountName, MountPath),
}

impl PartName {
    /// "service database".
    pub fn in_words(&self) -> String {
        match self {
            Self::Service(name) => format!("service {name}"),
            Self::Mount(name) => format!("mount {name}"),
            Self::Path(mount, path) => format!("path {path} in the mount {mount}"),
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Mount(name) => write!(f, "mount:{name}"),
            Self::Path(mount, path) => write!(f, "mount:{mount}/{path}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPart {
    #[error("`{0}` names no part: write service:NAME, mount:NAME or mount:NAME/PATH")]
    Kind(String),
    #[error("`{path}` can't be a path in a mount: {why}")]
    Path { path: String, why: &'static str },
    #[error(transparent)]
    Name(#[from] InvalidId),
}

impl FromStr for PartName {
    type Err = InvalidPart;

    fn from_str(text: &str) -> Result<Self, InvalidPart> {
        match text.split_once(':') {
            Some(("service", name)) => Ok(Self::Service(name.parse()?)),
            Some(("mount", name)) => match name.split_once('/') {
                Some((mount, path)) => Ok(Self::Path(mount.parse()?, path.parse()?)),
                None => Ok(Self::Mount(name.parse()?)),
            },
            _ => Err(InvalidPart::Kind(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for PartName {
    type Error = InvalidPart;

    fn try_from(text: String) -> Result<Self, InvalidPart> {
        text.parse()
    }
}

impl From<PartName> for String {
    fn from(part: PartName) -> Self {
        part.to_string()
    }
}

/// A path below a mount's top: plain names with `/` between them, in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountPath(String);

impl MountPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this path or one below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// Those that are not below another one, each once.
    pub fn outermost(paths: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let all: BTreeSet<Self> = paths.into_iter().collect();
        let outermost = |path: &&Self| !all.iter().any(|other| other != *path && path.is_within(other));
        all.iter().filter(outermost).cloned().collect()
    }
}

impl FromStr for MountPath {
    type Err = InvalidPart;

    fn from_str(text: &str) -> Result<Self, InvalidPart> {
        let refuse = |why| Err(InvalidPart::Path { path: text.chars().take(80).collect(), why });
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.len() > 4000 {
            return refuse("it is too long");
        }
        if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return refuse("write plain names with `/` between them, without `.` and `..`");
        }
        // Parts are written with commas between them.
        if path.contains([',', '\0']) {
            return refuse("it has a comma in it; name the directory that holds it");
        }
        if path.split('/').next() == Some(".stillpoint") {
            return refuse("this directory is Stillpoint's own");
        }
        Ok(Self(path.to_owned()))
    }
}

impl TryFrom<String> for MountPath {
    type Error = InvalidPart;

    fn try_from(text: String) -> Result<Self, InvalidPart> {
        text.parse()
    }
}

impl From<MountPath> for String {
    fn from(path: MountPath) -> Self {
        path.0
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which parts of a snapshot: all of them, or those that are named. As text the names with commas between them; no text
/// is everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(BTreeSet<PartName>);

impl Scope {
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, part: &PartName) -> bool {
        self.is_everything() || self.0.contains(part)
    }

    /// Whether anything of this mount is meant.
    pub fn touches(&self, mount: &MountName) -> bool {
        self.has(&PartName::Mount(mount.clone())) || !self.paths_in(mount).is_empty()
    }

    /// Which paths of this mount are meant; none when all of it is, or nothing.
    pub fn paths_in(&self, mount: &MountName) -> Vec<MountPath> {
        if self.has(&PartName::Mount(mount.clone())) {
            return Vec::new();
        }
        let paths = self.0.iter().filter_map(|part| match part {
            PartName::Path(of, path) if of == mount => Some(path.clone()),
            _ => None,
        });
        MountPath::outermost(paths)
    }

    /// None when everything is meant.
    pub fn named(&self) -> impl Iterator<Item = &PartName> {
        self.0.iter()
    }
}

impl FromIterator<PartName> for Scope {
    fn from_iter<T: IntoIterator<Item = PartName>>(parts: T) -> Self {
        Self(parts.into_iter().collect())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Scope {
    type Err = InvalidPart;

    fn from_str(text: &str) -> Result<Self, InvalidPart> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_reads_back_as_it_is_written() {
        for text in ["", "mount:uploads", "service:database,mount:uploads", "mount:uploads/2024/a b.jpg"] {
            let scope: Scope = text.parse().expect("a scope");
            assert_eq!(scope.to_string(), text);
            assert_eq!(scope.is_everything(), text.is_empty());
        }
    }

    #[test]
    fn what_names_no_part_says_how_to_write_one() {
        let refused = "database".parse::<Scope>().expect_err("no kind");
        assert!(refused.to_string().contains("service:NAME"), "{refused}");
        assert!("mount:../x".parse::<Scope>().is_err());
    }

    #[test]
    fn a_path_is_of_plain_names_below_the_mount() {
        for path in ["", "/etc", "..", "a/../b", "a/./b", "a//b", ".stillpoint/x", "a\0b"] {
            let refused = format!("mount:uploads/{path}").parse::<PartName>();
            assert!(refused.is_err(), "{path:?}");
        }
        let directory: PartName = "mount:uploads/2024/".parse().expect("a directory");
        assert_eq!(directory.to_string(), "mount:uploads/2024");
        assert_eq!(directory.in_words(), "path 2024 in the mount uploads");
        assert!("mount:uploads/...".parse::<PartName>().is_ok(), "an odd name, but a plain one");
    }

    #[test]
    fn of_paths_only_the_outermost_count_and_none_beside_the_whole_mount() {
        let uploads: MountName = "uploads".parse().expect("a name");
        let paths = |text: &str| {
            let scope: Scope = text.parse().expect("a scope");
            scope.paths_in(&uploads).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(paths("mount:uploads/a/b,mount:uploads/a,mount:uploads/ab,mount:logs/a"), ["a", "ab"]);
        assert_eq!(paths("mount:uploads/a,mount:uploads"), [""; 0]);
        assert_eq!(paths(""), [""; 0]);
    }
}

//! Parts of an environment, and a choice among them (R26).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{InvalidId, MountName, ServiceName};

/// A service or a mount: written `service:database`, `mount:uploads`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PartName {
    Service(ServiceName),
    Mount(MountName),
}

impl PartName {
    /// "service database".
    pub fn in_words(&self) -> String {
        match self {
            Self::Service(name) => format!("service {name}"),
            Self::Mount(name) => format!("mount {name}"),
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Mount(name) => write!(f, "mount:{name}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPart {
    #[error("`{0}` names no part: write service:NAME or mount:NAME")]
    Kind(String),
    #[error(transparent)]
    Name(#[from] InvalidId),
}

impl FromStr for PartName {
    type Err = InvalidPart;

    fn from_str(text: &str) -> Result<Self, InvalidPart> {
        match text.split_once(':') {
            Some(("service", name)) => Ok(Self::Service(name.parse()?)),
            Some(("mount", name)) => Ok(Self::Mount(name.parse()?)),
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
        for text in ["", "mount:uploads", "service:database,mount:uploads"] {
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
}

//! Typed identifiers: never a bare `String` across a function boundary.
//!
//! **Invariant:** an id holds only characters that are safe in a path, a URL and a host name, so that no id can ever
//! name something outside its own place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that cannot be such an id; says of which kind it should have been and why it is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {why}")]
pub struct InvalidId {
    pub kind: &'static str,
    pub text: String,
    pub why: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// [`InvalidId`] when the text breaks the id's form.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                match $valid(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(why) => Err(InvalidId { kind: $kind, text: text.chars().take(80).collect(), why }),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(
    /// A project: what a person chose, e.g. `demo`.
    ProjectId, "project id", name);
id!(
    /// An environment within the installation, `project:name`-free: made once, 20 hexadecimal digits. What a person
    /// types is an [`EnvironmentName`].
    EnvironmentId, "environment id", hex20);
id!(
    /// An environment's name within its project: a branch, e.g. `main`.
    EnvironmentName, "environment name", name);
id!(
    /// A snapshot's name: 20 hexadecimal digits (R19, S4).
    SnapshotName, "snapshot name", hex20);
id!(ActivityId, "activity id", hex20);
id!(UserId, "user id", hex20);
id!(InvitationId, "invitation id", hex20);
id!(ChannelId, "channel id", hex20);
id!(DeliveryId, "delivery id", hex20);
id!(TokenId, "token id", hex20);
id!(ScheduleId, "schedule id", hex20);
id!(
    /// A restore ticket.
    TicketId, "ticket id", hex20);
id!(
    /// A service's name within its environment, e.g. `database`.
    ServiceName, "service name", name);
id!(
    /// A mount's name within its environment, e.g. `uploads`.
    MountName, "mount name", name);
id!(PlanId, "plan", name);
id!(RegionId, "region", name);

impl EnvironmentName {
    /// Of a branch, as git may call it: `feature/New_cart` is the environment `feature-new-cart`.
    ///
    /// # Errors
    /// [`InvalidId`] when it is none.
    pub fn of_branch(text: &str) -> Result<Self, InvalidId> {
        let as_it_is = Self::parse(text);
        let is_branch = |letter: char| letter.is_ascii_alphanumeric() || "/-_.#".contains(letter);
        if as_it_is.is_ok() || !text.chars().all(is_branch) {
            return as_it_is;
        }
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        Self::parse(words.collect::<Vec<_>>().join("-").to_ascii_lowercase()).or(as_it_is)
    }
}

fn name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 63 {
        return Err("it must have 1 to 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("only lower-case letters, digits and hyphens are allowed");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("it must not begin or end with a hyphen");
    }
    Ok(())
}

fn hex20(text: &str) -> Result<(), &'static str> {
    if text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        Ok(())
    } else {
        Err("it must be 20 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_path_parts_are_refused() {
        for text in ["", "..", "a/b", "a\\b", "A", "-a", "a-", "a b", "a\0", "ä", "main.", &"a".repeat(64)] {
            assert!(ProjectId::parse(text).is_err(), "{text:?}");
        }
        assert!(ProjectId::parse("demo-2").is_ok());
    }

    #[test]
    fn a_branch_names_its_environment() {
        for (branch, environment) in [
            ("main", "main"),
            ("feature/x", "feature-x"),
            ("feature/New_cart.2", "feature-new-cart-2"),
            ("fix/#12", "fix-12"),
            ("a--b", "a--b"),
        ] {
            assert_eq!(EnvironmentName::of_branch(branch).expect("a branch").as_str(), environment);
        }
        for text in ["", "/", "a b", "../x y", "ä/b", "a\\b", &format!("{}/b", "a".repeat(64))] {
            let error = EnvironmentName::of_branch(text).expect_err("no branch");
            assert!(error.text.is_empty() || text.starts_with(&error.text), "it tells what was typed: {error}");
        }
    }

    #[test]
    fn a_snapshot_name_is_20_hexadecimal_digits() {
        assert!(SnapshotName::parse("2ca4d90639f706283fee").is_ok());
        for text in ["2ca4d90639f706283fe", "2CA4D90639F706283FEE", "../a4d90639f706283fee", "2ca4d90639f706283fee0"] {
            assert!(SnapshotName::parse(text).is_err(), "{text:?}");
        }
    }
}

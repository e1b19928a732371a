//! Roles as people write them, and what may become of a member (R1).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::acts::{ProjectRole, TypeRole};
use super::{Refusal, Verdict};
use crate::domain::environment::{EnvironmentKind, words};

/// What somebody is in a project: written `admin`, `viewer`, `production:viewer`, several with commas between.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Roles {
    pub project: Option<ProjectRole>,
    pub types: BTreeMap<EnvironmentKind, TypeRole>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoles {
    #[error("`{0}` is not a role; write admin or viewer, or TYPE:ROLE such as production:viewer or staging:admin")]
    Unknown(String),
    #[error("`{0}` is given twice, differently")]
    Twice(String),
    #[error("at least one role must be given; to take all away, remove the member")]
    Empty,
}

impl Roles {
    pub fn admin() -> Self {
        Self { project: Some(ProjectRole::Admin), types: BTreeMap::new() }
    }

    /// A project admin is admin on every type: roles on types beside it say nothing and are left out.
    ///
    /// # Errors
    /// [`InvalidRoles`]
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidRoles> {
        let mut roles = Self::default();
        for word in texts.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty()) {
            let unknown = || InvalidRoles::Unknown(word.chars().take(80).collect());
            let twice = || InvalidRoles::Twice(word.split(':').next().unwrap_or_default().to_owned());
            match word.split_once(':') {
                None => {
                    let role = word.parse().map_err(|_| unknown())?;
                    if roles.project.replace(role).is_some_and(|other| other != role) {
                        return Err(InvalidRoles::Twice("the project's role".to_owned()));
                    }
                }
                Some((kind, role)) => {
                    let (kind, role) = (kind.parse().map_err(|_| unknown())?, role.parse().map_err(|_| unknown())?);
                    if roles.types.insert(kind, role).is_some_and(|other| other != role) {
                        return Err(twice());
                    }
                }
            }
        }
        if roles.is_admin() {
            roles.types.clear();
        }
        if roles == Self::default() { Err(InvalidRoles::Empty) } else { Ok(roles) }
    }

    pub fn is_admin(&self) -> bool {
        self.project == Some(ProjectRole::Admin)
    }

    /// One word a role.
    pub fn words(&self) -> Vec<String> {
        let project = self.project.map(|role| role.as_str().to_owned());
        project.into_iter().chain(self.types.iter().map(|(kind, role)| format!("{kind}:{role}"))).collect()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words();
        f.write_str(if words.is_empty() { "no role" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

/// Who manages a member's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberSource {
    /// The project's admins.
    Console,
    /// The operator's declaration, until it names the member no more.
    File,
}

impl MemberSource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::File => "file",
        }
    }
}

words!(MemberSource, "where a member is managed (console, file)", [Self::Console, Self::File]);

/// Whether a member may get other roles, or none at all (`None`: removed). `admins`: how many the project has.
///
/// # Errors
/// The refusal to show.
pub fn may_become(
    email: &str,
    (now, source): (&Roles, MemberSource),
    becomes: Option<&Roles>,
    admins: usize,
) -> Verdict {
    if source == MemberSource::File {
        let instead = "Change the [[project.member]] entry there and run `stillpointd apply`. A member whom the file \
                       names no more keeps the roles, and is managed here from then on.";
        return Err(Refusal::new(format!("The roles of {email} come from the operator's file.")).instead(instead));
    }
    if now.is_admin() && admins <= 1 && !becomes.is_some_and(Roles::is_admin) {
        return Err(Refusal::new(format!("{email} is the only admin of the project."))
            .instead("Make somebody else an admin first."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &str) -> Roles {
        Roles::parse([text]).expect("valid roles")
    }

    #[test]
    fn roles_are_read_and_written_alike() {
        for (text, written) in [
            ("admin", "admin"),
            ("viewer, production:viewer", "viewer, production:viewer"),
            ("staging:admin,production:contributor", "production:contributor, staging:admin"),
            ("admin,production:viewer", "admin"),
            ("viewer,viewer", "viewer"),
        ] {
            assert_eq!(roles(text).to_string(), written, "{text}");
        }
        for text in ["", " , ", "owner", "production", "production:owner", "live:viewer", "viewer,admin", ":viewer"] {
            assert!(Roles::parse([text]).is_err(), "{text}");
        }
        assert!(Roles::parse(["production:viewer", "production:admin"]).is_err());
    }

    #[test]
    fn the_last_admin_stays_and_the_files_members_are_changed_in_the_file() {
        let (admin, viewer) = (Roles::admin(), roles("viewer"));
        let may = |now: &Roles, source, becomes: Option<&Roles>, admins| {
            may_become("ada@example.org", (now, source), becomes, admins).is_ok()
        };
        use MemberSource::{Console, File};
        for (now, source, becomes, admins, expected) in [
            (&admin, Console, None, 1, false),
            (&admin, Console, Some(&viewer), 1, false),
            (&admin, Console, Some(&admin), 1, true),
            (&admin, Console, None, 2, true),
            (&viewer, Console, None, 1, true),
            (&viewer, Console, None, 0, true),
            (&viewer, File, None, 1, false),
            (&admin, File, Some(&viewer), 3, false),
        ] {
            assert_eq!(may(now, source, becomes, admins), expected, "{now} {source} {becomes:?} {admins}");
        }
    }
}

//! What a region offers (R27).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Refusal, Verdict};
use crate::domain::bytes::Bytes;
use crate::domain::environment::words;
use crate::domain::ids::{ProjectId, RegionId};

/// Whether snapshots are restored into other and new environments. The same environment is never affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreElsewhere {
    SelfService,
    /// Support staff does it, when a project admin files a ticket.
    ByTicket,
    Unavailable,
}

impl RestoreElsewhere {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfService => "self_service",
            Self::ByTicket => "by_ticket",
            Self::Unavailable => "unavailable",
        }
    }
}

words!(
    RestoreElsewhere,
    "a way to restore elsewhere (self_service, by_ticket, unavailable)",
    [Self::SelfService, Self::ByTicket, Self::Unavailable]
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub id: RegionId,
    pub title: String,
    pub restore_elsewhere: RestoreElsewhere,
    /// The directory of its repositories, as its workers see it; `None`: in the data directory, if it is [`LOCAL`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<String>,
}

/// The region of an installation on one machine.
pub const LOCAL: &str = "local";

/// Where a project's repository lies in it. `data`: the data directory.
///
/// # Errors
/// The refusal to show where the region has no place.
pub fn place(region: &Region, project: &ProjectId, data: &Path) -> Result<PathBuf, Refusal> {
    let root = match &region.repositories {
        Some(root) => PathBuf::from(root),
        None if region.id.as_str() == LOCAL => data.join("repositories"),
        None => {
            return Err(Refusal::new(format!("The region {} has no place for repositories.", region.id))
                .instead("Declare one: `repositories` of its [[region]]."));
        }
    };
    Ok(root.join(project.as_str()))
}

/// Whether a project of the region `from` can be moved to another.
///
/// # Errors
/// The refusal to show.
pub fn may_move(from: &RegionId, to: &Region) -> Verdict {
    if *from == to.id {
        return Err(Refusal::new(format!("The project is in the region {} already.", to.id)));
    }
    Ok(())
}

/// Whether the copy fits there, with a twentieth to spare.
///
/// # Errors
/// The refusal to show.
pub fn has_room(to: &Region, needed: Bytes, free: Bytes) -> Verdict {
    if needed.0.saturating_add(needed.0 / 20) <= free.0 {
        return Ok(());
    }
    Err(Refusal::new(format!("The region {} has {free} left, and {needed} are to be copied.", to.id))
        .instead("Make room there, then move the project again."))
}

/// Whether there is any other to go to.
///
/// # Errors
/// The refusal to show.
pub fn may_choose(from: &RegionId, all: &[Region]) -> Verdict {
    if all.iter().any(|region| region.id != *from) {
        return Ok(());
    }
    Err(Refusal::new("There is no other region in this installation.").instead(
        "An operator declares one: a [[region]] with its `repositories`, in the file that `stillpointd apply` reads.",
    ))
}

/// What is different in the other region: sentences.
pub fn changes(from: &Region, to: &Region) -> Vec<String> {
    if from.restore_elsewhere == to.restore_elsewhere {
        return Vec::new();
    }
    vec![to.restore_elsewhere.in_words().to_owned()]
}

impl RestoreElsewhere {
    /// A sentence.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::SelfService => "Project admins restore into other environments themselves.",
            Self::ByTicket => "Restores into other environments are done by support staff, on a ticket.",
            Self::Unavailable => "Snapshots are restored into their own environment only.",
        }
    }
}

const ANOTHER_REGION: &str = "ask the operator to move the project to a region that offers it";

impl Region {
    /// Whether a project's admin may restore into another environment by themselves.
    ///
    /// # Errors
    /// The refusal with both ways of S4: the ticket, which `command` files, and another region.
    pub fn may_restore_elsewhere(&self, command: &str) -> Verdict {
        let id = &self.id;
        match self.restore_elsewhere {
            RestoreElsewhere::SelfService => Ok(()),
            RestoreElsewhere::ByTicket => Err(Refusal::new(format!(
                "In the region {id} support staff restores snapshots into other environments, on a ticket."
            ))
            .instead(format!("File the ticket: {command} \u{2013} or {ANOTHER_REGION}."))),
            RestoreElsewhere::Unavailable => self.unavailable(),
        }
    }

    /// Whether a ticket makes sense here.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_file_ticket(&self) -> Verdict {
        match self.restore_elsewhere {
            RestoreElsewhere::ByTicket => Ok(()),
            RestoreElsewhere::SelfService => Err(Refusal::new(format!(
                "In the region {} no ticket is needed to restore into another environment.",
                self.id
            ))
            .instead("Restore it yourself (snapshot:restore, or the snapshot's page).")),
            RestoreElsewhere::Unavailable => self.unavailable(),
        }
    }

    /// Whether support staff may run a ticket that was filed: also when the region offers self-service by now.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may_run_ticket(&self) -> Verdict {
        match self.restore_elsewhere {
            RestoreElsewhere::Unavailable => self.unavailable(),
            _ => Ok(()),
        }
    }

    fn unavailable(&self) -> Verdict {
        let reason = format!("In the region {} snapshots are restored into their own environment only.", self.id);
        let mut another = ANOTHER_REGION.to_owned();
        another.replace_range(..1, "A");
        Err(Refusal::new(reason).instead(format!("{another}.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(restore_elsewhere: RestoreElsewhere) -> Region {
        let id = RegionId::parse("eu-1").expect("a valid id");
        Region { id, title: "Old Europe".to_owned(), restore_elsewhere, repositories: None }
    }

    #[test]
    fn each_region_allows_what_it_says() {
        let table = [
            (RestoreElsewhere::SelfService, [true, false, true]),
            (RestoreElsewhere::ByTicket, [false, true, true]),
            (RestoreElsewhere::Unavailable, [false, false, false]),
        ];
        for (which, expected) in table {
            let region = region(which);
            let verdicts = [region.may_restore_elsewhere("command"), region.may_file_ticket(), region.may_run_ticket()];
            assert_eq!(verdicts.map(|verdict| verdict.is_ok()), expected, "{which}");
        }
    }

    #[test]
    fn a_repository_lies_where_its_region_says() {
        let (data, shop) = (Path::new("/data"), ProjectId::parse("shop").expect("a valid id"));
        let mut eu = region(RestoreElsewhere::SelfService);
        let refused = place(&eu, &shop, data).expect_err("nobody said where").to_string();
        assert_eq!(
            refused,
            "The region eu-1 has no place for repositories. Declare one: `repositories` of its [[region]]."
        );
        eu.repositories = Some("/srv/eu".to_owned());
        assert_eq!(place(&eu, &shop, data), Ok(PathBuf::from("/srv/eu/shop")));
        let local = Region { id: RegionId::parse(LOCAL).expect("a valid id"), repositories: None, ..eu };
        assert_eq!(place(&local, &shop, data), Ok(PathBuf::from("/data/repositories/shop")));
    }

    #[test]
    fn a_move_needs_another_region_with_room_and_says_what_changes() {
        let (eu, here) = (region(RestoreElsewhere::ByTicket), RegionId::parse(LOCAL).expect("a valid id"));
        assert_eq!(may_move(&here, &eu), Ok(()));
        assert!(may_move(&eu.id, &eu).is_err());
        for (needed, free, fits) in [(0, 0, true), (100, 105, true), (100, 104, false), (u64::MAX, u64::MAX, true)] {
            assert_eq!(has_room(&eu, Bytes(needed), Bytes(free)).is_ok(), fits, "{needed} of {free}");
        }
        let open = region(RestoreElsewhere::SelfService);
        assert_eq!(changes(&eu, &eu), Vec::<String>::new());
        assert_eq!(changes(&eu, &open), ["Project admins restore into other environments themselves."]);
    }

    #[test]
    fn a_project_can_go_nowhere_where_there_is_one_region() {
        let eu = region(RestoreElsewhere::SelfService);
        let here = RegionId::parse(LOCAL).expect("a valid id");
        assert_eq!(may_choose(&here, std::slice::from_ref(&eu)), Ok(()));
        for all in [Vec::new(), vec![eu.clone()]] {
            let refused = may_choose(&eu.id, &all).expect_err("there is no other").to_string();
            assert!(refused.starts_with("There is no other region in this installation. An operator"), "{refused}");
        }
    }

    #[test]
    fn a_refusal_offers_the_ticket_and_another_region() {
        let refused = region(RestoreElsewhere::ByTicket).may_restore_elsewhere("stillpoint ticket:create \u{2026}");
        assert_eq!(
            refused.expect_err("by ticket").to_string(),
            "In the region eu-1 support staff restores snapshots into other environments, on a ticket. File the ticket: \
             stillpoint ticket:create \u{2026} \u{2013} or ask the operator to move the project to a region that offers it."
        );
    }
}

//! What a region offers (R27).

use serde::{Deserialize, Serialize};

use super::{Refusal, Verdict};
use crate::domain::environment::words;
use crate::domain::ids::RegionId;

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
        Region { id, title: "Old Europe".to_owned(), restore_elsewhere }
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
    fn a_refusal_offers_the_ticket_and_another_region() {
        let refused = region(RestoreElsewhere::ByTicket).may_restore_elsewhere("stillpoint ticket:create \u{2026}");
        assert_eq!(
            refused.expect_err("by ticket").to_string(),
            "In the region eu-1 support staff restores snapshots into other environments, on a ticket. File the ticket: \
             stillpoint ticket:create \u{2026} \u{2013} or ask the operator to move the project to a region that offers it."
        );
    }
}

//! Who may do what with a ticket, in which state, and what becomes of it (R3, R28).

use super::acts::Standing;
use super::{Refusal, Verdict};
use crate::domain::UserId;
use crate::domain::ticket::{Person, Ticket, TicketAct, TicketState};

/// What somebody is to a ticket. Whoever filed it is that before everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Requester,
    Claimer,
    Staff,
    /// May see it, and write to it.
    Member,
}

impl Ticket {
    /// Whether it may be seen at all: like both environments' history.
    pub fn is_visible(&self, standing: &Standing) -> bool {
        self.subjects().iter().all(|on| standing.may_on(super::Act::ViewHistory, on).is_ok())
    }

    /// Role and state: one question for the page that offers and the operation that does.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may(&self, act: TicketAct, by: &UserId, standing: &Standing) -> Verdict {
        for on in &self.subjects() {
            standing.may_on(act.act(), on)?;
        }
        let is = |person: &Person| person.user == *by;
        let who = match self.claimer.as_ref() {
            _ if is(&self.requester) => Who::Requester,
            Some(claimer) if standing.support && is(claimer) => Who::Claimer,
            _ if standing.support => Who::Staff,
            _ => Who::Member,
        };
        self.lets(act, who)
    }

    /// What the state says.
    fn lets(&self, act: TicketAct, who: Who) -> Verdict {
        use TicketAct as Do;
        use TicketState as Is;
        let refuse = |reason: &str| Err(Refusal::new(reason));
        let is_running = self.state == Is::InProgress && self.run.is_some();
        let claimer = self.claimer.as_ref().map_or("Somebody else", |claimer| claimer.name.as_str());
        match (act, self.state) {
            (Do::File, _) => refuse("It is filed already."),
            (Do::Comment, _) => Ok(()),
            (Do::Claim | Do::Release | Do::Decline | Do::Run, Is::Open | Is::InProgress) if who == Who::Requester => {
                Err(Refusal::new("You filed this ticket yourself.")
                    .instead("Somebody else of the support staff works on it."))
            }
            (Do::Release | Do::Decline | Do::Run | Do::Withdraw, Is::InProgress) if is_running => {
                Err(Refusal::new("Its restore is under way.").instead("Wait until that is over."))
            }
            (Do::Claim, Is::Open) => Ok(()),
            (Do::Claim, Is::InProgress) if who == Who::Claimer => refuse("You work on this ticket already."),
            (Do::Claim, Is::InProgress) => Err(Refusal::new(format!("{claimer} works on this ticket."))
                .instead("Write to them in a comment, or hand the ticket back to the queue and claim it then.")),
            (Do::Release | Do::Decline | Do::Run, Is::Open) => {
                Err(Refusal::new("Nobody works on this ticket yet.").instead("Claim it first."))
            }
            (Do::Release, Is::InProgress) => Ok(()),
            (Do::Decline | Do::Run, Is::InProgress) if who == Who::Claimer => Ok(()),
            (Do::Decline | Do::Run, Is::InProgress) => Err(Refusal::new(format!("{claimer} works on this ticket."))
                .instead("Write to them in a comment, or hand the ticket back to the queue and claim it then.")),
            (Do::Withdraw, Is::Open | Is::InProgress) if who == Who::Requester => Ok(()),
            (Do::Withdraw, Is::Open | Is::InProgress) => {
                Err(Refusal::new(format!("Only {}, who filed it, can withdraw it.", self.requester.name)))
            }
            (Do::Reopen, Is::Open | Is::InProgress) => refuse("It is not over."),
            (Do::Reopen, Is::Withdrawn) if who == Who::Requester => Ok(()),
            (Do::Reopen, Is::Withdrawn) => {
                Err(Refusal::new(format!("{} withdrew it, and nobody else can reopen it.", self.requester.name)))
            }
            (Do::Reopen, Is::Restored | Is::Declined) if who != Who::Member => Ok(()),
            (Do::Reopen, Is::Restored | Is::Declined) => Err(Refusal::new(format!(
                "Only {}, who filed it, and support staff can reopen it.",
                self.requester.name
            ))),
            (_, over) => Err(Refusal::new(format!("This ticket is {}.", over.label())).instead("Reopen it to go on.")),
        }
    }

    /// As it is once the act was done: state and claimer. A run stays in progress until its restore has ended.
    #[must_use]
    pub fn after(&self, act: TicketAct, by: Person) -> Self {
        let mut next = self.clone();
        match act {
            TicketAct::File | TicketAct::Comment | TicketAct::Run => {}
            TicketAct::Claim => (next.state, next.claimer) = (TicketState::InProgress, Some(by)),
            TicketAct::Release => (next.state, next.claimer) = (TicketState::Open, None),
            TicketAct::Decline => next.state = TicketState::Declined,
            TicketAct::Withdraw => next.state = TicketState::Withdrawn,
            TicketAct::Reopen => (next.state, next.claimer, next.run) = (TicketState::Open, None, None),
        }
        next
    }
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;

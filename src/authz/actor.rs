//! The one who asks.

use std::net::IpAddr;

use crate::domain::activity::Initiator;
use crate::domain::ids::{TicketId, TokenId, UserId};
use crate::domain::policy::Grants;
use crate::domain::view::Me;

/// A person who proved who they are, by password or by token. Says nothing about what they may do.
#[derive(Debug, Clone)]
pub struct Actor {
    pub(crate) user: UserId,
    pub(crate) email: String,
    pub(crate) operator: bool,
    pub(crate) support: bool,
    pub(crate) authority: Authority,
    pub(crate) address: Option<IpAddr>,
}

/// By what the actor proved who they are.
#[derive(Debug, Clone)]
pub enum Authority {
    Session,
    Token {
        id: TokenId,
        name: String,
        grants: Grants,
    },
    /// Support staff acts for whoever filed a ticket, and stands in the activity (R28).
    Ticket {
        id: TicketId,
        staff: Initiator,
    },
}

impl Actor {
    /// The same, asking from there.
    #[must_use]
    pub fn at(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    pub fn me(&self) -> Me {
        Me { email: self.email.clone(), operator: self.operator, support: self.support }
    }

    /// As it stands in the activity.
    pub fn initiator(&self) -> Initiator {
        let authority = match &self.authority {
            Authority::Session => "session".to_owned(),
            Authority::Token { name, .. } => format!("token:{name}"),
            Authority::Ticket { id, staff } => return Initiator { authority: format!("ticket:{id}"), ..staff.clone() },
        };
        Initiator { user: Some(self.user.clone()), name: self.email.clone(), authority, address: self.address }
    }

    pub(crate) fn grants(&self) -> Option<&Grants> {
        match &self.authority {
            Authority::Session | Authority::Ticket { .. } => None,
            Authority::Token { grants, .. } => Some(grants),
        }
    }
}

//! What operators do to accounts: close one and open it again, say who runs the installation and who works tickets
//! (R1, R3).

use serde::{Deserialize, Serialize};

use super::{Refusal, Verdict};
use crate::domain::environment::words;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountChange {
    /// Nobody gets in by it any more, and nothing runs in its name; its name stays in the history.
    Close,
    Open,
    GrantOperator,
    WithdrawOperator,
    GrantSupport,
    WithdrawSupport,
}

impl AccountChange {
    pub const ALL: [Self; 6] = [
        Self::Close,
        Self::Open,
        Self::GrantOperator,
        Self::WithdrawOperator,
        Self::GrantSupport,
        Self::WithdrawSupport,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Open => "open",
            Self::GrantOperator => "grant_operator",
            Self::WithdrawOperator => "withdraw_operator",
            Self::GrantSupport => "grant_support",
            Self::WithdrawSupport => "withdraw_support",
        }
    }

    /// Tried on an address: "close the account ada@example.org".
    pub fn tried(self, email: &str) -> String {
        match self {
            Self::Close => format!("close the account {email}"),
            Self::Open => format!("open the account {email} again"),
            Self::GrantOperator => format!("make {email} an operator"),
            Self::WithdrawOperator => format!("take from {email} to be an operator"),
            Self::GrantSupport => format!("make {email} support staff"),
            Self::WithdrawSupport => format!("take from {email} to be support staff"),
        }
    }

    /// The same when it was done.
    pub fn done(self, email: &str) -> String {
        match self {
            Self::Close => format!("closed the account {email}"),
            Self::Open => format!("opened the account {email} again"),
            Self::GrantOperator => format!("made {email} an operator"),
            Self::WithdrawOperator => format!("took from {email} to be an operator"),
            Self::GrantSupport => format!("made {email} support staff"),
            Self::WithdrawSupport => format!("took from {email} to be support staff"),
        }
    }

    /// Whether the account would be another one afterwards.
    pub fn changes(self, account: &Account<'_>) -> bool {
        match self {
            Self::Close => !account.is_closed,
            Self::Open => account.is_closed,
            Self::GrantOperator => !account.is_operator,
            Self::WithdrawOperator => account.is_operator,
            Self::GrantSupport => !account.is_support,
            Self::WithdrawSupport => account.is_support,
        }
    }
}

words!(
    AccountChange,
    "a change of an account (close, open, grant_operator, withdraw_operator, grant_support, withdraw_support)"
);

/// What an account is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    pub email: &'a str,
    pub is_closed: bool,
    pub is_operator: bool,
    pub is_support: bool,
}

/// Who changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Whose account it is.
    Themselves,
    /// Another operator, or the machine's owner.
    Other,
}

/// Whether an operator may do that. `operators`: how many there are whose accounts are open.
///
/// # Errors
/// The refusal to show.
pub fn may_change(change: AccountChange, account: &Account<'_>, by: By, operators: usize) -> Verdict {
    let email = account.email;
    let runs_it = account.is_operator && !account.is_closed;
    let is_last = runs_it && operators <= 1;
    match change {
        AccountChange::Close if by == By::Themselves => {
            Err(Refusal::new("You can't close your own account.").instead("Another operator can."))
        }
        AccountChange::Close | AccountChange::WithdrawOperator if is_last => {
            Err(Refusal::new(format!("{email} is the only operator of this installation."))
                .instead("Make somebody else an operator first."))
        }
        AccountChange::GrantOperator | AccountChange::GrantSupport if account.is_closed => {
            Err(Refusal::new(format!("The account {email} is closed.")).instead("Open it again first."))
        }
        // Support staff change no settings, and restore through tickets alone (R3): an operator's rights are more.
        AccountChange::GrantOperator if account.is_support => {
            Err(Refusal::new(format!("{email} is support staff, who don't run the installation."))
                .instead("Take that from the account first, or make another one."))
        }
        AccountChange::GrantSupport if account.is_operator => {
            Err(Refusal::new(format!("{email} is an operator, and support staff don't run the installation."))
                .instead("Take that from the account first, or make another one."))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccountChange as Do;

    const ADA: Account<'_> =
        Account { email: "ada@example.org", is_closed: false, is_operator: false, is_support: false };
    const OPERATOR: Account<'_> = Account { is_operator: true, ..ADA };
    const SUPPORT: Account<'_> = Account { is_support: true, ..ADA };

    fn closed(account: Account<'_>) -> Account<'_> {
        Account { is_closed: true, ..account }
    }

    #[test]
    fn nobody_closes_themselves_and_the_last_operator_stays() {
        let table = [
            // (change, account, by, operators, allowed)
            (Do::Close, ADA, By::Other, 1, true),
            (Do::Close, SUPPORT, By::Other, 1, true),
            (Do::Close, OPERATOR, By::Other, 2, true),
            (Do::Close, OPERATOR, By::Other, 1, false),
            (Do::Close, OPERATOR, By::Themselves, 2, false),
            (Do::WithdrawOperator, OPERATOR, By::Other, 2, true),
            (Do::WithdrawOperator, OPERATOR, By::Themselves, 2, true),
            (Do::WithdrawOperator, OPERATOR, By::Themselves, 1, false),
            // One that is closed runs nothing: the one that is counted is another.
            (Do::WithdrawOperator, closed(OPERATOR), By::Other, 1, true),
            (Do::WithdrawSupport, SUPPORT, By::Other, 1, true),
            (Do::Open, closed(ADA), By::Other, 1, true),
            (Do::Open, closed(OPERATOR), By::Other, 1, true),
        ];
        for (change, account, by, operators, allowed) in table {
            assert_eq!(may_change(change, &account, by, operators).is_ok(), allowed, "{change} {account:?} {by:?}");
        }
    }

    #[test]
    fn who_works_tickets_does_not_run_the_installation_and_a_closed_account_gets_nothing() {
        let table = [
            (Do::GrantOperator, ADA, true),
            (Do::GrantSupport, ADA, true),
            (Do::GrantOperator, SUPPORT, false),
            (Do::GrantSupport, OPERATOR, false),
            (Do::GrantOperator, closed(ADA), false),
            (Do::GrantSupport, closed(ADA), false),
        ];
        for (change, account, allowed) in table {
            assert_eq!(may_change(change, &account, By::Other, 3).is_ok(), allowed, "{change} {account:?}");
        }
    }

    #[test]
    fn each_change_has_its_word_and_is_one_of_two_directions() {
        for change in Do::ALL {
            assert_eq!(change.as_str().parse::<Do>().as_ref(), Ok(&change));
            assert_eq!(serde_json::to_value(change).expect("a word"), change.as_str());
        }
        for pair in Do::ALL.chunks(2) {
            for account in [ADA, OPERATOR, SUPPORT, closed(ADA)] {
                assert_eq!(pair.iter().filter(|change| change.changes(&account)).count(), 1, "{pair:?} {account:?}");
            }
        }
    }
}

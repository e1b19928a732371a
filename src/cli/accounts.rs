//! `account:list`, `account:close`, `account:open`, `account:grant`, `account:withdraw`: who can log in to the installation,
//! who runs it, who works tickets; for operators.

use clap::{Args, ValueEnum};

use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::{AnswerFlags, ListFlags};
use super::session::Session;
use super::table::{self, Column};
use super::talk::Talk;
use crate::domain::policy::AccountChange;
use crate::wire::account::Account;

#[derive(Debug, Args)]
pub struct AccountList {
    #[command(flatten)]
    pub list: ListFlags,
}

#[derive(Debug, Args)]
pub struct NamedAccount {
    /// E-mail address
    pub email: String,
}

#[derive(Debug, Args)]
pub struct AccountDuty {
    /// E-mail address
    pub email: String,
    /// operator (runs the installation) or support (works restore tickets)
    pub duty: Duty,
}

/// What an account may beside its roles in projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Duty {
    Operator,
    Support,
}

pub fn list(command: &AccountList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let accounts = session.client.accounts()?;
    table::write(&accounts, COLUMNS, &["email", "duty", "closed_at", "last_seen_at"], &command.list, talk)
}

pub fn close(
    command: &NamedAccount,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let account = find(session, &command.email)?;
    for warning in &account.warnings {
        talk.say(warning);
    }
    let question = format!("Close the account {}? Its sessions end, its API tokens are revoked.", account.email);
    confirm(&question, Stake::Destructive, answer, talk)?;
    session.client.change_account(&account.id, AccountChange::Close)?;
    talk.say(&format!("The account {} is closed.", account.email));
    Ok(())
}

pub fn open(command: &NamedAccount, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let account = find(session, &command.email)?;
    session.client.change_account(&account.id, AccountChange::Open)?;
    talk.say(&format!("The account {} is open.", account.email));
    Ok(())
}

pub fn grant(command: &AccountDuty, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let change = match command.duty {
        Duty::Operator => AccountChange::GrantOperator,
        Duty::Support => AccountChange::GrantSupport,
    };
    change_duty(command, change, session, talk)
}

pub fn withdraw(command: &AccountDuty, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let change = match command.duty {
        Duty::Operator => AccountChange::WithdrawOperator,
        Duty::Support => AccountChange::WithdrawSupport,
    };
    change_duty(command, change, session, talk)
}

fn change_duty(
    command: &AccountDuty,
    change: AccountChange,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let account = session.client.change_account(&find(session, &command.email)?.id, change)?;
    talk.say(&format!("{} is now: {}.", account.email, duty(&account).unwrap_or("neither operator nor support staff")));
    Ok(())
}

fn find(session: &Session, email: &str) -> Result<Account, Error> {
    let email = email.trim().to_lowercase();
    let found = session.client.accounts()?.into_iter().find(|account| account.email == email);
    found.ok_or_else(|| Error::Refused {
        message: format!("there is no account for {email}"),
        hint: Some("`account:list` shows them; `user:add` invites somebody into a project.".to_owned()),
    })
}

fn duty(account: &Account) -> Option<&'static str> {
    match (account.operator, account.support) {
        (true, _) => Some("operator"),
        (false, true) => Some("support"),
        (false, false) => None,
    }
}

const COLUMNS: &[Column<Account>] = &[
    Column { key: "email", header: "Email", value: |account, _| account.email.clone().into() },
    Column { key: "duty", header: "Runs or works", value: |account, _| duty(account).map(str::to_owned).into() },
    Column {
        key: "closed_at",
        header: "Closed",
        value: |account, look| account.closed_at.map(|at| look.dates.write(at)).into(),
    },
    Column {
        key: "last_seen_at",
        header: "Last seen",
        value: |account, look| account.last_seen_at.map(|at| look.dates.write(at)).into(),
    },
    Column { key: "created_at", header: "Since", value: |account, look| look.dates.write(account.created_at).into() },
    Column { key: "id", header: "ID", value: |account, _| account.id.as_str().into() },
];

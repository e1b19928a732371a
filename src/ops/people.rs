//! Everybody's account, as operators see it: closed, opened again, and who runs the installation or works tickets. Every
//! change stands in the audit, and what was refused (R5).

use std::collections::HashMap;

use super::accounts::normal;
use super::{App, Error, audit};
use crate::authz::Operator;
use crate::domain::activity::Initiator;
use crate::domain::audit::AuditKind;
use crate::domain::policy::accounts::{Account, By, may_change};
use crate::domain::policy::{AccountChange, Refusal};
use crate::domain::problem::sentence;
use crate::domain::view::AccountEntry;
use crate::domain::{ProjectId, UserId};
use crate::store::users::User;
use crate::store::{Db, clock, members, resets, schedules, sessions, tokens, users};

/// All accounts of the installation, by address.
///
/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: &Operator) -> Result<Vec<AccountEntry>, Error> {
    all(app, Some(proof.actor().user())).await
}

async fn all(app: &App, me: Option<&UserId>) -> Result<Vec<AccountEntry>, Error> {
    let mut db = app.store().read().await?;
    let around = Around::read(&mut db, me).await?;
    Ok(users::all(&mut db).await?.into_iter().map(|user| around.entry(user)).collect())
}

/// # Errors
/// [`Error::NotFound`] when there is no such account.
pub async fn one(app: &App, proof: &Operator, user: &UserId) -> Result<AccountEntry, Error> {
    let found = list(app, proof).await?.into_iter().find(|entry| entry.id == *user);
    found.ok_or(Error::NotFound("account"))
}

/// What was done to an account.
#[derive(Debug, Clone)]
pub struct Changed {
    /// As it is now.
    pub entry: AccountEntry,
    /// A sentence.
    pub told: String,
    /// What is left behind that somebody should see to, sentences.
    pub warnings: Vec<String>,
}

/// Closes an account, opens it again, or changes what it may beside its roles in projects. What is so already stays so.
///
/// # Errors
/// [`Error::NotFound`] when there is no such account, [`Error::Conflict`] with the reason when it can't be (recorded).
pub async fn change(app: &App, proof: &Operator, user: &UserId, change: AccountChange) -> Result<Changed, Error> {
    recorded(app, proof.actor().initiator(), user, change).await
}

/// The same for the operator's own command line, which needs no proof because it reads the data directory.
///
/// # Errors
/// As [`change`].
pub async fn unchecked_change(app: &App, email: &str, change: AccountChange) -> Result<Changed, Error> {
    let user = users::by_email(&mut *app.store().read().await?, &normal(email)).await?;
    recorded(app, audit::terminal(), &user.ok_or(Error::NotFound("account"))?.id, change).await
}

/// The list for the operator's own command line.
///
/// # Errors
/// When the store fails.
pub async fn unchecked_list(app: &App) -> Result<Vec<AccountEntry>, Error> {
    all(app, None).await
}

async fn recorded(app: &App, by: Initiator, id: &UserId, change: AccountChange) -> Result<Changed, Error> {
    let outcome = changed(app, &by, id, change).await;
    if let Err(Error::Conflict(refusal)) = &outcome {
        let user = users::by_id(&mut *app.store().read().await?, id).await?;
        let about = change.tried(user.as_ref().map_or("", |user| &user.email));
        audit::note_refused(app, (by, None, None), kind(change), about, refusal.to_string()).await?;
    }
    outcome
}

async fn changed(app: &App, by: &Initiator, id: &UserId, change: AccountChange) -> Result<Changed, Error> {
    let mut tx = app.store().write().await?;
    users::lock(&mut tx).await?;
    // Asked again behind the lock: somebody may have closed it, or taken that from it, meanwhile.
    if let Some(me) = &by.user {
        let still = users::open_by_id(&mut tx, me).await?.is_some_and(|user| user.operator);
        if !still {
            return Err(Error::Conflict(Refusal::new("You don't run this installation any more.")));
        }
    }
    let mut user = users::by_id(&mut tx, id).await?.ok_or(Error::NotFound("account"))?;
    let around = Around::read(&mut tx, by.user.as_ref()).await?;
    let before = around.entry(user.clone());
    if !change.changes(&account(&user)) {
        let told = format!("Nothing was changed: the account {} is so already.", user.email);
        return Ok(Changed { entry: before, told, warnings: Vec::new() });
    }
    may_change(change, &account(&user), around.by(id), around.operators).map_err(Error::Conflict)?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let mut about = change.done(&user.email);
    let mut left = (Vec::new(), Vec::new());
    match change {
        AccountChange::Close => {
            users::set_closed(&mut tx, id, Some(now)).await?;
            resets::forget(&mut tx, id).await?;
            let ended = sessions::end_others(&mut tx, id, "").await?;
            let revoked = tokens::revoke_all(&mut tx, id, now).await?;
            about = format!("{about}; sessions that ended: {ended}; API tokens that were revoked: {revoked}");
            left = (before.only_admin_of.clone(), before.left_behind());
        }
        AccountChange::Open => {
            // What a request wrote that was on its way when it was closed.
            resets::forget(&mut tx, id).await?;
            sessions::end_others(&mut tx, id, "").await?;
            tokens::revoke_all(&mut tx, id, now).await?;
            users::set_closed(&mut tx, id, None).await?;
        }
        AccountChange::GrantOperator => user.operator = true,
        AccountChange::WithdrawOperator => user.operator = false,
        AccountChange::GrantSupport => user.support = true,
        AccountChange::WithdrawSupport => user.support = false,
    }
    users::set_duties(&mut tx, &user).await?;
    let (projects, warnings) = left;
    for project in &projects {
        // In its own audit too: somebody has to give it another.
        let about = format!("{}, the only admin of the project", change.done(&user.email));
        audit::note(&mut tx, app, (by.clone(), Some(project)), kind(change), about).await?;
    }
    let told = sentence(&about);
    audit::note(&mut tx, app, (by.clone(), None), kind(change), about).await?;
    let user = users::by_id(&mut tx, id).await?.ok_or(Error::NotFound("account"))?;
    let entry = Around::read(&mut tx, by.user.as_ref()).await?.entry(user);
    app.store().commit(tx).await?;
    Ok(Changed { entry, told, warnings })
}

fn kind(change: AccountChange) -> AuditKind {
    match change {
        AccountChange::Close => AuditKind::AccountClosed,
        AccountChange::Open => AuditKind::AccountOpened,
        _ => AuditKind::AccountChanged,
    }
}

fn account(user: &User) -> Account<'_> {
    Account {
        email: &user.email,
        is_closed: user.closed_at.is_some(),
        is_operator: user.operator,
        is_support: user.support,
    }
}

/// What counts beside an account itself, read once for all of them.
struct Around {
    /// `None`: the machine's owner looks.
    me: Option<UserId>,
    /// With open accounts.
    operators: usize,
    only_admins: HashMap<UserId, Vec<ProjectId>>,
    schedules: HashMap<UserId, u64>,
}

impl Around {
    async fn read(db: &mut Db, me: Option<&UserId>) -> Result<Self, Error> {
        Ok(Self {
            me: me.cloned(),
            operators: users::operators(db).await?.len(),
            only_admins: members::only_admins(db).await?,
            schedules: schedules::owned(db).await?,
        })
    }

    fn by(&self, id: &UserId) -> By {
        if self.me.as_ref() == Some(id) { By::Themselves } else { By::Other }
    }

    fn entry(&self, user: User) -> AccountEntry {
        let account = account(&user);
        let changes = AccountChange::ALL.into_iter().filter(|change| change.changes(&account));
        let offer = |change| (change, may_change(change, &account, self.by(&user.id), self.operators).into());
        AccountEntry {
            changes: changes.map(offer).collect(),
            is_me: self.by(&user.id) == By::Themselves,
            only_admin_of: self.only_admins.get(&user.id).cloned().unwrap_or_default(),
            schedules: self.schedules.get(&user.id).copied().unwrap_or_default(),
            id: user.id,
            email: user.email,
            operator: user.operator,
            support: user.support,
            created_at: user.created_at,
            last_seen_at: user.last_seen_at,
            closed_at: user.closed_at,
        }
    }
}

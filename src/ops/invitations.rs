//! Invitations into a project, by a link that works once, for one address.
//!
//! **Invariant:** whether the one who invited may still do so is asked when the invitation is accepted: who was removed
//! has left no door open.

use std::net::IpAddr;
use std::time::Duration;

use super::accounts::{self, Kind, digest};
use super::{App, Error, audit};
use crate::authz::{self, Actor, Authority, Authorized, ManageMembers};
use crate::domain::audit::AuditKind;
use crate::domain::environment::Project;
use crate::domain::policy::{Act, MemberSource, Refusal, Roles};
use crate::domain::time::DAY;
use crate::domain::view::{InvitationEntry, Joining, NewInvitation};
use crate::domain::{InvitationId, ProjectId, Secret, Timestamp};
use crate::store::invitations::{self, Invitation};
use crate::store::{self, Db, clock, members, projects, users};

/// How long a link works.
const LIFE: Duration = Duration::from_secs(7 * DAY.as_secs());

/// Invites an address. One that is open to it already ends: this one takes its place.
///
/// # Errors
/// [`Error::Invalid`] for what is no address, [`Error::Conflict`] when it is a member's.
pub async fn create(
    app: &App,
    proof: &Authorized<ManageMembers>,
    email: &str,
    roles: Roles,
) -> Result<NewInvitation, Error> {
    audit::Attempt::of(proof).recorded(app, invited(app, proof, email, roles).await).await
}

async fn invited(
    app: &App,
    proof: &Authorized<ManageMembers>,
    email: &str,
    roles: Roles,
) -> Result<NewInvitation, Error> {
    let email = accounts::address(email)?;
    let (project, actor) = (&proof.on().project.id, proof.actor());
    let code = Secret::new(format!("sti_{}", hex::encode(rand::random::<[u8; 32]>())));
    let mut tx = app.store().write().await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    if members::by_project(&mut tx, project).await?.iter().any(|member| member.email == email) {
        let refusal = Refusal::new(format!("{email} is a member of the project already."));
        return Err(Error::Conflict(refusal.instead("Change their roles in the list of members.")));
    }
    if users::by_email(&mut tx, &email).await?.is_some_and(|user| user.closed_at.is_some()) {
        return Err(Error::Conflict(accounts::closed(&email)));
    }
    invitations::replace(&mut tx, project, &email, now).await?;
    let invitation = Invitation {
        id: InvitationId::parse(store::random_id())?,
        project: project.clone(),
        email,
        roles,
        hash: digest(code.reveal()),
        invited_by: actor.user().clone(),
        created_at: now,
        expires_at: now.plus(LIFE),
        accepted_at: None,
        revoked_at: None,
    };
    invitations::insert(&mut tx, &invitation).await?;
    let about = format!("invited {} as {}", invitation.email, invitation.roles);
    audit::note(&mut tx, app, (actor.initiator(), Some(project)), AuditKind::InvitationMade, about).await?;
    app.store().commit(tx).await?;
    Ok(NewInvitation { entry: entry(invitation, actor.me().email), code })
}

/// Those that can still be accepted, newest first.
///
/// # Errors
/// When the store fails.
pub async fn list(app: &App, proof: &Authorized<ManageMembers>) -> Result<Vec<InvitationEntry>, Error> {
    open(app, &mut *app.store().read().await?, &proof.on().project.id).await
}

pub(super) async fn open(app: &App, db: &mut Db, project: &ProjectId) -> Result<Vec<InvitationEntry>, Error> {
    let now = clock::now(db, app.store().dialect()).await?;
    let mut entries = Vec::new();
    for invitation in invitations::open(db, project, now).await? {
        let by = users::by_id(db, &invitation.invited_by).await?;
        entries.push(entry(invitation, by.map(|user| user.email).unwrap_or_default()));
    }
    Ok(entries)
}

/// Ends one: its link leads nowhere any more.
///
/// # Errors
/// [`Error::NotFound`] when the project has no such open one.
pub async fn revoke(app: &App, proof: &Authorized<ManageMembers>, id: &InvitationId) -> Result<(), Error> {
    let project = &proof.on().project.id;
    let mut tx = app.store().write().await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    let revoked = invitations::revoke(&mut tx, project, id, now).await?.ok_or(Error::NotFound("invitation"))?;
    let about = format!("took the invitation of {} back", revoked.email);
    let by = (proof.actor().initiator(), Some(project));
    audit::note(&mut tx, app, by, AuditKind::InvitationRevoked, about).await?;
    Ok(app.store().commit(tx).await?)
}

/// What a link leads to. Whoever has it may know: nobody guesses 256 bits.
///
/// # Errors
/// When the store fails.
pub async fn look(app: &App, code: &Secret, actor: Option<&Actor>) -> Result<Joining, Error> {
    let mut db = app.store().read().await?;
    let now = clock::now(&mut db, app.store().dialect()).await?;
    let (invitation, project, invited_by) = match usable(&mut db, code, now).await {
        Ok(found) => found,
        Err(Error::Conflict(refusal)) => return Ok(Joining::Closed(refusal)),
        Err(other) => return Err(other),
    };
    let has_account = users::by_email(&mut db, &invitation.email).await?.is_some();
    let (email, roles, me) = (invitation.email, invitation.roles, actor.map(Actor::me));
    Ok(Joining::Open { project, email, roles, invited_by, has_account, me })
}

/// Who accepts.
#[derive(Debug, Clone, Copy)]
pub enum Guest<'a> {
    /// Logged in, with the address that was invited.
    Known(&'a Actor),
    /// Gets an account with this password.
    New { password: &'a Secret, from: IpAddr },
}

/// Accepts an invitation: the one who does is a member now, with an account.
///
/// # Errors
/// [`Error::Conflict`] when the link leads nowhere any more or the address has an account, [`Error::Forbidden`] for
/// somebody else than was invited, [`Error::Invalid`] for a password that can't be used.
pub async fn accept(app: &App, code: &Secret, guest: Guest<'_>) -> Result<(Actor, ProjectId), Error> {
    let (invitation, ..) = usable(&mut *app.store().read().await?, code, app.now().await?).await?;
    let email = invitation.email.clone();
    let (actor, user) = match guest {
        Guest::Known(actor) if actor.me().email == email => (actor.clone(), None),
        Guest::Known(actor) => {
            let me = actor.me().email;
            let refusal = Refusal::new(format!("This invitation is for {email}; you are logged in as {me}."));
            return Err(Error::Forbidden(refusal.instead("Log out, and open the link again.")));
        }
        Guest::New { password, from } => {
            accounts::slow_down(app, from, &email)?;
            let user = accounts::new_user(app, &email, password, Kind::Member).await?;
            (accounts::actor(user.clone(), Authority::Session).at(Some(from)), Some(user))
        }
    };
    let mut tx = app.store().write().await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    members::lock(&mut tx, &invitation.project).await?;
    // Once more: somebody may have been faster.
    let (invitation, project, invited_by) = usable(&mut tx, code, now).await?;
    if !invitations::accept(&mut tx, &invitation.id, now).await? {
        return Err(closed("was used already"));
    }
    if let Some(user) = &user {
        users::insert(&mut tx, user).await.map_err(|error| match error {
            store::Error::Taken(_) => Error::Conflict(
                Refusal::new(format!("There is an account for {email} by now."))
                    .instead("Log in, and open the link again."),
            ),
            other => other.into(),
        })?;
        let about = format!("made the account {email} by an invitation");
        audit::note(&mut tx, app, (actor.initiator(), None), AuditKind::AccountMade, about).await?;
    }
    if members::by_project(&mut tx, &project.id).await?.iter().any(|member| member.user == *actor.user()) {
        return Err(Error::Conflict(Refusal::new("You are a member of the project already.")));
    }
    let source = (MemberSource::Console, now);
    members::set(&mut tx, &project.id, actor.user(), &invitation.roles, source).await?;
    let about = format!("joined as {}, invited by {invited_by}", invitation.roles);
    let by = (actor.initiator(), Some(&project.id));
    audit::note(&mut tx, app, by, AuditKind::MemberAdded, about).await?;
    app.store().commit(tx).await?;
    Ok((actor, project.id))
}

/// The invitation, its project, and who invited; [`Error::Conflict`] says why it leads nowhere.
async fn usable(db: &mut Db, code: &Secret, now: Timestamp) -> Result<(Invitation, Project, String), Error> {
    let found = invitations::by_hash(db, &digest(code.reveal().trim())).await?;
    let invitation = found.ok_or_else(|| closed("is not valid: perhaps a part of it is missing"))?;
    match &invitation {
        Invitation { accepted_at: Some(_), .. } => return Err(closed("was used already")),
        Invitation { revoked_at: Some(_), .. } => return Err(closed("was taken back, or replaced by a newer one")),
        Invitation { expires_at, .. } if *expires_at <= now => return Err(closed("is too old: it worked for a week")),
        _ => {}
    }
    let project = projects::by_id(db, &invitation.project).await?.ok_or_else(|| closed("leads to no project"))?;
    let by = users::open_by_id(db, &invitation.invited_by)
        .await?
        .ok_or_else(|| closed("was made by somebody whose account is closed"))?;
    if users::by_email(db, &invitation.email).await?.is_some_and(|user| user.closed_at.is_some()) {
        return Err(Error::Conflict(accounts::closed(&invitation.email)));
    }
    let standing = authz::standing_of(db, &by, &project).await?;
    if standing.may_in(Act::ManageMembers, &project.id).is_err() {
        return Err(closed("was made by somebody who may not invite any more"));
    }
    Ok((invitation, project, by.email))
}

fn closed(why: &str) -> Error {
    let instead = "Ask an admin of the project for a new one; if you have joined already, log in.";
    Error::Conflict(Refusal::new(format!("This invitation {why}.")).instead(instead))
}

fn entry(invitation: Invitation, invited_by: String) -> InvitationEntry {
    let Invitation { id, project, email, roles, created_at, expires_at, .. } = invitation;
    InvitationEntry { id, project, email, roles, invited_by, created_at, expires_at }
}

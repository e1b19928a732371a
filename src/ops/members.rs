//! Who is in a project, and as what (R1). Every change stands in the project's audit.

use super::audit::{self, Attempt};
use super::{App, Error, invitations};
use crate::authz::{Authorized, ManageMembers, ViewProject};
use crate::domain::UserId;
use crate::domain::audit::AuditKind;
use crate::domain::policy::members::may_become;
use crate::domain::policy::{Act, Roles};
use crate::domain::view::{MemberEntry, MembersPage, Offer};
use crate::store::Db;
use crate::store::members::{self, Member};

/// Everybody who sees the project sees who else does; invitations and when somebody was last seen are for those who
/// manage them.
///
/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ViewProject>) -> Result<MembersPage, Error> {
    let project = &proof.on().project;
    let verdict = proof.standing().may_in(Act::ManageMembers, &project.id);
    let mut db = app.store().read().await?;
    let all = members::by_project(&mut db, &project.id).await?;
    let admins = admins(&all);
    let mut entries = Vec::new();
    for member in all {
        let may = |becomes: Option<&Roles>, admins| {
            let allowed = may_become(&member.email, (&member.roles, member.source), becomes, without(&member, admins));
            Offer::from(verdict.clone().and(allowed))
        };
        entries.push(MemberEntry {
            // To something, at least.
            change: may(Some(&Roles::admin()), admins),
            remove: may(None, admins),
            project: project.id.clone(),
            is_closed: member.is_closed,
            is_me: member.user == *proof.actor().user(),
            last_seen_at: member.last_seen_at.filter(|_| verdict.is_ok()),
            since: member.since,
            source: member.source,
            roles: member.roles,
            email: member.email,
            user: member.user,
        });
    }
    let open = if verdict.is_ok() { invitations::open(app, &mut db, &project.id).await? } else { Vec::new() };
    Ok(MembersPage { project: project.clone(), members: entries, invitations: open, manage: verdict.into() })
}

/// # Errors
/// [`Error::NotFound`] when there is no such member, [`Error::Conflict`] with the reason when they can't get these.
pub async fn set(app: &App, proof: &Authorized<ManageMembers>, user: &UserId, roles: &Roles) -> Result<(), Error> {
    change(app, proof, user, Some(roles)).await
}

/// # Errors
/// As [`set`].
pub async fn remove(app: &App, proof: &Authorized<ManageMembers>, user: &UserId) -> Result<(), Error> {
    change(app, proof, user, None).await
}

async fn change(
    app: &App,
    proof: &Authorized<ManageMembers>,
    user: &UserId,
    becomes: Option<&Roles>,
) -> Result<(), Error> {
    Attempt::of(proof).recorded(app, changed(app, proof, user, becomes).await).await
}

async fn changed(
    app: &App,
    proof: &Authorized<ManageMembers>,
    user: &UserId,
    becomes: Option<&Roles>,
) -> Result<(), Error> {
    let project = &proof.on().project.id;
    let mut tx = app.store().write().await?;
    members::lock(&mut tx, project).await?;
    let (member, admins) = find(&mut tx, proof, user).await?;
    may_become(&member.email, (&member.roles, member.source), becomes, without(&member, admins))
        .map_err(Error::Conflict)?;
    let (kind, about) = match becomes {
        Some(roles) if *roles == member.roles => return Ok(()),
        Some(roles) => {
            members::set(&mut tx, project, user, roles, (member.source, app.now().await?)).await?;
            (AuditKind::MemberChanged, format!("made {} {roles}, who was {}", member.email, member.roles))
        }
        None => {
            members::remove(&mut tx, project, user).await?;
            (AuditKind::MemberRemoved, format!("removed {}, who was {}", member.email, member.roles))
        }
    };
    audit::note(&mut tx, app, (proof.actor().initiator(), Some(project)), kind, about).await?;
    Ok(app.store().commit(tx).await?)
}

async fn find(db: &mut Db, proof: &Authorized<ManageMembers>, user: &UserId) -> Result<(Member, usize), Error> {
    let all = members::by_project(db, &proof.on().project.id).await?;
    let admins = admins(&all);
    let member = all.into_iter().find(|member| member.user == *user).ok_or(Error::NotFound("member"))?;
    Ok((member, admins))
}

/// How many admins there are, this one among them: without one whose account is closed the others are as many as before.
fn without(member: &Member, admins: usize) -> usize {
    admins + usize::from(member.is_closed && member.roles.is_admin())
}

/// With open accounts.
fn admins(members: &[Member]) -> usize {
    members.iter().filter(|member| member.roles.is_admin() && !member.is_closed).count()
}

//! `user:list`, `user:add`, `user:update`, `user:delete`; `invitation:list`, `invitation:delete`: who is in a project.

use super::arguments::{InvitationDelete, UserAdd, UserDelete, UserList, UserUpdate};
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use crate::domain::ids::ProjectId;
use crate::wire::BASE;
use crate::wire::member::{Invitation, Member};

pub fn list(command: &UserList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let members = session.ask(&project, |client| client.members(&project))?;
    if !members.is_empty() || command.list.format == Format::Json {
        table::write(&members, MEMBERS, &["email", "permissions", "source"], &command.list, talk)?;
    }
    if members.is_empty() { Err(Error::Empty(format!("The project {project} has no members"))) } else { Ok(()) }
}

pub fn add(command: &UserAdd, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let made = session.ask(&project, |client| client.invite(&project, &command.email, &command.roles))?;
    let roles = made.permissions.join(", ");
    talk.say(&format!("Invited {} into {project} as {roles}. The link works once, for seven days:", made.email));
    let base = session.client.base();
    let console = base.strip_suffix(BASE).unwrap_or(base);
    talk.answer(&format!("{console}{}", made.url.unwrap_or_default()))
}

pub fn update(command: &UserUpdate, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, member) = find(session, command.project.as_ref(), &command.email)?;
    let now = member.permissions.join(", ");
    let question = format!("Make {} {} instead of {now}?", member.email, command.roles.join(", "));
    confirm(&question, Stake::Harmless, answer, talk)?;
    let member = session.ask(&project, |client| client.set_member(&project, &member.user_id, &command.roles))?;
    talk.say(&format!("The roles of {} are now: {}.", member.email, member.permissions.join(", ")));
    Ok(())
}

pub fn delete(command: &UserDelete, answer: &AnswerFlags, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let (project, member) = find(session, command.project.as_ref(), &command.email)?;
    let question = format!("Remove {} from {project}?", member.email);
    confirm(&question, Stake::Destructive, answer, talk)?;
    session.ask(&project, |client| client.remove_member(&project, &member.user_id))?;
    talk.say(&format!("{} is removed from {project}.", member.email));
    Ok(())
}

pub fn invitations(command: &UserList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let open = session.ask(&project, |client| client.invitations(&project))?;
    if !open.is_empty() || command.list.format == Format::Json {
        table::write(&open, INVITATIONS, &["email", "permissions", "invited_by", "expires_at"], &command.list, talk)?;
    }
    if open.is_empty() { Err(Error::Empty(format!("No invitation into {project} is open"))) } else { Ok(()) }
}

pub fn revoke(command: &InvitationDelete, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let email = command.email.trim().to_lowercase();
    let open = session.ask(&project, |client| client.invitations(&project))?;
    let found = open.into_iter().find(|invitation| invitation.email == email);
    let found = found.ok_or_else(|| Error::Empty(format!("No invitation of {email} into {project} is open")))?;
    session.ask(&project, |client| client.revoke_invitation(&project, &found.id))?;
    talk.say(&format!("The invitation of {email} is taken back."));
    Ok(())
}

fn find(session: &Session, project: Option<&ProjectId>, email: &str) -> Result<(ProjectId, Member), Error> {
    let project = session.project(project)?;
    let email = email.trim().to_lowercase();
    let members = session.ask(&project, |client| client.members(&project))?;
    let found = members.into_iter().find(|member| member.email == email);
    let member = found.ok_or_else(|| Error::Refused {
        message: format!("{email} is not a member of {project}"),
        hint: Some("`user:list` shows its members, `user:add` invites somebody.".to_owned()),
    })?;
    Ok((project, member))
}

const MEMBERS: &[Column<Member>] = &[
    Column { key: "email", header: "Email", value: |member, _| member.email.clone().into() },
    Column { key: "permissions", header: "Roles", value: |member, _| member.permissions.join(", ").into() },
    Column { key: "source", header: "Managed in", value: |member, _| member.source.to_string().into() },
    Column { key: "id", header: "ID", value: |member, _| member.user_id.as_str().into() },
    Column {
        key: "granted_at",
        header: "Since",
        value: |member, look| member.granted_at.map(|at| look.dates.write(at)).into(),
    },
    Column {
        key: "last_seen_at",
        header: "Last seen",
        value: |member, look| member.last_seen_at.map(|at| look.dates.write(at)).into(),
    },
];

const INVITATIONS: &[Column<Invitation>] = &[
    Column { key: "email", header: "Email", value: |invitation, _| invitation.email.clone().into() },
    Column { key: "permissions", header: "Roles", value: |invitation, _| invitation.permissions.join(", ").into() },
    Column { key: "invited_by", header: "Invited by", value: |invitation, _| invitation.invited_by.clone().into() },
    Column {
        key: "expires_at",
        header: "Works until",
        value: |invitation, look| look.dates.write(invitation.expires_at).into(),
    },
    Column { key: "id", header: "ID", value: |invitation, _| invitation.id.as_str().into() },
    Column {
        key: "created_at",
        header: "Created",
        value: |invitation, look| look.dates.write(invitation.created_at).into(),
    },
];

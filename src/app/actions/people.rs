//! What a person can do about people: members, invitations, passwords, sessions.

use leptos::prelude::*;

use super::{act, answer, filled};
use crate::app::flash::Flash;
use crate::app::once::Outcome;
use crate::app::present::at;
use crate::app::visit::{self, Visit};
use crate::authz::{ManageMembers, Need};
use crate::domain::ids::ProjectId;
use crate::domain::policy::{AccountChange, Roles};
use crate::domain::problem::sentence;
use crate::domain::{InvitationId, Problem, Secret, UserId};
use crate::ops::invitations::{self, Guest};
use crate::ops::{self, Error};

/// What the four lists of a form chose: a role in the project, and one on each type or none.
fn roles(project: &str, types: [Option<String>; 3]) -> Result<Roles, Error> {
    let names = ["production", "staging", "development"];
    let on = |(kind, role): (&str, Option<String>)| filled(role).map(|role| format!("{kind}:{role}"));
    let words: Vec<String> = names.into_iter().zip(types).filter_map(on).chain([project.to_owned()]).collect();
    Roles::parse(words.iter().map(String::as_str)).map_err(|error| Error::invalid(sentence(&error.to_string())))
}

/// Invites an address and shows the link once.
#[server(prefix = "/actions", endpoint = "invite")]
pub async fn invite(
    project: ProjectId,
    email: String,
    project_role: String,
    production: Option<String>,
    staging: Option<String>,
    development: Option<String>,
    form: String,
) -> Result<(), Problem> {
    let origin = visit::origin();
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageMembers>(&actor, &project).await?;
        let roles = roles(&project_role, [production, staging, development])?;
        let made = invitations::create(&app, &proof, &email, roles).await?;
        let what = format!("The invitation of {} is made", made.entry.email);
        let url = format!("{origin}/join?code={}", made.code.reveal());
        Ok(Outcome { location: at::members(&project), flash: Some(Flash::Link { what, url }) })
    })
    .await
}

#[server(prefix = "/actions", endpoint = "revoke-invitation")]
pub async fn revoke_invitation(project: ProjectId, invitation: InvitationId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageMembers>(&actor, &project).await?;
        invitations::revoke(&app, &proof, &invitation).await?;
        Ok(Outcome::saying(at::members(&project), "The invitation is taken back: its link leads nowhere any more."))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "change-roles")]
pub async fn change_roles(
    project: ProjectId,
    user: UserId,
    project_role: String,
    production: Option<String>,
    staging: Option<String>,
    development: Option<String>,
    form: String,
) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageMembers>(&actor, &project).await?;
        let roles = roles(&project_role, [production, staging, development])?;
        ops::members::set(&app, &proof, &user, &roles).await?;
        Ok(Outcome::saying(at::members(&project), format!("The roles are now: {roles}.")))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "remove-member")]
pub async fn remove_member(project: ProjectId, user: UserId, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_project::<ManageMembers>(&actor, &project).await?;
        ops::members::remove(&app, &proof, &user).await?;
        let left = user == *actor.user();
        let location = if left { "/".to_owned() } else { at::members(&project) };
        Ok(Outcome::saying(location, "The member is removed, and may do nothing in the project any more."))
    })
    .await
}

/// Accepts an invitation: who is logged in joins, who is not gets an account.
#[server(prefix = "/actions", endpoint = "join")]
pub async fn join(code: Secret, password: Option<Secret>, repeated: Option<Secret>) -> Result<(), Problem> {
    answer(async {
        let app = visit::application()?;
        if let Ok(Visit { actor, .. }) = Visit::here().await {
            let (_, project) = invitations::accept(&app, &code, Guest::Known(&actor)).await?;
            return Ok(Outcome::at(at::project(&project)));
        }
        let password = same(password, repeated)?;
        let guest = Guest::New { password: &password, from: visit::place() };
        let (actor, project) = invitations::accept(&app, &code, guest).await?;
        Visit::begin(&actor).await?;
        Ok(Outcome::at(at::project(&project)))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "change-password")]
pub async fn change_password(present: Secret, password: Secret, repeated: Secret, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, session }| async move {
        let new = same(Some(password), Some(repeated))?;
        ops::account::change_password(&app, &actor, &session, (&present, &new)).await?;
        let text = "The password is changed, and your other sessions are ended. API tokens stay: they have lives of \
                    their own.";
        Ok(Outcome::saying("/account", text))
    })
    .await
}

#[server(prefix = "/actions", endpoint = "end-sessions")]
pub async fn end_sessions(form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, session }| async move {
        let ended = ops::account::end_other_sessions(&app, &actor, &session).await?;
        Ok(Outcome::saying("/account", format!("Your other sessions are ended: {ended}.")))
    })
    .await
}

/// Makes a link that sets an account's password, for an operator to hand on.
#[server(prefix = "/actions", endpoint = "reset-link")]
pub async fn reset_link(user: UserId, form: String) -> Result<(), Problem> {
    let origin = visit::origin();
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_operator(&actor, Need::Change).await?;
        let (email, code) = ops::account::reset_link(&app, &proof, &user).await?;
        let url = format!("{origin}/reset?code={}", code.reveal());
        let flash = Flash::Link { what: format!("The link for {email} is made"), url };
        Ok(Outcome { location: "/accounts".to_owned(), flash: Some(flash) })
    })
    .await
}

/// Closes an account, opens it again, or changes what it may beside its roles.
#[server(prefix = "/actions", endpoint = "change-account")]
pub async fn change_account(user: UserId, change: AccountChange, form: String) -> Result<(), Problem> {
    act(&form, |Visit { app, actor, .. }| async move {
        let proof = app.authorize_operator(&actor, Need::Change).await?;
        let changed = ops::people::change(&app, &proof, &user, change).await?;
        let text: Vec<String> = std::iter::once(changed.told).chain(changed.warnings).collect();
        Ok(Outcome::saying("/accounts", text.join(" ")))
    })
    .await
}

/// Sets a password by such a link.
#[server(prefix = "/actions", endpoint = "reset-password")]
pub async fn reset_password(code: Secret, password: Secret, repeated: Secret) -> Result<(), Problem> {
    answer(async {
        let new = same(Some(password), Some(repeated))?;
        ops::account::reset(&visit::application()?, visit::place(), &code, &new).await?;
        Ok(Outcome::saying("/login", "The password is set. Log in with it."))
    })
    .await
}

fn same(password: Option<Secret>, repeated: Option<Secret>) -> Result<Secret, Error> {
    match password {
        Some(password) if Some(&password) == repeated.as_ref() => Ok(password),
        Some(_) => Err(Error::invalid("the two passwords are not the same")),
        None => Err(Error::invalid("a password is needed for the new account")),
    }
}

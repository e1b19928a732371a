//! `/projects/:p/members`: who is in the project, as what, and who is invited.

use leptos::prelude::*;

use crate::app::flash::Flash;
use crate::app::page::{done, form_number, heading, link_made, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{date, icon, reason};
use crate::app::visit;
use crate::authz::ViewProject;
use crate::domain::environment::EnvironmentKind;
use crate::domain::ids::ProjectId;
use crate::domain::policy::{MemberSource, ProjectRole, Roles, TypeRole};
use crate::domain::view::{InvitationEntry, MemberEntry, MembersPage};
use crate::ops;

#[component]
pub fn Members() -> impl IntoView {
    load(
        |visit| async move {
            let project: ProjectId = visit::param("project")?;
            let proof = visit.app.authorize_project::<ViewProject>(&visit.actor, &project).await?;
            ops::members::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: MembersPage) -> AnyView {
    let MembersPage { project, members, invitations, manage } = page;
    let way = vec![("/".to_owned(), "Projects".to_owned()), (at::project(&project.id), project.title.clone())];
    let refusal = present::refusal(&manage);
    let (may, count) = (refusal.is_none(), members.len());
    let nobody = members.is_empty().then(|| {
        view! { <p class="empty">"Nobody is in this project yet. Operators see it, and can invite its first admin."</p> }
    });
    let members = members.into_iter().map(|member| row(member, may)).collect_view();
    view! {
        <div class="head">
            {heading("Members".to_owned(), way)}
            <p class="lead">
                "Roles decide what somebody may do. Admin in the project is admin everywhere; other roles count for one \
                 type of environment, and types without a role are not seen."
            </p>
        </div>
        {done()}
        {link_made("Copy it now and hand it on: it is shown this once, works once, for this address, for seven days.")}
        {problem("change-roles")}
        {problem("remove-member")}
        {problem("revoke-invitation")}
        <div class="columns columns-even">
            <section class="panel" aria-labelledby="members">
                <header class="panel-head">
                    <h2 id="members">"Members"</h2>
                    <span class="panel-note">{count.to_string()}</span>
                </header>
                {refusal.clone().map(|text| reason("manage-reason".to_owned(), text))}
                {nobody}
                <ul class="tokens">{members}</ul>
            </section>
            <section class="panel" aria-labelledby="invite">
                <header class="panel-head"><h2 id="invite">"Invite somebody"</h2></header>
                {problem("invite")}
                {invite(&project.id, may)}
                {may.then(|| open(&project.id, invitations))}
            </section>
        </div>
    }
    .into_any()
}

fn row(member: MemberEntry, may: bool) -> AnyView {
    let MemberEntry { project, user, email, roles, source, since, last_seen_at, is_me, is_closed, change, remove } =
        member;
    let seen = may.then(|| match last_seen_at {
        Some(at) => view! { <span>"last seen "{date(present::moment(at))}</span> }.into_any(),
        None => view! { <span>"never seen"</span> }.into_any(),
    });
    let tags = roles.words().into_iter().map(|role| view! { <span class="tag">{role}</span> }).collect_view();
    let acts = may.then(|| acts(&project, &user.to_string(), &email, &roles, (&change, &remove)));
    view! {
        <li class="token">
            <div>
                <p class="token-name">
                    {email.clone()}
                    {is_me.then(|| view! { <span class="tag tag-strong">"you"</span> })}
                    {is_closed.then(|| view! { <span class="tag">"account closed"</span> })}
                </p>
                <p class="facts">{tags}</p>
                <p class="facts facts-low">
                    {since.map(|at| view! { <span>"since "{date(present::moment(at))}</span> })}
                    {seen}
                    {(source == MemberSource::File).then(|| view! { <span>"from the operator's file"</span> })}
                </p>
                {acts}
            </div>
        </li>
    }
    .into_any()
}

fn acts(
    project: &ProjectId,
    user: &str,
    email: &str,
    roles: &Roles,
    (change, remove): (&crate::domain::view::Offer, &crate::domain::view::Offer),
) -> AnyView {
    let label = format!(" of {email}");
    let why = present::refusal(change);
    let (disabled, id) = (why.is_some(), format!("why-{user}"));
    if disabled {
        let text = why.unwrap_or_default();
        return view! {
            <button type="button" class="button button-small" disabled aria-describedby=id.clone()>
                "Change roles"<span class="unseen">{label}</span>
            </button>
            {reason(id, text)}
        }
        .into_any();
    }
    let stays = present::refusal(remove);
    let hidden = |name: &'static str, value: String| view! { <input type="hidden" name=name value=value/> };
    let removal = match stays {
        Some(text) => reason(id, text).into_any(),
        None => view! {
            <form method="post" action="/actions/remove-member">
                {form_number()}
                {hidden("project", project.to_string())}
                {hidden("user", user.to_owned())}
                <button class="button button-small">
                    {icon("trash")}<span>"Remove from the project"<span class="unseen">{format!(" {email}")}</span></span>
                </button>
            </form>
        }
        .into_any(),
    };
    view! {
        <details class="more">
            <summary>"Change roles, or remove"<span class="unseen">{label}</span></summary>
            <form method="post" action="/actions/change-roles" class="form">
                {form_number()}
                {hidden("project", project.to_string())}
                {hidden("user", user.to_owned())}
                {lists(user, roles)}
                <button class="button button-small">"Save the roles"</button>
            </form>
            {removal}
        </details>
    }
    .into_any()
}

/// Four lists: the role in the project, and one for each type. `of`: makes their ids different.
fn lists(of: &str, roles: &Roles) -> AnyView {
    let project = [(ProjectRole::Viewer, "as chosen below"), (ProjectRole::Admin, "admin everywhere")];
    let project = project.into_iter().map(|(role, text)| {
        let chosen = roles.is_admin() == (role == ProjectRole::Admin);
        view! { <option value=role.as_str() selected=chosen>{text}</option> }
    });
    let types = EnvironmentKind::ALL.into_iter().map(|kind| {
        let id = format!("{kind}-{of}");
        let now = roles.types.get(&kind).copied();
        let choices = [
            (None, "not seen"),
            (Some(TypeRole::Viewer), "viewer: sees the history"),
            (Some(TypeRole::Contributor), "contributor: sees the history"),
            (Some(TypeRole::Admin), "admin: takes and restores snapshots"),
        ];
        let choices = choices.into_iter().map(|(role, text)| {
            view! { <option value=role.map(TypeRole::as_str).unwrap_or_default() selected=role == now>{text}</option> }
        });
        view! {
            <div class="field">
                <label for=id.clone()>{present::type_word(kind)}</label>
                <select id=id name=kind.as_str()>{choices.collect_view()}</select>
            </div>
        }
    });
    let id = format!("project-{of}");
    view! {
        <div class="field">
            <label for=id.clone()>"In the project"</label>
            <select id=id name="project_role">{project.collect_view()}</select>
        </div>
        <div class="lists">{types.collect_view()}</div>
    }
    .into_any()
}

fn invite(project: &ProjectId, may: bool) -> AnyView {
    let kept = |field| Flash::kept("invite", field);
    let mut roles = Roles { project: Some(ProjectRole::Viewer), ..Roles::default() };
    for kind in EnvironmentKind::ALL {
        let was = kept(kind.as_str());
        let role = was.map_or(Some(TypeRole::Viewer), |word| word.parse().ok());
        roles.types.extend(role.map(|role| (kind, role)));
    }
    if kept("project_role").as_deref() == Some("admin") {
        roles.project = Some(ProjectRole::Admin);
    }
    view! {
        <form method="post" action="/actions/invite" class="form">
            {form_number()}
            <input type="hidden" name="project" value=project.to_string()/>
            <fieldset class="options" disabled=!may>
                <legend class="unseen">"Whom, and as what"</legend>
                <div class="field">
                    <label for="email">"E-mail address"</label>
                    <input id="email" name="email" type="email" autocomplete="off" required value=kept("email")/>
                </div>
                {lists("new", &roles)}
                <button class="button button-main" disabled=!may aria-describedby=(!may).then_some("manage-reason")>
                    {icon("key")}<span>"Make the link"</span>
                </button>
                <p class="help">
                    "No mail is sent: you get a link to hand on. Who has an account logs in with it, anybody else makes one."
                </p>
            </fieldset>
        </form>
    }
    .into_any()
}

fn open(project: &ProjectId, invitations: Vec<InvitationEntry>) -> AnyView {
    if invitations.is_empty() {
        return view! { <p class="help">"No invitation is open."</p> }.into_any();
    }
    let rows = invitations.into_iter().map(|invitation| {
        let InvitationEntry { id, email, roles, invited_by, expires_at, .. } = invitation;
        view! {
            <li class="token">
                <div>
                    <p class="token-name">{email.clone()}</p>
                    <p class="facts"><span>{format!("as {roles}")}</span><span>{format!("invited by {invited_by}")}</span></p>
                    <p class="facts facts-low"><span>"works until "{date(present::moment(expires_at))}</span></p>
                </div>
                <form method="post" action="/actions/revoke-invitation">
                    {form_number()}
                    <input type="hidden" name="project" value=project.to_string()/>
                    <input type="hidden" name="invitation" value=id.to_string()/>
                    <button class="button button-small">
                        {icon("trash")}<span>"Take back"<span class="unseen">{format!(" the invitation of {email}")}</span></span>
                    </button>
                </form>
            </li>
        }
    });
    view! { <h3 class="section-title">"Open invitations"</h3><ul class="tokens">{rows.collect_view()}</ul> }.into_any()
}

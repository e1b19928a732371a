//! `…/snapshots/:name`: what is in it, and the proof of how it was taken (R15, R18).

use leptos::prelude::*;

use crate::app::downloads;
use crate::app::islands::CopyButton;
use crate::app::model::{Condition, Door, Download, Tone};
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{Weight, condition, date, door, download, downloads_reason, icon, reason};
use crate::app::visit;
use crate::authz::ViewHistory;
use crate::domain::SnapshotName;
use crate::domain::bytes::{counted, grouped};
use crate::domain::dump::Form;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::manifest::{Manifest, MountEntry, ServiceEntry, nouns};
use crate::domain::policy::retention::{Decision, Hold};
use crate::domain::snapshot::{Consistency, Origin, Proof, Snapshot as Taken};
use crate::domain::view::{Care, Offer, Part, SnapshotPage};
use crate::ops;

#[component]
pub fn Snapshot() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let name: SnapshotName = visit::param("snapshot")?;
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            ops::snapshots::page(&visit.app, &proof, &name).await
        },
        show,
    )
}

fn show(page: SnapshotPage) -> AnyView {
    let SnapshotPage { project, environment, snapshot, manifest, taken_by, restore, dump, care, decision } = page;
    let refusal = present::refusal(&restore);
    let to = Door { href: at::restore(&project.id, &environment.name, &snapshot.name), refusal: refusal.clone() };
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title.clone()),
        (at::environment(&project.id, &environment.name), environment.title.clone()),
    ];
    let by = taken_by.map(|(activity, who)| {
        let href = at::activity(&project.id, &activity);
        view! { <div><dt>"Taken by"</dt><dd><a href=href>{who}</a></dd></div> }
    });
    let expires = match snapshot.expires_at {
        Some(instant) => date(present::moment(instant)).into_any(),
        None => "not by age".into_any(),
    };
    let unrestorable = snapshot.drill_failed_at.map(|at| {
        view! { <div><dt>"Restore failed when tried"</dt><dd>{date(present::moment(at))}</dd></div> }
    });
    let note = snapshot.note.clone().map(|note| view! { <p class="lead">{format!("“{note}”")}</p> });
    view! {
        <div class="head">
            {heading(format!("Snapshot of {}", environment.name), way)}
            <p class="facts">
                <span class="name name-large">{snapshot.name.to_string()}</span>
                <CopyButton text=snapshot.name.to_string()/>
            </p>
            {note}
        </div>
        {problem(downloads::ACTION)}
        <div class="condition">
            {condition(consistency(&snapshot))}
            <div class="condition-act">
                {door(to, Weight::Main, "restore", "Restore", None, "restore-reason".to_owned())}
            </div>
            {refusal.map(|text| reason("restore-reason".to_owned(), text))}
        </div>
        <section class="panel" aria-label="Facts">
            <dl class="figures">
                <div><dt>"Shows"</dt><dd>{date(present::moment(snapshot.taken_at))}</dd></div>
                <div><dt>"Size"</dt><dd>{snapshot.size.to_string()}</dd></div>
                <div><dt>"Added to storage"</dt><dd>{snapshot.added.to_string()}</dd></div>
                <div><dt>"Expires"</dt><dd>{expires}</dd></div>
                <div><dt>"Origin"</dt><dd>{snapshot.origin.to_string()}</dd></div>
                {by}
                {unrestorable}
            </dl>
        </section>
        {keeping(&project.id, &environment.name, &snapshot, &care, decision)}
        {snapshot.proof.map(proof)}
        {contents(manifest, &at::snapshot(&project.id, &environment.name, &snapshot.name), &dump)}
    }
    .into_any()
}

/// What becomes of it, and what can be done about that (R13, R14).
fn keeping(
    project: &ProjectId,
    environment: &EnvironmentName,
    snapshot: &Taken,
    care: &Care,
    decision: Option<Decision>,
) -> AnyView {
    let subject = || {
        view! {
            {form_number()}
            <input type="hidden" name="project" value=project.to_string()/>
            <input type="hidden" name="environment" value=environment.to_string()/>
            <input type="hidden" name="snapshot" value=snapshot.name.to_string()/>
        }
    };
    let said = decision.map(|decision| {
        let holds = decision.holds.iter().map(Hold::in_words).collect::<Vec<_>>().join(" ");
        view! { <p>{decision.reason}" "{holds}</p> }
    });
    let refused = present::refusal(&care.protect);
    let closed = refused.is_some();
    let described = closed.then_some("protect-reason");
    let protection = match &snapshot.protection {
        Some(_) => view! {
            <form method="post" action="/actions/unprotect-snapshot" class="form">
                {subject()}
                <div class="buttons">
                    <button class="button" disabled=closed aria-describedby=described>
                        {icon("key")}<span>"Take the protection off"</span>
                    </button>
                </div>
            </form>
        }
        .into_any(),
        None => view! {
            <form method="post" action="/actions/protect-snapshot" class="form">
                {subject()}
                <div class="field">
                    <label for="protect-note">"Keep it for "<span class="optional">"optional"</span></label>
                    <input id="protect-note" name="note" maxlength="500" placeholder="the audit in spring" disabled=closed/>
                </div>
                <div class="buttons">
                    <button class="button" disabled=closed aria-describedby=described>
                        {icon("key")}<span>"Protect it"</span>
                    </button>
                </div>
            </form>
        }
        .into_any(),
    };
    let no_delete = present::refusal(&care.delete);
    let cannot = no_delete.is_some();
    view! {
        <section class="panel" aria-labelledby="keeping">
            <header class="panel-head">
                <h2 id="keeping">"How long it is kept"</h2>
                <a class="button button-small" href=at::retention(project, environment)>"All snapshots"</a>
            </header>
            {problem("protect-snapshot")}
            {problem("unprotect-snapshot")}
            {problem("delete-snapshot")}
            {said}
            {protection}
            {refused.map(|text| reason("protect-reason".to_owned(), text))}
            <details class="more">
                <summary>"Delete it"</summary>
                <form method="post" action="/actions/delete-snapshot" class="form confirm">
                    {subject()}
                    <label class="check">
                        <input type="checkbox" name="confirmed" value=snapshot.name.to_string() required disabled=cannot/>
                        <span>{format!("Delete the snapshot {}. For 3 days that can be taken back.", snapshot.name)}</span>
                    </label>
                    <div class="buttons">
                        <button
                            class="button button-danger"
                            disabled=cannot
                            aria-describedby=cannot.then_some("delete-reason")
                        >
                            {icon("trash")}<span>"Delete it"</span>
                        </button>
                    </div>
                    {no_delete.map(|text| reason("delete-reason".to_owned(), text))}
                </form>
            </details>
        </section>
    }
    .into_any()
}

fn consistency(snapshot: &Taken) -> Condition {
    let (tone, what) = match snapshot.consistency {
        Consistency::EachService if snapshot.origin == Origin::Safety => (
            Tone::Good,
            "What a restore replaced, as it stood behind the closed gate. Whether something wrote past the gate then was not \
             looked at.",
        ),
        Consistency::Consistent => (Tone::Good, "Consistent: every service and every file at one instant."),
        Consistency::EachService => {
            (Tone::Attention, "Each service is consistent in itself, but something wrote past the gate meanwhile.")
        }
        Consistency::Live => {
            (Tone::Attention, "Live: taken while the site was writing; its parts may be some seconds apart.")
        }
    };
    let proof = snapshot.proof.as_ref();
    let sentence = proof.map_or_else(|| what.to_owned(), |proof| format!("{what} {}", proof.sentence()));
    Condition { tone, sentence }
}

fn proof(proof: Proof) -> AnyView {
    let points = proof.points.into_iter().map(|point| {
        let moved = point.after_drain != point.after_views;
        let views = if moved { format!("moved to {}", point.after_views) } else { "unmoved".to_owned() };
        view! {
            <tr>
                <th scope="row" data-label="Part" class="mono">{point.of}</th>
                <td data-label="When the gate had closed" class="mono wrap">{point.after_drain}</td>
                <td data-label="When all was open" class="mono wrap">{views}</td>
            </tr>
        }
    });
    let points = points.collect_view();
    let phases = proof.phases.into_iter().map(|phase| {
        view! { <div><dt>{phase.name}</dt><dd>{present::micros(phase.micros)}</dd></div> }
    });
    let phases: Vec<_> = phases.collect();
    view! {
        <section class="panel" aria-labelledby="proof">
            <header class="panel-head"><h2 id="proof">"How it was taken"</h2></header>
            <dl class="figures">
                <div><dt>"Gate closed"</dt><dd>{present::micros(proof.closed_us)}</dd></div>
                <div><dt>"Of which draining"</dt><dd>{present::micros(proof.drain_us)}</dd></div>
                <div><dt>"Requests that waited"</dt><dd>{grouped(proof.waited)}</dd></div>
                <div><dt>"Longest wait"</dt><dd>{present::micros(proof.longest_wait_us)}</dd></div>
                <div><dt>"Requests lost"</dt><dd>{grouped(proof.lost)}</dd></div>
            </dl>
            {(!points.is_empty()).then(|| view! {
                <table class="plain">
                    <caption>"Where each part stood while the gate was closed"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Part"</th>
                            <th scope="col">"When the gate had closed"</th>
                            <th scope="col">"When all was open"</th>
                        </tr>
                    </thead>
                    <tbody>{points}</tbody>
                </table>
            })}
            {(!phases.is_empty()).then(|| view! {
                <details class="more"><summary>"Time by phase"</summary><dl class="figures">{phases}</dl></details>
            })}
        </section>
    }
    .into_any()
}

fn contents(manifest: Manifest, here: &str, dump: &Offer) -> AnyView {
    let Manifest { services, mounts, .. } = manifest;
    let refusal = present::refusal(dump).filter(|_| !services.is_empty());
    let services = services.into_iter().map(|entry| {
        let part = Part { name: entry.name.to_string(), kind: entry.kind.clone() };
        let of = Form::of(&entry.kind).map(|_| present::download(here, &part, dump));
        service(entry, of)
    });
    view! {
        <section class="panel" aria-labelledby="contents">
            <header class="panel-head"><h2 id="contents">"Contents"</h2></header>
            {downloads_reason(refusal)}
            <ul class="contents">
                {services.collect_view()}
                {mounts.into_iter().map(mount).collect_view()}
            </ul>
            <p class="reason">
                {icon("info")}<span>"Code is not part of a snapshot: it is restored by deploying it."</span>
            </p>
        </section>
    }
    .into_any()
}

fn service(entry: ServiceEntry, of: Option<Download>) -> AnyView {
    let held = entry.facts.in_words(&entry.kind);
    let (what, place) = nouns(&entry.kind);
    let rows = entry.facts.rows.into_iter().map(|(table, rows)| {
        view! { <div><dt class="mono">{table}</dt><dd>{counted(rows, what)}</dd></div> }
    });
    let rows = rows.collect_view();
    view! {
        <li class="content">
            {icon("database")}
            <div>
                <p class="content-name"><span class="mono">{entry.name.to_string()}</span></p>
                <p class="facts">
                    <span>{format!("{} {}", present::software(&entry.kind), entry.version)}</span>
                    <span>{held}</span>
                </p>
                <details class="more">
                    <summary>{format!("Number of {what}s by {place}")}</summary>
                    <dl class="figures">{rows}</dl>
                </details>
                {limits(entry.limits)}
                {of.map(download)}
            </div>
        </li>
    }
    .into_any()
}

fn mount(entry: MountEntry) -> AnyView {
    let size = crate::domain::Bytes(entry.bytes);
    let excluded = (!entry.exclude.is_empty())
        .then(|| view! { <p class="limits">{format!("Left out: {}.", entry.exclude.join(", "))}</p> });
    view! {
        <li class="content">
            {icon("folder")}
            <div>
                <p class="content-name"><span class="mono">{entry.name.to_string()}</span></p>
                <p class="facts"><span>{counted(entry.files, "file")}</span><span>{size.to_string()}</span></p>
                {excluded}
                {limits(entry.limits)}
            </div>
        </li>
    }
    .into_any()
}

fn limits(limits: Vec<String>) -> impl IntoView {
    limits.into_iter().map(|limit| view! { <p class="limits">{limit}</p> }).collect_view()
}

//! `/projects/:p/tickets/:id/evidence`: who did what with a ticket, when, and with what result and proof; to be printed, or
//! kept as JSON (R28).

use leptos::prelude::*;

use super::ticket::paragraphs;
use crate::app::page::{heading, load};
use crate::app::present::{self, at};
use crate::app::views::icon;
use crate::app::visit;
use crate::authz::ViewTicket;
use crate::domain::ids::ProjectId;
use crate::domain::snapshot::Proof;
use crate::domain::view::{Evidence as Exported, Run, Step};
use crate::domain::{PartName, TicketId, Timestamp};
use crate::ops;

#[component]
pub fn Evidence() -> impl IntoView {
    load(
        |visit| async move {
            let (project, ticket): (ProjectId, TicketId) = (visit::param("project")?, visit::param("ticket")?);
            let proof = visit.app.authorize_ticket::<ViewTicket>(&visit.actor, &project, &ticket).await?;
            ops::tickets::evidence(&visit.app, &proof).await
        },
        show,
    )
}

/// In UTC to the second: it is read elsewhere.
fn instant(at: Timestamp) -> String {
    format!("{} UTC", at.table())
}

fn show(evidence: Exported) -> AnyView {
    let Exported { exported_at, exported_by, region, project_title, ticket, steps, .. } = evidence;
    let here = at::ticket(&ticket.project, &ticket.id);
    let way = vec![(here.clone(), "Ticket".to_owned())];
    let wanted = &ticket.wanted;
    let parts: Vec<String> = wanted.scope.named().map(PartName::in_words).collect();
    let parts = if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") };
    let after = wanted.target.branch_from.as_ref().map(|parent| format!(", made after {parent}")).unwrap_or_default();
    let facts = [
        ("Ticket", ticket.id.to_string()),
        ("State", ticket.state.label().to_owned()),
        ("Project", format!("{project_title} ({})", ticket.project)),
        ("Region", region.to_string()),
        ("Snapshot", wanted.snapshot.to_string()),
        ("Shows", instant(wanted.taken_at)),
        ("Taken of", format!("{} ({})", wanted.source.name, wanted.source.kind)),
        ("Into", format!("{} ({}){after}", wanted.target.name, wanted.target.kind)),
        ("Parts", parts),
        ("Plan", wanted.plan_hash.clone()),
        ("Filed by", ticket.requester.name.clone()),
        ("Filed", instant(ticket.created_at)),
        ("Worked on by", ticket.claimer.as_ref().map_or_else(|| "nobody".to_owned(), |person| person.name.clone())),
    ];
    let facts = facts.map(|(term, text)| view! { <div><dt>{term}</dt><dd>{text}</dd></div> }).collect_view();
    view! {
        <div class="head">
            {heading(format!("Evidence: {} into {}", wanted.source.name, wanted.target.name), way)}
            <p class="facts">{format!("Exported by {exported_by}, {}", instant(exported_at))}</p>
            <p class="buttons no-print">
                <a class="button" href=format!("{here}/evidence.json") download>{icon("download")}<span>"As JSON"</span></a>
                <span class="help">"On paper without what surrounds it: print this page."</span>
            </p>
        </div>
        <section class="panel" aria-labelledby="ticket">
            <header class="panel-head"><h2 id="ticket">"The ticket"</h2></header>
            <dl class="figures">{facts}</dl>
            <blockquote class="said">{paragraphs(&wanted.reason)}</blockquote>
        </section>
        <section class="panel" aria-labelledby="steps">
            <header class="panel-head"><h2 id="steps">"What was done"</h2></header>
            <ol class="steps">{steps.into_iter().map(step).collect_view()}</ol>
        </section>
    }
    .into_any()
}

fn step(step: Step) -> AnyView {
    view! {
        <li>
            <p><strong>{instant(step.at)}</strong>" "<span class="entry-who">{step.who.name}</span>" "{step.what}</p>
            <p class="entry-meta">
                <span>{format!("activity {}", step.activity)}</span>
                <span>{format!("by {}", step.who.authority)}</span>
            </p>
            {step.text.map(|text| view! { <blockquote class="said">{paragraphs(&text)}</blockquote> })}
            {step.failure.map(|failure| view! { <p class="entry-failure">{failure}</p> })}
            {step.run.map(run)}
        </li>
    }
    .into_any()
}

fn run(run: Run) -> AnyView {
    let line =
        |term: &'static str, text: Option<String>| text.map(|text| view! { <div><dt>{term}</dt><dd>{text}</dd></div> });
    let lines =
        run.log.into_iter().map(|line| view! { <li><span>{instant(line.at)}</span><span>{line.message}</span></li> });
    view! {
        <dl class="figures">
            {line("Started", run.started_at.map(instant))}
            {line("Ended", run.completed_at.map(instant))}
            {line("Result", run.result.map(|result| result.to_string()))}
            {line("What it replaced is kept as", run.safety.map(|name| name.to_string()))}
        </dl>
        {run.proof.map(proof)}
        <ol class="log log-whole" aria-label="Log of the restore">{lines.collect_view()}</ol>
    }
    .into_any()
}

fn proof(proof: Proof) -> AnyView {
    let phases = proof.phases.iter().map(|phase| {
        view! { <div><dt>{phase.name.clone()}</dt><dd>{present::micros(phase.micros)}</dd></div> }
    });
    view! { <p>{proof.sentence()}</p><dl class="figures">{phases.collect_view()}</dl> }.into_any()
}

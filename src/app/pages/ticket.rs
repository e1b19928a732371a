//! `/projects/:p/tickets/:id`: what is asked for, what a run would do now, what happened; and what whoever looks may do:
//! the same page for support staff and for whoever filed it.

use std::collections::BTreeMap;

use leptos::prelude::*;

use super::restore::{hindered, list, overwritten, sentence_start};
use crate::app::flash::Flash;
use crate::app::model::Condition;
use crate::app::page::{heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{Must, condition, date, fields, icon, reason, text_area, ticket_state, tone};
use crate::app::visit;
use crate::authz::ViewTicket;
use crate::domain::ids::ProjectId;
use crate::domain::ticket::{Ticket as Filed, TicketAct, TicketState};
use crate::domain::time::span;
use crate::domain::view::{Offer, Step, TicketEntry, TicketPage};
use crate::domain::{PartName, TicketId};
use crate::ops;

#[component]
pub fn Ticket() -> impl IntoView {
    load(
        |visit| async move {
            let (project, ticket): (ProjectId, TicketId) = (visit::param("project")?, visit::param("ticket")?);
            let proof = visit.app.authorize_ticket::<ViewTicket>(&visit.actor, &project, &ticket).await?;
            ops::tickets::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: TicketPage) -> AnyView {
    let TicketPage { entry, project, is_own, is_staff, preflight, when_filed, changed, obstacles, steps } = page;
    let ticket = entry.ticket.clone();
    let way = match is_staff {
        true => vec![("/support/tickets".to_owned(), "Support queue".to_owned())],
        false => vec![
            ("/".to_owned(), "Projects".to_owned()),
            (at::project(&project.id), project.title.clone()),
            (at::tickets(&project.id), "Restore tickets".to_owned()),
        ],
    };
    let (source, target) = (&ticket.wanted.source.name, &ticket.wanted.target.name);
    let is_new = ticket.wanted.target.branch_from.is_some();
    let new = if is_new { "the new environment " } else { "" };
    let act = run(&entry, is_staff, is_new, !obstacles.is_empty());
    let looked = preflight.map(|preflight| {
        let untouched = preflight.untouched.iter().map(|part| sentence_start(&part.in_words())).collect();
        view! {
            {overwritten(preflight.changes, is_new, &when_filed)}
            {list("changed", "What is otherwise than when the ticket was filed", "info", changed)}
            {list("untouched", "What stays as it is", "check", untouched)}
            {list("expect", "What to expect", "clock", preflight.expectations)}
        }
    });
    let told = view! {
        {history(&ticket, steps)}
        {answer(&entry, is_staff, is_own)}
    };
    // Once it is over nothing is looked ahead at.
    let (below, beside) = if ticket.state.is_over() { (None, Some(told)) } else { (Some(told), None) };
    view! {
        <div class="head">
            {heading(format!("Ticket: {source} into {new}{target}"), way)}
            <p class="facts">
                {ticket_state(&ticket)}
                <span>{format!("filed by {}", ticket.requester.name)}{is_own.then_some(" (you)")}</span>
                {date(present::moment(ticket.created_at))}
                <span class="name">{ticket.id.to_string()}</span>
                <a href=format!("{}/evidence", at::ticket(&project.id, &ticket.id))>"Evidence"</a>
            </p>
        </div>
        {problem("ticket")}
        <div class="condition">{condition(Condition { tone: tone(&ticket), sentence: sentence(&entry) })}{handle(&entry, is_staff)}</div>
        <div class="columns columns-even">
            <div class="stack">
                {wanted(&ticket, &project.title, &entry)}
                {below}
            </div>
            <div class="stack">
                {hindered(obstacles)}
                {looked}
                {act}
                {beside}
            </div>
        </div>
    }
    .into_any()
}

/// How it stands, and for whom one waits.
fn sentence(entry: &TicketEntry) -> String {
    let ticket = &entry.ticket;
    let claimer = ticket.claimer.as_ref().map_or("Support staff", |claimer| claimer.name.as_str());
    match ticket.state {
        TicketState::Open => format!("Waiting for {} for somebody of the support staff.", span(entry.age)),
        TicketState::InProgress if ticket.run.is_some() => format!("{claimer} has started the restore."),
        TicketState::InProgress => format!("{claimer} works on it."),
        TicketState::Restored => format!("{claimer} restored it. Its snapshot is not held any more."),
        TicketState::Declined => format!("{claimer} declined it; the history says why."),
        TicketState::Withdrawn => format!("{} withdrew it.", ticket.requester.name),
    }
}

/// Claiming and handing back, for support staff; the restore that runs, for everybody.
fn handle(entry: &TicketEntry, is_staff: bool) -> AnyView {
    let ticket = &entry.ticket;
    let running = ticket.run.as_ref().map(|run| {
        let word = if ticket.state.is_over() { "The restore" } else { "Watch the restore" };
        view! { <a class="button" href=at::activity(&ticket.project, run)>{icon("restore")}<span>{word}</span></a> }
    });
    let (act, glyph, word) = match ticket.state {
        TicketState::Open => (TicketAct::Claim, "ticket", "Claim"),
        _ => (TicketAct::Release, "back", "Hand back to the queue"),
    };
    let shown = is_staff && !ticket.state.is_over();
    let refusal = entry.offers.get(&act).and_then(present::refusal).filter(|_| shown);
    let closed = refusal.is_some();
    let form = shown.then(|| {
        let class = if act == TicketAct::Claim { "button button-main" } else { "button" };
        view! {
            <form method="post" action="/actions/ticket">
                {fields(ticket)}
                <input type="hidden" name="act" value=act.as_str()/>
                <button class=class disabled=closed aria-describedby=closed.then_some("handle-reason")>
                    {icon(glyph)}<span>{word}</span>
                </button>
            </form>
        }
    });
    view! {
        <div class="condition-act">{running}{form}</div>
        {refusal.map(|text| reason("handle-reason".to_owned(), text))}
    }
    .into_any()
}

fn wanted(ticket: &Filed, project_title: &str, entry: &TicketEntry) -> AnyView {
    let wanted = &ticket.wanted;
    let (source, target) = (&wanted.source.name, &wanted.target.name);
    let snapshot = at::snapshot(&ticket.project, source, &wanted.snapshot);
    let into = match &wanted.target.branch_from {
        Some(parent) => view! { <span>{format!("{target}, made after {parent}")}</span> }.into_any(),
        None => view! { <a href=at::environment(&ticket.project, target)>{target.to_string()}</a> }.into_any(),
    };
    let parts: Vec<String> = wanted.scope.named().map(PartName::in_words).collect();
    let parts = if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") };
    view! {
        <section class="panel" aria-labelledby="wanted">
            <header class="panel-head">
                <h2 id="wanted">"What is asked for"</h2>
                <span class="panel-note">"Not changed since it was filed"</span>
            </header>
            <blockquote class="said">{paragraphs(&wanted.reason)}</blockquote>
            <dl class="figures">
                <div><dt>"Project"</dt><dd><a href=at::project(&ticket.project)>{project_title.to_owned()}</a></dd></div>
                <div><dt>"Region"</dt><dd>{entry.region.to_string()}</dd></div>
                <div><dt>"Snapshot"</dt><dd><a class="name" href=snapshot>{wanted.snapshot.to_string()}</a></dd></div>
                <div><dt>"Shows"</dt><dd>{date(present::moment(wanted.taken_at))}</dd></div>
                <div><dt>"Taken of"</dt><dd><a href=at::environment(&ticket.project, source)>{source.to_string()}</a></dd></div>
                <div><dt>"Into"</dt><dd>{into}</dd></div>
                <div><dt>"Parts"</dt><dd>{parts}</dd></div>
                <div><dt>"Plan"</dt><dd class="name">{wanted.plan_hash.clone()}</dd></div>
            </dl>
        </section>
    }
    .into_any()
}

pub(super) fn paragraphs(text: &str) -> impl IntoView + use<> {
    let lines: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.into_iter().map(|line| view! { <p>{line}</p> }).collect_view()
}

fn history(ticket: &Filed, steps: Vec<Step>) -> AnyView {
    let steps = steps.into_iter().map(|step| {
        // The reason of filing stands above.
        let text = step.text.filter(|_| step.act != Some(TicketAct::File));
        let run = step.run.map(|run| {
            let proof = run.proof.map(|proof| view! { <p>{proof.sentence()}</p> });
            view! {
                <p><a href=at::activity(&ticket.project, &step.activity)>"Its progress and log"</a></p>
                {proof}
            }
        });
        view! {
            <li>
                <p><span class="entry-who">{step.who.name}</span>" "{step.what}</p>
                <p class="entry-meta">{date(present::moment(step.at))}</p>
                {text.map(|text| view! { <blockquote class="said">{paragraphs(&text)}</blockquote> })}
                {run}
                {step.failure.map(|failure| view! { <p class="entry-failure">{failure}</p> })}
            </li>
        }
    });
    view! {
        <section class="panel" aria-labelledby="history">
            <header class="panel-head"><h2 id="history">"History"</h2></header>
            <ol class="steps">{steps.collect_view()}</ol>
        </section>
    }
    .into_any()
}

/// A text, and what can be said with it.
fn answer(entry: &TicketEntry, is_staff: bool, is_own: bool) -> AnyView {
    let ticket = &entry.ticket;
    let over = ticket.state.is_over();
    let mut acts = vec![(TicketAct::Comment, "Comment", "button button-main")];
    if over {
        acts.push((TicketAct::Reopen, "Reopen", "button"));
    } else {
        acts.extend(is_staff.then_some((TicketAct::Decline, "Decline", "button")));
        acts.extend(is_own.then_some((TicketAct::Withdraw, "Withdraw", "button")));
    }
    let refusal = |act: &TicketAct| entry.offers.get(act).and_then(present::refusal);
    let mut reasons: Vec<String> = acts.iter().filter_map(|(act, ..)| refusal(act)).collect();
    reasons.dedup();
    let buttons = acts.iter().map(|(act, word, class)| {
        let closed = refusal(act).is_some();
        view! {
            <button class=*class name="act" value=act.as_str() disabled=closed
                aria-describedby=closed.then_some("answer-reasons")>{*word}</button>
        }
    });
    let buttons = buttons.collect_view();
    let hint = match (over, is_staff) {
        (true, _) => "To reopen it, say what is still missing.",
        (false, true) => "To decline it, say why: whoever filed it reads that.",
        (false, false) => "Support staff and the project’s admins read it.",
    };
    view! {
        <form method="post" action="/actions/ticket" class="panel form" aria-labelledby="answer">
            <h2 id="answer">"Write"</h2>
            {fields(ticket)}
            <div class="field">
                <label for="text">"Comment or reason"</label>
                {text_area("text", 3, Flash::kept("ticket", "text"), Must::Nothing)}
                <p class="help" id="text-hint">{hint}</p>
            </div>
            <div class="buttons">{buttons}</div>
            <div id="answer-reasons">
                {reasons.into_iter().enumerate().map(|(at, text)| reason(format!("answer-{at}"), text)).collect_view()}
            </div>
        </form>
    }
    .into_any()
}

/// Starting the restore: exactly what the ticket says.
fn run(entry: &TicketEntry, is_staff: bool, is_new: bool, is_hindered: bool) -> Option<AnyView> {
    let ticket = &entry.ticket;
    if !is_staff || ticket.state.is_over() {
        return None;
    }
    let target = ticket.wanted.target.name.to_string();
    let (word, class, glyph) = match is_new {
        true => (format!("Make {target} from the snapshot"), "button button-main", "branch"),
        false => (format!("Overwrite {target} and restore"), "button button-danger", "restore"),
    };
    let refusal = entry.offers.get(&TicketAct::Run).and_then(|offer: &Offer| present::refusal(offer));
    let closed = is_hindered || refusal.is_some();
    let why = if refusal.is_some() { "run-reason" } else { "obstacles" };
    let view = view! {
        <form method="post" action="/actions/ticket" class="panel form confirm">
            {fields(ticket)}
            <input type="hidden" name="act" value=TicketAct::Run.as_str()/>
            <p>{format!("It is done in your name, for {}, and stands so in the feed.", ticket.requester.name)}</p>
            <div class="buttons">
                <button class=class disabled=closed aria-describedby=closed.then_some(why)>{icon(glyph)}<span>{word}</span></button>
            </div>
            {refusal.map(|text| reason("run-reason".to_owned(), text))}
        </form>
    };
    Some(view.into_any())
}

/// What stood there when it was filed, by the part's name.
pub(super) type WhenFiled = BTreeMap<String, String>;

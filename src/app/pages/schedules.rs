//! `…/schedules`: when snapshots are taken and restores tried by themselves; more of them, and changes (R8, R9, R29).

use leptos::prelude::*;

use crate::app::flash::Flash;
use crate::app::model::Tone;
use crate::app::page::{form_number, heading, load, problem};
use crate::app::present::{self, at};
use crate::app::views::{badge, date, icon, is_said, reason};
use crate::app::visit;
use crate::authz::ViewHistory;
use crate::domain::ids::{EnvironmentName, ProjectId};
use crate::domain::schedule::{Errand, REMOVED, ScheduleSource, ScheduleState};
use crate::domain::view::{ScheduleEntry, SchedulesPage};
use crate::ops;

#[component]
pub fn Schedules() -> impl IntoView {
    load(
        |visit| async move {
            let (project, environment): (ProjectId, EnvironmentName) =
                (visit::param("project")?, visit::param("environment")?);
            let proof = visit.app.authorize_environment::<ViewHistory>(&visit.actor, &project, &environment).await?;
            ops::schedules::page(&visit.app, &proof).await
        },
        show,
    )
}

fn show(page: SchedulesPage) -> AnyView {
    let (project, environment) = (page.project.clone(), page.environment.clone());
    let here = Here { project: project.id.to_string(), environment: environment.name.to_string() };
    let way = vec![
        ("/".to_owned(), "Projects".to_owned()),
        (at::project(&project.id), project.title),
        (at::environment(&project.id, &environment.name), environment.title),
    ];
    let asked = asked();
    let form = form(&page, &here);
    let drill_form = drill_form(&page, &here);
    let proven = proven(&page);
    let zones = page.zones.iter().map(|zone| view! { <option value=zone.clone()></option> }).collect_view();
    view! {
        <div class="head">
            {heading(format!("Schedules of {}", environment.name), way)}
            <p class="lead">
                {format!(
                    "What is done by itself, on the {} plan: snapshots, consistent and encrypted as all are, and restores that \
                     are tried.",
                    page.plan_title
                )}
            </p>
        </div>
        <datalist id="zones">{zones}</datalist>
        <div class="columns columns-even">
            <section class="panel" aria-labelledby="schedules">
                <header class="panel-head"><h2 id="schedules">"Schedules"</h2></header>
                {problem("change-schedule")}
                {problem("remove-schedule")}
                {list(page.schedules, &here)}
            </section>
            <section class="panel" aria-labelledby="new">
                <header class="panel-head"><h2 id="new">"Add a schedule"</h2></header>
                {(asked == Errand::Snapshot).then(|| problem("add-schedule"))}
                {form}
            </section>
            <section class="panel" aria-labelledby="drills">
                <header class="panel-head"><h2 id="drills">"Restores that are tried"</h2></header>
                <p class="help">
                    "The newest snapshot is loaded beside the live data, checked, and dropped again: the site neither waits \
                     nor changes."
                </p>
                {proven}
                {list(page.drills, &here)}
            </section>
            <section class="panel" aria-labelledby="new-drill">
                <header class="panel-head"><h2 id="new-drill">"Try restores more often"</h2></header>
                {(asked == Errand::Drill).then(|| problem("add-schedule"))}
                {drill_form}
            </section>
        </div>
    }
    .into_any()
}

/// What every form here sends along.
struct Here {
    project: String,
    environment: String,
}

impl Here {
    fn fields(&self) -> AnyView {
        let Self { project, environment } = self;
        view! {
            {form_number()}
            <input type="hidden" name="project" value=project.clone()/>
            <input type="hidden" name="environment" value=environment.clone()/>
        }
        .into_any()
    }
}

/// Which of the two forms was refused, if one was.
fn asked() -> Errand {
    Flash::kept("add-schedule", "what").and_then(|what| what.parse().ok()).unwrap_or_default()
}

/// What was typed into the form for that.
fn kept(what: Errand, field: &str) -> Option<String> {
    (asked() == what).then(|| Flash::kept("add-schedule", field)).flatten()
}

fn form(page: &SchedulesPage, here: &Here) -> AnyView {
    let kept = |field| kept(Errand::Snapshot, field);
    let refusal = present::refusal(&page.add);
    let closed = refusal.is_some();
    let (chosen, own) = (kept("preset"), kept("cron"));
    let is_own = own.as_ref().is_some_and(|own| !own.is_empty());
    let mut choices: Vec<(String, String)> = page.presets.clone();
    choices.push((String::new(), "as the expression below says".to_owned()));
    let choices = choices.into_iter().map(|(cron, words)| {
        let selected = if is_own { cron.is_empty() } else { chosen.as_ref() == Some(&cron) };
        let text = if cron.is_empty() { words } else { format!("{words} ({cron})") };
        view! { <option value=cron selected=selected>{text}</option> }
    });
    let zone = kept("time_zone").unwrap_or_else(|| "UTC".to_owned());
    view! {
        <form method="post" action="/actions/add-schedule" class="form">
            {here.fields()}
            <div class="field">
                <label for="preset">"When"</label>
                <select id="preset" name="preset" disabled=closed>{choices.collect_view()}</select>
            </div>
            <div class="field">
                <label for="cron">"Cron expression "<span class="optional">"optional, instead of the above"</span></label>
                <input
                    id="cron" name="cron" class="mono" maxlength="200" placeholder="30 4 * * 1-5" value=own
                    aria-describedby="cron-help" disabled=closed
                />
                <p class="help" id="cron-help">"Minute, hour, day of the month, month, day of the week."</p>
            </div>
            <div class="field">
                <label for="zone">"Time zone"</label>
                <input id="zone" name="time_zone" list="zones" required value=zone aria-describedby="zone-help" disabled=closed/>
                <p class="help" id="zone-help">
                    "As in Europe/Berlin. Where clocks change, a time that is skipped comes right after, one that occurs twice once."
                </p>
            </div>
            <p class="help">{page.advice.clone()}</p>
            <div class="buttons">
                <button class="button button-main" disabled=closed aria-describedby=closed.then_some("why-not")>
                    {icon("clock")}<span>"Add the schedule"</span>
                </button>
            </div>
            {refusal.map(|text| reason("why-not".to_owned(), text))}
        </form>
    }
    .into_any()
}

/// When a restore was last proven (R29).
fn proven(page: &SchedulesPage) -> AnyView {
    match &page.proven {
        Some(drill) => {
            let href = at::activity(&page.project.id, &drill.activity);
            let when = date(present::moment(drill.finished_at));
            view! { <p class="help">"Restore " <a href=href>"proven"</a> " on " {when}"."</p> }.into_any()
        }
        None => view! { <p class="help">"No restore has been proven yet."</p> }.into_any(),
    }
}

fn drill_form(page: &SchedulesPage, here: &Here) -> AnyView {
    let kept = |field| kept(Errand::Drill, field);
    let refusal = present::refusal(&page.add_drill);
    let closed = refusal.is_some();
    let mut choices = page.drill_presets.clone();
    choices.push((String::new(), "as the expression below says".to_owned()));
    let (chosen, own) = (kept("preset"), kept("cron"));
    let choices = choices.into_iter().map(|(cron, words)| {
        let selected = chosen.as_ref() == Some(&cron);
        view! { <option value=cron selected=selected>{words}</option> }
    });
    let zone = kept("time_zone").unwrap_or_else(|| "UTC".to_owned());
    view! {
        <form method="post" action="/actions/add-schedule" class="form">
            {here.fields()}
            <input type="hidden" name="what" value="drill"/>
            <div class="field">
                <label for="drill-preset">"When"</label>
                <select id="drill-preset" name="preset" disabled=closed>{choices.collect_view()}</select>
            </div>
            <div class="field">
                <label for="drill-cron">"Cron expression "<span class="optional">"optional, instead of the above"</span></label>
                <input
                    id="drill-cron" name="cron" class="mono" maxlength="200" placeholder="30 4 1 * *" value=own
                    disabled=closed
                />
            </div>
            <div class="field">
                <label for="drill-zone">"Time zone"</label>
                <input id="drill-zone" name="time_zone" list="zones" required value=zone disabled=closed/>
            </div>
            <div class="buttons">
                <button class="button" disabled=closed aria-describedby=closed.then_some("why-no-drill")>
                    {icon("clock")}<span>"Add it"</span>
                </button>
            </div>
            {refusal.map(|text| reason("why-no-drill".to_owned(), text))}
        </form>
    }
    .into_any()
}

fn list(entries: Vec<ScheduleEntry>, here: &Here) -> AnyView {
    if entries.is_empty() {
        let empty = view! {
            <div class="empty">
                <p class="empty-title">"Nothing is done by itself."</p>
                <p>"Without a schedule there is only what somebody asks for."</p>
            </div>
        };
        return empty.into_any();
    }
    view! { <ul class="tokens">{entries.into_iter().map(|entry| item(entry, here)).collect_view()}</ul> }.into_any()
}

fn item(entry: ScheduleEntry, here: &Here) -> AnyView {
    let (change, remove) = (present::refusal(&entry.change), present::refusal(&entry.remove));
    let (source, owner) = (entry.schedule.source, entry.schedule.owner.clone());
    let is_drill = entry.schedule.what == Errand::Drill;
    let whose = match (source, owner) {
        (ScheduleSource::Plan, _) if is_drill && entry.schedule.edited => "comes with production, changed".to_owned(),
        (ScheduleSource::Plan, _) if is_drill => "comes with production".to_owned(),
        (ScheduleSource::Plan, _) if entry.schedule.edited => "the plan's own, changed".to_owned(),
        (ScheduleSource::Plan, _) => "the plan's own".to_owned(),
        (ScheduleSource::Person, Some(owner)) => format!("in the name of {}", owner.email),
        (ScheduleSource::Person, None) => "in nobody's name".to_owned(),
    };
    let (tone, glyph, word) = match (entry.schedule.state, entry.overdue_since) {
        (ScheduleState::Active, Some(_)) => (Tone::Attention, "alert", "Overdue"),
        (ScheduleState::Active, None) => (Tone::Good, "check", "Active"),
        (ScheduleState::Paused, _) => (Tone::Quiet, "dash", "Paused"),
        (ScheduleState::Stopped, _) => (Tone::Bad, "cross", "Stopped"),
    };
    let overdue = entry.overdue_since.map(|since| {
        let what = if is_drill { "A try of a restore" } else { "A snapshot" };
        view! { <p class="help">{what}" has been due since "{date(present::moment(since))}" and is not there."</p> }
    });
    let runs = entry.runs.iter().map(|run| {
        let moment = present::moment(run.at);
        let there = (!is_said(&moment, &run.local)).then(|| format!("{} · ", run.local));
        view! { <li>{there}{date(moment)}</li> }
    });
    let runs = (!entry.runs.is_empty()).then(|| {
        view! { <p class="help">"Next:"</p><ul class="plain">{runs.collect_view()}</ul> }
    });
    let why = entry.schedule.stopped_because.clone().map(|why| view! { <p class="help">{why}</p> });
    let note = (change.is_none() && source == ScheduleSource::Plan)
        .then(|| view! { <p class="help">"You may change and pause it; it can't be removed."</p> });
    let said = format!("why-{}", entry.schedule.id);
    let forms = match change {
        Some(text) => reason(said, text).into_any(),
        None => changes(&entry, here),
    };
    let removal = remove.is_none().then(|| removal(&entry, here));
    view! {
        <li class="token">
            <div>
                <h3 class="token-name">{entry.when.clone()}{badge(tone, glyph, word)}</h3>
                <p class="facts">
                    <span class="mono">{entry.schedule.cron.clone()}</span>
                    <span>{entry.schedule.time_zone.clone()}</span>
                    <span>{whose}</span>
                </p>
                {why}{overdue}
                {entry.kept.clone().map(|kept| view! { <p class="help">{format!("Kept: {kept}.")}</p> })}
                {entry.advice.clone().map(|advice| view! { <p class="help">{advice}</p> })}
                {runs}{note}{forms}
            </div>
            {removal}
        </li>
    }
    .into_any()
}

/// To change, and to pause or resume.
fn changes(entry: &ScheduleEntry, here: &Here) -> AnyView {
    let id = entry.schedule.id.to_string();
    let label = format!(" {}", entry.when);
    let (wish, word) = match entry.schedule.state {
        ScheduleState::Active => ("pause", "Pause"),
        ScheduleState::Paused | ScheduleState::Stopped => ("resume", "Resume"),
    };
    let (cron_id, zone_id, preset_id) = (format!("cron-{id}"), format!("zone-{id}"), format!("preset-{id}"));
    let presets = (entry.schedule.what == Errand::Drill).then(|| {
        view! {
            <div class="field">
                <label for=preset_id.clone()>"How often"</label>
                <select id=preset_id name="preset">
                    <option value="">"as the expression below says"</option>
                    <option value="@weekly">"once a week"</option>
                    <option value="@monthly">"once a month"</option>
                </select>
            </div>
        }
    });
    view! {
        <details class="more">
            <summary>"Change"<span class="unseen">{label.clone()}</span></summary>
            <form method="post" action="/actions/change-schedule" class="form">
                {here.fields()}
                <input type="hidden" name="schedule" value=id.clone()/>
                {presets}
                <div class="field">
                    <label for=cron_id.clone()>"Cron expression"</label>
                    <input
                        id=cron_id name="cron" class="mono" maxlength="200" required
                        value=entry.schedule.cron.clone()
                    />
                </div>
                <div class="field">
                    <label for=zone_id.clone()>"Time zone"</label>
                    <input id=zone_id name="time_zone" list="zones" required value=entry.schedule.time_zone.clone()/>
                </div>
                <div class="buttons">
                    <button class="button">{icon("check")}<span>"Save"<span class="unseen">{label.clone()}</span></span></button>
                </div>
            </form>
        </details>
        <form method="post" action="/actions/change-schedule">
            {here.fields()}
            <input type="hidden" name="schedule" value=id/>
            <input type="hidden" name="wish" value=wish/>
            <button class="button button-small">{icon("clock")}<span>{word}<span class="unseen">{label}</span></span></button>
        </form>
    }
    .into_any()
}

fn removal(entry: &ScheduleEntry, here: &Here) -> AnyView {
    let label = format!(" {}", entry.when);
    view! {
        <form method="post" action="/actions/remove-schedule">
            {here.fields()}
            <input type="hidden" name="schedule" value=entry.schedule.id.to_string()/>
            <p class="help">{REMOVED}</p>
            <button class="button button-small">
                {icon("trash")}<span>"Remove"<span class="unseen">{label}</span></span>
            </button>
        </form>
    }
    .into_any()
}

//! The live streams: an environment's feed, and one activity with its log, as server-sent events. What changed is sent
//! as HTML, drawn by the same views as the page; a browser only puts it in its place (`islands::place`).
//!
//! **Invariant:** a stream ends by itself after [`LIFETIME`] and at shutdown; the browser comes back with the last number
//! it saw, and session and role are asked again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use leptos::prelude::{AnyView, IntoView, RenderHtml};
use serde::Deserialize;
use tower_sessions::Session;

use super::model::{Cancel, Entry, Stage};
use super::server::Console;
use super::visit::Visit;
use super::{once, present, views};
use crate::authz::{Authorized, ViewHistory};
use crate::domain::ids::{ActivityId, EnvironmentName, InvalidId, ProjectId};
use crate::ops::activities::{self, Filter, Update};
use crate::ops::{self, App, Error};

/// How long a stream goes on before the browser has to ask again: the longest that somebody whose role was taken away
/// still sees what happens.
const LIFETIME: Duration = Duration::from_secs(300);
/// Proxies commonly close connections after a minute of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Log lines make no event of their own in the feed: a running activity's are fetched this often.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Updates that are ready at once go out together, with one look at the environment.
const CHUNK: usize = 64;

#[derive(Debug, Default, Deserialize)]
pub struct After {
    /// Number of the last event (feed) or log line (activity) that the page already shows.
    #[serde(default)]
    after: i64,
}

/// `GET /projects/:p/environments/:e/feed/events`: the row (numbered) of each activity that changed; before it, when a
/// stage changed, what changed beside the feed.
pub async fn environment(
    State(console): State<Console>,
    session: Session,
    Path((project, environment)): Path<(String, String)>,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (project, environment) = (parse(ProjectId::parse(project))?, parse(EnvironmentName::parse(environment))?);
    let Visit { app, actor, .. } = Visit::of(console.app.clone(), &session, None).await?;
    let proof = app.authorize_environment::<ViewHistory>(&actor, &project, &environment).await?;
    Ok(respond(&console, feed(app, proof, resume(&headers, &after))))
}

/// `GET /projects/:p/activities/:id/events`: log lines (numbered by the last) and what changed beside the log; `end`
/// when nothing more will come.
pub async fn activity(
    State(console): State<Console>,
    session: Session,
    Path((project, activity)): Path<(String, String)>,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (project, activity) = (parse(ProjectId::parse(project))?, parse(ActivityId::parse(activity))?);
    let Visit { app, actor, .. } = Visit::of(console.app.clone(), &session, None).await?;
    let proof = app.authorize_activity::<ViewHistory>(&actor, &project, &activity).await?;
    let newest = activities::feed(&app, &proof, Filter { count: Some(1), ..Filter::default() }).await?;
    let watched = activities::watch(&app, proof.clone(), newest.event);
    let wake = watched.filter(concerns(activity.clone())).chain(stream::pending()).boxed();
    Ok(respond(&console, progress(Watched { app, proof, activity }, wake, resume(&headers, &after))))
}

fn feed(app: App, proof: Authorized<ViewHistory>, after: i64) -> impl Stream<Item = Result<Event, Error>> + Send {
    let mut updates = activities::watch(&app, proof.clone(), after).ready_chunks(CHUNK).boxed();
    let project = proof.on().project.id.clone();
    let mut stages: HashMap<String, Stage> = HashMap::new();
    let mut shown = Shown::default();
    let mut refusal = None;
    async_stream::try_stream! {
        while let Some(chunk) = updates.next().await {
            let chunk: Vec<Update> = chunk.into_iter().collect::<Result<_, _>>()?;
            let entries: Vec<(i64, Entry)> =
                chunk.iter().map(|update| (update.event, present::entry(&project, &update.entry))).collect();
            let changed = entries.iter().filter(|(_, entry)| {
                stages.insert(entry.id.clone(), entry.stage) != Some(entry.stage)
            });
            if changed.count() > 0 {
                let page = ops::environments::page(&app, proof.clone()).await?;
                let overview = present::overview(&page);
                refusal.clone_from(&overview.restore_refusal);
                for event in shown.changed(views::environment_parts(overview)) {
                    yield event;
                }
            }
            for (number, entry) in latest(entries) {
                let row = format!("activity-{}", entry.id);
                let event = put(Place::First("feed", &row), views::entry(entry, refusal.clone()));
                yield event.id(number.to_string());
            }
        }
    }
}

/// Of several changes of one activity only the last is worth sending.
fn latest(entries: Vec<(i64, Entry)>) -> Vec<(i64, Entry)> {
    let mut kept: Vec<(i64, Entry)> = Vec::with_capacity(entries.len());
    for (number, entry) in entries {
        kept.retain(|(_, earlier)| earlier.id != entry.id);
        kept.push((number, entry));
    }
    kept
}

struct Watched {
    app: App,
    proof: Authorized<ViewHistory>,
    activity: ActivityId,
}

fn progress(
    watched: Watched,
    mut wake: BoxStream<'static, Result<Update, Error>>,
    after: i64,
) -> impl Stream<Item = Result<Event, Error>> + Send {
    let Watched { app, proof, activity } = watched;
    let mut seen = after;
    let mut shown = Shown::default();
    let (project, form) = (proof.on().project.id.to_string(), once::form_number());
    let cancel = Cancel { project, activity: activity.to_string(), form };
    async_stream::try_stream! {
        loop {
            let (lines, sealed) = activities::log(&app, &proof, &activity, seen).await?;
            let page = activities::page(&app, &proof, &activity).await?;
            if let Some(last) = lines.last() {
                seen = last.seq;
                let lines: Vec<_> = lines.iter().map(|line| views::line(present::line(line))).collect();
                let event = put(Place::Append("log"), lines);
                yield event.id(seen.to_string());
            }
            let progress = present::progress(&page);
            let is_over = sealed && progress.entry.stage.is_over();
            for event in shown.changed(views::activity_parts(progress, cancel.clone())) {
                yield event;
            }
            if is_over {
                // An event without data is none to a browser.
                yield Event::default().event("end").data("end");
                return;
            }
            let woken = tokio::select! {
                update = wake.next() => update,
                () = tokio::time::sleep(LOG_INTERVAL) => None,
            };
            woken.transpose()?;
        }
    }
}

fn concerns(activity: ActivityId) -> impl FnMut(&Result<Update, Error>) -> futures::future::Ready<bool> {
    move |update| futures::future::ready(update.as_ref().map_or(true, |update| update.entry.activity.id == activity))
}

/// Where a fragment goes, by the ids of elements. Written here, read by `islands::place`.
enum Place<'a> {
    /// Instead of what is in it.
    Fill(&'a str),
    /// After what is in it.
    Append(&'a str),
    /// In this list, the row of this id: where it stands, or else at the beginning.
    First(&'a str, &'a str),
}

fn put(place: Place<'_>, view: impl IntoView) -> Event {
    place_html(place, &view.into_view().to_html())
}

fn place_html(place: Place<'_>, html: &str) -> Event {
    let order = match place {
        Place::Fill(id) => format!("fill {id}"),
        Place::Append(id) => format!("append {id}"),
        Place::First(list, id) => format!("first {list} {id}"),
    };
    Event::default().data(format!("{order}\n{html}"))
}

/// What a stream has sent last of each part of its page.
#[derive(Default)]
struct Shown(HashMap<&'static str, String>);

impl Shown {
    /// Sends what differs: what is read out, or has the keyboard's focus, is not touched without need.
    fn changed(&mut self, parts: impl IntoIterator<Item = (&'static str, AnyView)>) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, view) in parts {
            let html = view.to_html();
            if self.0.get(id) != Some(&html) {
                events.push(place_html(Place::Fill(id), &html));
                self.0.insert(id, html);
            }
        }
        events
    }
}

/// The header that a browser sends when it comes back tells more than the address that the page was made with.
fn resume(headers: &HeaderMap, after: &After) -> i64 {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    last.unwrap_or(after.after).max(0)
}

/// A failing stream is closed: the browser comes back, and gets the reason as a status.
fn respond(console: &Console, events: impl Stream<Item = Result<Event, Error>> + Send + 'static) -> Response {
    let shutdown = console.shutdown.clone();
    let ended = async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(LIFETIME) => {}
        }
    };
    let hello = stream::once(async { Ok(Event::default().retry(Duration::from_secs(2)).comment("live")) });
    let events = hello.chain(events).take_while(|event| {
        if let Err(error) = event {
            tracing::warn!(error = %error, "a live stream ended early");
        }
        futures::future::ready(event.is_ok())
    });
    let events = events.filter_map(async |event| event.ok()).map(Ok::<Event, Infallible>).take_until(ended);
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies (nginx) collect answers unless told not to.
    ([("x-accel-buffering", "no"), ("cache-control", "no-store")], sse).into_response()
}

fn parse<T>(id: Result<T, InvalidId>) -> Result<T, Refused> {
    id.map_err(|_| Refused(Error::NotFound("page")))
}

/// An operation's error as a stream's answer.
#[derive(Debug)]
pub struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = self.0.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(problem)).into_response()
    }
}

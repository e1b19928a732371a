//! The audit: every change by a person or a token, every reading of contents, every refusal (R5), for those who must
//! know. Activities stand in it by themselves; what is no activity is recorded here.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use async_stream::try_stream;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};

use super::{App, Error, accounts};
use crate::authz::{
    Actor, Authority, Authorized, Need, OnEnvironment, OnProject, OnTicket, Operator, Permission, ViewAudit,
};
use crate::domain::activity::{ActivityResult, Initiator};
use crate::domain::audit::{AuditEntry, AuditFilter, AuditKind};
use crate::domain::environment::{Environment, Project};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::{Act, Refusal};
use crate::domain::problem::chain;
use crate::domain::telling::Telling;
use crate::domain::view::AuditPage;
use crate::domain::{EnvironmentId, ProjectId};
use crate::store::audit::{self, Filter, Line, NewEvent};
use crate::store::{Db, clock, environments};

/// The same refusal of the same person is recorded once in that time: nobody fills the audit by asking again and again.
const AGAIN: Duration = Duration::from_secs(60);
const DEFAULT_COUNT: u32 = 50;
const MOST: u32 = 500;

/// The operator at the server's own command line.
pub(crate) fn terminal() -> Initiator {
    Initiator { user: None, name: "operator".to_owned(), authority: "terminal".to_owned(), address: None }
}

/// Records what becomes true with the caller's transaction, in a project or (`None`) in the installation.
pub(super) async fn note(
    db: &mut Db,
    app: &App,
    (initiator, project): (Initiator, Option<&ProjectId>),
    kind: AuditKind,
    about: String,
) -> Result<(), Error> {
    let event = NewEvent { project: project.cloned(), environment: None, kind, initiator, about, refused: None };
    let now = clock::now(db, app.store().dialect()).await?;
    Ok(audit::insert(db, &event, now).await?)
}

/// The same in an environment.
pub(super) async fn note_in(
    db: &mut Db,
    app: &App,
    (initiator, on): (Initiator, &OnEnvironment),
    kind: AuditKind,
    about: String,
) -> Result<(), Error> {
    let (project, environment) = (Some(on.project.id.clone()), Some(on.environment.id.clone()));
    let event = NewEvent { project, environment, kind, initiator, about, refused: None };
    let now = clock::now(db, app.store().dialect()).await?;
    Ok(audit::insert(db, &event, now).await?)
}

/// Records a refusal, the same one once a minute.
pub(super) async fn note_refused(
    app: &App,
    (initiator, project, environment): (Initiator, Option<ProjectId>, Option<EnvironmentId>),
    kind: AuditKind,
    about: String,
    reason: String,
) -> Result<(), Error> {
    let event = NewEvent { project, environment, kind, initiator, about, refused: Some(reason) };
    let mut tx = app.store().write().await?;
    let now = clock::now(&mut tx, app.store().dialect()).await?;
    if !audit::stands_since(&mut tx, &event, now.minus(AGAIN)).await? {
        audit::insert(&mut tx, &event, now).await?;
        app.store().commit(tx).await?;
    }
    Ok(())
}

/// Records that what concerns the whole installation was refused, and gives the refusal back.
pub(super) async fn refused_operator(app: &App, actor: &Actor, need: Need, refusal: Refusal) -> Result<Error, Error> {
    let about = match need {
        Need::Look => "looking at what concerns the installation",
        Need::Change => "changing what concerns the installation",
    };
    let on = (actor.initiator(), None, None);
    note_refused(app, on, AuditKind::Refused, about.to_owned(), refusal.to_string()).await?;
    Ok(Error::Forbidden(refusal))
}

/// Records that an act was refused on what the actor may see (R5), and gives the refusal back. What is asked in the name of
/// whoever filed a ticket is no attempt of theirs: the run of the ticket is recorded by itself.
pub(super) async fn refused(
    app: &App,
    actor: &Actor,
    (project, environment): (&ProjectId, Option<&EnvironmentName>),
    act: Act,
    refusal: Refusal,
) -> Result<Error, Error> {
    if matches!(actor.authority, Authority::Ticket { .. }) {
        return Ok(Error::Forbidden(refusal));
    }
    let environment = match environment {
        Some(name) => named(&mut *app.store().read().await?, project, name).await?,
        None => None,
    };
    let on = (actor.initiator(), Some(project.clone()), environment.map(|environment| environment.id));
    note_refused(app, on, AuditKind::Refused, act.gerund().to_owned(), refusal.to_string()).await?;
    Ok(Error::Forbidden(refusal))
}

/// What somebody tries who may: for recording why the state of things does not let them (R5).
pub(super) struct Attempt {
    by: Initiator,
    /// As above: no attempt of whoever filed it.
    is_for_ticket: bool,
    project: ProjectId,
    environment: Option<EnvironmentId>,
    act: Act,
}

impl Attempt {
    pub fn of<A: Permission>(proof: &Authorized<A>) -> Self
    where
        A::On: Place,
    {
        let (project, environment) = proof.on().place();
        Self {
            by: proof.actor().initiator(),
            is_for_ticket: matches!(proof.actor().authority, Authority::Ticket { .. }),
            project,
            environment,
            act: A::ACT,
        }
    }

    /// Another act than the proof's, on the same.
    pub fn doing(self, act: Act) -> Self {
        Self { act, ..self }
    }

    /// Hands the outcome on; a conflict is recorded. What is written to the feed by itself must not come through here.
    pub async fn recorded<T>(self, app: &App, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Conflict(refusal)) = &outcome
            && !self.is_for_ticket
        {
            let on = (self.by, Some(self.project), self.environment);
            let about = self.act.gerund().to_owned();
            // Whoever asked gets the reason in any case.
            if let Err(error) = note_refused(app, on, AuditKind::Refused, about, refusal.to_string()).await {
                tracing::warn!(%error, "a refusal could not be recorded");
            }
        }
        outcome
    }
}

/// What a proof is about, as the audit names it.
pub(super) trait Place {
    fn place(&self) -> (ProjectId, Option<EnvironmentId>);
}

impl Place for OnProject {
    fn place(&self) -> (ProjectId, Option<EnvironmentId>) {
        (self.project.id.clone(), None)
    }
}

impl Place for OnEnvironment {
    fn place(&self) -> (ProjectId, Option<EnvironmentId>) {
        (self.project.id.clone(), Some(self.environment.id.clone()))
    }
}

impl Place for OnTicket {
    fn place(&self) -> (ProjectId, Option<EnvironmentId>) {
        (self.project.id.clone(), Some(self.ticket.wanted.source.id.clone()))
    }
}

/// Also one that was removed.
async fn named(db: &mut Db, project: &ProjectId, name: &EnvironmentName) -> Result<Option<Environment>, Error> {
    match environments::by_name(db, project, name).await? {
        None => Ok(environments::removed_by_name(db, project, name).await?),
        there => Ok(there),
    }
}

/// Whose audit.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one a request")]
pub enum Scope {
    Project(Box<Authorized<ViewAudit>>),
    Installation(Operator),
}

impl Scope {
    fn project(&self) -> Option<&Project> {
        match self {
            Self::Project(proof) => Some(&proof.on().project),
            Self::Installation(_) => None,
        }
    }

    fn actor(&self) -> &Actor {
        match self {
            Self::Project(proof) => proof.actor(),
            Self::Installation(proof) => proof.actor(),
        }
    }

    /// What is asked of the store. An environment is named within a project.
    async fn filter(&self, db: &mut Db, asked: &AuditFilter) -> Result<Filter, Error> {
        let project = self.project().map(|project| project.id.clone()).or_else(|| asked.project.clone());
        let environment = match (&asked.environment, &project) {
            (Some(name), Some(project)) => {
                let found = named(db, project, name).await?;
                Some(found.ok_or(Error::NotFound("environment"))?.id)
            }
            (Some(_), None) => {
                return Err(Error::Invalid {
                    message: "An environment is named within a project.".to_owned(),
                    hint: Some("Name the project too.".to_owned()),
                });
            }
            (None, _) => None,
        };
        Ok(Filter {
            project,
            environment,
            kinds: asked.kinds.clone(),
            name: asked.name.clone(),
            outcome: asked.outcome.clone(),
            since: asked.since,
            until: asked.until,
            before: asked.before,
        })
    }
}

/// Newest first; 50 if not told, at most 500.
///
/// # Errors
/// [`Error::NotFound`] for an environment that is not there.
pub async fn page(app: &App, scope: &Scope, asked: &AuditFilter) -> Result<AuditPage, Error> {
    let mut db = app.store().read().await?;
    let filter = scope.filter(&mut db, asked).await?;
    let count = asked.count.unwrap_or(DEFAULT_COUNT).clamp(1, MOST);
    let mut entries = read(&mut db, &filter, count + 1).await?;
    let more = entries.len() > count as usize;
    entries.truncate(count as usize);
    let environments = match scope.project() {
        Some(project) => environments::ever_in_project(&mut db, &project.id).await?,
        None => Vec::new(),
    };
    Ok(AuditPage {
        project: scope.project().cloned(),
        environments: environments.into_iter().map(|environment| environment.name).collect(),
        older: entries.last().filter(|_| more).map(|last| last.seq),
        entries,
    })
}

/// How it is written when it is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Csv,
    JsonLines,
}

impl Form {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "csv" => Some(Self::Csv),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    pub fn file_name(self) -> &'static str {
        match self {
            Self::Csv => "audit.csv",
            Self::JsonLines => "audit.jsonl",
        }
    }

    fn head(self) -> String {
        match self {
            Self::Csv => AuditEntry::csv(&AuditEntry::COLUMNS),
            Self::JsonLines => String::new(),
        }
    }

    fn line(self, entry: &AuditEntry) -> String {
        match self {
            Self::Csv => AuditEntry::csv(&entry.cells()),
            Self::JsonLines => {
                let keys = AuditEntry::COLUMNS.into_iter().zip(entry.cells());
                let map: serde_json::Map<_, _> = keys.map(|(key, cell)| (key.to_owned(), cell.into())).collect();
                format!("{}\n", serde_json::Value::Object(map))
            }
        }
    }
}

/// All of it that the filter lets through, newest first, read page by page as it is taken. That it was taken out stands in
/// it too.
///
/// # Errors
/// [`Error::NotFound`] for an environment that is not there.
pub async fn export(
    app: &App,
    scope: Scope,
    asked: AuditFilter,
    form: Form,
) -> Result<BoxStream<'static, io::Result<Bytes>>, Error> {
    let mut filter = scope.filter(&mut *app.store().read().await?, &asked).await?;
    let mut tx = app.store().write().await?;
    let by = (scope.actor().initiator(), scope.project().map(|project| &project.id));
    let about = format!("took the audit out as {}", form.file_name());
    note(&mut tx, app, by, AuditKind::Exported, about).await?;
    app.store().commit(tx).await?;
    let (app, actor) = (app.clone(), scope.actor().clone());
    let pages = try_stream! {
        yield Bytes::from(form.head());
        loop {
            let entries = next(&app, &actor, &filter).await?;
            let Some(last) = entries.last() else { break };
            filter.before = Some(last.seq);
            yield Bytes::from(entries.iter().map(|entry| form.line(entry)).collect::<String>());
        }
    };
    Ok(pages.boxed())
}

async fn next(app: &App, actor: &Actor, filter: &Filter) -> io::Result<Vec<AuditEntry>> {
    let page = async {
        accounts::still_open(app, actor).await?;
        read(&mut *app.store().read().await?, filter, MOST).await
    };
    page.await.map_err(|error: Error| io::Error::other(chain(&error)))
}

async fn read(db: &mut Db, filter: &Filter, count: u32) -> Result<Vec<AuditEntry>, Error> {
    let mut names: HashMap<EnvironmentId, Option<EnvironmentName>> = HashMap::new();
    let mut entries = Vec::new();
    for Line { mut entry, environment, payload } in audit::list(db, filter, count).await? {
        if let Some(id) = environment {
            if !names.contains_key(&id) {
                let found = environments::by_id(db, &id).await?;
                names.insert(id.clone(), found.map(|environment| environment.name));
            }
            entry.environment = names.get(&id).cloned().flatten();
        }
        if let (Some(payload), Some(environment)) = (&payload, &entry.environment) {
            // Whoever reads the audit may read all of it.
            let done = entry.outcome == ActivityResult::Success.as_str();
            entry.about = Telling { payload, done, environment, sees: &|_, _| true }.in_full();
        }
        entries.push(entry);
    }
    Ok(entries)
}

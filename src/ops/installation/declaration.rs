//! The declarative file: projects, environments, members. Checked as a whole by trying everything, then applied as a
//! whole, or not at all.

mod check;
mod told;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use self::check::Reading;
use self::told::Settings;
use super::{insert_project, local_region, make_repository, undeclared};
use crate::domain::audit::AuditKind;
use crate::domain::bytes::counted;
use crate::domain::environment::{
    CommandLine, Commands, Composition, Environment, EnvironmentKind, EnvironmentStatus, MountSpec, Project,
    ProjectCommands, RouteSpec, ServiceConnection, ServiceSpec,
};
use crate::domain::ids::{EnvironmentName, MountName, RegionId, ServiceName};
use crate::domain::policy::{MemberSource, Plan, ProjectRole, Provision, RestoreElsewhere, Roles, TypeRole};
use crate::domain::{EnvironmentId, PartName, ProjectId, Secret, Timestamp};
use crate::ops::{App, Error, audit, retention};
use crate::store::{self, Db, clock, environments, members, projects, regions, users};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Offered beside the built-in ones.
    #[serde(default)]
    plan: Vec<Spanned<Plan>>,
    #[serde(default)]
    region: Vec<Spanned<RegionEntry>>,
    #[serde(default)]
    project: Vec<Spanned<ProjectEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionEntry {
    id: RegionId,
    title: Option<String>,
    #[serde(default)]
    restore_elsewhere: Option<RestoreElsewhere>,
    /// Absolute path of the directory of its repositories.
    repositories: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectEntry {
    id: ProjectId,
    title: Option<String>,
    plan: Option<Spanned<String>>,
    /// Of a new project.
    region: Option<Spanned<RegionId>>,
    provision: Option<Spanned<Provision>>,
    /// For all of its environments.
    commands: Option<Spanned<ProjectCommands>>,
    /// `50 GiB`: what the project's snapshots may take together, for plans that keep them while it lasts.
    storage_budget: Option<Spanned<String>>,
    #[serde(default)]
    member: Vec<Spanned<MemberEntry>>,
    #[serde(default)]
    environment: Vec<Spanned<EnvironmentEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberEntry {
    email: String,
    role: Option<ProjectRole>,
    #[serde(default)]
    types: BTreeMap<EnvironmentKind, TypeRole>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentEntry {
    name: EnvironmentName,
    title: Option<String>,
    #[serde(rename = "type")]
    kind: EnvironmentKind,
    parent: Option<EnvironmentName>,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    service: Vec<Spanned<ServiceEntry>>,
    #[serde(default)]
    mount: Vec<Spanned<MountSpec>>,
    #[serde(default)]
    route: Vec<Spanned<RouteSpec>>,
    commands: Option<Spanned<Commands>>,
    storage: Option<Spanned<StorageEntry>>,
}

/// `20 GiB`, by the name of the service or mount. What is not named stays as it was.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageEntry {
    #[serde(default)]
    services: BTreeMap<ServiceName, String>,
    #[serde(default)]
    mounts: BTreeMap<MountName, String>,
}

impl StorageEntry {
    fn parts(&self) -> impl Iterator<Item = (PartName, &String)> {
        let services = self.services.iter().map(|(name, size)| (PartName::Service(name.clone()), size));
        services.chain(self.mounts.iter().map(|(name, size)| (PartName::Mount(name.clone()), size)))
    }
}

/// A service with its connection's keys beside its name; an unknown key is refused here, which [`ServiceSpec`] can't.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum ServiceEntry {
    Sqlite {
        name: ServiceName,
        path: String,
    },
    #[serde(rename = "postgresql")]
    Postgres {
        name: ServiceName,
        #[serde(default = "local_host")]
        host: String,
        #[serde(default = "postgresql_port")]
        port: u16,
        user: String,
        /// Empty: none is sent, as with a socket that knows its users.
        #[serde(default = "no_password")]
        password: Secret,
        database: String,
    },
    #[serde(alias = "mariadb")]
    Mysql {
        name: ServiceName,
        #[serde(default = "local_host")]
        host: String,
        #[serde(default = "mysql_port")]
        port: u16,
        user: String,
        /// Empty: none is sent.
        #[serde(default = "no_password")]
        password: Secret,
        database: String,
    },
    #[serde(alias = "valkey")]
    Redis {
        name: ServiceName,
        /// Or the absolute path of its socket.
        #[serde(default = "local_host")]
        host: String,
        #[serde(default = "redis_port")]
        port: u16,
        /// Empty: the server's default one.
        #[serde(default)]
        user: String,
        /// Empty: none is sent.
        #[serde(default = "no_password")]
        password: Secret,
    },
    Solr {
        name: ServiceName,
        #[serde(default = "solr_url")]
        url: String,
        /// Empty: none is sent.
        #[serde(default)]
        user: String,
        #[serde(default = "no_password")]
        password: Secret,
        /// Or a collection of SolrCloud, or its alias.
        #[serde(alias = "collection")]
        core: String,
        /// The directory of the server's cores, as the worker sees it.
        path: Option<String>,
    },
    Command {
        name: ServiceName,
        /// A program by its absolute path, and words for it.
        command: CommandLine,
    },
}

fn local_host() -> String {
    "127.0.0.1".to_owned()
}

fn postgresql_port() -> u16 {
    5432
}

fn mysql_port() -> u16 {
    3306
}

fn redis_port() -> u16 {
    6379
}

fn solr_url() -> String {
    "http://127.0.0.1:8983/solr".to_owned()
}

fn no_password() -> Secret {
    Secret::new("")
}

impl ServiceEntry {
    fn spec(&self) -> ServiceSpec {
        match self.clone() {
            Self::Sqlite { name, path } => ServiceSpec { name, connection: ServiceConnection::Sqlite { path } },
            Self::Postgres { name, host, port, user, password, database } => {
                let connection = ServiceConnection::Postgres { host, port, user, password, database };
                ServiceSpec { name, connection }
            }
            Self::Mysql { name, host, port, user, password, database } => {
                let connection = ServiceConnection::Mysql { host, port, user, password, database };
                ServiceSpec { name, connection }
            }
            Self::Redis { name, host, port, user, password } => {
                ServiceSpec { name, connection: ServiceConnection::Redis { host, port, user, password } }
            }
            Self::Solr { name, url, user, password, core, path } => {
                ServiceSpec { name, connection: ServiceConnection::Solr { url, user, password, core, path } }
            }
            Self::Command { name, command } => ServiceSpec { name, connection: ServiceConnection::Command { command } },
        }
    }
}

/// What does not work in the file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// What came of a file.
#[derive(Debug)]
pub enum Applied {
    Done {
        contents: Contents,
        /// What works, but a restore of it will not be what one expects.
        notes: Vec<Trouble>,
    },
    /// Nothing was changed, because of these.
    Refused(Vec<Trouble>),
    /// Nothing was changed: this is what would be.
    Looked(Outlook),
}

/// What a file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents(Vec<(usize, &'static str)>);

impl Contents {
    fn of(file: &File) -> Self {
        let environments = file.project.iter().map(|project| project.get_ref().environment.len()).sum();
        let all = [
            (file.plan.len(), "plan"),
            (file.region.len(), "region"),
            (file.project.len(), "project"),
            (environments, "environment"),
        ];
        Self(all.into_iter().filter(|(number, _)| *number > 0).collect())
    }
}

impl fmt::Display for Contents {
    /// `1 project, 2 environments`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(number, what)| counted(*number as u64, what)).collect();
        f.write_str(if all.is_empty() { "nothing" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// What applying a file would do.
#[derive(Debug)]
pub struct Outlook {
    pub contents: Contents,
    pub notes: Vec<Trouble>,
    /// Snapshots that the declared plans, budgets and types would let go, and those in force now don't (R11), a line each.
    pub going: Vec<String>,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Only look.
    No,
    /// Unless snapshots would go by it.
    UnlessSnapshotsGo,
    Yes,
}

/// Checks the file by trying every connection and path, then applies it as far as `consent` goes. What it does not name
/// stays as it is; what was removed in the console stays removed, and a note says so.
///
/// # Errors
/// When the file can't be read, or the store fails. What does not work in it is [`Applied::Refused`].
pub async fn apply(app: &App, file: &Path, consent: Consent) -> Result<Applied, Error> {
    apply_with(app, file, consent, &[]).await
}

/// The same; what is named in `again` (`shop`, `shop/staging`) is there again, with its history and its snapshots.
///
/// # Errors
/// As [`apply`].
pub async fn apply_with(app: &App, file: &Path, consent: Consent, again: &[String]) -> Result<Applied, Error> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|source| Error::Io { what: format!("{} can't be read", file.display()), source })?;
    let reading = Reading { app, name: file.display().to_string(), text: &text };
    let mut parsed: File = match toml::from_str(&text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let line = reading.line(&error.span().unwrap_or(0..0));
            let message = error.message().to_owned();
            return Ok(Applied::Refused(vec![Trouble { file: reading.name, line, message }]));
        }
    };
    let left_out = reading.leave_out_removed(&mut parsed, again).await?;
    let (troubles, mut notes) = reading.check(&parsed).await?;
    notes.extend(left_out);
    if !troubles.is_empty() {
        return Ok(Applied::Refused(troubles));
    }
    let contents = Contents::of(&parsed);
    if consent != Consent::Yes {
        let going = going(app, &parsed).await?;
        if consent == Consent::No || !going.is_empty() {
            return Ok(Applied::Looked(Outlook { contents, notes, going }));
        }
    }
    put_regions(app, parsed.region).await?;
    let mut tx = app.store().write().await?;
    let before = store::plans::offered(&mut tx).await?;
    offer(app, &mut tx, &parsed.plan).await?;
    told::plans(app, &mut tx, &before, parsed.plan.iter().map(Spanned::get_ref)).await?;
    app.store().commit(tx).await?;
    for project in parsed.project {
        put(app, project.into_inner()).await?;
    }
    Ok(Applied::Done { contents, notes })
}

async fn offer(app: &App, db: &mut Db, plans: &[Spanned<Plan>]) -> Result<(), Error> {
    let now = clock::now(db, app.store().dialect()).await?;
    for plan in plans {
        store::plans::offer(db, plan.get_ref(), now).await?;
    }
    Ok(())
}

/// Which snapshots would go, found by putting everything into a transaction that is never committed.
async fn going(app: &App, file: &File) -> Result<Vec<String>, Error> {
    let mut tx = app.store().write().await?;
    let mut known = Vec::new();
    for entry in file.project.iter().map(Spanned::get_ref) {
        if let Some(project) = projects::by_id(&mut tx, &entry.id).await? {
            let plan = projects::plan(&mut tx, &project.id).await?;
            let (kept, _) = retention::planned(app, &mut tx, &project.id, &plan).await?;
            known.push((entry, project, kept));
        }
    }
    offer(app, &mut tx, &file.plan).await?;
    let mut going = Vec::new();
    for (entry, project, before) in known {
        let plan = plan_of(&mut tx, entry, Some(&project)).await?;
        put_settings(app, &mut tx, entry, &project.title, &plan).await?;
        let (after, _) = retention::planned(app, &mut tx, &project.id, &plan).await?;
        going.extend(after.goes_beside(&before).map(|gone| {
            let (environment, at) = (&gone.environment_name, gone.taken_at.table());
            format!("{} of {} {environment}, taken {at}: {}", gone.snapshot, project.id, gone.reason)
        }));
    }
    Ok(going)
}

/// The one that an entry names; the one in force; the one of new projects.
async fn plan_of(db: &mut Db, entry: &ProjectEntry, known: Option<&Project>) -> Result<Plan, Error> {
    let wanted = match (&entry.plan, known) {
        (None, Some(known)) => return Ok(projects::plan(db, &known.id).await?),
        (wanted, _) => wanted.as_ref().map_or("self-hosted", |name| name.get_ref().as_str()),
    };
    let offered = store::plans::offered(db).await?.into_iter().find(|plan| plan.id.as_str() == wanted);
    offered.ok_or_else(|| Error::invalid(format!("There is no plan `{wanted}`.")))
}

/// All of a known project but its members.
async fn put_settings(app: &App, db: &mut Db, entry: &ProjectEntry, title: &str, plan: &Plan) -> Result<(), Error> {
    let now = clock::now(db, app.store().dialect()).await?;
    projects::update(db, &entry.id, title, plan, now).await?;
    projects::set_removed(db, &entry.id, None).await?;
    projects::set_provision(db, &entry.id, entry.provision.as_ref().map(Spanned::get_ref)).await?;
    let commands = entry.commands.as_ref().map(Spanned::get_ref).cloned().unwrap_or_default();
    projects::set_commands(db, &entry.id, &commands).await?;
    let budget = entry.storage_budget.as_ref().and_then(|text| text.get_ref().parse().ok());
    projects::set_storage_budget(db, &entry.id, budget).await?;
    for environment in &entry.environment {
        put_environment(app, db, &entry.id, environment.get_ref(), now).await?;
    }
    Ok(())
}

/// What an entry leaves out stays as it is.
async fn put_regions(app: &App, entries: Vec<Spanned<RegionEntry>>) -> Result<(), Error> {
    let mut tx = app.store().write().await?;
    let known = regions::all(&mut tx).await?;
    for entry in entries.into_iter().map(Spanned::into_inner) {
        let known = known.iter().find(|region| region.id == entry.id);
        let mut region = known.cloned().unwrap_or_else(|| undeclared(entry.id));
        region.title = entry.title.unwrap_or(region.title);
        region.restore_elsewhere = entry.restore_elsewhere.unwrap_or(region.restore_elsewhere);
        region.repositories = entry.repositories.map(Spanned::into_inner).or(region.repositories);
        regions::put(&mut tx, &region).await?;
        told::region(app, &mut tx, known, &region).await?;
    }
    Ok(app.store().commit(tx).await?)
}

/// Adds or changes one project. Its repository is made first: a project never stands without one.
async fn put(app: &App, entry: ProjectEntry) -> Result<(), Error> {
    let mut db = app.store().read().await?;
    let known = projects::by_id(&mut db, &entry.id).await?;
    let plan = plan_of(&mut db, &entry, known.as_ref()).await?;
    drop(db);
    let kept = known.as_ref().map(|known| known.title.clone());
    let title = entry.title.clone().or(kept).unwrap_or_else(|| entry.id.to_string());
    let now = app.now().await?;
    let is_new = known.is_none();
    let former = known.as_ref().map(|known| known.plan.clone());
    let region = entry.region.as_ref().map_or_else(local_region, |region| region.get_ref().clone());
    let access = if is_new { Some(make_repository(app, &region, &entry.id).await?) } else { None };
    let mut tx = app.store().write().await?;
    if let Some(access) = access {
        let (id, title) = (entry.id.clone(), title.clone());
        let project = Project { id, title, region, plan: plan.id.clone(), created_at: now, removed_at: None };
        insert_project(app, &mut tx, &project, &plan, &access).await?;
    }
    let before = Settings::read(app, &mut tx, &entry.id).await?;
    put_settings(app, &mut tx, &entry, &title, &plan).await?;
    if is_new && entry.member.is_empty() {
        // Somebody must be able to act in it: whoever runs the installation.
        for operator in users::operators(&mut tx).await? {
            members::set(&mut tx, &entry.id, &operator, &Roles::admin(), (MemberSource::Console, now)).await?;
        }
    }
    let mut done = vec![format!("applied a declaration under the plan {}", plan.id)];
    if let Some(former) = former.filter(|former| *former != plan.id) {
        done.push(format!("the plan was {former}"));
    }
    done.extend(Settings::read(app, &mut tx, &entry.id).await?.changes(&before));
    if !entry.member.is_empty() {
        members::release(&mut tx, &entry.id).await?;
    }
    for member in entry.member {
        let member = member.into_inner();
        let Some(user) = users::by_email(&mut tx, &member.email.trim().to_lowercase()).await? else { continue };
        let roles = Roles { project: member.role, types: member.types };
        if members::roles(&mut tx, &entry.id, &user.id).await? != roles {
            done.push(format!("{} is {roles}", user.email));
        }
        members::set(&mut tx, &entry.id, &user.id, &roles, (MemberSource::File, now)).await?;
    }
    let by = (audit::terminal(), Some(&entry.id));
    audit::note(&mut tx, app, by, AuditKind::Declared, done.join("; ")).await?;
    Ok(app.store().commit(tx).await?)
}

async fn put_environment(
    app: &App,
    db: &mut Db,
    project: &ProjectId,
    entry: &EnvironmentEntry,
    now: Timestamp,
) -> Result<(), Error> {
    let known = environments::by_name(db, project, &entry.name).await?;
    // One that was removed got here because somebody wants it again.
    let known = match known {
        None => environments::removed_by_name(db, project, &entry.name).await?,
        there => there,
    };
    let mut storage = match &known {
        Some(known) => environments::composition(db, app.store().sealer(), &known.id).await?.storage,
        None => BTreeMap::new(),
    };
    let declared = entry.storage.iter().flat_map(|storage| storage.get_ref().parts());
    storage.extend(declared.filter_map(|(part, size)| Some((part, size.parse().ok()?))));
    let (id, created_at) = match known {
        Some(known) => (known.id, known.created_at),
        None => (EnvironmentId::parse(store::random_id())?, now),
    };
    let environment = Environment {
        id,
        project: project.clone(),
        title: entry.title.clone().unwrap_or_else(|| entry.name.to_string()),
        name: entry.name.clone(),
        parent: entry.parent.clone(),
        kind: entry.kind,
        status: EnvironmentStatus::Active,
        live: entry.live,
        created_at,
        updated_at: now,
    };
    let mut composition = Composition {
        services: entry.service.iter().map(|service| service.get_ref().spec()).collect(),
        mounts: entry.mount.iter().map(Spanned::get_ref).cloned().collect(),
        routes: entry.route.iter().map(Spanned::get_ref).cloned().collect(),
        commands: entry.commands.as_ref().map(Spanned::get_ref).cloned().unwrap_or_default(),
        storage: BTreeMap::new(),
    };
    storage.retain(|part, _| composition.has(part));
    composition.storage = storage;
    Ok(environments::put(db, app.store().sealer(), &environment, &composition).await?)
}

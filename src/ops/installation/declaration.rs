//! The declarative file: projects, environments, members. Checked as a whole by trying everything, then applied as a
//! whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{insert_project, local_region, make_repository, plan};
use crate::domain::environment::{
    Composition, Environment, EnvironmentKind, EnvironmentStatus, MountSpec, Project, RouteSpec, ServiceConnection,
    ServiceSpec,
};
use crate::domain::ids::{EnvironmentName, ServiceName};
use crate::domain::policy::{Plan, ProjectRole, TypeRole};
use crate::domain::{EnvironmentId, ProjectId, Timestamp};
use crate::drivers::mount::Rules;
use crate::jobs::Parts;
use crate::ops::{App, Error};
use crate::store::{self, environments, members, projects, users};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    project: Vec<Spanned<ProjectEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectEntry {
    id: ProjectId,
    title: Option<String>,
    plan: Option<Spanned<String>>,
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
}

/// A service with its connection's keys beside its name; an unknown key is refused here, which [`ServiceSpec`] can't.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum ServiceEntry {
    Sqlite { name: ServiceName, path: String },
}

impl ServiceEntry {
    fn spec(&self) -> ServiceSpec {
        match self.clone() {
            Self::Sqlite { name, path } => ServiceSpec { name, connection: ServiceConnection::Sqlite { path } },
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
        projects: usize,
        environments: usize,
    },
    /// Nothing was changed.
    Refused(Vec<Trouble>),
}

/// Checks the file by trying every connection and path, then applies it in one transaction. What it does not name stays
/// as it is.
///
/// # Errors
/// When the file can't be read, or the store fails. What does not work in it is [`Applied::Refused`].
pub async fn apply(app: &App, file: &Path) -> Result<Applied, Error> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|source| Error::Io { what: format!("{} can't be read", file.display()), source })?;
    let reading = Reading { app, name: file.display().to_string(), text: &text };
    let parsed: File = match toml::from_str(&text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let line = reading.line(&error.span().unwrap_or(0..0));
            let message = error.message().to_owned();
            return Ok(Applied::Refused(vec![Trouble { file: reading.name, line, message }]));
        }
    };
    let troubles = reading.check(&parsed).await?;
    if !troubles.is_empty() {
        return Ok(Applied::Refused(troubles));
    }
    let projects = parsed.project.len();
    let environments = parsed.project.iter().map(|project| project.get_ref().environment.len()).sum();
    for project in parsed.project {
        put(app, project.into_inner()).await?;
    }
    Ok(Applied::Done { projects, environments })
}

struct Reading<'a> {
    app: &'a App,
    name: String,
    text: &'a str,
}

impl Reading<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }

    fn trouble(&self, span: &Range<usize>, message: impl Into<String>) -> Trouble {
        Trouble { file: self.name.clone(), line: self.line(span), message: message.into() }
    }

    async fn check(&self, file: &File) -> Result<Vec<Trouble>, Error> {
        let mut troubles = Vec::new();
        let declared: Vec<(ProjectId, &EnvironmentEntry)> = file
            .project
            .iter()
            .flat_map(|project| {
                let id = &project.get_ref().id;
                project.get_ref().environment.iter().map(move |environment| (id.clone(), environment.get_ref()))
            })
            .collect();
        let others = self.declared_elsewhere(&declared).await?;
        let mut hosts: BTreeMap<String, String> = BTreeMap::new();
        for (key, composition) in &others {
            hosts.extend(composition.routes.iter().map(|route| (route.host.to_lowercase(), key.clone())));
        }
        for project in &file.project {
            let entry = project.get_ref();
            if let Some(name) = entry.plan.as_ref().filter(|name| plan(name.get_ref()).is_none()) {
                let known: Vec<String> = Plan::built_in().into_iter().map(|plan| plan.id.to_string()).collect();
                let message = format!("there is no plan `{}`; known are {}", name.get_ref(), known.join(", "));
                troubles.push(self.trouble(&name.span(), message));
            }
            for member in &entry.member {
                let email = member.get_ref().email.trim().to_lowercase();
                if users::by_email(&mut *self.app.store().read().await?, &email).await?.is_none() {
                    let message = format!("there is no account for {email}: add it with `stillpointd admin user add`");
                    troubles.push(self.trouble(&member.span(), message));
                }
            }
            self.check_names(entry, &mut troubles).await?;
            for environment in &entry.environment {
                let key = format!("{}/{}", entry.id, environment.get_ref().name);
                for route in &environment.get_ref().route {
                    let host = route.get_ref().host.to_lowercase();
                    if let Some(other) = hosts.insert(host.clone(), key.clone()) {
                        troubles.push(self.trouble(&route.span(), format!("the host {host} already leads to {other}")));
                    }
                    if let Err(why) = upstream(&route.get_ref().upstream) {
                        troubles.push(self.trouble(&route.span(), why));
                    }
                }
                self.check_parts(&entry.id, environment.get_ref(), &declared, &others, &mut troubles).await?;
            }
        }
        Ok(troubles)
    }

    /// What other environments, which this file leaves as they are, consist of; by `project/environment`.
    async fn declared_elsewhere(
        &self,
        declared: &[(ProjectId, &EnvironmentEntry)],
    ) -> Result<Vec<(String, Composition)>, Error> {
        let mut db = self.app.store().read().await?;
        let mut others = Vec::new();
        for (id, composition) in environments::compositions(&mut db, self.app.store().sealer()).await? {
            let Some(known) = environments::by_id(&mut db, &id).await? else { continue };
            if !declared.iter().any(|(project, entry)| *project == known.project && entry.name == known.name) {
                others.push((format!("{}/{}", known.project, known.name), composition));
            }
        }
        Ok(others)
    }

    /// Names that stand twice, and parents that are nowhere.
    async fn check_names(&self, project: &ProjectEntry, troubles: &mut Vec<Trouble>) -> Result<(), Error> {
        let known = environments::by_project(&mut *self.app.store().read().await?, &project.id).await?;
        let mut names: BTreeSet<&EnvironmentName> = BTreeSet::new();
        for environment in &project.environment {
            let entry = environment.get_ref();
            if !names.insert(&entry.name) {
                troubles
                    .push(self.trouble(&environment.span(), format!("the environment {} stands twice", entry.name)));
            }
            let mut parts = BTreeSet::new();
            let services = entry.service.iter().map(|part| (part.span(), part.get_ref().spec().name.to_string()));
            let mounts = entry.mount.iter().map(|part| (part.span(), part.get_ref().name.to_string()));
            for (span, name) in services.chain(mounts) {
                if !parts.insert(name.clone()) {
                    troubles.push(self.trouble(&span, format!("the name {name} stands twice in this environment")));
                }
            }
            let Some(parent) = &entry.parent else { continue };
            let declared = project.environment.iter().any(|other| other.get_ref().name == *parent);
            if *parent == entry.name || !(declared || known.iter().any(|other| other.name == *parent)) {
                troubles.push(
                    self.trouble(&environment.span(), format!("there is no environment {parent} to be its parent")),
                );
            }
        }
        Ok(())
    }

    /// Tries every service and mount of one environment.
    async fn check_parts(
        &self,
        project: &ProjectId,
        environment: &EnvironmentEntry,
        declared: &[(ProjectId, &EnvironmentEntry)],
        elsewhere: &[(String, Composition)],
        troubles: &mut Vec<Trouble>,
    ) -> Result<(), Error> {
        let others = declared.iter().filter(|(id, other)| id != project || other.name != environment.name);
        let settings = self.app.settings();
        let mut rules = Rules { roots: settings.roots.clone(), data: Some(settings.data.clone()), ..Rules::default() };
        let mut taken: Vec<PathBuf> = Vec::new();
        for (_, other) in others {
            rules.mounts.extend(other.mount.iter().map(|mount| mount.get_ref().path.clone().into()));
            taken.extend(other.service.iter().filter_map(|service| service.get_ref().spec().connection.file()));
        }
        for (_, other) in elsewhere {
            rules.mounts.extend(other.mounts.iter().map(|mount| PathBuf::from(&mount.path)));
            taken.extend(other.databases());
        }
        for service in &environment.service {
            if let Some(file) = service.get_ref().spec().connection.file().filter(|file| taken.contains(file)) {
                let message = format!("the database {} belongs to another environment", file.display());
                troubles.push(self.trouble(&service.span(), message));
            }
        }
        rules.databases.extend(taken);
        let parts = environment
            .service
            .iter()
            .map(|service| {
                let one = Composition { services: vec![service.get_ref().spec()], ..Composition::default() };
                (service.span(), one, rules.clone())
            })
            .chain(environment.mount.iter().map(|mount| {
                let one = Composition { mounts: vec![mount.get_ref().clone()], ..Composition::default() };
                let mut rules = rules.clone();
                let siblings = environment.mount.iter().filter(|other| other.get_ref().name != mount.get_ref().name);
                rules.mounts.extend(siblings.map(|other| other.get_ref().path.clone().into()));
                rules.databases.extend(
                    environment.service.iter().filter_map(|service| service.get_ref().spec().connection.file()),
                );
                (mount.span(), one, rules)
            }));
        for (span, composition, rules) in parts {
            let tried = tokio::task::spawn_blocking(move || Parts::connect(&composition)?.test(&rules)).await;
            if let Err(error) = tried.expect("a connection test does not panic") {
                troubles.push(self.trouble(&span, error.for_people()));
            }
        }
        Ok(())
    }
}

fn upstream(text: &str) -> Result<(), String> {
    let uri: http::Uri = text.parse().map_err(|_| format!("`{text}` is not an address like http://127.0.0.1:8080"))?;
    if uri.scheme_str() != Some("http") || uri.authority().is_none() {
        return Err(format!("`{text}` must be an http:// address with a host and a port"));
    }
    Ok(())
}

/// Adds or changes one project. Its repository is made first: a project never stands without one.
async fn put(app: &App, entry: ProjectEntry) -> Result<(), Error> {
    let mut db = app.store().read().await?;
    let known = projects::by_id(&mut db, &entry.id).await?;
    let plan = match (&entry.plan, &known) {
        (None, Some(known)) => projects::plan(&mut db, &known.id).await?,
        (wanted, _) => {
            let wanted = wanted.as_ref().map_or("self-hosted", |name| name.get_ref().as_str());
            plan(wanted).ok_or_else(|| Error::invalid(format!("There is no plan `{wanted}`.")))?
        }
    };
    drop(db);
    let kept = known.as_ref().map(|known| known.title.clone());
    let title = entry.title.clone().or(kept).unwrap_or_else(|| entry.id.to_string());
    let now = app.now().await?;
    let is_new = known.is_none();
    let access = if is_new { Some(make_repository(app, &entry.id).await?) } else { None };

    let mut tx = app.store().write().await?;
    match (known, access) {
        (None, Some(access)) => {
            let project =
                Project { id: entry.id.clone(), title, region: local_region(), plan: plan.id.clone(), created_at: now };
            insert_project(app, &mut tx, &project, &plan, &access).await?;
        }
        _ => projects::update(&mut tx, &entry.id, &title, &plan, now).await?,
    }
    for environment in entry.environment {
        put_environment(app, &mut tx, &entry.id, environment.into_inner(), now).await?;
    }
    if is_new && entry.member.is_empty() {
        // Somebody must be able to act in it: whoever runs the installation.
        for operator in users::operators(&mut tx).await? {
            members::set(&mut tx, &entry.id, &operator, &(Some(ProjectRole::Admin), BTreeMap::new())).await?;
        }
    }
    for member in entry.member {
        let member = member.into_inner();
        let Some(user) = users::by_email(&mut tx, &member.email.trim().to_lowercase()).await? else { continue };
        members::set(&mut tx, &entry.id, &user.id, &(member.role, member.types)).await?;
    }
    Ok(app.store().commit(tx).await?)
}

async fn put_environment(
    app: &App,
    db: &mut store::Db,
    project: &ProjectId,
    entry: EnvironmentEntry,
    now: Timestamp,
) -> Result<(), Error> {
    let known = environments::by_name(db, project, &entry.name).await?;
    let (id, created_at) = match known {
        Some(known) => (known.id, known.created_at),
        None => (EnvironmentId::parse(store::random_id())?, now),
    };
    let environment = Environment {
        id,
        project: project.clone(),
        title: entry.title.unwrap_or_else(|| entry.name.to_string()),
        name: entry.name,
        parent: entry.parent,
        kind: entry.kind,
        status: EnvironmentStatus::Active,
        live: entry.live,
        created_at,
        updated_at: now,
    };
    let composition = Composition {
        services: entry.service.iter().map(|service| service.get_ref().spec()).collect(),
        mounts: entry.mount.into_iter().map(Spanned::into_inner).collect(),
        routes: entry.route.into_iter().map(Spanned::into_inner).collect(),
    };
    Ok(environments::put(db, app.store().sealer(), &environment, &composition).await?)
}

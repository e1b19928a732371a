//! Tries out what a declaration says, and names the line of what does not work.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{EnvironmentEntry, File, ProjectEntry, Trouble};
use crate::domain::environment::{Composition, EnvironmentKind, ProjectCommands};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::region::LOCAL;
use crate::domain::policy::{Plan, Provision, storage};
use crate::domain::problem::sentence;
use crate::domain::{Bytes, PartName, ProjectId, Scope, Timestamp};
use crate::drivers::command;
use crate::drivers::mount::Rules;
use crate::jobs::{self, Parts};
use crate::ops::{App, Error};
use crate::store::{self, environments, users};

/// A file that is being checked.
pub(super) struct Reading<'a> {
    pub app: &'a App,
    /// As it was given.
    pub name: String,
    pub text: &'a str,
}

impl Reading<'_> {
    pub fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }

    fn trouble(&self, span: &Range<usize>, message: impl Into<String>) -> Trouble {
        Trouble { file: self.name.clone(), line: self.line(span), message: message.into() }
    }

    /// Takes out of the file what was removed and is not wanted again; what, and how to have it.
    pub async fn leave_out_removed(&self, file: &mut File, again: &[String]) -> Result<Vec<Trouble>, Error> {
        let mut db = self.app.store().read().await?;
        let wanted = |key: &str| again.iter().any(|wanted| wanted == key);
        let note = |span: &Range<usize>, key: String, at: Timestamp| {
            let day = &at.table()[..10];
            let how =
                format!("`stillpointd apply FILE --reinstate {key}` has it again, with its history and snapshots");
            self.trouble(span, format!("{key} was removed on {day} and is left out; {how}"))
        };
        let mut notes = Vec::new();
        let mut projects = Vec::new();
        for mut project in std::mem::take(&mut file.project) {
            let span = project.span();
            let id = project.get_ref().id.clone();
            let known = store::projects::by_id(&mut db, &id).await?;
            let removed = known.and_then(|known| known.removed_at).filter(|_| !wanted(id.as_str()));
            if let Some(at) = removed {
                notes.push(note(&span, id.to_string(), at));
                continue;
            }
            let mut kept = Vec::new();
            for environment in std::mem::take(&mut project.get_mut().environment) {
                let (name, key) = (environment.get_ref().name.clone(), format!("{id}/{}", environment.get_ref().name));
                let there = environments::by_name(&mut db, &id, &name).await?.is_some();
                let removed = environments::removed_by_name(&mut db, &id, &name).await?;
                // A project that is wanted again is wanted with its environments.
                match removed.filter(|_| !there && !wanted(&key) && !wanted(id.as_str())) {
                    Some(removed) => notes.push(note(&environment.span(), key, removed.updated_at)),
                    None => kept.push(environment),
                }
            }
            project.get_mut().environment = kept;
            projects.push(project);
        }
        file.project = projects;
        Ok(notes)
    }

    /// Regions have a place for repositories, and a project that is there is in the region that it is in.
    async fn check_regions(&self, file: &File, troubles: &mut Vec<Trouble>) -> Result<(), Error> {
        let mut db = self.app.store().read().await?;
        for region in &file.region {
            let Some(place) = &region.get_ref().repositories else { continue };
            let path = Path::new(place.get_ref());
            if !path.is_absolute() || !path.is_dir() {
                let message = format!("`repositories`: {} is not the absolute path of a directory", path.display());
                troubles.push(self.trouble(&place.span(), message));
            }
        }
        for project in &file.project {
            let entry = project.get_ref();
            let Some(wanted) = &entry.region else { continue };
            let (span, wanted) = (wanted.span(), wanted.get_ref());
            let declared = file.region.iter().map(Spanned::get_ref).find(|region| region.id == *wanted);
            let known = store::regions::find(&mut db, wanted).await?;
            let has_place = known.as_ref().is_some_and(|region| region.repositories.is_some())
                || declared.is_some_and(|region| region.repositories.is_some())
                || wanted.as_str() == LOCAL;
            if known.is_none() && declared.is_none() && wanted.as_str() != LOCAL {
                troubles.push(self.trouble(&span, format!("there is no region {wanted}: declare it with [[region]]")));
            } else if !has_place {
                let message = format!("the region {wanted} has no place for repositories: declare its `repositories`");
                troubles.push(self.trouble(&span, message));
            }
            let there = store::projects::by_id(&mut db, &entry.id).await?;
            if let Some(there) = there.filter(|there| there.region != *wanted) {
                let message = format!(
                    "the project is in the region {}; `stillpoint project:move --region {wanted} -p {}` moves it",
                    there.region, entry.id
                );
                troubles.push(self.trouble(&span, message));
            }
        }
        Ok(())
    }

    /// What does not work in it: every connection and path is really tried.
    /// And what does, but not as one expects.
    pub async fn check(&self, file: &File) -> Result<(Vec<Trouble>, Vec<Trouble>), Error> {
        let (mut troubles, mut notes) = (Vec::new(), Vec::new());
        let declared: Vec<(ProjectId, &EnvironmentEntry)> = file
            .project
            .iter()
            .flat_map(|project| {
                let id = &project.get_ref().id;
                project.get_ref().environment.iter().map(move |environment| (id.clone(), environment.get_ref()))
            })
            .collect();
        let others = self.declared_elsewhere(&declared).await?;
        self.check_regions(file, &mut troubles).await?;
        let known = self.check_plans(file, &mut troubles).await?;
        let mut hosts: BTreeMap<String, String> = BTreeMap::new();
        for (key, composition) in &others {
            hosts.extend(composition.routes.iter().map(|route| (route.host.to_lowercase(), key.clone())));
        }
        let mut regions = BTreeSet::new();
        for region in &file.region {
            if !regions.insert(&region.get_ref().id) {
                let message = format!("the region {} stands twice", region.get_ref().id);
                troubles.push(self.trouble(&region.span(), message));
            }
        }
        for project in &file.project {
            let entry = project.get_ref();
            if let Some(budget) = &entry.storage_budget
                && let Err(why) = budget.get_ref().parse::<Bytes>()
            {
                troubles.push(self.trouble(&budget.span(), format!("`storage_budget`: {why}")));
            }
            if let Some(name) = entry.plan.as_ref().filter(|name| !known.contains(name.get_ref())) {
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
            if let Some(provision) = &entry.provision
                && let Err(why) = provided(provision.get_ref(), &self.app.settings().roots)
            {
                troubles.push(self.trouble(&provision.span(), why));
            }
            self.check_project_commands(entry, &mut troubles);
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
                self.check_commands(environment.get_ref(), &mut troubles);
                let (found, noted) = self.check_storage(&entry.id, environment.get_ref()).await?;
                troubles.extend(found);
                notes.extend(noted);
                let (found, noted) = self.check_parts(&entry.id, environment.get_ref(), &declared, &others).await?;
                troubles.extend(found);
                notes.extend(noted);
            }
        }
        Ok((troubles, notes))
    }

    /// What is wrong with the declared plans, each with the line of its field; and the ids of all that there will be.
    async fn check_plans(&self, file: &File, troubles: &mut Vec<Trouble>) -> Result<Vec<String>, Error> {
        let built_in: Vec<String> = Plan::built_in().into_iter().map(|plan| plan.id.to_string()).collect();
        let mut declared: BTreeSet<String> = BTreeSet::new();
        for (number, entry) in file.plan.iter().enumerate() {
            let plan = entry.get_ref();
            let path = |keys: &[String]| ["plan".to_owned(), number.to_string()].into_iter().chain(keys.to_vec());
            let id = plan.id.to_string();
            if built_in.contains(&id) || !declared.insert(id.clone()) {
                let span = self.span_of(path(&["id".to_owned()])).unwrap_or_else(|| entry.span());
                troubles.push(self.trouble(&span, format!("`id`: there is a plan `{id}` already; choose another one")));
            }
            if let Err(unsound) = plan.check() {
                let span = self.span_of(path(&unsound.path)).unwrap_or_else(|| entry.span());
                troubles.push(self.trouble(&span, unsound.to_string()));
            }
        }
        let offered = store::plans::offered(&mut *self.app.store().read().await?).await?;
        Ok(offered.into_iter().map(|plan| plan.id.to_string()).chain(declared).collect())
    }

    /// Where the value stands that these keys and numbers lead to.
    fn span_of(&self, path: impl Iterator<Item = String>) -> Option<Range<usize>> {
        let root = DeTable::parse(self.text).ok()?;
        let mut found: Option<&Spanned<DeValue<'_>>> = None;
        for key in path {
            found = match found.map(Spanned::get_ref) {
                None => root.get_ref().iter().find(|(name, _)| *name.get_ref() == key).map(|(_, value)| value),
                Some(DeValue::Table(table)) => {
                    table.iter().find(|(name, _)| *name.get_ref() == key).map(|(_, value)| value)
                }
                Some(DeValue::Array(array)) => key.parse::<usize>().ok().and_then(|number| array.get(number)),
                Some(_) => None,
            };
            found?;
        }
        found.map(Spanned::span)
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

    /// Nothing is run here either.
    fn check_project_commands(&self, project: &ProjectEntry, troubles: &mut Vec<Trouble>) {
        let Some(commands) = &project.commands else { return };
        let (span, commands) = (commands.span(), commands.get_ref());
        let most = ProjectCommands::MOST_MINUTES;
        if !(1..=most).contains(&commands.minutes()) {
            troubles.push(self.trouble(&span, format!("`minutes` must be between 1 and {most}")));
        }
        for error in commands.lines().filter_map(|line| command::test(line).err()) {
            troubles.push(self.trouble(&span, sentence(&error.to_string())));
        }
    }

    /// Nothing is run: what a command does is its own affair.
    fn check_commands(&self, environment: &EnvironmentEntry, troubles: &mut Vec<Trouble>) {
        let Some(commands) = &environment.commands else { return };
        let (span, commands) = (commands.span(), commands.get_ref());
        let lonely = match (&commands.pause, &commands.resume) {
            (Some(_), None) => Some("`pause` needs a `resume`: what is paused must go on again"),
            (None, Some(_)) => Some("`resume` needs a `pause`: without one nothing is ever paused"),
            _ => None,
        };
        troubles.extend(lonely.map(|why| self.trouble(&span, why)));
        for error in commands.lines().filter_map(|line| command::test(line).err()) {
            troubles.push(self.trouble(&span, sentence(&error.to_string())));
        }
    }

    /// Sizes that are none, of parts that are nowhere, or less than a part uses; and what is advised where one grows (R10).
    async fn check_storage(
        &self,
        project: &ProjectId,
        environment: &EnvironmentEntry,
    ) -> Result<(Vec<Trouble>, Vec<Trouble>), Error> {
        let (mut troubles, mut notes) = (Vec::new(), Vec::new());
        let Some(entry) = &environment.storage else { return Ok((troubles, notes)) };
        let span = entry.span();
        let name = &environment.name;
        let mut db = self.app.store().read().await?;
        let declared = match environments::by_name(&mut db, project, name).await? {
            Some(known) => environments::composition(&mut db, self.app.store().sealer(), &known.id).await?.storage,
            None => BTreeMap::new(),
        };
        drop(db);
        let composition = Composition {
            services: environment.service.iter().map(|service| service.get_ref().spec()).collect(),
            mounts: environment.mount.iter().map(|mount| mount.get_ref().clone()).collect(),
            ..Composition::default()
        };
        for (part, size) in entry.get_ref().parts() {
            let words = part.in_words();
            let wanted = match size.parse::<Bytes>() {
                Ok(wanted) => wanted,
                Err(why) => {
                    troubles.push(self.trouble(&span, format!("the storage of the {words}: {why}")));
                    continue;
                }
            };
            if !composition.has(&part) {
                troubles.push(
                    self.trouble(&span, format!("there is no {words} in this environment to declare storage for")),
                );
                continue;
            }
            let before = declared.get(&part).copied();
            if before == Some(wanted) {
                continue;
            }
            let used = jobs::used(&composition, &part, &self.places()).await;
            // One that can't be reached has its own trouble.
            if let Some(used) = used
                && let Err(refusal) = storage::may_declare(&part, before, wanted, Some(used))
            {
                troubles.push(self.trouble(&span, refusal.to_string()));
            } else if let Some(before) = before.filter(|before| *before < wanted) {
                notes.push(self.trouble(
                    &span,
                    format!(
                        "the declared storage of the {words} of {project}/{name} grows from {before} to {wanted}: take a snapshot \
                         before you resize it, `stillpoint snapshot:create -p {project} -e {name}`"
                    ),
                ));
            }
        }
        Ok((troubles, notes))
    }

    /// Where paths may lie at all (R6), whatever other environments have.
    fn places(&self) -> Rules {
        let settings = self.app.settings();
        Rules { roots: settings.roots.clone(), data: Some(settings.data.clone()), ..Rules::default() }
    }

    /// Tries every service and mount of one environment.
    async fn check_parts(
        &self,
        project: &ProjectId,
        environment: &EnvironmentEntry,
        declared: &[(ProjectId, &EnvironmentEntry)],
        elsewhere: &[(String, Composition)],
    ) -> Result<(Vec<Trouble>, Vec<Trouble>), Error> {
        let (mut troubles, mut notes) = (Vec::new(), Vec::new());
        let others = declared.iter().filter(|(id, other)| id != project || other.name != environment.name);
        let mut rules = self.places();
        let mut taken: Vec<PathBuf> = Vec::new();
        let mut places: BTreeSet<String> = BTreeSet::new();
        for (_, other) in others {
            rules.mounts.extend(other.mount.iter().map(|mount| mount.get_ref().path.clone().into()));
            let connections = other.service.iter().map(|service| service.get_ref().spec().connection);
            for connection in connections {
                places.insert(connection.place());
                taken.extend(connection.file());
            }
        }
        for (_, other) in elsewhere {
            rules.mounts.extend(other.mounts.iter().map(|mount| PathBuf::from(&mount.path)));
            taken.extend(other.databases());
            places.extend(other.services.iter().map(|service| service.connection.place()));
        }
        for service in &environment.service {
            let place = service.get_ref().spec().connection.place();
            if places.contains(&place) {
                let message = format!("the database {place} belongs to another environment");
                troubles.push(self.trouble(&service.span(), message));
            }
        }
        rules.databases.extend(taken);
        let parts = environment
            .service
            .iter()
            .map(|service| {
                let one = Composition { services: vec![service.get_ref().spec()], ..Composition::default() };
                (service.span(), one, Scope::default(), rules.clone())
            })
            .chain(environment.mount.iter().map(|mount| {
                // It may lie inside another one, or another one in it.
                let mounts = environment.mount.iter().map(|mount| mount.get_ref().clone()).collect();
                let all = Composition { mounts, ..Composition::default() };
                let scope = Scope::from_iter([PartName::Mount(mount.get_ref().name.clone())]);
                let mut rules = rules.clone();
                rules.databases.extend(
                    environment.service.iter().filter_map(|service| service.get_ref().spec().connection.file()),
                );
                (mount.span(), all, scope, rules)
            }));
        for (span, composition, scope, rules) in parts {
            let tried = tokio::task::spawn_blocking(move || {
                let parts = Parts::chosen(&composition, &scope)?;
                parts.test(&rules).map(|_| unlike_expected(&parts))
            });
            match tried.await.expect("a connection test does not panic") {
                Ok(found) => notes.extend(found.into_iter().map(|note| self.trouble(&span, note))),
                Err(error) => troubles.push(self.trouble(&span, error.for_people())),
            }
        }
        Ok((troubles, notes))
    }
}

/// Of the services: what can't be restored at all by its account, or only as maintenance.
fn unlike_expected(parts: &Parts) -> Vec<String> {
    let said = parts.services.iter().flat_map(|service| {
        let limits = service.driver.test().map(|tested| tested.limits).unwrap_or_default();
        let telling = limits.into_iter().filter(|limit| RESTORES.iter().any(|start| limit.starts_with(start)));
        telling.map(|limit| format!("Service {}: {limit}", service.name())).collect::<Vec<_>>()
    });
    said.collect()
}

/// How drivers begin what they say of restores.
const RESTORES: [&str; 2] = ["A restore replaces it in place", "It can't be restored as things are"];

/// What of a provisioning contract can be tried without making anything.
fn provided(provision: &Provision, roots: &[PathBuf]) -> Result<(), String> {
    if provision.kind == EnvironmentKind::Production {
        return Err("new environments can't be of the type production: choose staging or development".to_owned());
    }
    if let Some(host) = provision.host.as_ref().filter(|host| !host.contains("{name}")) {
        return Err(format!("`{host}` would be the host of every new environment: put {{name}} into it"));
    }
    if let Some(directory) = &provision.directory {
        let path = Path::new(directory);
        let real = path.canonicalize().ok().filter(|real| path.is_absolute() && real.is_dir());
        let real = real.ok_or_else(|| format!("`{directory}` is not the absolute path of a directory: create it"))?;
        if !roots.iter().any(|root| root.canonicalize().is_ok_and(|root| real.starts_with(root))) {
            return Err(format!("`{directory}` is outside the directories that the server was started with (--roots)"));
        }
        rustix::fs::access(&real, rustix::fs::Access::WRITE_OK)
            .map_err(|_| format!("`{directory}` can't be written: give the user that runs the worker write access"))?;
    }
    if let Some(program) = &provision.program {
        command::test(program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn upstream(text: &str) -> Result<(), String> {
    let uri: http::Uri = text.parse().map_err(|_| format!("`{text}` is not an address like http://127.0.0.1:8080"))?;
    if uri.scheme_str() != Some("http") || uri.authority().is_none() {
        return Err(format!("`{text}` must be an http:// address with a host and a port"));
    }
    Ok(())
}

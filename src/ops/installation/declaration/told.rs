//! What a declaration changes, in words for the audit: which parts of a project, never what stands in them, since secrets do.

use std::collections::BTreeMap;

use crate::domain::audit::AuditKind;
use crate::domain::environment::{Composition, Environment, ProjectCommands};
use crate::domain::ids::EnvironmentName;
use crate::domain::policy::{Plan, Provision, Region};
use crate::domain::{Bytes, ProjectId};
use crate::ops::{App, Error, audit};
use crate::store::{Db, environments, projects};

/// A project as it is declared.
#[derive(Default)]
pub(super) struct Settings {
    commands: ProjectCommands,
    provision: Option<Provision>,
    budget: Option<Bytes>,
    environments: BTreeMap<EnvironmentName, (Environment, Composition)>,
}

impl Settings {
    pub async fn read(app: &App, db: &mut Db, project: &ProjectId) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for environment in environments::by_project(db, project).await? {
            let composition = environments::composition(db, app.store().sealer(), &environment.id).await?;
            all.insert(environment.name.clone(), (environment, composition));
        }
        Ok(Self {
            commands: projects::commands(db, project).await?,
            provision: projects::provision(db, project).await?,
            budget: projects::storage_budget(db, project).await?,
            environments: all,
        })
    }

    /// A phrase for each change since `before`.
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let mut told = Vec::new();
        if self.budget != before.budget {
            told.push(match self.budget {
                Some(budget) => format!("the storage budget is {budget}"),
                None => "there is no storage budget any more".to_owned(),
            });
        }
        if self.commands != before.commands {
            told.push("the project's commands changed".to_owned());
        }
        if self.provision != before.provision {
            told.push("how new environments are made changed".to_owned());
        }
        for (name, after) in &self.environments {
            let changed = match before.environments.get(name) {
                None => vec!["added"],
                Some(before) => differing(before, after),
            };
            if !changed.is_empty() {
                told.push(format!("{name}: {}", changed.join(", ")));
            }
        }
        told
    }
}

fn differing(
    (was, before): &(Environment, Composition),
    (is, after): &(Environment, Composition),
) -> Vec<&'static str> {
    let about = |it: &Environment| (it.title.clone(), it.parent.clone(), it.status);
    let all = [
        (was.kind != is.kind, "another type"),
        (was.live != is.live, "another liveness"),
        (about(was) != about(is), "another title, parent or status"),
        (before.services != after.services, "services"),
        (before.mounts != after.mounts, "mounts"),
        (before.routes != after.routes, "hosts"),
        (before.commands != after.commands, "commands"),
        (before.storage != after.storage, "declared storage"),
    ];
    all.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
}

/// Records a region that is new or another than it was.
pub(super) async fn region(app: &App, db: &mut Db, before: Option<&Region>, after: &Region) -> Result<(), Error> {
    if before == Some(after) {
        return Ok(());
    }
    let told = |region: &Region| {
        let place = region.repositories.as_deref().unwrap_or("none of its own");
        format!(
            "\u{201c}{}\u{201d}, restore_elsewhere {}, repositories {place}",
            region.title,
            region.restore_elsewhere.as_str()
        )
    };
    let was = before.map(|before| format!("; it was {}", told(before))).unwrap_or_default();
    let about = format!("declared the region {}: {}{was}", after.id, told(after));
    audit::note(db, app, (audit::terminal(), None), AuditKind::Installation, about).await
}

/// Records plans that are new or others than they were.
pub(super) async fn plans<'a>(
    app: &App,
    db: &mut Db,
    before: &[Plan],
    after: impl Iterator<Item = &'a Plan>,
) -> Result<(), Error> {
    for plan in after.filter(|plan| !before.contains(plan)) {
        let about = format!("declared the plan {} (\u{201c}{}\u{201d})", plan.id, plan.title);
        audit::note(db, app, (audit::terminal(), None), AuditKind::Installation, about).await?;
    }
    Ok(())
}

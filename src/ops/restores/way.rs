//! From where into where a restore goes.

use super::branch::Branch;
use crate::authz::{Actor, Authorized, RestoreSnapshot, ViewHistory};
use crate::domain::environment::{Composition, Environment};
use crate::domain::ids::{EnvironmentName, InvalidId};
use crate::domain::manifest::Manifest;
use crate::domain::policy::provision::nearest;
use crate::domain::policy::{Act, Refusal, Region, RestorePlan, Verdict};
use crate::domain::problem::sentence;
use crate::domain::{ProjectId, Scope, SnapshotName};
use crate::ops::audit::Attempt;
use crate::ops::{App, Error};

/// From where into where; the proofs say that both may be (R2).
#[derive(Debug)]
pub struct Way {
    pub(super) from: Authorized<RestoreSnapshot>,
    pub(super) into: Target,
}

#[derive(Debug)]
pub(super) enum Target {
    /// The snapshot's own environment.
    Own,
    Other(Box<Authorized<RestoreSnapshot>>),
    New(Box<Branch>),
}

/// Where a restore is wanted, as it was typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// Another environment; none, or the snapshot's own: in place.
    pub target: Option<&'a str>,
    /// Parent of a target that is to be created (S4).
    pub branch_from: Option<&'a str>,
}

impl Way {
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Forbidden`] for either environment, [`Error::Invalid`] for what is no name, and
    /// [`Error::Conflict`] for a target that would have to be created.
    pub async fn authorize(
        app: &App,
        actor: &Actor,
        project: &ProjectId,
        from: &EnvironmentName,
        wish: Wish<'_>,
    ) -> Result<Self, Error> {
        let source = app.authorize_environment::<RestoreSnapshot>(actor, project, from).await?;
        let into = match (wish.target, wish.branch_from) {
            (None, None) => Target::Own,
            (Some(target), None) if target == from.as_str() => Target::Own,
            (Some(target), None) => {
                let name = EnvironmentName::parse(target)?;
                let target = app.authorize_environment::<RestoreSnapshot>(actor, project, &name).await;
                let hint = format!("To have {name} made for it, say what it is made after: --branch-from {from}.");
                Target::Other(Box::new(target.map_err(|error| absent(error, hint))?))
            }
            (target, Some(parent)) => {
                let parent = EnvironmentName::parse(parent)?;
                let name = target.map(|text| EnvironmentName::parse(text).map_err(|error| unusable(&error, text)));
                let name = name.transpose()?;
                let seen = app.authorize_environment::<ViewHistory>(actor, project, &parent).await;
                let hint = format!(
                    "{parent} was to give the new environment its services and mounts: name one that is there \
                     (--branch-from)."
                );
                let seen = seen.map_err(|error| absent(error, hint))?;
                let planned = Branch::plan(app, &seen, name).await;
                let attempt = Attempt::of(&seen).doing(Act::CreateEnvironment);
                Target::New(Box::new(attempt.recorded(app, planned).await?))
            }
        };
        Ok(Self { from: source, into })
    }

    pub(in crate::ops) fn from(&self) -> &Authorized<RestoreSnapshot> {
        &self.from
    }

    pub(in crate::ops) fn source(&self) -> &Environment {
        &self.from.on().environment
    }

    /// What is overwritten or made.
    pub(in crate::ops) fn target(&self) -> &Environment {
        match &self.into {
            Target::Own => self.source(),
            Target::Other(target) => &target.on().environment,
            Target::New(new) => &new.environment,
        }
    }

    pub(in crate::ops) fn is_elsewhere(&self) -> bool {
        !matches!(self.into, Target::Own)
    }

    /// What a new environment is made after.
    pub(in crate::ops) fn branch_from(&self) -> Option<&EnvironmentName> {
        self.branch().map(|new| &new.parent)
    }

    /// Whether the one whose way it is may file a ticket for it.
    ///
    /// # Errors
    /// The refusal to show.
    pub(in crate::ops) fn may_file_ticket(&self) -> Verdict {
        self.from.standing().may(Act::FileTicket, self.source())?;
        self.from.standing().may(Act::FileTicket, self.target())
    }

    /// A command line that does the same from another environment, or by another command.
    pub(super) fn command(&self, verb: &str, from: &EnvironmentName, snapshot: &SnapshotName, scope: &Scope) -> String {
        let mut command = format!("stillpoint {verb} -p {} -e {from}", self.from.on().project.id);
        if self.target().name != *from {
            command += &format!(" --target {}", self.target().name);
        }
        if let Some(parent) = self.branch_from() {
            command += &format!(" --branch-from {parent}");
        }
        if !scope.is_everything() {
            command += &format!(" --only {}", quoted(&scope.to_string()));
        }
        format!("{command} {snapshot}")
    }

    /// What the region says to it (R27).
    pub(super) fn region_allows(&self, region: &Region, snapshot: &SnapshotName, scope: &Scope) -> Verdict {
        if !self.is_elsewhere() {
            return Ok(());
        }
        let command = self.command("ticket:create --reason '…'", &self.source().name, snapshot, scope);
        region.may_restore_elsewhere(&command)
    }

    pub(in crate::ops) fn plan(
        &self,
        manifest: &Manifest,
        composition: &Composition,
        scope: &Scope,
    ) -> Result<RestorePlan, Refusal> {
        let plan = RestorePlan::new(&self.target().id, manifest, composition, scope)?;
        if self.branch().is_some() { plan.into_new() } else { Ok(plan) }
    }

    pub(super) fn branch(&self) -> Option<&Branch> {
        match &self.into {
            Target::New(new) => Some(new),
            _ => None,
        }
    }
}

impl From<Authorized<RestoreSnapshot>> for Way {
    fn from(from: Authorized<RestoreSnapshot>) -> Self {
        Self { from, into: Target::Own }
    }
}

/// Tells what could be done about an environment that is not there.
fn absent(error: Error, hint: String) -> Error {
    match error {
        Error::NotFound(what) => Error::Absent { what, hint },
        other => other,
    }
}

/// A name that no environment can have, with one that it could.
fn unusable(error: &InvalidId, text: &str) -> Error {
    let hint = nearest(text).map(|name| format!("Try {name}."));
    Error::Invalid { message: sentence(&error.to_string()), hint }
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,".contains(letter);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

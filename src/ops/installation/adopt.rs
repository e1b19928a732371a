//! Rebuilds the catalogue from a repository alone: when our database is lost, no snapshot is (R34).

use std::collections::BTreeMap;
use std::path::Path;

use super::{insert_project, local_region, plan, recovery};
use crate::domain::audit::AuditKind;
use crate::domain::bytes::counted;
use crate::domain::environment::{Composition, Environment, EnvironmentStatus, Project};
use crate::domain::ids::EnvironmentName;
use crate::domain::manifest::Manifest;
use crate::domain::policy::{MemberSource, Roles};
use crate::domain::snapshot::{Protection, Snapshot};
use crate::domain::{Bytes, EnvironmentId, Secret};
use crate::engine::{Location, Repository};
use crate::ops::{App, Error, audit};
use crate::store::projects::RepositoryAccess;
use crate::store::{environments, members, projects, snapshots, users};

/// What was found.
#[derive(Debug)]
pub struct Adopted {
    pub project: String,
    pub environments: usize,
    pub snapshots: usize,
    /// Entries without a manifest that can be read: made by another program, or damaged.
    pub passed_over: Vec<String>,
}

/// Takes over every snapshot of a repository that opens with `key`, its recovery key. Services and mounts
/// are not declared by it: apply a declaration afterwards, then restore. A second time adds what is new.
///
/// # Errors
/// [`Error::Invalid`] when it holds no snapshot of ours, or the repository's own errors.
pub async fn adopt(app: &App, repository: &Path, key: &Secret) -> Result<Adopted, Error> {
    let path = repository
        .canonicalize()
        .map_err(|source| Error::Io { what: format!("{} can't be opened", repository.display()), source })?;
    let location = path.to_str().map(str::to_owned).ok_or_else(|| Error::invalid("The path must be UTF-8."))?;
    // The one that is printed from now on must open this repository too.
    let recovery = recovery(app).await?;
    let ((found, passed_over), own) = {
        let (path, key) = (path.clone(), key.clone());
        tokio::task::spawn_blocking(move || {
            let repository = Repository::unlock(&Location::Local(path), &key)?;
            let found = manifests(&repository)?;
            repository.ensure_password(&recovery)?;
            Ok::<_, Error>((found, repository.key()))
        })
        .await
        .expect("reading a repository does not panic")?
    };
    let Some((_, newest)) = found.last() else {
        return Err(Error::invalid("This repository holds no snapshot that Stillpoint took."));
    };
    let about = format!("took over {} of the repository {location}", counted(found.len() as u64, "snapshot"));
    let access = RepositoryAccess { location, key: own };
    let now = app.now().await?;
    let plan = plan("self-hosted").expect("a built-in plan");
    let project = Project {
        id: newest.project.clone(),
        title: newest.project_title.clone(),
        region: local_region(),
        plan: plan.id.clone(),
        created_at: now,
        removed_at: None,
    };

    let mut tx = app.store().write().await?;
    if projects::by_id(&mut tx, &project.id).await?.is_none() {
        insert_project(app, &mut tx, &project, &plan, &access).await?;
        for operator in users::operators(&mut tx).await? {
            members::set(&mut tx, &project.id, &operator, &Roles::admin(), (MemberSource::Console, now)).await?;
        }
    }
    let mut seen: BTreeMap<EnvironmentId, Environment> = BTreeMap::new();
    for (_, manifest) in &found {
        seen.insert(manifest.environment_id.clone(), environment(manifest, now));
    }
    // Of several that had one name the newest has it; the others had been removed.
    let newest: BTreeMap<&EnvironmentName, &EnvironmentId> =
        found.iter().map(|(_, manifest)| (&manifest.environment, &manifest.environment_id)).collect();
    for environment in seen.values_mut() {
        let taken = environments::by_name(&mut tx, &project.id, &environment.name).await?;
        let is_newest = newest.get(&environment.name).is_some_and(|id| **id == environment.id);
        if !is_newest || taken.is_some_and(|taken| taken.id != environment.id) {
            environment.status = EnvironmentStatus::Removed;
        }
        if environments::by_id(&mut tx, &environment.id).await?.is_none() {
            environments::put(&mut tx, app.store().sealer(), environment, &Composition::default()).await?;
        }
    }
    for (id, manifest) in &found {
        snapshots::insert(&mut tx, &snapshot(id, manifest, &plan), manifest).await?;
    }
    let by = (audit::terminal(), Some(&project.id));
    audit::note(&mut tx, app, by, AuditKind::Installation, about).await?;
    app.store().commit(tx).await?;
    Ok(Adopted { project: project.id.to_string(), environments: seen.len(), snapshots: found.len(), passed_over })
}

/// Oldest first, with their ids in the repository; and the ids of those that are not ours.
type Found = (Vec<(String, Manifest)>, Vec<String>);

fn manifests(repository: &Repository) -> Result<Found, Error> {
    let listing = repository.list()?;
    let mut found = Vec::new();
    let mut passed_over = listing.unreadable;
    for stored in listing.snapshots {
        let manifest = repository.manifest(&stored.id).ok().and_then(|text| serde_json::from_slice(&text).ok());
        match manifest {
            Some(manifest) => found.push((stored.id, manifest)),
            None => passed_over.push(stored.id),
        }
    }
    Ok((found, passed_over))
}

fn environment(manifest: &Manifest, now: crate::domain::Timestamp) -> Environment {
    Environment {
        id: manifest.environment_id.clone(),
        project: manifest.project.clone(),
        name: manifest.environment.clone(),
        title: manifest.environment_title.clone(),
        parent: None,
        kind: manifest.environment_type,
        status: EnvironmentStatus::Active,
        live: false,
        created_at: now,
        updated_at: now,
    }
}

fn snapshot(id: &str, manifest: &Manifest, plan: &crate::domain::policy::Plan) -> Snapshot {
    Snapshot {
        name: manifest.snapshot.clone(),
        project: manifest.project.clone(),
        environment: manifest.environment_id.clone(),
        activity: None,
        origin: manifest.origin,
        consistency: manifest.consistency,
        note: manifest.note.clone(),
        repository_id: id.to_owned(),
        taken_at: manifest.taken_at,
        created_at: manifest.taken_at,
        expires_at: plan.expires_at(manifest.environment_type, manifest.origin, manifest.taken_at),
        // Dumps are not measured here; the mounts are what the manifest knows.
        size: Bytes(manifest.mounts.iter().map(|mount| mount.bytes).sum()),
        added: Bytes(0),
        proof: manifest.proof.clone(),
        // The plan that it had is not known, nor what was protected: nothing goes before somebody has looked.
        protection: Some(Protection { note: Some("found in the repository".to_owned()) }),
        drill_failed_at: None,
    }
}

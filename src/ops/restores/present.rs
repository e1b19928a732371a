//! The parts of a restore: what the snapshot holds of each, and what is there now.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::bytes::counted;
use crate::domain::environment::Composition;
use crate::domain::ids::MountName;
use crate::domain::manifest::Manifest;
use crate::domain::view::Part;
use crate::domain::{Bytes, MountPath, PartName, Scope};
use crate::drivers::Mount;
use crate::jobs::{Held, Parts};
use crate::ops::environments::parts;

/// How long a service may take to say what it holds.
const LOOK: Duration = Duration::from_secs(2);

/// What the snapshot recorded of a part.
pub(super) fn recorded(manifest: &Manifest, held: &[Held], part: &PartName) -> Option<String> {
    match part {
        PartName::Path(mount, path) => {
            let held = held.iter().find(|held| held.mount == *mount && held.path == *path);
            Some(match held.map(|held| held.contents) {
                Some(Some(contents)) => files(contents.files, Bytes(contents.bytes)),
                Some(None) => "nothing: it did not exist".to_owned(),
                None => "what the snapshot holds there".to_owned(),
            })
        }
        PartName::Mount(name) => {
            let entry = manifest.mounts.iter().find(|entry| entry.name == *name)?;
            Some(files(entry.files, Bytes(entry.bytes)))
        }
        PartName::Service(name) => {
            let entry = manifest.services.iter().find(|entry| entry.name == *name)?;
            Some(entry.facts.in_words(&entry.kind))
        }
    }
}

type Present = (PartName, Part, Result<String, String>);

/// The chosen parts of an environment that does not exist yet.
pub(super) fn parts_made(composition: &Composition, scope: &Scope) -> Vec<Present> {
    let chosen = composition.only(scope);
    let all = chosen.names().into_iter().map(|(name, _)| name).zip(parts(&chosen));
    all.map(|(name, part)| (name, part, Ok("nothing: it is made".to_owned()))).collect()
}

/// What is there now of the chosen parts, or why it can't be replaced.
pub(super) async fn present(
    composition: &Composition,
    scope: &Scope,
    paths: BTreeMap<MountName, Vec<MountPath>>,
) -> Vec<Present> {
    let (chosen, composition, scope) = (composition.only(scope), composition.clone(), scope.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let all = chosen.names().into_iter().map(|(name, _)| name).zip(parts(&chosen));
        let connected = match Parts::chosen(&composition, &scope) {
            Ok(connected) => connected,
            Err(error) => return all.map(|(name, part)| (name, part, Err(error.for_people()))).collect(),
        };
        let services = connected.services.iter().map(|service| {
            let facts = service.driver.contents(LOOK);
            facts
                .map(|facts| facts.in_words(service.driver.kind()))
                .map_err(|error| format!("service {}: {error}", service.name()))
        });
        let mounts = connected.mounts.iter().map(|mount| {
            if paths.contains_key(mount.name()) {
                return Ok(String::new());
            }
            let contents = mount.driver.index().map(|index| index.contents());
            contents
                .map(|contents| files(contents.files, contents.bytes))
                .map_err(|error| format!("mount {}: {error}", mount.name()))
        });
        let whole = all.zip(services.chain(mounts)).map(|((name, part), found)| (name, part, found));
        let whole = whole.filter(|(name, ..)| !matches!(name, PartName::Mount(name) if paths.contains_key(name)));
        let single = connected.mounts.iter().flat_map(|mount| {
            let wanted = paths.get(mount.name()).map(Vec::as_slice).unwrap_or_default();
            present_at(mount.name(), &mount.driver, wanted)
        });
        whole.chain(single).collect()
    });
    looked.await.unwrap_or_default()
}

/// What is there now at single paths.
fn present_at(mount: &MountName, driver: &Mount, paths: &[MountPath]) -> Vec<Present> {
    if paths.is_empty() {
        return Vec::new();
    }
    let index = driver.index().map_err(|error| format!("mount {mount}: {error}"));
    let at = |path: &MountPath| {
        let found = index.as_ref().map_err(Clone::clone)?.contents_at(path);
        Ok(found.map_or_else(|| "nothing".to_owned(), |contents| files(contents.files, contents.bytes)))
    };
    let part = |path: &MountPath| Part { name: format!("{mount}/{path}"), kind: "mount".to_owned() };
    paths.iter().map(|path| (PartName::Path(mount.clone(), path.clone()), part(path), at(path))).collect()
}

fn files(files: u64, bytes: Bytes) -> String {
    format!("{}, {bytes}", counted(files, "file"))
}

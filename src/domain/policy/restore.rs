//! What a restore will replace: one plan for the confirmation page, the operation and the worker (R25).

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Refusal;
use crate::domain::environment::Composition;
use crate::domain::ids::{EnvironmentId, MountName, ServiceName};
use crate::domain::manifest::{Manifest, MountEntry, ServiceEntry};

/// The parts of an environment that a snapshot replaces, matched by name and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    pub environment: EnvironmentId,
    pub services: Vec<ServiceEntry>,
    pub mounts: Vec<MountEntry>,
    /// What stands in the environment and not in the snapshot: stays untouched.
    pub untouched: Vec<String>,
}

impl RestorePlan {
    /// # Errors
    /// Parts of the snapshot that the environment does not have, or has of another kind.
    pub fn new(environment: &EnvironmentId, manifest: &Manifest, composition: &Composition) -> Result<Self, Refusal> {
        let missing: Vec<String> = manifest
            .services
            .iter()
            .filter(|entry| {
                !composition
                    .services
                    .iter()
                    .any(|service| service.name == entry.name && service.connection.kind() == entry.kind)
            })
            .map(|entry| format!("the {} service {}", entry.kind, entry.name))
            .chain(
                manifest
                    .mounts
                    .iter()
                    .filter(|entry| !composition.mounts.iter().any(|mount| mount.name == entry.name))
                    .map(|entry| format!("the mount {}", entry.name)),
            )
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::new(format!(
                "The snapshot holds {}, which the environment does not have.",
                missing.join(", ")
            ))
            .instead("Declare it in the environment, then restore."));
        }
        let in_snapshot = |name: &ServiceName| manifest.services.iter().any(|entry| entry.name == *name);
        let mount_in_snapshot = |name: &MountName| manifest.mounts.iter().any(|entry| entry.name == *name);
        let services = composition.services.iter().filter(|service| !in_snapshot(&service.name));
        let mounts = composition.mounts.iter().filter(|mount| !mount_in_snapshot(&mount.name));
        Ok(Self {
            environment: environment.clone(),
            services: manifest.services.clone(),
            mounts: manifest.mounts.clone(),
            untouched: services
                .map(|service| format!("service {}", service.name))
                .chain(mounts.map(|mount| format!("mount {}", mount.name)))
                .collect(),
        })
    }

    /// Stands for the whole plan: what was confirmed is what runs.
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).expect("a plan has string keys");
        Sha256::digest(text).iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }
}

//! What a restore will replace: one plan for the confirmation page, the operation and the worker (R25).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Refusal;
use crate::domain::environment::Composition;
use crate::domain::ids::{EnvironmentId, ServiceName};
use crate::domain::manifest::{Manifest, MountEntry, ServiceEntry};
use crate::domain::problem::sentence;
use crate::domain::scope::{PartName, Scope};

/// The parts of an environment that a snapshot replaces, matched by name and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The one that is overwritten.
    pub environment: EnvironmentId,
    pub services: Vec<ServiceEntry>,
    /// With paths: only they are replaced, and the numbers are the whole mount's.
    pub mounts: Vec<MountEntry>,
    /// What stands in the environment and is not replaced.
    pub untouched: Vec<PartName>,
    /// Services that can only be loaded in the hold: known once they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_place: Vec<ServiceName>,
}

impl RestorePlan {
    /// # Errors
    /// Parts that were asked for and are not in the snapshot; parts that the environment does not have, or has of another
    /// kind: they can be deselected (R25).
    pub fn new(
        environment: &EnvironmentId,
        manifest: &Manifest,
        composition: &Composition,
        scope: &Scope,
    ) -> Result<Self, Refusal> {
        let held = parts_of(manifest);
        let absent: Vec<String> =
            scope.named().filter(|part| !holds(&held, part)).map(|part| format!("the {}", part.in_words())).collect();
        if !absent.is_empty() {
            let held: Vec<String> = held.iter().map(ToString::to_string).collect();
            return Err(Refusal::new(format!("The snapshot does not hold {}.", absent.join(", ")))
                .instead(format!("Choose among {}.", held.join(", "))));
        }
        let services: Vec<ServiceEntry> = manifest
            .services
            .iter()
            .filter(|entry| scope.has(&PartName::Service(entry.name.clone())))
            .cloned()
            .collect();
        let mounts = manifest.mounts.iter().filter(|entry| scope.touches(&entry.name)).map(|entry| {
            let wanted = scope.paths_in(&entry.name);
            let paths = if wanted.is_empty() { entry.paths.clone() } else { wanted };
            MountEntry { paths, ..entry.clone() }
        });
        let mounts: Vec<MountEntry> = mounts.collect();

        let stands = |entry: &&ServiceEntry| {
            let mut standing = composition.services.iter();
            standing.any(|service| service.name == entry.name && service.connection.kind() == entry.kind)
        };
        let missing_services = services.iter().filter(|entry| !stands(entry));
        let missing_mounts = mounts.iter().filter(|entry| !composition.mounts.iter().any(|it| it.name == entry.name));
        let missing: Vec<String> = missing_services
            .map(|entry| format!("the {} service {}", entry.kind, entry.name))
            .chain(missing_mounts.map(|entry| format!("the mount {}", entry.name)))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(Refusal::new(format!("The snapshot holds {missing}, which the environment does not have."))
                .instead("Declare it in the environment, or leave it out of the restore."));
        }
        let replaced = |part: &PartName| match part {
            PartName::Mount(name) => mounts.iter().any(|entry| entry.name == *name),
            _ => held.contains(part) && scope.has(part),
        };
        let standing = composition.services.iter().map(|service| PartName::Service(service.name.clone()));
        let standing = standing.chain(composition.mounts.iter().map(|mount| PartName::Mount(mount.name.clone())));
        let untouched = standing.filter(|part| !replaced(part)).collect();
        Ok(Self { environment: environment.clone(), services, mounts, untouched, in_place: Vec::new() })
    }

    /// The same for an environment that is made for it: there is nothing that single paths could go into (R21).
    ///
    /// # Errors
    /// When it is about single paths.
    pub fn into_new(self) -> Result<Self, Refusal> {
        match self.mounts.iter().find(|mount| !mount.paths.is_empty()) {
            Some(mount) => Err(Refusal::new(format!("Only some paths of the mount {} are meant.", mount.name))
                .instead("Restore the whole mount, or restore the paths into an environment that exists.")),
            None => Ok(self),
        }
    }

    /// Whether it replaces exactly what `filed` does, which somebody asked for earlier (R28). What was written since changes
    /// no plan; what stands beside it may have changed, and is told.
    ///
    /// # Errors
    /// When it replaces something else.
    pub fn still(&self, filed: &Self) -> Result<Vec<String>, Refusal> {
        let refuse =
            |reason: &str| Err(Refusal::new(reason).instead("Decline the ticket; what is wanted now is a new one."));
        if self.environment != filed.environment {
            return refuse("The target is not the environment that it was when the ticket was filed.");
        }
        if (&self.services, &self.mounts) != (&filed.services, &filed.mounts) {
            return refuse("What would be replaced is not what the ticket says.");
        }
        let only_in = |one: &Self, other: &Self| -> Vec<PartName> {
            one.untouched.iter().filter(|part| !other.untouched.contains(part)).cloned().collect()
        };
        let came = only_in(self, filed).into_iter().map(|part| {
            sentence(&format!("the {} has come since the ticket was filed, and stays as it is", part.in_words()))
        });
        let went = only_in(filed, self).into_iter().map(|part| {
            sentence(&format!(
                "the {} is not there any more, which stayed as it was when the ticket was filed",
                part.in_words()
            ))
        });
        Ok(came.chain(went).collect())
    }

    /// Stands for the whole plan: what was confirmed is what runs. What is announced as maintenance stands at its end, so
    /// that the rest can be compared without asking the services.
    pub fn hash(&self) -> String {
        let digest = |text: serde_json::Result<Vec<u8>>, bytes: usize| -> String {
            let digest = Sha256::digest(text.expect("a plan has string keys"));
            digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
        };
        let replaced = digest(serde_json::to_vec(&Self { in_place: Vec::new(), ..self.clone() }), 10);
        match self.in_place.as_slice() {
            [] => replaced,
            announced => format!("{replaced}-{}", digest(serde_json::to_vec(announced), 4)),
        }
    }

    /// Whether what was confirmed replaces the same.
    pub fn replaces(&self, confirmed: &str) -> bool {
        let replaced = |hash: &str| hash.split('-').next().map(str::to_owned);
        replaced(&self.hash()) == replaced(confirmed)
    }

    /// Whether the maintenance that it needs was announced.
    ///
    /// # Errors
    /// When it was not.
    pub fn announced(&self, confirmed: Option<&str>) -> Result<(), Refusal> {
        if self.in_place.is_empty() || confirmed == Some(self.hash().as_str()) {
            return Ok(());
        }
        let names: Vec<&str> = self.in_place.iter().map(ServiceName::as_str).collect();
        Err(Refusal::new(format!(
            "The service {} can only be restored in place, as maintenance, which was not announced to whoever asked for this.",
            names.join(", ")
        ))
        .instead("Look at what the restore would do, where its length is said, and confirm that."))
    }
}

/// Everything that a snapshot holds.
pub fn parts_of(manifest: &Manifest) -> BTreeSet<PartName> {
    let services = manifest.services.iter().map(|entry| PartName::Service(entry.name.clone()));
    let mounts = manifest.mounts.iter().flat_map(|entry| {
        let whole = entry.paths.is_empty().then(|| PartName::Mount(entry.name.clone()));
        whole.into_iter().chain(entry.paths.iter().map(|path| PartName::Path(entry.name.clone(), path.clone())))
    });
    services.chain(mounts).collect()
}

/// Whether a path really is in the snapshot, its tree alone says.
fn holds(held: &BTreeSet<PartName>, part: &PartName) -> bool {
    let PartName::Path(mount, path) = part else { return held.contains(part) };
    held.iter().any(|held| match held {
        PartName::Mount(of) => of == mount,
        PartName::Path(of, above) => of == mount && path.is_within(above),
        PartName::Service(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::environment::{MountSpec, ServiceConnection, ServiceSpec};

    fn composition(services: &[&str], mounts: &[&str]) -> Composition {
        let service = |name: &&str| ServiceSpec {
            name: name.parse().expect("a valid name"),
            connection: ServiceConnection::Sqlite { path: format!("/srv/{name}.db") },
        };
        let mount = |name: &&str| MountSpec {
            name: name.parse().expect("a valid name"),
            path: format!("/srv/{name}"),
            exclude: Vec::new(),
        };
        Composition {
            services: services.iter().map(service).collect(),
            mounts: mounts.iter().map(mount).collect(),
            ..Composition::default()
        }
    }

    fn manifest() -> Manifest {
        let service = |name: &str| {
            serde_json::json!({
                "name": name, "kind": "sqlite", "version": "3", "position": "1", "facts": { "rows": {}, "schema": "" }
            })
        };
        serde_json::from_value(serde_json::json!({
            "version": 1, "snapshot": "a".repeat(20), "project": "shop", "project_title": "Shop",
            "environment_id": "b".repeat(20), "environment": "main", "environment_title": "Main",
            "environment_type": "production", "taken_at": "2026-01-02T03:04:05Z", "origin": "manual",
            "consistency": "consistent", "note": null, "proof": null,
            "services": [service("database"), service("search")],
            "mounts": [{ "name": "uploads", "files": 1, "bytes": 1, "exclude": [] }]
        }))
        .expect("a manifest")
    }

    fn plan(composition: &Composition, scope: &str) -> Result<RestorePlan, Refusal> {
        let environment = EnvironmentId::parse("e".repeat(20)).expect("a valid id");
        let manifest = manifest();
        RestorePlan::new(&environment, &manifest, composition, &scope.parse().expect("a scope"))
    }

    fn names(parts: &[PartName]) -> Vec<String> {
        parts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_is_replaced_and_what_the_snapshot_does_not_hold_stays() {
        let plan = plan(&composition(&["database", "search", "queue"], &["uploads", "logs"]), "").expect("it fits");
        assert_eq!((plan.services.len(), plan.mounts.len()), (2, 1));
        assert_eq!(names(&plan.untouched), ["service:queue", "mount:logs"]);
    }

    #[test]
    fn only_what_was_chosen_is_replaced() {
        let here = composition(&["database", "search"], &["uploads"]);
        let chosen = plan(&here, "mount:uploads").expect("it fits");
        assert_eq!((chosen.services.len(), chosen.mounts.len()), (0, 1));
        assert_eq!(names(&chosen.untouched), ["service:database", "service:search"]);
        assert_ne!(chosen.hash(), plan(&here, "").expect("it fits").hash());
    }

    #[test]
    fn maintenance_must_have_been_announced() {
        let here = composition(&["database", "search"], &["uploads"]);
        let quiet = plan(&here, "").expect("it fits");
        let named = |name: &str| vec![name.parse().expect("a name")];
        let loud = RestorePlan { in_place: named("database"), ..quiet.clone() };
        let other = RestorePlan { in_place: named("search"), ..quiet.clone() };
        for (plan, confirmed, is_announced) in [
            (&quiet, None, true),
            (&quiet, Some(&quiet), true),
            // It was announced, and is not needed any more.
            (&quiet, Some(&loud), true),
            (&loud, None, false),
            (&loud, Some(&quiet), false),
            (&loud, Some(&other), false),
            (&loud, Some(&loud), true),
        ] {
            let confirmed = confirmed.map(RestorePlan::hash);
            assert_eq!(plan.announced(confirmed.as_deref()).is_ok(), is_announced, "{confirmed:?}");
            assert!(confirmed.is_none_or(|confirmed| plan.replaces(&confirmed)));
        }
        assert!(!quiet.replaces(&plan(&here, "mount:uploads").expect("it fits").hash()));
    }

    #[test]
    fn of_a_mount_only_the_chosen_paths_are_replaced() {
        let here = composition(&["database", "search"], &["uploads"]);
        let chosen = plan(&here, "mount:uploads/2024,mount:uploads/2024/may").expect("it fits");
        let paths: Vec<_> = chosen.mounts[0].paths.iter().map(ToString::to_string).collect();
        assert_eq!((chosen.mounts.len(), paths), (1, vec!["2024".to_owned()]));
        assert_eq!(names(&chosen.untouched), ["service:database", "service:search"]);
        assert_ne!(chosen.hash(), plan(&here, "mount:uploads").expect("it fits").hash());
        assert!(plan(&here, "mount:logs/2024").is_err());
    }

    #[test]
    fn of_a_snapshot_that_holds_paths_alone_these_are_replaced() {
        let here = composition(&["database", "search"], &["uploads"]);
        let environment = EnvironmentId::parse("e".repeat(20)).expect("a valid id");
        let mut manifest = manifest();
        manifest.mounts[0].paths = vec!["2024".parse().expect("a path")];
        let plan = |scope: &str| {
            RestorePlan::new(&environment, &manifest, &here, &scope.parse().expect("a scope"))
                .map(|plan| plan.mounts[0].paths.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(plan("").expect("everything that it holds"), ["2024"]);
        assert_eq!(plan("mount:uploads/2024/may").expect("less"), ["2024/may"]);
        for more in ["mount:uploads", "mount:uploads/2023"] {
            let refused = plan(more).expect_err("not in it");
            assert!(refused.to_string().contains("mount:uploads/2024"), "{refused}");
        }
    }

    #[test]
    fn a_plan_is_still_the_same_while_it_replaces_the_same() {
        let filed = plan(&composition(&["database", "search"], &["uploads", "logs"]), "").expect("it fits");
        let now = plan(&composition(&["database", "search", "queue"], &["uploads"]), "").expect("it fits");
        assert_eq!(filed.still(&filed), Ok(Vec::new()));
        assert_ne!(now.hash(), filed.hash());
        let told = now.still(&filed).expect("the same is replaced");
        assert!(told[0].contains("queue has come") && told[1].contains("logs is not there any more"), "{told:?}");
        let less = plan(&composition(&["database", "search"], &["uploads", "logs"]), "mount:uploads").expect("it fits");
        assert!(less.still(&filed).is_err());
        let elsewhere =
            RestorePlan { environment: EnvironmentId::parse("f".repeat(20)).expect("a valid id"), ..filed.clone() };
        assert!(elsewhere.still(&filed).is_err());
    }

    #[test]
    fn what_the_environment_lacks_is_refused_unless_it_is_left_out() {
        let here = composition(&["database"], &["uploads"]);
        let refused = plan(&here, "").expect_err("it lacks the search engine");
        assert!(refused.to_string().contains("search"), "{refused}");
        assert!(plan(&here, "service:database,mount:uploads").is_ok());
    }

    #[test]
    fn what_the_snapshot_lacks_is_refused_with_what_it_has() {
        let refused =
            plan(&composition(&["database", "search"], &["uploads"]), "service:uploads").expect_err("a mount");
        assert!(refused.to_string().contains("mount:uploads"), "{refused}");
    }
}

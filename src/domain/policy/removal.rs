//! What may be removed, and what stands against it: asked by the page, by the operation, and by the worker once more.

use super::{Refusal, Verdict};
use crate::domain::activity::{Payload, Weighty};
use crate::domain::environment::{Environment, EnvironmentKind, Project};
use crate::domain::ids::EnvironmentId;

/// What the removal of an environment depends on.
#[derive(Debug, Clone)]
pub struct Removal {
    pub environment: Environment,
    /// All environments of the project that are there, this one among them.
    pub all: Vec<Environment>,
    /// What is queued or running in the project, and in which environment's feed.
    pub unfinished: Vec<(EnvironmentId, Payload)>,
}

impl Removal {
    /// Whether nothing else stands or falls with it.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn may(&self) -> Verdict {
        let name = &self.environment.name;
        let children: Vec<&str> = self
            .all
            .iter()
            .filter(|other| other.parent.as_ref() == Some(name) && other.id != self.environment.id)
            .map(|other| other.name.as_str())
            .collect();
        match children.as_slice() {
            [] => {}
            [child] => {
                return Err(Refusal::new(format!("The environment {child} was branched from {name}."))
                    .instead("Remove that one first, or have it declared with another parent."));
            }
            several => {
                let list = several.join(", ");
                return Err(Refusal::new(format!("The environments {list} were branched from {name}."))
                    .instead("Remove those first, or have them declared with another parent."));
            }
        }
        self.unfinished.iter().try_for_each(|(of, payload)| self.stands_against(of, payload))
    }

    /// What locks the environment is waited for (R20); what uses it without locking it, is not.
    fn stands_against(&self, of: &EnvironmentId, payload: &Payload) -> Verdict {
        let name = &self.environment.name;
        let here = *of == self.environment.id;
        match payload {
            Payload::RestoreSnapshot(restore) => match &restore.branch {
                Some(new) if here || new.parent == *name => {
                    Err(Refusal::new(format!("The environment {} is being made from {name}.", new.name))
                        .instead("Wait until it is there, or cancel that."))
                }
                _ => Ok(()),
            },
            Payload::ReadDump(read) if here && read.snapshot.is_none() => {
                Err(Refusal::new(format!("Somebody is downloading a dump of {} in {name}.", read.service))
                    .instead("Wait until it is over, or cancel that."))
            }
            Payload::RemoveProject(_) => Err(Refusal::new("The project is being removed, with all its environments.")
                .instead("Wait until it is gone, or have that cancelled by an operator.")),
            Payload::MoveProject(_) => Err(Refusal::new("The project is being moved to another region.")
                .instead("Wait until it is there, or have that cancelled.")),
            _ => Ok(()),
        }
    }

    /// Whether it is being removed already.
    pub fn is_asked_for(&self) -> bool {
        let asked = |(of, payload): &(EnvironmentId, Payload)| {
            matches!(payload, Payload::RemoveEnvironment(_)) && *of == self.environment.id
        };
        self.unfinished.iter().any(asked)
    }

    /// Why it takes more than its name to remove it; `None`: it does not.
    pub fn weight(&self) -> Option<String> {
        let Environment { name, kind, live, .. } = &self.environment;
        if *live {
            return Some(format!("{name} is live: visitors use it."));
        }
        let production = self.all.iter().filter(|other| other.kind == EnvironmentKind::Production).count();
        let is_only = *kind == EnvironmentKind::Production && production < 2;
        is_only.then(|| format!("{name} is the project's only production environment."))
    }

    /// Whether what it takes was agreed to.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn is_agreed(&self, weighty: Weighty) -> Verdict {
        match (self.weight(), weighty) {
            (Some(why), Weighty::Refused) => Err(Refusal::new(why).instead(
                "Say that it is to be removed all the same: --even-live, `even_live`, or the box on the page.",
            )),
            _ => Ok(()),
        }
    }
}

/// Whether all snapshots of a project may go before their time.
///
/// # Errors
/// The refusal to show.
pub fn may_purge(project: &Project) -> Verdict {
    match project.removed_at {
        Some(_) => Ok(()),
        None => Err(Refusal::new(format!("The project {} is there: only what was removed is purged.", project.id))
            .instead("Delete single snapshots, or remove the project first.")),
    }
}

/// Whether what was typed is the name of what is to go.
///
/// # Errors
/// The refusal to show.
pub fn is_named(typed: &str, name: &str) -> Verdict {
    if typed.trim() == name {
        return Ok(());
    }
    Err(Refusal::new(format!("Nothing was removed: what was typed is not “{name}”."))
        .instead("Type the name exactly as it stands there, then try again."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::activity::{
        NewEnvironment, ReadDump, RemoveEnvironment, RemoveProject, RestoreSnapshot, RunDrill,
    };
    use crate::domain::environment::EnvironmentStatus;
    use crate::domain::{ProjectId, Scope, SnapshotName, Timestamp};

    fn id(digit: char) -> EnvironmentId {
        EnvironmentId::parse(digit.to_string().repeat(20)).expect("a valid id")
    }

    fn environment(digit: char, name: &str, kind: EnvironmentKind, parent: Option<&str>) -> Environment {
        let at = Timestamp::from_micros(0);
        Environment {
            id: id(digit),
            project: ProjectId::parse("shop").expect("a valid id"),
            name: name.parse().expect("a valid name"),
            title: name.to_owned(),
            parent: parent.map(|parent| parent.parse().expect("a valid name")),
            kind,
            status: EnvironmentStatus::Active,
            live: false,
            created_at: at,
            updated_at: at,
        }
    }

    fn shop() -> Vec<Environment> {
        vec![
            environment('a', "main", EnvironmentKind::Production, None),
            environment('b', "staging", EnvironmentKind::Staging, Some("main")),
            environment('c', "copy", EnvironmentKind::Development, Some("staging")),
        ]
    }

    fn removal(name: &str, unfinished: Vec<(EnvironmentId, Payload)>) -> Removal {
        let all = shop();
        let environment = all.iter().find(|other| other.name.as_str() == name).expect("one of them").clone();
        Removal { environment, all, unfinished }
    }

    fn snapshot() -> SnapshotName {
        SnapshotName::parse("2ca4d90639f706283fee").expect("a valid name")
    }

    fn branch(parent: &str) -> Payload {
        Payload::RestoreSnapshot(RestoreSnapshot {
            snapshot: snapshot(),
            safety: snapshot(),
            plan_hash: None,
            from: None,
            scope: Scope::default(),
            branch: Some(NewEnvironment {
                id: id('d'),
                name: "try-out".parse().expect("a valid name"),
                kind: EnvironmentKind::Development,
                parent: parent.parse().expect("a valid name"),
                made: Vec::new(),
            }),
            ticket: None,
        })
    }

    fn dump(snapshot: Option<SnapshotName>) -> Payload {
        let service = "database".parse().expect("a valid name");
        Payload::ReadDump(ReadDump { service, snapshot, compression: Default::default() })
    }

    #[test]
    fn what_others_were_branched_from_stays() {
        assert_eq!(removal("copy", Vec::new()).may(), Ok(()));
        let refusal = removal("staging", Vec::new()).may().expect_err("copy came from it");
        assert_eq!(
            refusal.to_string(),
            "The environment copy was branched from staging. Remove that one first, or have it declared with another parent."
        );
        let mut main = removal("main", Vec::new());
        main.all.push(environment('e', "old", EnvironmentKind::Staging, Some("main")));
        let refusal = main.may().expect_err("two came from it").to_string();
        assert!(refusal.starts_with("The environments staging, old were branched from main."), "{refusal}");
    }

    #[test]
    fn what_uses_it_without_locking_it_stands_against_it() {
        let table: [(char, Payload, Option<&str>); 8] = [
            ('c', branch("main"), Some("The environment try-out is being made from copy.")),
            ('a', branch("copy"), Some("The environment try-out is being made from copy.")),
            ('a', branch("main"), None),
            ('c', dump(None), Some("Somebody is downloading a dump of database in copy.")),
            ('c', dump(Some(snapshot())), None),
            ('b', dump(None), None),
            (
                'a',
                Payload::RemoveProject(RemoveProject { title: "Shop".to_owned() }),
                Some("The project is being removed, with all its environments."),
            ),
            ('c', Payload::RunDrill(RunDrill { snapshot: None, outcome: None }), None),
        ];
        for (of, payload, expected) in table {
            let told = removal("copy", vec![(id(of), payload.clone())]).may().err().map(|refusal| refusal.reason);
            assert_eq!(told.as_deref(), expected, "{payload:?}");
        }
    }

    #[test]
    fn what_visitors_use_takes_an_agreement_of_its_own() {
        assert_eq!(removal("copy", Vec::new()).weight(), None);
        let main = removal("main", Vec::new());
        assert_eq!(main.weight().as_deref(), Some("main is the project's only production environment."));
        assert!(main.is_agreed(Weighty::Refused).is_err());
        assert_eq!(main.is_agreed(Weighty::Agreed), Ok(()));
        let mut second = removal("main", Vec::new());
        second.all.push(environment('e', "eu", EnvironmentKind::Production, None));
        assert_eq!(second.weight(), None);
        second.environment.live = true;
        assert_eq!(second.weight().as_deref(), Some("main is live: visitors use it."));
    }

    #[test]
    fn it_is_asked_for_once() {
        let remove = Payload::RemoveEnvironment(RemoveEnvironment { after: None, weighty: Weighty::Refused });
        assert!(removal("copy", vec![(id('c'), remove.clone())]).is_asked_for());
        assert!(!removal("copy", vec![(id('b'), remove)]).is_asked_for());
    }

    #[test]
    fn only_the_very_name_counts() {
        assert_eq!(is_named(" copy ", "copy"), Ok(()));
        for typed in ["", "Copy", "copy-2", "yes"] {
            assert!(is_named(typed, "copy").is_err(), "{typed}");
        }
    }
}

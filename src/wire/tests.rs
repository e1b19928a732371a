//! The shapes that existing clients rely on, as JSON.

use insta::assert_json_snapshot;

use super::*;
use crate::domain::activity::{
    self, ActivityKind, ActivityResult, ActivityState, Initiator, Payload, RestoreSnapshot, SnapshotMode, TakeSnapshot,
};
use crate::domain::environment::{self, EnvironmentKind, EnvironmentStatus};
use crate::domain::ids::{
    ActivityId, EnvironmentId, EnvironmentName, PlanId, ProjectId, RegionId, ServiceName, SnapshotName, UserId,
};
use crate::domain::policy::Refusal;
use crate::domain::snapshot::{Consistency, Origin, Snapshot};
use crate::domain::view::{
    ActivityEntry, ActivityPage, Care, Change, EnvironmentCard, Health, LogLine, Offer, Part, ProjectCard,
    SnapshotEntry, Tone, Versions,
};
use crate::domain::{Bytes, Scope, Secret, Timestamp};

macro_rules! id {
    ($kind:ident, $text:expr) => {
        $kind::parse($text).expect("a valid id")
    };
}

const NAME: &str = "2ca4d90639f706283fee";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_434_733_902 + seconds) * 1_000_000)
}

fn open() -> Offer {
    Offer { refusal: None }
}

fn care() -> Care {
    Care { protect: open(), delete: open() }
}

fn closed() -> Offer {
    Offer { refusal: Some(Refusal::new("Not now.")) }
}

fn project() -> environment::Project {
    environment::Project {
        removed_at: None,
        id: id!(ProjectId, "demo"),
        title: "Demo shop".to_owned(),
        region: id!(RegionId, "local"),
        plan: id!(PlanId, "self-hosted"),
        created_at: at(0),
    }
}

fn main() -> environment::Environment {
    environment::Environment {
        id: id!(EnvironmentId, "a".repeat(20)),
        project: id!(ProjectId, "demo"),
        name: id!(EnvironmentName, "main"),
        title: "Main".to_owned(),
        parent: None,
        kind: EnvironmentKind::Production,
        status: EnvironmentStatus::Active,
        live: true,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn snapshot(consistency: Consistency, origin: Origin) -> Snapshot {
    Snapshot {
        name: id!(SnapshotName, NAME),
        project: id!(ProjectId, "demo"),
        environment: id!(EnvironmentId, "a".repeat(20)),
        activity: Some(id!(ActivityId, "b".repeat(20))),
        origin,
        consistency,
        note: Some("before the sale".to_owned()),
        repository_id: "c".repeat(64),
        taken_at: at(1),
        created_at: at(5),
        expires_at: None,
        size: Bytes(4096),
        added: Bytes(512),
        proof: None,
        protection: None,
        drill_failed_at: None,
    }
}

fn card(create_snapshot: Offer) -> EnvironmentCard {
    EnvironmentCard {
        environment: main(),
        snapshots: 1,
        newest_snapshot: Some(snapshot(Consistency::Consistent, Origin::Manual)),
        health: Health { tone: Tone::Good, sentence: "All is well.".to_owned() },
        create_snapshot,
        aside: Vec::new(),
        merge: Offer { refusal: None },
        eviction: Default::default(),
    }
}

fn taken(state: ActivityState) -> ActivityEntry {
    let over = state.is_over().then(|| at(5));
    ActivityEntry {
        source: id!(EnvironmentName, "main"),
        branch: None,
        activity: activity::Activity {
            id: id!(ActivityId, "b".repeat(20)),
            project: id!(ProjectId, "demo"),
            environment: id!(EnvironmentId, "a".repeat(20)),
            kind: ActivityKind::Backup,
            state,
            result: over.map(|_| ActivityResult::Success),
            failure: None,
            initiator: Initiator {
                address: None,
                user: Some(id!(UserId, "d".repeat(20))),
                name: "O'Hara <admin@example.org>".to_owned(),
                authority: "session".to_owned(),
            },
            progress: if over.is_some() { 1000 } else { 429 },
            payload: Payload::TakeSnapshot(TakeSnapshot {
                snapshot: id!(SnapshotName, NAME),
                mode: SnapshotMode::Consistent,
                origin: Origin::Manual,
                note: None,
                evict: Vec::new(),
            }),
            created_at: at(0),
            updated_at: at(5),
            started_at: Some(at(1)),
            completed_at: over,
            seq: 7,
        },
        environment: id!(EnvironmentName, "main"),
        description: "created a snapshot of main".to_owned(),
        snapshot: over.map(|_| id!(SnapshotName, NAME)),
        undo: None,
        restore: open(),
        cancel: if over.is_some() { closed() } else { open() },
    }
}

fn restored() -> ActivityEntry {
    let mut entry = taken(ActivityState::Complete);
    entry.activity.kind = ActivityKind::Restore;
    entry.activity.payload = Payload::RestoreSnapshot(RestoreSnapshot {
        snapshot: id!(SnapshotName, NAME),
        safety: id!(SnapshotName, "e".repeat(20)),
        plan_hash: None,
        from: None,
        scope: Scope::default(),
        branch: None,
        ticket: None,
    });
    entry.undo = Some(id!(SnapshotName, "e".repeat(20)));
    entry
}

#[test]
fn a_project_has_the_known_shape() {
    let health = Health { tone: Tone::Good, sentence: String::new() };
    let card = ProjectCard { project: project(), plan_title: "Self-hosted".to_owned(), environments: 3, health };
    assert_json_snapshot!(Project::from(card));
}

#[test]
fn an_environment_has_the_known_shape() {
    assert_json_snapshot!(Environment::from(card(open())));
}

#[test]
fn a_backup_has_the_known_shape() {
    let entry =
        SnapshotEntry { snapshot: snapshot(Consistency::Consistent, Origin::Manual), restore: open(), care: care() };
    assert_json_snapshot!(Backup::new(entry, &main()));
}

#[test]
fn an_accepted_operation_carries_exactly_one_activity_of_the_known_shape() {
    assert_json_snapshot!(Operation::from(taken(ActivityState::InProgress)));
}

#[test]
fn a_finished_activity_carries_its_log_and_the_restore_link() {
    let log = vec![LogLine { seq: 1, at: at(1), message: "Closing the gate".to_owned() }];
    let page = ActivityPage { project: project(), entry: taken(ActivityState::Complete), log, made: None, drill: None };
    assert_json_snapshot!(Activity::from(page));
}

#[test]
fn a_preflight_shows_the_plan_and_its_hash() {
    let part = Part { name: "database".to_owned(), kind: "sqlite".to_owned() };
    let change = Change { part, becomes: "3,041 rows".to_owned(), replaces: "3,050 rows".to_owned() };
    let plan = crate::domain::view::Preflight {
        source: id!(EnvironmentName, "main"),
        choices: vec![("service:database".parse().expect("a part"), true)],
        targets: vec![id!(EnvironmentName, "main")],
        branch: open(),
        branch_from: None,
        project: project(),
        environment: main(),
        snapshot: snapshot(Consistency::Live, Origin::Safety),
        changes: vec![change],
        untouched: Vec::new(),
        expectations: vec!["The site waits less than a second.".to_owned()],
        warnings: vec!["The server is older.".to_owned()],
        versions: vec![Versions {
            service: id!(ServiceName, "database"),
            snapshot: "3.46.0".to_owned(),
            server: "3.45.1".to_owned(),
            older: true,
            other: false,
        }],
        obstacles: Vec::new(),
        hash: "f".repeat(64),
        offer: open(),
        ticket: None,
    };
    assert_json_snapshot!(Preflight::from(plan));
}

#[test]
fn an_operation_that_is_not_open_has_no_link() {
    assert!(Environment::from(card(open())).links.offers("backup"));
    assert!(!Environment::from(card(closed())).links.offers("backup"));

    let backup = |restore| {
        let entry = SnapshotEntry { snapshot: snapshot(Consistency::Live, Origin::Automatic), restore, care: care() };
        Backup::new(entry, &main())
    };
    assert!(backup(open()).links.offers("restore"));
    assert!(!backup(closed()).links.offers("restore"));

    let running = Activity::from(taken(ActivityState::InProgress));
    assert!(running.links.offers("cancel") && !running.links.offers("restore"), "nothing to restore yet");
    let complete = Activity::from(taken(ActivityState::Complete));
    assert!(!complete.links.offers("cancel") && complete.links.offers("restore"));
    let refused = Activity::from(ActivityEntry { restore: closed(), ..taken(ActivityState::Complete) });
    assert!(!refused.links.offers("restore"));
}

#[test]
fn undo_of_a_restore_leads_to_its_safety_snapshot() {
    let activity = Activity::from(restored());
    let safety = "e".repeat(20);
    let path = format!("/api/projects/demo/environments/main/backups/{safety}/restore");
    assert_eq!(activity.links.get("#undo"), Some(path.as_str()));
    assert_eq!(activity.links.get("#restore"), None, "the restore link stands on what made the snapshot");
}

#[test]
fn a_live_or_automatic_backup_says_so() {
    let entry =
        SnapshotEntry { snapshot: snapshot(Consistency::Live, Origin::Automatic), restore: open(), care: care() };
    let backup = Backup::new(entry, &main());
    assert!(!backup.safe && backup.automated);
}

#[test]
fn a_log_ends_with_the_seal_and_only_there() {
    let line = LogItem::from(LogLine { seq: 4, at: at(0), message: "Closing the gate".to_owned() });
    assert_eq!(
        line.line(),
        "{\"_id\":\"4\",\"data\":{\"timestamp\":\"2015-06-19T17:11:42.000000Z\",\"message\":\"Closing the gate\\n\"}}\n"
    );
    let seal = LogItem::sealed(4).line();
    assert_eq!(seal, "{\"_id\":\"5\",\"data\":{\"timestamp\":null,\"message\":\"\"},\"seal\":true}\n");
}

#[test]
fn a_token_refusal_speaks_oauth_too() {
    let problem = Problem {
        status: 401,
        code: "not_logged_in".to_owned(),
        message: "You are not logged in.".to_owned(),
        hint: Some("Give a valid API token.".to_owned()),
    };
    assert_json_snapshot!(token::TokenProblem::new("invalid_grant", problem));
    assert_json_snapshot!(token::TokenReply::bearer(Secret::new("text"), 3600));
}

#[test]
fn what_a_newer_server_adds_does_not_break_this_client() {
    let mut json = serde_json::to_value(Activity::from(taken(ActivityState::InProgress))).expect("serialises");
    json["type"] = "environment.deploy".into();
    json["state"] = "scheduled".into();
    json["brand_new"] = true.into();
    let activity: Activity = serde_json::from_value(json).expect("still readable");
    assert_eq!(activity.kind.to_string(), "environment.deploy");
    assert!(!activity.is_over());
}

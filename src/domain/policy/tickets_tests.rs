use super::*;
use crate::domain::activity::Source;
use crate::domain::environment::EnvironmentKind;
use crate::domain::policy::{Grants, ProjectRole};
use crate::domain::ticket::{TicketTarget, Wanted};
use crate::domain::{ActivityId, EnvironmentId, ProjectId, Scope, SnapshotName, TicketId, Timestamp};

fn twenty(digit: char) -> String {
    digit.to_string().repeat(20)
}

fn person(digit: char) -> Person {
    Person { user: UserId::parse(twenty(digit)).expect("a valid id"), name: format!("{digit}@example.org") }
}

const REQUESTER: char = 'a';
const CLAIMER: char = 'b';

fn ticket(state: TicketState) -> Ticket {
    let environment = |digit| EnvironmentId::parse(twenty(digit)).expect("a valid id");
    let now = Timestamp::from_micros(0);
    let wanted = Wanted {
        snapshot: SnapshotName::parse(twenty('5')).expect("a valid name"),
        taken_at: now,
        source: Source {
            id: environment('1'),
            name: "main".parse().expect("a valid name"),
            kind: EnvironmentKind::Production,
        },
        target: TicketTarget {
            id: environment('2'),
            name: "staging".parse().expect("a valid name"),
            kind: EnvironmentKind::Staging,
            branch_from: None,
        },
        scope: Scope::default(),
        plan_hash: "x".to_owned(),
        reason: "a rehearsal".to_owned(),
    };
    Ticket {
        id: TicketId::parse(twenty('7')).expect("a valid id"),
        project: ProjectId::parse("shop").expect("a valid id"),
        wanted,
        requester: person(REQUESTER),
        state,
        claimer: (state != TicketState::Open).then(|| person(CLAIMER)),
        run: None,
        created_at: now,
        updated_at: now,
        version: 0,
    }
}

fn running() -> Ticket {
    Ticket { run: ActivityId::parse(twenty('9')).ok(), ..ticket(TicketState::InProgress) }
}

fn admin() -> Standing {
    Standing { role: Some(ProjectRole::Admin), ..Standing::default() }
}

fn staff() -> Standing {
    Standing { support: true, ..Standing::default() }
}

#[test]
fn every_person_may_exactly_what_the_table_says_in_every_state() {
    let everyone = [
        ("requester", REQUESTER, admin()),
        ("requester, also support staff", REQUESTER, Standing { support: true, ..admin() }),
        ("claimer", CLAIMER, staff()),
        ("claimer who is support no more", CLAIMER, admin()),
        ("other support staff", 'c', staff()),
        (
            "support staff, read-only token",
            CLAIMER,
            Standing { grants: Some(Grants { read_only: true, ..Grants::default() }), ..staff() },
        ),
        ("another admin", 'd', admin()),
        ("operator", 'e', Standing { operator: true, ..Standing::default() }),
        ("nobody", 'f', Standing::default()),
    ];
    let mut table = String::new();
    let states = TicketState::ALL.map(|state| (state.label(), ticket(state)));
    for (name, ticket) in states.into_iter().chain([("in progress, and its restore under way", running())]) {
        table += &format!("{name}\n");
        for (who, digit, standing) in &everyone {
            let may = |act: &&TicketAct| ticket.may(**act, &person(*digit).user, standing).is_ok();
            let acts: Vec<&str> = TicketAct::ALL.iter().filter(may).filter_map(|act| act.as_str().get(7..)).collect();
            table += &format!("  {who:<32}{}\n", if acts.is_empty() { "-".to_owned() } else { acts.join(" ") });
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn whoever_filed_a_ticket_never_works_on_it() {
    let requester = Standing { support: true, ..admin() };
    for state in TicketState::ALL {
        for act in [TicketAct::Claim, TicketAct::Release, TicketAct::Decline, TicketAct::Run] {
            assert!(ticket(state).may(act, &person(REQUESTER).user, &requester).is_err(), "{act} when {state}");
        }
    }
}

#[test]
fn of_two_who_claim_the_second_is_told_who_has_it() {
    let claimed = ticket(TicketState::Open).after(TicketAct::Claim, person(CLAIMER));
    assert_eq!(claimed.state, TicketState::InProgress);
    let refused = claimed.may(TicketAct::Claim, &person('c').user, &staff()).expect_err("somebody has it");
    assert!(refused.reason.starts_with("b@example.org works on this ticket"), "{refused}");
}

#[test]
fn each_act_leads_to_its_state() {
    let table = [
        (TicketState::Open, TicketAct::Claim, TicketState::InProgress, Some(CLAIMER)),
        (TicketState::InProgress, TicketAct::Release, TicketState::Open, None),
        (TicketState::InProgress, TicketAct::Decline, TicketState::Declined, Some(CLAIMER)),
        (TicketState::InProgress, TicketAct::Run, TicketState::InProgress, Some(CLAIMER)),
        (TicketState::InProgress, TicketAct::Withdraw, TicketState::Withdrawn, Some(CLAIMER)),
        (TicketState::Declined, TicketAct::Comment, TicketState::Declined, Some(CLAIMER)),
        (TicketState::Declined, TicketAct::Reopen, TicketState::Open, None),
        (TicketState::Restored, TicketAct::Reopen, TicketState::Open, None),
    ];
    for (before, act, after, claimer) in table {
        let next = ticket(before).after(act, person(CLAIMER));
        assert_eq!((next.state, next.claimer), (after, claimer.map(person)), "{act} when {before}");
        assert_eq!(next.wanted, ticket(before).wanted, "what is wanted is never changed");
    }
}

#[test]
fn a_ticket_is_seen_by_those_who_see_both_environments() {
    let on = |kinds: &[EnvironmentKind]| Standing {
        types: kinds.iter().map(|kind| (*kind, crate::domain::policy::TypeRole::Viewer)).collect(),
        ..Standing::default()
    };
    let ticket = ticket(TicketState::Open);
    assert!(ticket.is_visible(&staff()) && ticket.is_visible(&admin()));
    assert!(ticket.is_visible(&on(&[EnvironmentKind::Production, EnvironmentKind::Staging])));
    assert!(!ticket.is_visible(&on(&[EnvironmentKind::Production])));
    assert!(!ticket.is_visible(&on(&[EnvironmentKind::Staging])));
}

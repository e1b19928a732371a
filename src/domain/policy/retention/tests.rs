//! The published table (R12), and what must hold whatever is kept (R11, R13).

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::policy::plans::Rules;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn built_in(id: &str) -> Plan {
    Plan::built_in().into_iter().find(|plan| plan.id.as_str() == id).expect("a built-in plan")
}

/// `2026-11-22T11:15Z`, a Sunday.
fn now() -> Timestamp {
    Timestamp::from_micros(1_795_346_100_000_000)
}

fn item(number: usize, origin: Origin, taken_at: Timestamp) -> Item {
    Item {
        name: SnapshotName::parse(format!("{number:020x}")).expect("20 hexadecimal digits"),
        origin,
        taken_at,
        added: Bytes(1 << 20),
        has_failed: false,
        is_proven: false,
        schedules: BTreeSet::new(),
        holds: BTreeSet::new(),
    }
}

fn shelf(kind: EnvironmentKind, items: Vec<Item>) -> Shelf {
    Shelf {
        id: EnvironmentId::parse("a".repeat(20)).expect("a valid id"),
        name: EnvironmentName::parse("main").expect("a valid name"),
        kind,
        is_active: true,
        items,
    }
}

fn facts(kind: EnvironmentKind, items: Vec<Item>) -> Facts {
    Facts { environments: vec![shelf(kind, items)], ended: Ended::new(), budget: None }
}

fn production(items: Vec<Item>) -> Facts {
    facts(EnvironmentKind::Production, items)
}

/// One every so often, the newest at `now`.
fn series(origin: Origin, every: Duration, count: u32) -> Vec<Item> {
    (0..count).map(|number| item(number as usize, origin, now().minus(every * number))).collect()
}

/// What is left when the plan is obeyed.
fn obeyed(rules: &Plan, mut facts: Facts, now: Timestamp) -> Facts {
    let done = plan(rules, &facts, now);
    for shelf in &mut facts.environments {
        shelf.items.retain(|item| done.of(&item.name).expect("everything has a fate").fate == Fate::Stays);
    }
    facts
}

fn names(facts: &Facts) -> Vec<&SnapshotName> {
    facts.environments.iter().flat_map(|shelf| &shelf.items).map(|item| &item.name).collect()
}

#[test]
fn a_year_of_pro_leaves_what_is_published_and_no_gap() {
    let year = obeyed(&built_in("pro"), production(series(Origin::Automatic, HOUR, 24 * 365)), now());
    let ages: Vec<u64> =
        year.environments[0].items.iter().map(|item| now().since(item.taken_at).as_secs() / 3600).collect();
    let within = |from: u64, until: u64| ages.iter().filter(|age| (from * 24..until * 24).contains(*age)).count();
    assert_eq!(within(0, 3), 72, "days 1 to 3: every one");
    assert_eq!(within(3, 7), 4, "days 4 to 7: one a day");
    assert_eq!(within(7, 42), 5, "weeks 2 to 6: one a week");
    assert_eq!(within(42, 84), 3, "weeks 7 to 12: one every two weeks");
    assert!((2..=3).contains(&within(84, 154)), "weeks 13 to 22: one every four weeks");
    assert_eq!(within(154, 366), 0, "then none");
    // Between two neighbours never lies more than two periods of the tier they are in.
    for pair in ages.windows(2) {
        let widest = match pair[1] / 24 {
            0..3 => 1,
            3..7 => 2 * 24,
            7..42 => 2 * 7 * 24,
            42..84 => 2 * 14 * 24,
            _ => 2 * 28 * 24,
        };
        assert!(pair[1] - pair[0] <= widest, "{pair:?} hours");
    }
}

#[test]
fn the_first_of_each_period_is_kept_and_the_reason_names_it() {
    let table = [
        // (age in hours, goes, reason)
        (1, false, "Every one is kept for 3 days."),
        (
            80,
            true,
            "After 3 days only the first of each day is kept, and it is not the first of the day from 2026-11-19 on.",
        ),
        (83, false, "It is the first of its day, from 2026-11-19 on."),
        (
            9 * 24,
            true,
            "After 7 days only the first of each week is kept, and it is not the first of the week from 2026-11-09 on.",
        ),
    ];
    let items =
        table.iter().enumerate().map(|(number, (age, ..))| item(number, Origin::Automatic, now().minus(HOUR * *age)));
    let first_of_week = item(9, Origin::Automatic, now().minus(HOUR * (12 * 24)));
    let facts = production(items.chain([first_of_week]).collect());
    let done = plan(&built_in("pro"), &facts, now());
    for (number, (age, goes, reason)) in table.iter().enumerate() {
        let decision = done.of(&item(number, Origin::Automatic, now()).name).expect("it is in the plan");
        assert_eq!((decision.fate == Fate::Goes, decision.reason.as_str()), (*goes, *reason), "{age} hours");
    }
}

#[test]
fn days_are_days_and_a_safety_snapshot_stays_seven_whatever_the_plan() {
    for (origin, age, goes) in [
        (Origin::Manual, DAY * 7 - HOUR, false),
        (Origin::Manual, DAY * 7, true),
        (Origin::Safety, DAY * 7 - HOUR, false),
        (Origin::Safety, DAY * 7, true),
    ] {
        let facts = production(vec![item(0, Origin::Manual, now()), item(1, origin, now().minus(age))]);
        let done = plan(&built_in("starter"), &facts, now());
        assert_eq!(done.going().count(), usize::from(goes), "{origin} {age:?}");
    }
}

#[test]
fn whatever_is_held_stays_and_tells_why() {
    let table = [
        (Hold::Protected(Some("the audit".to_owned())), "It is protected: \u{201c}the audit\u{201d}."),
        (Hold::InUse, "A restore, download or drill uses it that is queued or running."),
        (Hold::OnTicket, "It is on an open ticket."),
    ];
    for (hold, words) in table {
        let mut old = item(1, Origin::Manual, now().minus(DAY * 30));
        old.holds.insert(hold.clone());
        let done = plan(&built_in("starter"), &production(vec![item(0, Origin::Manual, now()), old.clone()]), now());
        let decision = done.of(&old.name).expect("it is in the plan");
        assert_eq!(decision.fate, Fate::Stays);
        assert_eq!(decision.holds.first().map(Hold::in_words).as_deref(), Some(words));
        assert!(may_delete(&decision.holds).is_err(), "{hold:?}");
    }
}

#[test]
fn the_newest_of_an_active_environment_stays_and_a_person_may_delete_it() {
    let old = item(0, Origin::Manual, now().minus(DAY * 300));
    let replaced = item(1, Origin::Safety, now().minus(DAY * 200));
    let mut facts = production(vec![old.clone(), replaced.clone()]);
    let done = plan(&built_in("starter"), &facts, now());
    assert_eq!(done.of(&old.name).map(|it| it.fate), Some(Fate::Stays), "the newest that somebody wanted");
    assert_eq!(done.of(&replaced.name).map(|it| it.fate), Some(Fate::Goes));
    assert!(may_delete(&done.of(&old.name).expect("it is in the plan").holds).is_ok());
    facts.environments[0].is_active = false;
    assert_eq!(plan(&built_in("starter"), &facts, now()).going().count(), 2);
}

#[test]
fn where_one_failed_its_drill_the_newest_from_before_it_that_did_not_stays_too() {
    let days = |number: usize| item(number, Origin::Manual, now().minus(DAY * (100 * number as u32)));
    let failed = |item: Item| Item { has_failed: true, ..item };
    let staying = |items: Vec<Item>| {
        let done = plan(&built_in("starter"), &production(items), now());
        let of = |number: usize| done.of(&days(number).name).expect("it is in the plan").clone();
        (1..4)
            .filter(|number| of(*number).fate == Fate::Stays)
            .map(|number| (number, of(number).holds))
            .collect::<Vec<_>>()
    };
    let (newest, restorable) = (BTreeSet::from([Hold::Newest]), BTreeSet::from([Hold::NewestRestorable]));
    let witness = BTreeSet::from([Hold::NewestFailed]);
    assert_eq!(staying(vec![days(1), days(2), days(3)]), [(1, newest.clone())]);
    let both = BTreeSet::from([Hold::Newest, Hold::NewestFailed]);
    assert_eq!(staying(vec![failed(days(1)), failed(days(2)), days(3)]), [(1, both), (3, restorable.clone())]);
    assert_eq!(
        staying(vec![days(1), failed(days(2)), days(3)]),
        [(1, newest.clone()), (2, witness.clone()), (3, restorable.clone())],
        "nobody tried the newest"
    );
    assert_eq!(staying(vec![days(1), days(2), failed(days(3))]), [(1, newest.clone())], "none is from before");
    let all = vec![failed(days(1)), failed(days(2)), failed(days(3))];
    assert_eq!(staying(all), [(1, newest)], "better than none");
    let replaced = Item { origin: Origin::Safety, ..days(1) };
    let left = staying(vec![replaced, failed(days(2)), failed(days(3))]);
    assert_eq!(left.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2], "all that was wanted failed");
    for hold in [restorable, witness] {
        assert!(may_delete(&hold).is_ok(), "a person may");
    }
}

#[test]
fn what_a_drill_proved_stays_when_others_fail_and_nobody_tried_what_came_between() {
    let days = |number: usize| item(number, Origin::Manual, now().minus(DAY * (100 * number as u32)));
    let failed = |item: Item| Item { has_failed: true, ..item };
    let proven = |item: Item| Item { is_proven: true, ..item };
    // Of the untried second one nothing is known: the proven fourth must not go for it, whatever fails besides.
    for fifth in [days(5), failed(days(5))] {
        let items = vec![failed(days(1)), days(2), failed(days(3)), proven(days(4)), fifth];
        let done = plan(&built_in("starter"), &production(items), now());
        let holds = |number: usize| done.of(&days(number).name).expect("it is in the plan").holds.clone();
        assert_eq!(holds(2), BTreeSet::from([Hold::NewestRestorable]));
        assert_eq!(holds(4), BTreeSet::from([Hold::Proven]));
        assert!(may_delete(&holds(4)).is_ok(), "a person may");
        assert_eq!(done.going().count(), 2);
    }
    let newer = plan(&built_in("starter"), &production(vec![proven(days(1)), proven(days(2))]), now());
    assert_eq!(newer.going().count(), 1, "the newest that is proven is enough");
}

#[test]
fn the_budget_takes_the_oldest_first_and_nothing_young_or_held() {
    let mut items: Vec<Item> =
        (0..20).map(|number| item(number, Origin::Manual, now().minus(DAY * number as u32))).collect();
    items[19].holds.insert(Hold::Protected(None));
    let mut facts = production(items);
    assert_eq!(plan(&built_in("professional"), &facts, now()).going().count(), 0, "no budget, no purge");
    facts.budget = Some(Bytes(17 << 20));
    let done = plan(&built_in("professional"), &facts, now());
    let ages: Vec<u64> = done.going().map(|it| now().since(it.taken_at).as_secs() / 86_400).collect();
    assert_eq!(ages, [16, 17, 18], "three too many, the pinned one stays");
    facts.budget = Some(Bytes(0));
    let done = plan(&built_in("professional"), &facts, now());
    assert_eq!(done.going().count(), 12, "nothing younger than 7 days");
    let ancient = production(vec![item(0, Origin::Manual, now()), item(1, Origin::Manual, now().minus(DAY * 183))]);
    assert_eq!(plan(&built_in("professional"), &ancient, now()).going().count(), 1, "at six months in any case");
}

#[test]
fn a_number_of_manual_ones_is_never_enforced_without_asking() {
    let items = series(Origin::Manual, DAY, 6);
    let facts = production(items.clone());
    let self_hosted = built_in("self-hosted");
    assert_eq!(plan(&self_hosted, &facts, now()).going().count(), 0);
    let keep = &self_hosted.production.keep;
    let evicted = |shelf: &Shelf, waiting, given_up: &[usize]| {
        let given_up = given_up.iter().map(|at| items[*at].name.clone()).collect();
        let names = evictions(keep, shelf, waiting, &given_up).snapshots;
        names.iter().map(|name| items.iter().position(|item| item.name == *name)).collect::<Vec<_>>()
    };
    let four = shelf(EnvironmentKind::Production, items[..4].to_vec());
    assert_eq!(evicted(&four, 0, &[]), [Some(3)], "the fifth takes the place of the oldest");
    assert_eq!(evicted(&four, 1, &[3]), [Some(2)], "one that is asked for already takes the next");
    let three = shelf(EnvironmentKind::Production, items[..3].to_vec());
    assert!(evicted(&three, 0, &[]).is_empty());
    let mut pinned = four.clone();
    pinned.items[3].holds.insert(Hold::Protected(None));
    assert!(evicted(&pinned, 0, &[]).is_empty(), "what is pinned does not count");
    let mut used = four;
    used.items[3].holds.insert(Hold::InUse);
    assert_eq!(evicted(&used, 0, &[]), [Some(2)]);
    assert!(
        evictions(&Keep::Days(7), &shelf(EnvironmentKind::Production, items.clone()), 0, &BTreeSet::new()).keeps == 0
    );
}

#[test]
fn automatic_ones_beyond_a_number_go() {
    let facts = facts(EnvironmentKind::Staging, series(Origin::Automatic, DAY, 6));
    let mut four = built_in("self-hosted");
    four.staging.scheduled = None;
    assert_eq!(plan(&four, &facts, now()).going().count(), 2);
}

#[test]
fn a_schedule_that_runs_seldom_keeps_a_number_of_its_own() {
    let schedule = |number: u32| ScheduleId::parse(format!("{number:020x}")).expect("20 hexadecimal digits");
    let of = |number: u32, every: Duration, count: u32| {
        let taken = series(Origin::Automatic, every, count).into_iter().enumerate();
        taken.map(move |(at, taken)| Item {
            name: item(number as usize * 1_000 + at, Origin::Automatic, now()).name,
            schedules: BTreeSet::from([schedule(number)]),
            ..taken
        })
    };
    for kind in EnvironmentKind::ALL {
        let taken = of(1, HOUR, 24 * 20).chain(of(2, DAY * 7, 20)).chain(of(3, DAY * 30, 20)).collect();
        let left = obeyed(&built_in("self-hosted"), facts(kind, taken), now());
        let left_of = |number: u32| {
            left.environments[0].items.iter().filter(|item| item.schedules.contains(&schedule(number))).count()
        };
        assert_eq!([left_of(1), left_of(2), left_of(3)], [24 * 7, 7, 7], "{kind}");
    }
    // One that was taken for two stays as long as either keeps it.
    let mut taken: Vec<Item> = of(1, DAY, 30).collect();
    for item in taken.iter_mut().step_by(10) {
        item.schedules.insert(schedule(2));
    }
    let left = obeyed(&built_in("self-hosted"), production(taken), now());
    assert_eq!(left.environments[0].items.len(), 7 + 2);
}

#[test]
fn what_a_removed_schedule_took_goes_as_if_it_ran_on() {
    let weekly = ScheduleId::parse("a".repeat(20)).expect("20 hexadecimal digits");
    let taken: Vec<Item> = series(Origin::Automatic, DAY * 7, 9)
        .into_iter()
        .map(|item| Item { schedules: BTreeSet::from([weekly.clone()]), ..item })
        .collect();
    let runs: Vec<Timestamp> = (1..=20).map(|number| now().plus(DAY * 7 * number)).collect();
    let mut removed = production(taken.clone());
    removed.environments[0].is_active = false;
    let before = plan(&built_in("self-hosted"), &removed, now());
    assert_eq!(before.going().count(), 2, "seven of nine");
    removed.ended = BTreeMap::from([(weekly, runs)]);
    let after = plan(&built_in("self-hosted"), &removed, now());
    assert_eq!(after.going().count(), 2, "removing it lets nothing go");
    let oldest = after.of(&taken[6].name).expect("it is in the plan");
    assert_eq!(oldest.goes_at, Some(now().plus(DAY * 7)));
    assert_eq!(
        oldest.reason,
        "It is one of the newest 7 of a schedule that was removed: it goes when it would have, had that run on."
    );
    let left: Vec<usize> = (0..9)
        .map(|weeks| plan(&built_in("self-hosted"), &removed, now().plus(DAY * 7 * weeks)))
        .map(|plan| plan.decisions.len() - plan.going().count())
        .collect();
    assert_eq!(left, [7, 6, 5, 4, 3, 2, 1, 0, 0]);
    let gone = plan(&built_in("self-hosted"), &removed, now().plus(DAY * 7));
    let reason = &gone.of(&taken[6].name).expect("it is in the plan").reason;
    assert_eq!(
        reason,
        "It is older than 7 days. The schedule that took it was removed, and would have taken 7 newer ones by now."
    );
}

#[test]
fn a_simulated_year_counts_by_age() {
    let pro = built_in("pro");
    let keep = pro.production.keep_of(Origin::Automatic);
    let year = simulate(keep, HOUR, now());
    assert_eq!(year.taken, 24 * 365);
    let bands: Vec<u64> = year.bands.iter().map(|band| band.left).collect();
    assert_eq!((&bands[..4], bands[5]), (&[72, 4, 5, 3][..], 0));
    assert_eq!(bands.iter().sum::<u64>(), year.left.len() as u64);
    assert_eq!(simulate(&Keep::Newest(4), DAY, now()).left.len(), 4);
    assert_eq!(simulate(&Keep::Days(7), DAY, now()).left.len(), 7);
}

#[test]
fn a_simulated_year_of_every_plan_and_type_leaves_what_the_table_says() {
    // DOMAIN's table, by how often each plan takes one itself, else daily.
    let table = [
        ("pro", [86..=87, 86..=87, 7..=7]),
        ("pro-legacy", [86..=87, 86..=87, 7..=7]),
        ("starter", [7..=7, 7..=7, 7..=7]),
        ("professional", [183..=183, 183..=183, 183..=183]),
        ("self-hosted", [7..=7, 7..=7, 7..=7]),
    ];
    assert_eq!(table.len(), Plan::built_in().len());
    for (id, expected) in table {
        let plan = built_in(id);
        let kinds = [EnvironmentKind::Production, EnvironmentKind::Staging, EnvironmentKind::Development];
        for (kind, expected) in kinds.into_iter().zip(expected) {
            let rules = plan.rules(kind);
            let year = simulate(rules.keep_of(Origin::Automatic), HOUR * rules.every_hours(), now());
            let ages: Vec<Duration> = year.left.iter().map(|at| now().since(*at)).collect();
            assert!(expected.contains(&year.left.len()), "{id} {kind}: {}", year.left.len());
            assert_eq!(year.taken, 365 * 24 / u64::from(rules.every_hours()), "{id} {kind}");
            assert_eq!(ages.first(), Some(&Duration::ZERO), "the newest is left");
            assert!(ages.is_sorted(), "{id} {kind}: newest first");
            assert_eq!(year.bands.iter().map(|band| band.left).sum::<u64>(), year.left.len() as u64);
        }
    }
}

#[test]
fn plans_are_told_in_words() {
    let words = |id: &str| built_in(id).production.keep_of(Origin::Automatic).in_words(Origin::Automatic);
    assert_eq!(
        words("pro"),
        "every one up to 3 days, one a day up to 7 days, one a week up to 6 weeks, one every 2 weeks up to 12 weeks, one \
         every 4 weeks up to 22 weeks"
    );
    assert_eq!(words("self-hosted"), "for 7 days, and in any case the newest 7 of each schedule");
}

/// Snapshots at any instants of a year and a half, of any origin, held by anything.
fn anything() -> impl Strategy<Value = Vec<Item>> {
    let hold = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Hold::Protected(None))),
        1 => Just(Some(Hold::InUse)),
        1 => Just(Some(Hold::OnTicket)),
    ];
    let origin = prop_oneof![Just(Origin::Manual), Just(Origin::Automatic), Just(Origin::Safety)];
    let failed = prop_oneof![4 => Just(false), 1 => Just(true)];
    let one = (0_u32..550 * 24 * 60, origin, hold, 0_u64..1 << 30, failed);
    proptest::collection::vec(one, 0..60).prop_map(|all| {
        let made = all.into_iter().enumerate().map(|(number, (minutes, origin, hold, added, has_failed))| {
            let taken_at = now().minus(Duration::from_secs(60) * minutes);
            let holds = hold.into_iter().collect();
            Item { added: Bytes(added), holds, has_failed, ..item(number, origin, taken_at) }
        });
        made.collect()
    })
}

fn schedule(number: u8) -> ScheduleId {
    ScheduleId::parse(format!("{number:020x}")).expect("20 hexadecimal digits")
}

/// Automatic ones, each of some of three schedules or of none that is known.
fn scheduled() -> impl Strategy<Value = Vec<Item>> {
    let one = (0_u32..200 * 24 * 60, proptest::collection::btree_set((0_u8..3).prop_map(schedule), 0..3));
    proptest::collection::vec(one, 0..80).prop_map(|all| {
        let made = all.into_iter().enumerate().map(|(number, (minutes, schedules))| {
            let taken_at = now().minus(Duration::from_secs(60) * minutes);
            Item { schedules, ..item(number, Origin::Automatic, taken_at) }
        });
        made.collect()
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    (0..Plan::built_in().len()).prop_map(|at| Plan::built_in().swap_remove(at))
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let kind = prop_oneof![
        Just(EnvironmentKind::Production),
        Just(EnvironmentKind::Staging),
        Just(EnvironmentKind::Development)
    ];
    (anything(), kind, proptest::option::of(0_u64..8 << 30))
        .prop_map(|(items, kind, budget)| Facts { budget: budget.map(Bytes), ..facts(kind, items) })
}

/// Automatic ones only, as a machine takes them: with pauses, restarts, several an hour.
fn automatic() -> impl Strategy<Value = Vec<Item>> {
    proptest::collection::vec(1_u32..60 * 24 * 3, 1..120).prop_map(|gaps| {
        let mut at = now().minus(DAY * 365);
        let mut items = Vec::new();
        for (number, gap) in gaps.into_iter().enumerate() {
            at = at.plus(Duration::from_secs(60) * gap);
            items.push(item(number, Origin::Automatic, at));
        }
        items
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_protected_or_in_use_ever_goes(rules in any_plan(), facts in any_facts()) {
        let done = plan(&rules, &facts, now());
        for decision in done.going() {
            prop_assert!(decision.holds.is_empty(), "{decision:?}");
            prop_assert!(decision.goes_at.is_some_and(|at| at <= now()));
        }
        let held = facts.environments[0].items.iter().filter(|item| !item.holds.is_empty());
        for item in held {
            prop_assert_eq!(done.of(&item.name).map(|it| it.fate), Some(Fate::Stays));
        }
    }

    #[test]
    fn the_newest_restorable_one_never_goes(rules in any_plan(), facts in any_facts()) {
        // The newest complete one, and the newest that did not fail from before the newest whose last drill did.
        let left = obeyed(&rules, facts.clone(), now());
        let place = |item: &Item| (item.taken_at, item.name.clone());
        let failed = facts.environments[0].items.iter().filter(|item| item.has_failed).map(place).max();
        for drilled in [false, true] {
            let is_one = |item: &Item| !drilled || !item.has_failed && Some(place(item)) < failed;
            let newest = |facts: &Facts, wanted: bool| {
                let items = facts.environments[0].items.iter();
                let items = items.filter(|item| is_one(item) && !(wanted && item.origin == Origin::Safety));
                items.max_by_key(|item| place(item)).map(|item| item.name.clone())
            };
            let wanted = newest(&facts, true);
            prop_assert_eq!(newest(&left, wanted.is_some()), wanted.clone().or_else(|| newest(&facts, false)));
        }
    }

    #[test]
    fn the_newest_proven_one_never_goes(rules in any_plan(), facts in any_facts(), proven in proptest::collection::vec(any::<bool>(), 60)) {
        let mut facts = facts;
        for (item, proven) in facts.environments[0].items.iter_mut().zip(proven) {
            item.is_proven = proven && !item.has_failed;
        }
        let newest = |facts: &Facts| {
            let items = facts.environments[0].items.iter().filter(|item| item.is_proven);
            items.max_by_key(|item| (item.taken_at, item.name.clone())).map(|item| item.name.clone())
        };
        prop_assert_eq!(newest(&obeyed(&rules, facts.clone(), now())), newest(&facts));
    }

    #[test]
    fn removing_a_schedule_lets_nothing_go_and_keeps_nothing_longer(
        rules in any_plan(), items in scheduled(), every in 1_u32..400, days in 0_u32..100,
    ) {
        let every = HOUR * every;
        let runs: Vec<Timestamp> = (1..=400).map(|number| now().plus(every * number)).collect();
        let removed = Facts { ended: BTreeMap::from([(schedule(0), runs.clone())]), ..production(items.clone()) };
        let there = production(items.clone());
        let fates = |plan: RetentionPlan| -> Vec<(SnapshotName, Fate)> {
            plan.decisions.into_iter().map(|it| (it.snapshot, it.fate)).collect()
        };
        prop_assert_eq!(fates(plan(&rules, &removed, now())), fates(plan(&rules, &there, now())));

        // Later on: as if it had gone on taking them, of which each is only its own.
        let at = now().plus(DAY * days).min(runs[399]);
        let taken = runs.iter().take_while(|run| **run <= at).enumerate().map(|(number, run)| Item {
            schedules: BTreeSet::from([schedule(0)]),
            ..item(1_000 + number, Origin::Automatic, *run)
        });
        let [mut went_on, mut removed] = [production(items.iter().cloned().chain(taken).collect()), removed];
        (went_on.environments[0].is_active, removed.environments[0].is_active) = (false, false);
        let went_on = plan(&rules, &went_on, at);
        for (name, fate) in fates(plan(&rules, &removed, at)) {
            // Tiers ask which is the first of its period: what came later is never before it.
            prop_assert_eq!(went_on.of(&name).map(|it| it.fate), Some(fate), "{}", name);
        }
    }

    #[test]
    fn no_safety_snapshot_younger_than_seven_days_goes(rules in any_plan(), facts in any_facts()) {
        let done = plan(&rules, &facts, now());
        for decision in done.going().filter(|decision| decision.origin == Origin::Safety) {
            prop_assert!(now().since(decision.taken_at) >= DAY * 7);
        }
    }

    #[test]
    fn survivors_stay_survivors(rules in any_plan(), facts in any_facts(), days in proptest::collection::vec(0_u32..30, 1..8)) {
        // Obeyed in steps, nothing is gone that obeying once at the end would have kept.
        let facts = Facts { budget: None, ..facts };
        let mut stepwise = facts.clone();
        let mut at = now();
        for days in days {
            at = at.plus(DAY * days);
            stepwise = obeyed(&rules, stepwise, at);
        }
        let once = obeyed(&rules, facts, at);
        prop_assert_eq!(names(&stepwise), names(&once));
    }

    #[test]
    fn running_daily_for_a_year_equals_running_once(items in automatic()) {
        let pro = built_in("pro");
        let mut daily = production(Vec::new());
        let mut coming = items.clone().into_iter().peekable();
        for day in 0..=365 {
            let at = now().minus(DAY * (365 - day));
            while let Some(item) = coming.next_if(|item| item.taken_at <= at) {
                daily.environments[0].items.push(item);
            }
            daily = obeyed(&pro, daily, at);
        }
        let taken = items.into_iter().filter(|item| item.taken_at <= now()).collect();
        let once = obeyed(&pro, production(taken), now());
        prop_assert_eq!(names(&daily), names(&once));
    }

    #[test]
    fn each_period_that_saw_a_snapshot_keeps_one(items in automatic()) {
        // What closes the published gaps: in each tier, every whole period with a snapshot has one left.
        let facts = production(items.into_iter().filter(|item| item.taken_at <= now()).collect());
        let left = obeyed(&built_in("pro"), facts.clone(), now());
        let has = |facts: &Facts, from: u32, until: u32, every: u32| -> BTreeSet<i64> {
            let items = facts.environments[0].items.iter();
            let day = |at: Timestamp| (at.as_micros().div_euclid(86_400_000_000) - 4).div_euclid(i64::from(every));
            // Periods that lie within the tier as a whole.
            let whole = |item: &&Item| now().since(item.taken_at) + DAY * every < DAY * until
                && now().since(item.taken_at) >= DAY * (from + every);
            items.filter(whole).map(|item| day(item.taken_at)).collect()
        };
        for (from, until, every) in [(3, 7, 1), (7, 42, 7), (42, 84, 14), (84, 154, 28)] {
            let (before, after) = (has(&facts, from, until, every), has(&left, from.saturating_sub(every), until + every, every));
            prop_assert!(before.is_subset(&after), "{from}-{until}: {before:?} {after:?}");
        }
    }

    #[test]
    fn what_is_left_never_depends_on_the_order_it_is_told_in(rules in any_plan(), facts in any_facts()) {
        let mut reversed = facts.clone();
        reversed.environments[0].items.reverse();
        prop_assert_eq!(plan(&rules, &facts, now()), plan(&rules, &reversed, now()));
    }

    #[test]
    fn what_is_said_to_go_at_an_instant_goes_then_and_not_before(rules in any_plan(), items in automatic()) {
        let facts = production(items.into_iter().filter(|item| item.taken_at <= now()).collect());
        let done = plan(&rules, &facts, now());
        for decision in done.decisions.iter().filter(|it| it.fate == Fate::Stays && it.holds.is_empty()) {
            let Some(at) = decision.goes_at else { continue };
            let just_before = plan(&rules, &facts, at.minus(Duration::from_micros(1)));
            prop_assert_eq!(just_before.of(&decision.snapshot).map(|it| it.fate), Some(Fate::Stays));
            prop_assert_eq!(plan(&rules, &facts, at).of(&decision.snapshot).map(|it| it.fate), Some(Fate::Goes));
        }
    }
}

#[test]
fn every_rule_keeps_something() {
    let rules = |plan: Plan| -> [Rules; 3] { [plan.production, plan.staging, plan.development] };
    for rules in Plan::built_in().into_iter().flat_map(rules) {
        for origin in [Origin::Manual, Origin::Automatic] {
            assert!(!rules.keep_of(origin).in_words(origin).is_empty());
        }
    }
}

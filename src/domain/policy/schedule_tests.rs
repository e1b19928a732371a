//! Clock changes, leap days, spread, catching up, and what a refusal says.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::policy::{Plan, plans};

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().expect("an instant");
    Timestamp::from_micros(instant.as_microsecond())
}

fn rhythm(cron: &str, zone: &str) -> Rhythm {
    Rhythm::parse(cron, zone).unwrap_or_else(|refusal| panic!("{cron} {zone}: {refusal}"))
}

/// The first runs after `from`, as `HH:MMZ` with the day in front.
fn runs(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let rhythm = rhythm(cron, zone);
    let mut now = at(from);
    let next = || {
        now = rhythm.next_after(now).expect("another run");
        now.table().chars().skip(5).take(11).collect()
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn id(number: u64) -> ScheduleId {
    ScheduleId::parse(format!("{number:020x}")).expect("20 hexadecimal digits")
}

#[test]
fn runs_follow_the_clock_of_their_zone_through_its_changes() {
    // (cron, zone, from, runs in UTC)
    let table: &[(&str, &str, &str, &[&str])] = &[
        // Europe/Berlin springs from 02:00 to 03:00 at 01:00 UTC on 29 March 2026, and falls back on 25 October.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["10-25 00:30", "10-26 01:30"]),
        ("*/20 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["03-29 01:00", "03-30 00:00", "03-30 00:20"]),
        ("0,30 2,14 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &["10-25 00:30", "10-25 13:00", "10-25 13:30"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["03-29 01:00", "03-29 02:00"]),
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", &["10-25 00:00", "10-25 01:00", "10-25 02:00"]),
        // America/New_York: 8 March at 07:00 UTC, 1 November at 06:00 UTC.
        ("15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", &["03-08 07:00", "03-09 06:15"]),
        ("15 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", &["11-01 05:15", "11-02 06:15"]),
        // Australia/Lord_Howe moves by half an hour: forward on 4 October at 15:30 UTC the day before, back on 5 April.
        ("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", &["10-03 15:30", "10-04 15:10"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", &["04-04 14:45", "04-05 15:15"]),
        // Without changes, and leap days.
        ("0 5 * * *", "UTC", "2026-11-22T05:00:00Z", &["11-23 05:00", "11-24 05:00"]),
        ("*/7 * * * *", "UTC", "2026-11-22T05:50:00Z", &["11-22 05:56", "11-22 06:00", "11-22 06:07"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["02-29 00:00", "02-29 00:00"]),
        ("@weekly", "Asia/Kolkata", "2026-11-22T00:00:00Z", &["11-28 18:30"]),
        ("0 3 L * *", "UTC", "2026-02-01T00:00:00Z", &["02-28 03:00", "03-31 03:00"]),
    ];
    for (cron, zone, from, expected) in table {
        assert_eq!(runs(cron, zone, from, expected.len()), *expected, "{cron} {zone}");
    }
    assert!(rhythm("0 0 29 2 *", "UTC").next_after(at("2026-01-01T00:00:00Z")) == Some(at("2028-02-29T00:00:00Z")));
}

#[test]
fn an_expression_is_said_in_words() {
    let table = [
        ("@hourly", "every hour"),
        ("0  3 * * *", "every day at 03:00"),
        ("15 3 1,15 * *", "at 03:15, on day 1 and 15"),
        ("*/7 * * * *", "at every 7 minutes"),
    ];
    for (cron, words) in table {
        assert_eq!(rhythm(cron, "UTC").in_words(), words);
    }
}

#[test]
fn a_refusal_names_what_is_wrong() {
    let table = [
        ("", "UTC", "has 0 fields"),
        ("0 3 * *", "UTC", "“0 3 * *” has 4 fields"),
        ("0 0 3 * * *", "UTC", "has 6 fields"),
        ("61 3 * * *", "UTC", "“61” can't be the minute: that takes 0 to 59"),
        ("0 25 * * *", "UTC", "“25” can't be the hour"),
        ("0 3 32 * *", "UTC", "“32” can't be the day of the month"),
        ("0 3 * FOO *", "UTC", "“FOO” can't be the month"),
        ("0 3 * * FRY", "UTC", "“FRY” can't be the day of the week"),
        ("0 3 30 2 *", "UTC", "never comes"),
        ("@reboot", "UTC", "has 1 field"),
        ("0 3 * * *", "Mars", "There is no time zone “Mars”"),
        ("0 3 * * *", "", "There is no time zone “”"),
        ("0 3 * * *", "../../etc/passwd", "There is no time zone"),
    ];
    for (cron, zone, wanted) in table {
        let refusal = Rhythm::parse(cron, zone).expect_err(cron);
        assert!(refusal.reason.contains(wanted), "{cron}: {refusal}");
        assert!(refusal.instead.is_some(), "{cron}: it says what would do");
    }
}

#[test]
fn the_documents_advice_is_given_above_once_a_day_only() {
    let now = at("2026-11-22T12:00:00Z");
    for (cron, zone) in
        [("0 5 * * *", "UTC"), ("0 23 * * *", "Europe/Berlin"), ("0 0 1 * *", "UTC"), ("0 3 * * 1-5", "UTC")]
    {
        assert!(!rhythm(cron, zone).is_more_than_daily(now), "{cron}");
    }
    for cron in ["0 * * * *", "0 3,15 * * *", "*/7 * * * *", "0 3,4 1 1 *"] {
        assert!(rhythm(cron, "UTC").is_more_than_daily(now), "{cron}");
    }
}

#[test]
fn ten_thousand_hourly_schedules_are_spread_over_their_hour() {
    let hourly = rhythm("0 * * * *", "UTC");
    let now = at("2026-11-22T12:00:00Z");
    let mut minutes = [0_u32; 60];
    for number in 0..10_000 {
        let slot = Turns::by(&hourly, &id(number), ScheduleSource::Plan, Errand::Snapshot).after(now).expect("a run");
        minutes[usize::try_from(slot.run.since(slot.due).as_secs() / 60).expect("within the hour")] += 1;
    }
    assert!(minutes.iter().all(|count| (100..250).contains(count)), "{minutes:?}");
}

#[test]
fn a_down_time_is_caught_up_once() {
    let hourly = rhythm("0 * * * *", "UTC");
    let turns = Turns::by(&hourly, &id(1), ScheduleSource::Person, Errand::Snapshot);
    let slot = turns.after(at("2026-11-22T09:30:00Z")).expect("a run");
    assert_eq!(slot.due, at("2026-11-22T10:00:00Z"));
    let (passed, next) = turns.next(slot, slot.run);
    assert_eq!((passed, next.expect("a run").due), (0, at("2026-11-22T11:00:00Z")));
    let (passed, next) = turns.next(slot, at("2026-11-22T15:30:00Z"));
    assert_eq!((passed, next.expect("a run").due), (5, at("2026-11-22T16:00:00Z")));
    // Years are not walked through hour by hour.
    let (passed, next) = turns.next(slot, at("2036-11-22T15:30:00Z"));
    assert!(passed > COUNTED && passed < COUNTED + 70, "{passed}");
    assert_eq!(next.expect("a run").due, at("2036-11-22T16:00:00Z"));
}

#[test]
fn nothing_piles_up() {
    let slot = Slot { due: at("2026-11-22T10:00:00Z"), run: at("2026-11-22T10:20:00Z") };
    assert_eq!(Turn::of(slot, None), Turn::Take);
    assert_eq!(Turn::of(slot, Some(at("2026-11-22T09:20:00Z"))), Turn::Missed);
    assert_eq!(Turn::of(slot, Some(at("2026-11-22T10:05:00Z"))), Turn::Shared, "another schedule's is as good");
}

#[test]
fn what_is_late_by_more_than_an_hour_is_overdue_since_it_was_due() {
    let daily = rhythm("0 3 * * *", "UTC");
    let turns = Turns::by(&daily, &id(7), ScheduleSource::Person, Errand::Snapshot);
    let (made, newest) = (at("2026-11-01T12:00:00Z"), Some(at("2026-11-20T03:02:00Z")));
    assert_eq!(turns.overdue(newest, made, at("2026-11-21T03:30:00Z")), None);
    assert_eq!(turns.overdue(newest, made, at("2026-11-21T05:00:00Z")), Some(at("2026-11-21T03:00:00Z")));
    assert_eq!(turns.overdue(None, made, at("2026-11-02T02:00:00Z")), None, "a new one is not late yet");
    assert_eq!(turns.overdue(None, made, at("2026-11-02T06:00:00Z")), Some(at("2026-11-02T03:00:00Z")));
}

#[test]
fn a_drill_has_a_day_before_it_is_overdue_and_its_minute_is_kept() {
    let weekly = rhythm("17 3 * * 2", "UTC");
    let turns = Turns::by(&weekly, &id(7), ScheduleSource::Plan, Errand::Drill);
    let (made, last) = (at("2026-11-01T12:00:00Z"), Some(at("2026-11-17T03:40:00Z")));
    let due = at("2026-11-24T03:17:00Z");
    let table = [
        ("2026-11-24T03:00:00Z", None),
        ("2026-11-25T03:10:00Z", None),
        ("2026-11-25T03:23:00Z", Some(due)),
        ("2026-12-25T03:23:00Z", Some(due)),
    ];
    for (now, overdue) in table {
        assert_eq!(turns.overdue(last, made, at(now)), overdue, "{now}");
    }
    let slot = turns.after(at("2026-11-18T00:00:00Z")).expect("a run");
    assert!(slot.due == due && slot.run.since(due) < Duration::from_secs(5 * 60), "{slot:?}");
    // Weeks without a server: one is caught up, and the next lies ahead.
    let (passed, next) = turns.next(slot, at("2026-12-20T00:00:00Z"));
    assert_eq!((passed, next.expect("a run").due), (3, at("2026-12-22T03:17:00Z")));
}

#[test]
fn plans_without_schedules_say_what_there_is_instead() {
    let plan = |id: &str| Plan::built_in().into_iter().find(|plan| plan.id.as_str() == id).expect("a built-in plan");
    let refused = |id, kind| plan(id).allows_schedules(kind).map_err(|refusal| refusal.to_string());
    use EnvironmentKind::{Development, Production};
    assert_eq!(
        refused("pro", Production),
        Err("On the Pro plan, there are no schedules of production environments to make. Automatic snapshots are taken \
             every hour, whether or not the site is launched."
            .to_owned())
    );
    assert!(refused("starter", Production).expect_err("no schedules").contains("snapshot:create --yes --no-wait"));
    for (id, kind) in [("professional", Production), ("self-hosted", Development)] {
        assert_eq!(refused(id, kind), Ok(()), "{id}");
    }
    assert!(plan("pro").allows_editing(Production).is_err());
    assert!(plan("self-hosted").allows_editing(Production).is_ok());
    for plan in Plan::built_in() {
        for kind in EnvironmentKind::ALL {
            if let Some(automatic) = &plan.rules(kind).automatic {
                assert_eq!(rhythm(&automatic.cron, "UTC").text(), automatic.cron, "{}", plan.title);
            }
        }
    }
}

#[test]
fn zones_are_named_for_a_form() {
    let zones = zones();
    assert!(zones.len() > 300 && zones.iter().any(|zone| zone == "Europe/Berlin"), "{}", zones.len());
    for zone in zones {
        assert!(Rhythm::parse("0 3 * * *", &zone).is_ok(), "{zone}");
    }
}

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];

proptest! {
    #[test]
    fn runs_come_in_order_and_each_within_its_own_time(
        minute in prop_oneof![Just("*/7"), Just("0"), Just("59"), Just("10-20/5")],
        hour in prop_oneof![Just("*"), Just("2"), Just("*/3"), Just("1,2,3")],
        zone in proptest::sample::select(&ZONES[..]),
        from in 1_700_000_000_i64..2_000_000_000,
        number in any::<u64>(),
        source in prop_oneof![Just(ScheduleSource::Plan), Just(ScheduleSource::Person)],
        what in prop_oneof![Just(Errand::Snapshot), Just(Errand::Drill)],
    ) {
        let rhythm = rhythm(&format!("{minute} {hour} * * *"), zone);
        let turns = Turns::by(&rhythm, &id(number), source, what);
        let start = Timestamp::from_micros(from * 1_000_000 + 17);
        let mut slot = turns.after(start).expect("a run");
        prop_assert!(slot.due > start);
        prop_assert_eq!(turns.after(start), Some(slot), "the same schedule runs at the same time");
        for _ in 0..30 {
            let next = turns.after(slot.due).expect("another run");
            prop_assert!(slot.run >= slot.due && slot.run < next.due);
            prop_assert!(next.due.since(slot.due) <= Duration::from_secs(26 * 3600), "no day is left out");
            prop_assert_eq!(turns.next(slot, slot.run), (0, Some(next)));
            slot = next;
        }
    }

    #[test]
    fn a_time_of_day_comes_once_a_day_in_every_zone(
        minute in 0..60_u32,
        hour in 0..24_u32,
        zone in proptest::sample::select(&ZONES[..]),
        from in 1_700_000_000_i64..2_000_000_000,
    ) {
        let rhythm = rhythm(&format!("{minute} {hour} * * *"), zone);
        let mut now = Timestamp::from_micros(from * 1_000_000);
        let mut days = BTreeSet::new();
        for _ in 0..400 {
            now = rhythm.next_after(now).expect("another run");
            let local = jiff::Timestamp::from_microsecond(now.as_micros()).expect("in range").to_zoned(rhythm.zone.clone());
            prop_assert!(days.insert(local.date()), "twice on {}", local.date());
        }
        let (first, last) = (days.first().expect("days"), days.last().expect("days"));
        prop_assert_eq!(last.since(*first).expect("days").get_days(), 399);
    }
}

#[test]
fn how_long_is_kept_what_a_schedule_takes_is_said_in_numbers() {
    let plans = Plan::built_in();
    let keep = |id: &str| {
        let plan = plans.iter().find(|plan| plan.id.as_str() == id).expect("a built-in plan");
        plan.production.keep_of(Origin::Automatic).clone()
    };
    let own = "for 7 days, and in any case the newest 7 of each schedule";
    let table = [
        ("self-hosted", "0 3 * * *", format!("{own}. That makes 7 of this schedule, the oldest 6 days old")),
        ("self-hosted", "0 * * * *", format!("{own}. That makes 168 of this schedule, the oldest 6 days old")),
        ("self-hosted", "0 3 * * 0", format!("{own}. That makes 7 of this schedule, the oldest 42 days old")),
        ("self-hosted", "0 3 1 1 *", own.to_owned()),
    ];
    for (plan, cron, words) in table {
        let rhythm = Rhythm::parse(cron, "UTC").expect("an expression");
        assert_eq!(rhythm.kept_in_words(&keep(plan), at("2026-11-21T03:30:00Z")), words, "{plan} {cron}");
    }
    let weekly = Rhythm::parse("0 3 * * 0", "UTC").expect("an expression");
    let words = weekly.kept_in_words(&keep("professional"), at("2026-11-21T03:30:00Z"));
    assert!(words.starts_with("for at least 7 days and at most") && !words.contains("That makes"), "{words}");
}

/// Every combination that a plan's file may have, for one type, beside rules that take nothing.
fn any_rules() -> impl Strategy<Value = plans::Rules> {
    let manual = prop_oneof![Just(Manual::No), Just(Manual::WhileNotLive), Just(Manual::Yes)];
    let schedules = prop_oneof![Just(Schedules::No), Just(Schedules::Yes)];
    let automatic = proptest::option::of(any::<bool>());
    (manual, schedules, automatic).prop_map(|(manual, schedules, automatic)| plans::Rules {
        manual,
        schedules,
        keep: Keep::Days(7),
        scheduled: None,
        automatic: automatic.map(|editable| Automatic {
            cron: "0 3 * * *".to_owned(),
            when: "once a day".to_owned(),
            editable,
            keep: Keep::Days(7),
        }),
    })
}

fn instead_of_everything(plan: &Plan) -> Result<(), TestCaseError> {
    for kind in EnvironmentKind::ALL {
        let manual = [false, true].map(|live| plan.allows_manual(kind, live));
        let others = [plan.allows_schedules(kind), plan.takes_automatic(kind), plan.allows_editing(kind)];
        for refusal in manual.into_iter().chain(others).filter_map(Result::err) {
            let instead = refusal.instead.as_deref().unwrap_or_default();
            prop_assert!(instead.ends_with('.') && instead.len() > 10, "{} {kind}: {refusal}", plan.id);
        }
    }
    Ok(())
}

#[test]
fn every_refusal_of_the_built_in_plans_says_what_there_is_instead() {
    for plan in Plan::built_in() {
        instead_of_everything(&plan).expect("R7");
    }
}

proptest! {
    #[test]
    fn every_refusal_of_any_plan_says_what_there_is_instead(
        production in any_rules(),
        staging in any_rules(),
        development in any_rules(),
    ) {
        let own = Plan { production, staging, development, ..Plan::built_in().swap_remove(0) };
        instead_of_everything(&own)?;
    }
}

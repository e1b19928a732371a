//! A password that changes in the middle of a restore: after everything was loaded, and in the swap itself.

use crate::everything::shop::Kind;
use crate::process::until;

use super::{Faulty, STOP};

/// The service, as a sentence names it, and what gives its account this password.
type Login = (&'static str, fn(&Faulty, &str));

const LOGINS: [Login; 3] = [
    ("ervice cache", |faulty, password| {
        faulty.shop.redis().ask::<()>(0, &format!("ACL SETUSER shop resetpass >{password}"));
    }),
    ("ervice orders", |faulty, password| {
        faulty.mariadb(&format!("SET PASSWORD FOR shop@'127.0.0.1' = PASSWORD('{password}')"));
    }),
    ("ervice records", |faulty, password| {
        faulty.postgres(&format!("ALTER ROLE shop PASSWORD '{password}'"));
    }),
];
const RIGHT: &str = "not-for-everybody";

#[test]
fn a_password_that_changes_once_everything_is_loaded_fails_the_restore_before_anything_is_exchanged() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "restore: held")]);
    let name = faulty.at.snapshot();
    faulty.shop.write(&Kind::ALL);
    let old = faulty.shop.one_instant(&faulty.shop.main);
    // What the drivers share does it: one of them tells as much as all.
    let (label, set) = LOGINS[1];
    let asked = faulty.at.ask_restore(&name);
    server.stopped();
    set(&faulty, "another");
    server.go_on();
    let reason = faulty.at.failed(&asked);
    // The gate is open: nothing was touched.
    assert_eq!(faulty.at.visit().expect("the gateway").status, 200);
    set(&faulty, RIGHT);
    assert!(reason.contains(label) && reason.contains("does not let `shop` in"), "{reason}");
    assert!(!reason.contains("taken back") && !reason.contains(RIGHT), "{reason}");
    let now = faulty.shop.one_instant(&faulty.shop.main);
    assert!(now.is_superset(&old), "{now:?}");
    faulty.assert_nothing_left();
    server.terminate();
    faulty.works_again();
}

#[test]
fn a_password_that_changes_in_the_swap_shuts_the_gate_until_it_is_mended_and_everything_is_taken_back() {
    let faulty = Faulty::new();
    let server = faulty.at.start_with(&[(STOP, "restore: swapping")]);
    let name = faulty.at.snapshot();
    faulty.shop.write(&Kind::ALL);
    for (label, set) in LOGINS {
        let old = faulty.shop.one_instant(&faulty.shop.main);
        let asked = faulty.at.ask_restore(&name);
        server.stopped();
        set(&faulty, "another");
        server.go_on();
        let reason = faulty.at.failed(&asked);
        assert!(reason.contains("taking it back failed too") && reason.contains(label), "{reason}");
        assert!(reason.contains("does not let `shop` in") && !reason.contains(RIGHT), "{reason}");
        let answer = faulty.at.visit().expect("the gateway");
        assert_eq!(answer.status, 503, "{label}: who can't be asked may be mixed (R23)");
        assert!(answer.head.contains("retry-after:"), "{}", answer.head);
        set(&faulty, RIGHT);
        until("the site is served again", || faulty.at.visit().filter(|answer| answer.status == 200));
        let now = faulty.shop.one_instant(&faulty.shop.main);
        assert!(now.is_superset(&old), "{label}: everything is the old data: {now:?}");
        faulty.assert_nothing_left();
    }
    server.terminate();
    faulty.works_again();
}

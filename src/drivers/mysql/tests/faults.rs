use std::io::{self, Cursor};
use std::time::{Duration, Instant};

use super::{Server, Site, WITHIN};
use crate::drivers::{Error, Service};

#[test]
fn a_table_that_changed_since_the_view_began_to_open_is_noticed() {
    let site = Site::new();
    let mut old = site.open();
    old.command("begin", "START TRANSACTION WITH CONSISTENT SNAPSHOT").expect("a view");
    site.sql("TRUNCATE orders");
    let refused = old.rows("read", "SELECT 1 FROM orders LIMIT 1").expect_err("the server says so");
    assert!(matches!(refused, Error::Redefined { .. }), "{refused:?}");
    assert!(refused.to_string().contains("take the snapshot again"), "{refused}");
}

#[test]
fn a_view_or_routine_that_changed_meanwhile_fails_the_snapshot() {
    let site = Site::new();
    let mut view = site.service.open_view(WITHIN).expect("a view");
    site.sql("CREATE VIEW newest AS SELECT max(id) FROM orders");
    let refused = view.dump(site.scratch.path(), &mut io::sink(), &|| false).expect_err("it is of no instant");
    assert!(refused.to_string().starts_with("the view `newest` of the database"), "{refused}");
}

#[test]
fn a_dump_can_be_cancelled_and_a_full_pipe_ends_it() {
    let site = Site::new();
    site.insert(20_000);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    let cancelled = view.dump(site.scratch.path(), &mut io::sink(), &|| true);
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let refused = view.dump(site.scratch.path(), &mut Broken, &|| false);
    assert!(matches!(refused, Err(Error::Output(_))), "{refused:?}");
    // The view is still good.
    assert_eq!(view.facts().expect("facts").rows["orders"], 20_100);
    let mut bytes = Vec::new();
    view.dump(site.scratch.path(), &mut bytes, &|| false).expect("a dump");
    assert!(bytes.ends_with(b"-- Stillpoint: the dump is complete\n"));
}

#[test]
fn a_server_that_dies_in_the_middle_fails_the_dump() {
    let server = Server::start(&[]);
    let site = Site::on(&server);
    site.insert(100_000);
    let mut view = site.service.open_view(WITHIN).expect("a view");
    struct Killing<'a>(&'a Server, u64);
    impl io::Write for Killing<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 < 1_000_000 && self.1 + bytes.len() as u64 >= 1_000_000 {
                self.0.kill();
            }
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let failed = view.dump(site.scratch.path(), &mut Killing(&server, 0), &|| false);
    assert!(matches!(failed, Err(Error::Mysql { .. } | Error::ConnectionLost { .. })), "{failed:?}");
    drop(view);
    let deadline = Instant::now() + Duration::from_secs(10);
    while site.service.position().is_ok() {
        assert!(Instant::now() < deadline, "a dead server has no position");
    }
    let gone = site.service.test().expect_err("nobody answers");
    assert!(matches!(gone, Error::Unreachable { .. }), "{gone:?}");
}

#[test]
fn a_damaged_or_foreign_dump_is_refused_and_leaves_nothing() {
    let site = Site::new();
    site.insert(20_000);
    site.sql("CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO DELETE FROM orders");
    let (bytes, mut facts) = site.dump();
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(b"not a dump at all"));
    assert!(matches!(refused, Err(Error::ToolFailed { .. })), "{refused:?}");
    // Cut at the end of a command, in the middle of one, and just before its last line.
    let insert = bytes.windows(8).position(|text| text == b";\nINSERT").expect("rows") + 2;
    for cut in [insert, bytes.len() / 2, bytes.len() - 36] {
        let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes[..cut]));
        assert!(matches!(refused, Err(Error::Input(_) | Error::ToolFailed { .. })), "{cut}: {refused:?}");
        assert_eq!(site.databases(), 1);
    }
    struct BreaksOff;
    impl io::Read for BreaksOff {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the repository is gone"))
        }
    }
    let refused =
        site.service.load_beside(site.scratch.path(), &mut io::Read::chain(Cursor::new(&bytes[..5_000]), BreaksOff));
    assert!(matches!(refused, Err(Error::Input(_))), "{refused:?}");
    assert_eq!(site.databases(), 1);

    // In small pieces, the end in two.
    struct Pieces<'a>(&'a [u8]);
    impl io::Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(self.0.len()).min(7_001);
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }
    let beside = site.service.load_beside(site.scratch.path(), &mut Pieces(&bytes)).expect("a load");
    site.service.check(&beside, &facts).expect("all is as recorded");
    facts.rows.insert("orders".to_owned(), 7);
    let refused = site.service.check(&beside, &facts).expect_err("rows differ");
    assert!(refused.to_string().contains("`orders` is 20100 rows, recorded is 7 rows"), "{refused}");
    facts.rows.insert("orders".to_owned(), 20_100);
    facts.schema = "another".to_owned();
    assert!(matches!(site.service.check(&beside, &facts), Err(Error::Mismatch { .. })));
}

#[test]
fn events_do_not_run_where_they_are_only_loaded() {
    let site = Site::new();
    site.sql("CREATE TABLE ran (n int); CREATE EVENT often ON SCHEDULE EVERY 1 SECOND DO INSERT INTO ran VALUES (1)");
    let (bytes, facts) = site.dump();
    site.sql("DROP EVENT often; DELETE FROM ran");
    let beside = site.load(&bytes);
    let list = "SELECT count(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA LIKE '%stillpoint%'";
    assert_eq!(site.admin(list), "0");
    let aside = site.service.prepare(&beside).expect("fixed");
    site.service.commit(&beside, &aside).expect("swapped");
    let before: u64 = facts.rows["ran"];
    let deadline = Instant::now() + Duration::from_secs(20);
    while site.text("SELECT count(*) FROM ran").parse::<u64>().expect("a number") <= before {
        assert!(Instant::now() < deadline, "in the live database it runs again");
    }
}

use std::time::{Duration, Instant};

use super::{Server, Site, insert};
use crate::drivers::Service;

/// What moves it and what does not, on one server that nobody else uses.
fn told_apart(server: &Server) {
    let site = Site::on(server);
    site.sql("CREATE TABLE isam (n int) ENGINE=MyISAM; INSERT INTO isam VALUES (1); CREATE TABLE memory (n int) ENGINE=MEMORY");
    site.insert(2_000);
    let position = || site.service.position().expect("a position").to_string();
    let mut last = position();
    for write in [
        "INSERT INTO orders (text) VALUES ('x')",
        "UPDATE orders SET text = 'y' WHERE id = 1",
        "DELETE FROM orders WHERE id = 1",
        "INSERT INTO isam VALUES (2)",
        "TRUNCATE isam",
        "DROP TABLE isam",
        "INSERT INTO memory VALUES (2)",
        "ALTER TABLE orders ADD COLUMN more int",
        "TRUNCATE orders",
        "CREATE TABLE newer (n int)",
    ] {
        site.sql(write);
        let now = position();
        assert_ne!(now, last, "{write}");
        last = now;
    }
    // By anybody: in another database, and past the binary log.
    server.admin("CREATE DATABASE IF NOT EXISTS elsewhere; CREATE TABLE IF NOT EXISTS elsewhere.t (n int)");
    last = position();
    server.admin("SET sql_log_bin = 0; INSERT INTO elsewhere.t VALUES (1)");
    assert_ne!(position(), last);

    // A commit counts when it is done, also when its rows were written long before.
    let mut writer = site.open();
    writer.command("write", "BEGIN; INSERT INTO orders (text) VALUES ('later')").expect("a row");
    last = position();
    writer.command("commit", "COMMIT").expect("committed");
    assert_ne!(position(), last);

    // Reading of any kind, our own look, and what the server does for itself do not.
    site.insert(5_000);
    site.sql("UPDATE orders SET text = 'purged'");
    last = position();
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        site.text("SELECT count(*) FROM (SELECT text, count(*) FROM orders GROUP BY text ORDER BY 2) t");
        site.text("SELECT count(*) FROM information_schema.COLUMNS");
        site.service.test().expect("looked at");
        let mut view = site.service.open_view(super::WITHIN).expect("a view");
        view.facts().expect("facts");
    }
    let now = position();
    let without_statistics = |position: &str| {
        // Its statistics thread writes once after much was written.
        let count = position.split([' ', ',']).nth(1).and_then(|count| count.parse::<u64>().ok());
        count.expect("a count")
    };
    assert!(now == last || without_statistics(&now) <= without_statistics(&last) + 6, "{last} {now}");
    let quiet = Instant::now() + Duration::from_secs(30);
    loop {
        let one = position();
        site.text("SELECT count(*) FROM orders");
        if one == position() {
            break;
        }
        assert!(Instant::now() < quiet, "an idle server does not come to rest");
    }
}

#[test]
fn a_position_moves_with_every_commit_and_with_nothing_else() {
    told_apart(&Server::start(&[]));
}

#[test]
fn a_position_misses_nothing_with_the_binary_log_either() {
    let server = Server::start(&["--log-bin", "--server-id=7"]);
    told_apart(&server);
    let site = Site::on(&server);
    let position = site.service.position().expect("a position").to_string();
    assert!(position.contains("GTID 0-7-"), "{position}");
}

#[test]
fn a_position_survives_the_end_of_its_connection() {
    let site = Site::new();
    site.service.position().expect("a position");
    let list = "SELECT group_concat('KILL ', ID SEPARATOR '; ') FROM information_schema.PROCESSLIST WHERE USER = ";
    let kill = site.server.admin(&format!("{list}{}", super::literal(&site.address().user)));
    site.server.admin(&kill);
    site.service.position().expect("opened anew");
    site.sql(&insert(1));
    site.service.position().expect("a position");
}

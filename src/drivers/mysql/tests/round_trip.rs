use std::io::Write as _;
use std::process::Stdio;

use super::{Site, WITHIN};
use crate::drivers::Service;
use crate::drivers::mysql::session::{Session, ident};

/// Everything that is easily lost or changed on the way.
const ODD: &str = r#"
SET foreign_key_checks = 0;
CREATE TABLE `Tab``le 'x' "é"` (
  id int AUTO_INCREMENT PRIMARY KEY, b tinyint(1), u bigint unsigned, d decimal(30,10), f float, g double, bits bit(9),
  c char(5), v varchar(20) CHARACTER SET latin1, t text, e enum('a','it''s','ü'), s set('x','y'), bl longblob,
  vb varbinary(10), da date, ti time(3), dt datetime(6), ts timestamp(6) NULL, y year, j json, p point, un uuid, ip inet6,
  doubled int AS (id * 2) VIRTUAL, stored int AS (b + 1) STORED, hidden int INVISIBLE DEFAULT 7,
  CONSTRAINT positive CHECK (b >= 0), KEY prefix (t(7)), FULLTEXT KEY words (t), UNIQUE KEY (u)
) COMMENT='it''s; ours' COLLATE utf8mb4_bin;
INSERT INTO `Tab``le 'x' "é"` (b, u, d, f, g, bits, c, v, t, e, s, bl, vb, da, ti, dt, ts, y, j, p, un, ip, hidden) VALUES
 (1, 18446744073709551615, -12345678901234567890.0123456789, 0.1, 1e-300, b'101010101', 'ab', 'é',
  CONCAT('tab\t new\nline\r \\ \\n quote'' " ` ;; -- ', CHAR(0), CHAR(26), '😀'), 'it''s', 'x,y', x'00ff5c270a0d1a', x'', '2025-02-28',
  '-838:59:59', '1000-01-01 00:00:00.000001', '2038-01-19 03:14:07.999999', 1901, '{"b":  1, "ä": [1.10]}',
  ST_GeomFromText('POINT(1 2)'), '00000000-0000-0000-0000-00000000000f', '::1', NULL),
 (0, 0, 0, -3.4e38, 1.7976931348623157e308, NULL, '', NULL, '', NULL, '', NULL, NULL, '0000-00-00', NULL, NULL, NULL, 0000,
  NULL, NULL, NULL, NULL, 8);
INSERT INTO `Tab``le 'x' "é"` (u, bl, t) VALUES (5, repeat(x'00ff10', 1000000), repeat('ü\n', 1000000));
INSERT INTO `Tab``le 'x' "é"` (id, u) VALUES (77, 77); DELETE FROM `Tab``le 'x' "é"` WHERE id = 77;
CREATE TABLE child (id int PRIMARY KEY, parent int, CONSTRAINT kin FOREIGN KEY (parent) REFERENCES parent (id)
  ON DELETE CASCADE) ENGINE=InnoDB;
CREATE TABLE parent (id int PRIMARY KEY, self int, FOREIGN KEY (self) REFERENCES parent (id));
SET foreign_key_checks = 1;
INSERT INTO parent VALUES (1, NULL), (2, 1); INSERT INTO child VALUES (1, 1), (2, 2);
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; CREATE TABLE zero (id int AUTO_INCREMENT PRIMARY KEY); INSERT INTO zero VALUES (0), (-1);
CREATE TABLE parts (at date, n int) PARTITION BY RANGE (year(at)) (PARTITION p0 VALUES LESS THAN (2025),
  PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO parts SELECT '2024-12-20' + INTERVAL seq DAY, seq FROM seq_1_to_30;
CREATE TABLE isam (k varchar(9) PRIMARY KEY) ENGINE=MyISAM; INSERT INTO isam VALUES ('kept');
CREATE TABLE memory (k int) ENGINE=MEMORY; INSERT INTO memory VALUES (1), (2);
CREATE TABLE aria (k int) ENGINE=Aria; INSERT INTO aria VALUES (3);
CREATE TABLE versions (k int) WITH SYSTEM VERSIONING; INSERT INTO versions VALUES (1); UPDATE versions SET k = 2;
CREATE TABLE empty (k int);
CREATE SEQUENCE tickets START WITH 7 INCREMENT BY 3 CACHE 2; DO NEXTVAL(tickets);
CREATE FUNCTION double_it(n int) RETURNS int DETERMINISTIC RETURN n * 2;
CREATE VIEW z_early AS SELECT k FROM versions WHERE k IN (1, 2);
CREATE VIEW a_late AS SELECT k, double_it(k) AS twice FROM z_early;
CREATE TABLE audit (what varchar(40), at timestamp(6));
SET sql_mode = 'ANSI_QUOTES';
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW BEGIN
  -- a comment; with 'one quote
  INSERT INTO "audit" VALUES (CONCAT('é;;', NEW.id), now(6)); END;
CREATE TRIGGER noted_too AFTER INSERT ON orders FOR EACH ROW INSERT INTO audit VALUES ('second', now(6));
SET sql_mode = '';
CREATE PROCEDURE `do it`(IN n int, OUT doubled int) COMMENT 'odd' BEGIN DECLARE x int DEFAULT n; SET doubled = x * 2; END;
CREATE EVENT nightly ON SCHEDULE EVERY '1:10' HOUR_MINUTE STARTS '2037-01-01 00:00:00' COMMENT 'ENABLE; it'
  DO INSERT INTO audit VALUES ('nightly', now(6));
CREATE EVENT off ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO DELETE FROM audit;
CREATE EVENT once ON SCHEDULE AT '2037-01-01 00:00:00' DO DELETE FROM audit;
"#;

/// Every table's rows, and what else holds data; hashes where megabytes are no message.
fn contents(session: &mut Session) -> String {
    let list = "SELECT CONCAT('`', replace(TABLE_NAME, '`', '``'), '`') FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'SEQUENCE' ORDER BY 1";
    let mut all = String::new();
    for table in session.rows("list", list).expect("a list").into_iter().flatten().flatten() {
        let columns = format!(
            "SELECT group_concat(CONCAT('md5(coalesce(`', COLUMN_NAME, '`, ''-''))') ORDER BY ORDINAL_POSITION)
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()
             AND CONCAT('`', replace(TABLE_NAME, '`', '``'), '`') = {}",
            super::literal(&table)
        );
        let columns = super::text(session, &columns);
        let rows = session.rows("read", &format!("SELECT md5(CONCAT_WS(',', {columns})) FROM {table} ORDER BY 1"));
        all.push_str(&format!("{table} {:?}\n", rows.expect("rows")));
    }
    all.push_str(&super::text(
        session,
        "SELECT CONCAT_WS(' ', next_not_cached_value, increment, cache_size) FROM tickets",
    ));
    all
}

fn odd_site() -> Site<'static> {
    let site = Site::new();
    site.sql(ODD);
    site
}

#[test]
fn everything_comes_back_byte_for_byte() {
    let site = odd_site();
    site.insert(2_000);
    let before = contents(&mut site.open());
    let (bytes, facts) = site.dump();
    assert_eq!((facts.rows["orders"], facts.rows["Tab`le 'x' \"é\""], facts.rows["isam"]), (2_100, 3, 1));
    assert!(!facts.rows.contains_key("tickets") && !facts.rows.contains_key("a_late"), "no tables: {facts:?}");

    site.sql(
        "DROP VIEW a_late; DROP TABLE isam, child; TRUNCATE orders; DO NEXTVAL(tickets); DROP EVENT off;
              DROP TRIGGER noted; ALTER TABLE empty ADD other int; CREATE TABLE newer (n int); DROP FUNCTION double_it;
              CREATE PROCEDURE newer() SELECT 1; CREATE VIEW newest AS SELECT * FROM newer",
    );
    let first = site.restore(&bytes, &facts);
    let now = contents(&mut site.open());
    let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
    assert!(now == before, "{differs:#?}");
    let mut after = site.service.open_view(WITHIN).expect("a view");
    assert_eq!(after.facts().expect("facts"), facts);
    let limits = after.limits().join("\n");
    for said in [
        "isam (MyISAM)",
        "aria (Aria)",
        "memory (MEMORY)",
        "MEMORY tables when it restarts: memory",
        "versions",
        "once",
    ] {
        assert!(limits.contains(said), "{said}: {limits}");
    }
    assert!(limits.contains("copied under a lock") && !limits.contains("can't be restored"), "{limits}");
    drop(after);
    site.sql("INSERT INTO orders (text) VALUES ('new'); DELETE FROM parent WHERE id = 2; CALL `do it`(4, @eight)");
    assert_eq!(site.text("SELECT count(*) FROM audit"), "4002", "triggers work");
    assert_eq!(site.text("SELECT count(*) FROM child"), "1", "foreign keys work");
    assert_eq!(
        site.text(
            "SELECT group_concat(EVENT_NAME, STATUS ORDER BY 1) FROM information_schema.EVENTS
        WHERE EVENT_SCHEMA = DATABASE()"
        ),
        "nightlyENABLED,offDISABLED,onceENABLED"
    );

    // And once more: what a restore made is as good as what it replaced.
    let (again, facts) = site.dump();
    site.service.discard(&first.0, Some(&first.1)).expect("removed");
    site.restore(&again, &facts);
    assert_eq!(site.count(), "2101");
}

#[test]
fn what_is_aside_is_dumped_as_it_was() {
    let site = odd_site();
    let (bytes, facts) = site.dump();
    let before = contents(&mut site.open());
    site.sql("DELETE FROM orders; DROP VIEW a_late; DROP TRIGGER noted; CREATE TABLE newer (n int)");
    let emptied = site.service.open_view(WITHIN).and_then(|mut view| view.facts()).expect("facts");
    let (beside, aside) = site.restore(&bytes, &facts);
    assert_eq!(site.service.aside_facts(&aside).expect("facts"), emptied);
    let mut old = Vec::new();
    site.service.dump_aside(&aside, &mut old).expect("a dump");
    assert_eq!(site.service.aside_facts(&aside).expect("facts"), emptied);
    site.service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(site.databases(), 1);
    assert_eq!(contents(&mut site.open()), before);
    site.restore(&old, &emptied);
    assert_eq!(site.count(), "0");
}

#[test]
fn the_stock_client_alone_loads_a_dump() {
    let site = odd_site();
    let before = contents(&mut site.open());
    let (bytes, _) = site.dump();
    let name = format!("{} by hand", site.address().database);
    let user = super::literal(&site.address().user);
    site.admin(&format!("CREATE DATABASE {0}; GRANT ALL ON {0}.* TO {user}@'127.0.0.1'", ident(&name)));
    let mut client = site.server.client();
    client
        .args(["--binary-mode", "--comments", "--default-character-set=utf8mb4", &name])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = client.stdout(Stdio::null()).spawn().expect("a client");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads all");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&bytes[bytes.len() - 400..]).into_owned();
    assert!(text.contains("ALTER EVENT `nightly` ENABLE;") && !text.contains("`off` ENABLE"), "{text}");
    let loaded = site.address().with_database(&name);
    assert_eq!(contents(&mut loaded.open(super::CONNECT).expect("it opens")), before);
}

#[test]
fn facts_notice_the_schema() {
    let site = Site::new();
    let facts = || site.service.open_view(WITHIN).and_then(|mut view| view.facts()).expect("facts");
    let mut seen = vec![facts().schema];
    for change in [
        "ALTER TABLE orders ADD COLUMN more int",
        "ALTER TABLE orders MODIFY more int NOT NULL DEFAULT 1",
        "CREATE INDEX by_text ON orders (text(10))",
        "CREATE VIEW seen AS SELECT 1 AS one",
        "CREATE OR REPLACE VIEW seen AS SELECT 1 AS two",
        "CREATE FUNCTION f() RETURNS int RETURN 1",
        "CREATE OR REPLACE FUNCTION f() RETURNS int RETURN 2",
        "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.text = 'x'",
        "ALTER TABLE orders ADD CONSTRAINT c CHECK (text <> 'never')",
        "CREATE SEQUENCE s",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO DELETE FROM orders",
        "ALTER EVENT e DISABLE",
    ] {
        site.sql(change);
        let now = facts().schema;
        assert!(!seen.contains(&now), "{change}");
        seen.push(now);
    }
    site.sql("DROP TRIGGER t; CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.text = 'x'");
    site.insert(5);
    assert_eq!(&facts().schema, &seen[seen.len() - 1], "rows are no schema");
}

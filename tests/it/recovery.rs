//! docs/recovery.md is followed literally: its own blocks are run, in their order, on a snapshot of an environment with
//! PostgreSQL, MariaDB, Redis, SQLite and files, until the site runs on what came out. Names, ports and paths are those of
//! the test, nothing else is; a block that nobody runs fails here.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::everything::installed;
use crate::everything::shop::{Kind, Shop};
use crate::process::{Installation, Site, said, until};
use crate::recipes::{Block, blocks, doc, program};
use crate::support::server::programs;

/// Blocks that another test runs, and those that need `SOLR_HOME`, a Solr server that the package registries do not have:
/// they were written to its API's documentation, as the driver was.
const ELSEWHERE: [(&str, usize); 2] = [("A program of the operator's", 1), ("Solr", 3)];

/// A block, by its heading and its place below it, with what is another one's here. Each must be in it.
pub fn block(heading: &str, place: usize, names: &[(&str, &str)]) -> String {
    let mut below = blocks(&doc("recovery.md")).into_iter().filter(|block| block.heading == heading);
    let found = below.nth(place).unwrap_or_else(|| panic!("the page has no such block below {heading}"));
    filled(&found, names)
}

fn filled(block: &Block, names: &[(&str, &str)]) -> String {
    assert_eq!(block.language, "sh", "below {}", block.heading);
    names.iter().fold(block.text.clone(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the block below {}: {text}", block.heading);
        text.replace(from, to)
    })
}

/// The page's blocks that are still to be run, in its order.
struct Page(VecDeque<Block>);

impl Page {
    fn open() -> Self {
        Self(blocks(&doc("recovery.md")).into())
    }

    /// The next one, which stands below this heading.
    #[track_caller]
    fn next(&mut self, heading: &str) -> Block {
        let next = self.0.pop_front().expect("the page goes on");
        assert_eq!(next.heading, heading, "the page's next block: {}", next.text);
        next
    }

    #[track_caller]
    fn passed_over(&mut self, heading: &str) {
        let known = ELSEWHERE.iter().find(|(known, _)| *known == heading).expect("somebody runs it");
        for _ in 0..known.1 {
            self.next(heading);
        }
        assert_ne!(self.0.front().map(|block| block.heading.as_str()), Some(heading), "nobody runs that block");
    }

    #[track_caller]
    fn ended(&self) {
        assert!(self.0.is_empty(), "nobody runs {:#?}", self.0);
    }
}

/// A machine with the servers' own tools and ours, on which somebody follows the page in one directory.
struct Host {
    work: PathBuf,
    programs: PathBuf,
    variables: Vec<(String, String)>,
    /// Lines of earlier blocks that stay in force.
    exports: String,
}

impl Host {
    fn new(home: &Path, shop: &Shop) -> Self {
        let (work, programs_of_ours) = (home.join("work"), home.join("programs"));
        for directory in [&work, &programs_of_ours] {
            fs::create_dir(directory).expect("a fresh directory");
        }
        for name in ["stillpoint", "stillpointd"] {
            std::os::unix::fs::symlink(program(name), programs_of_ours.join(name)).expect("a link");
        }
        // An administrator's own settings say where the servers are.
        let settings = format!("[client]\nuser=root\nsocket={}\n", shop.mariadb.socket().display());
        fs::write(work.join(".my.cnf"), settings).expect("a file");
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", programs_of_ours.display(), programs().display());
        let variables = [
            ("PATH", path),
            ("HOME", work.display().to_string()),
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", shop.postgres.port.to_string()),
            ("PGUSER", "postgres".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Self { work, programs: programs_of_ours, variables, exports: String::new() }
    }

    /// The console and the data of that installation.
    fn works_with(&mut self, at: &Installation) {
        let of = [
            ("STILLPOINT_DATA", at.data.display().to_string()),
            ("STILLPOINT_URL", at.console()),
            ("STILLPOINT_TOKEN", at.token.clone()),
        ];
        self.variables.extend(of.map(|(name, value)| (name.to_owned(), value)));
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.work).env_clear().envs(self.variables.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What it printed; it ends with the first command that fails.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let mut command = self.command("bash");
        command.args(["-eo", "pipefail", "-c", &format!("{}{script}", self.exports)]).stdin(Stdio::null());
        printed(script, &command.output().expect("bash is installed"))
    }

    /// As somebody at a terminal, who says yes to what they are asked.
    #[track_caller]
    fn run_at_a_terminal(&self, script: &str) -> String {
        fs::write(self.work.join("typed"), script).expect("a file");
        let mut command = self.command("script");
        let mut child =
            command.args(["-qec", "bash -eo pipefail typed", "/dev/null"]).spawn().expect("util-linux is installed");
        let mut keys = child.stdin.take().expect("a pipe");
        // Until it ends: a terminal that is closed ends what runs there.
        keys.write_all(b"y\n").expect("it reads");
        let output = child.wait_with_output().expect("its outputs");
        drop(keys);
        printed(script, &output)
    }
}

#[track_caller]
fn printed(script: &str, output: &Output) -> String {
    assert!(output.status.success(), "{script}\n{}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `systemctl` of a machine whose `redis-server` is the live one of the environment `main`; ends with the test.
struct RedisHost {
    directory: PathBuf,
    watcher: Child,
}

impl RedisHost {
    fn new(home: &Path, host: &Host, shop: &Shop) -> Self {
        let (directory, port) = (home.join("redis"), shop.main.redis.port);
        fs::create_dir(&directory).expect("a fresh directory");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {0}\ndaemonize yes\npidfile {0}/pid\nsave \"\"\nappendonly no\n\
             user shop on >not-for-everybody ~* &* +@all\n",
            directory.display()
        );
        fs::write(directory.join("redis.conf"), settings).expect("a file");
        let script = format!(
            "#!/bin/sh\ncase \"$1 $2\" in\n\
             'stop redis-server') while redis-cli -p {port} PING > /dev/null 2>&1; do\n\
             redis-cli -p {port} SHUTDOWN NOSAVE > /dev/null 2>&1 || :; done ;;\n\
             'start redis-server') redis-server {}/redis.conf\n\
             until redis-cli -p {port} PING 2> /dev/null | grep -q PONG; do :; done ;;\n\
             *) exit 64 ;;\nesac\n",
            directory.display()
        );
        let program = host.programs.join("systemctl");
        fs::write(&program, script).expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut watcher = Command::new("sh");
        watcher.args(["-c", &format!("cat > /dev/null; redis-cli -p {port} SHUTDOWN NOSAVE")]);
        watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { directory, watcher: watcher.spawn().expect("a shell") }
    }
}

impl Drop for RedisHost {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Every piece of an environment that a dump has to bring along.
fn with_more_than_tables(shop: &Shop, host: &Host) {
    host.run("psql --command 'SET ROLE shop; CREATE VIEW newest AS SELECT max(n) AS n FROM numbers' main");
    let definer = "DEFINER = shop@'127.0.0.1'";
    shop.mariadb.admin(&format!(
        "USE main; CREATE TABLE log (n bigint); CREATE {definer} VIEW newest AS SELECT max(n) AS n FROM numbers;
         CREATE {definer} TRIGGER logged AFTER INSERT ON numbers FOR EACH ROW INSERT INTO log VALUES (NEW.n)"
    ));
    shop.main.redis.ask::<()>(0, "SET orders 7");
}

/// Numbers stand for any number.
fn without_numbers(text: &str) -> String {
    let mut kept: String = text.chars().map(|letter| if letter.is_ascii_digit() { '#' } else { letter }).collect();
    while kept.contains("##") {
        kept = kept.replace("##", "#");
    }
    kept.trim().to_owned()
}

#[test]
fn the_page_is_followed_to_the_letter_and_every_service_is_back() {
    let (shop, at) = installed();
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut host = Host::new(home.path(), &shop);
    with_more_than_tables(&shop, &host);
    for _ in 0..5 {
        shop.write(&Kind::ALL);
    }
    let server = at.start();
    host.works_with(&at);
    let name = at.snapshot();
    let kept = shop.one_instant(&shop.main);
    shop.write(&Kind::ALL);
    let newest = at.snapshot();
    let all = shop.one_instant(&shop.main);
    let mut page = Page::open();

    let key = page.next("Before: keep the recovery key");
    host.run(&filled(&key, &[]));
    assert_eq!(fs::read_to_string(host.work.join("recovery.key")).expect("a key").trim(), at.recovery_key());
    let dump = page.next("With Stillpoint: one database");
    let names = [("6a2ee99e102425329d1d", &*name), ("--service database", "--service records"), ("shop.dump", "whole")];
    host.run(&filled(&dump, &names));
    server.terminate();

    out_of_the_repository(&mut page, &mut host, &at, &name);
    let loaded = |part: &str| fs::read(host.work.join(part)).expect("a file");
    sqlite(&mut page, &host, kept.len());
    postgresql(&mut page, &host, &shop, &kept);
    assert_eq!(loaded("whole"), loaded("shop.dump"), "as Stillpoint gives it");
    mariadb(&mut page, &host, &shop, &kept);
    let redis = RedisHost::new(home.path(), &host, &shop);
    redis_and_valkey(&mut page, &host, &shop, &redis);
    page.passed_over("Solr");
    page.passed_over("A program of the operator's");
    files_and_sqlite(&mut page, &host, &shop, &all);

    // The site runs on it.
    shop.forget_connections();
    for (kind, numbers) in shop.numbers(&shop.main) {
        let expected = if kind == Kind::Files { &all } else { &kept };
        assert_eq!(&numbers, expected, "{kind:?}");
    }
    let next = shop.write(&Kind::ALL);
    assert!(shop.numbers(&shop.main).values().all(|numbers| numbers.contains(&next)));
    assert_eq!(shop.mariadb.admin("SELECT max(n) FROM main.log"), next.to_string(), "triggers are back");

    with_a_new_stillpoint(&mut page, host, &shop, &at, (&newest, &all));
    page.ended();
}

fn out_of_the_repository(page: &mut Page, host: &mut Host, at: &Installation, name: &str) {
    const HEADING: &str = "Out of the repository";
    let repository = at.repository();
    let first = filled(&page.next(HEADING), &[("/backup/repositories/shop", repository.to_str().expect("UTF-8"))]);
    let listed = host.run(&first);
    let exports: Vec<&str> = first.lines().filter(|line| line.starts_with("export ")).collect();
    host.exports = exports.join("\n") + "\n";
    // What the page shows of it.
    let shown = page.next(HEADING);
    assert!(listed.contains(shown.text.lines().next().expect("its columns")), "{listed}");
    let line = listed.lines().find(|line| line.split_whitespace().any(|word| word == name));
    let line = line.unwrap_or_else(|| panic!("the snapshot's name is its tag: {listed}"));
    assert!(line.contains("shop-main"), "{line}");
    let id = line.split_whitespace().next().expect("its ID");

    host.run(&filled(&page.next(HEADING), &[("dac2d525", id)]));
    for line in page.next(HEADING).text.lines() {
        let path = line.split_whitespace().next().expect("a path");
        let path = path.replace("mounts/<name>/…", "mounts/uploads").replace("<name>", "records");
        assert!(host.work.join(&path).exists(), "{path}");
    }
}

fn manifest(host: &Host) -> String {
    fs::read_to_string(host.work.join("back/manifest.json")).expect("a manifest")
}

fn sqlite(page: &mut Page, host: &Host, count: usize) {
    let names = [("services/database", "services/local"), ("FROM orders", "FROM numbers")];
    let told = host.run(&filled(&page.next("SQLite"), &names));
    assert_eq!(told.trim(), format!("ok\n{count}"));
    assert!(manifest(host).contains(&format!("\"numbers\": {count}")), "{}", manifest(host));
}

fn postgresql(page: &mut Page, host: &Host, shop: &Shop, kept: &BTreeSet<u64>) {
    let newest = kept.last().expect("some numbers").to_string();
    let names =
        [("services/database", "services/records"), ("shop_back", "main_back"), ("FROM orders", "FROM numbers")];
    let told = host.run(&filled(&page.next("PostgreSQL"), &names));
    assert!(told.lines().any(|line| line.trim() == newest), "{told}");
    shop.forget_connections();
    let names = [
        ("shop_before", "main_before"),
        ("shop_back", "main_back"),
        ("DATABASE shop ", "DATABASE main "),
        ("TO shop'", "TO main'"),
        ("TO web'", "TO shop'"),
        ("'ANALYZE' shop", "'ANALYZE' main"),
    ];
    host.run(&filled(&page.next("PostgreSQL"), &names));
    let told = host.run("psql --tuples-only --no-align --command 'SELECT n FROM newest' main");
    assert_eq!(told.trim(), newest, "views are back");
}

fn mariadb(page: &mut Page, host: &Host, shop: &Shop, kept: &BTreeSet<u64>) {
    const HEADING: &str = "MySQL and MariaDB";
    let newest = kept.last().expect("some numbers").to_string();
    let names = [("services/database", "services/orders"), ("shop_back", "main_back"), ("FROM orders", "FROM numbers")];
    let told = host.run(&filled(&page.next(HEADING), &names));
    assert_eq!(told.trim(), format!("-- Stillpoint: the dump is complete\nmax(n)\n{newest}"));
    let names = [
        ("--events shop ", "--events main "),
        ("DATABASE shop;", "DATABASE main;"),
        ("DATABASE shop ", "DATABASE main "),
        ("utf8mb4 shop ", "utf8mb4 main "),
    ];
    host.run(&filled(&page.next(HEADING), &names));
    assert_eq!(shop.mariadb.admin("SELECT n FROM main.newest"), newest, "views are back");
    assert!(fs::read_to_string(host.work.join("before.sql")).expect("a dump").contains("logged"), "triggers too");
}

fn redis_and_valkey(page: &mut Page, host: &Host, shop: &Shop, redis: &RedisHost) {
    const HEADING: &str = "Redis and Valkey";
    let told = host.run(&filled(&page.next(HEADING), &[("services/orders", "services/cache")]));
    assert!(told.contains("db0:keys=2") && told.trim().ends_with('7'), "{told}");
    let manifest = manifest(host);
    assert!(manifest.contains("\"database 0\""), "{manifest}");

    let directory = redis.directory.to_str().expect("UTF-8");
    let owner = host.run("printf %s \"$(id -u):$(id -g)\"");
    let names = [("/var/lib/redis", directory), ("redis:redis", &*owner)];
    let in_place = filled(&page.next(HEADING), &names);
    shop.main.redis.ask::<()>(0, "SET orders newer");
    host.run(&in_place);
    assert_eq!(shop.main.redis.ask::<String>(0, "GET orders"), "7");

    let port = shop.main.redis.port.to_string();
    let of = |command: &str| format!("redis-cli -p {port} {command}");
    host.run(&format!("{}; {}; {}", of("CONFIG SET appendonly yes"), of("CONFIG REWRITE"), of("SET orders newer")));
    until("it keeps a log", || redis.directory.join("appendonlydir").exists().then_some(()));
    let cli = of("CONFIG");
    let conf = format!("{directory}/redis.conf");
    let names = [names[0], names[1], ("/etc/redis/redis.conf", &*conf), ("redis-cli CONFIG", &*cli)];
    host.run(&filled(&page.next(HEADING), &names));
    assert_eq!(shop.main.redis.ask::<String>(0, "GET orders"), "7");
    assert!(fs::read_to_string(&conf).expect("its settings").contains("appendonly yes"));
    until("the log is written", || {
        let persistence: String = shop.main.redis.ask(0, "INFO persistence");
        let is = |line: &str| persistence.lines().any(|told| told.trim() == line);
        (is("aof_enabled:1") && is("aof_rewrite_in_progress:0") && is("aof_rewrite_scheduled:0")).then_some(())
    });
    host.run("systemctl stop redis-server; systemctl start redis-server");
    assert_eq!(shop.main.redis.ask::<String>(0, "GET orders"), "7", "of its log");
}

fn files_and_sqlite(page: &mut Page, host: &Host, shop: &Shop, all: &BTreeSet<u64>) {
    let (database, files) = (shop.main.sqlite.to_str().expect("UTF-8"), shop.main.files.to_str().expect("UTF-8"));
    let lost = shop.main.files.join("1/1");
    fs::remove_file(&lost).expect("it was written");
    let names = [("/srv/shop/shop.db", database), ("/srv/shop/uploads", files)];
    host.run(&filled(&page.next("Files and SQLite in place"), &names));
    assert!(lost.exists(), "of {all:?}");
}

/// The installation is lost but for its repository and the recovery key.
fn with_a_new_stillpoint(
    page: &mut Page,
    mut host: Host,
    shop: &Shop,
    lost: &Installation,
    (newest, all): (&str, &BTreeSet<u64>),
) {
    const HEADING: &str = "With a new Stillpoint: `admin adopt`";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let repository = directory.path().join("repositories/shop");
    fs::create_dir(directory.path().join("repositories")).expect("a fresh directory");
    fs::rename(lost.repository(), &repository).expect("where it shall live");
    let site = Site::new(&directory.path().join("site"));
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    host.works_with(&at);
    fs::write(host.work.join("password.txt"), "correct horse battery staple\n").expect("a file");
    let names = [("/srv/stillpoint/repositories/shop", repository.to_str().expect("UTF-8"))];
    let told = host.run(&filled(&page.next(HEADING), &names));
    let shown = page.next(HEADING);
    assert!(without_numbers(&told).ends_with(&without_numbers(&shown.text)), "{told}");

    let (database, files) = (&shop.copy.sqlite, &shop.copy.files);
    let home = database.parent().expect("a directory");
    fs::remove_dir_all(home).expect("its own data is of no use");
    fs::create_dir(home).expect("a directory");
    let names = [
        ("/srv/shop/shop.db", database.to_str().expect("UTF-8")),
        ("/srv/shop/uploads", files.to_str().expect("UTF-8")),
    ];
    host.run(&filled(&page.next(HEADING), &names));
    // On the databases of `copy`.
    let declaration = shop.declaration(0, "");
    let copy = declaration.rsplit("[[project.environment]]\n").next().expect("it stands last");
    let as_main = copy.replacen("name = \"copy\"", "name = \"main\"", 1).replacen("\"staging\"", "\"production\"", 1);
    let (applied, told) = at.apply(&format!("[[project]]\nid = \"shop\"\n\n[[project.environment]]\n{as_main}"));
    assert!(applied, "{told}");

    let server = at.start();
    let told = host.run_at_a_terminal(&filled(&page.next(HEADING), &[]));
    assert!(told.contains(newest), "{told}");
    assert_eq!(&shop.one_instant(&shop.copy), all);
    at.assert_repository_sound_at(&repository);
    server.terminate();
}

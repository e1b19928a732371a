//! An environment with an OpenLDAP directory behind the program of docs/examples, whose application writes one number to it
//! and to a file in each request.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use crate::process::{Counting, Installation, Site, Turns, said, serve, until};
use crate::recovery;

const PASSWORD: &str = "not-for-everybody";
const BASE: &str = "dc=shop,dc=test";

/// A directory server in `home`, which `home/control` stops and starts. Serves one request after the other.
struct Shop {
    home: PathBuf,
    files: PathBuf,
}

impl Shop {
    fn new(home: &Path) -> Self {
        let shop = Self { home: home.to_owned(), files: home.join("files") };
        for directory in [&shop.files, &shop.database()] {
            fs::create_dir_all(directory).expect("a directory");
        }
        // Some systems confine the packaged one to its own places.
        fs::copy("/usr/sbin/slapd", home.join("slapd")).expect("the package slapd");
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/openldap");
        fs::copy(example, shop.program()).expect("the example");
        let at = home.display();
        let settings = format!(
            "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\n\
             database mdb\nsuffix {BASE:?}\nrootdn \"cn=admin,{BASE}\"\nrootpw {PASSWORD}\ndirectory {at}/db\n\
             maxsize 104857600\n"
        );
        fs::write(home.join("slapd.conf"), settings).expect("a file");
        // As docs/examples/openldap asks of it. `hang` stops it in the middle.
        let control = format!(
            "#!/bin/sh\ncd {home:?}\npid=$(cat pid 2> /dev/null || :)\ncase $1 in\n\
             stop)\n  if [ -e hang ]; then touch hangs; sleep 600; fi\n\
             \x20 [ -z \"$pid\" ] || kill -INT \"$pid\" 2> /dev/null || :\n\
             \x20 while [ -n \"$pid\" ] && kill -0 \"$pid\" 2> /dev/null; do sleep 0.02; done\n  rm -f pid ;;\n\
             start)\n  [ -n \"$pid\" ] && kill -0 \"$pid\" 2> /dev/null || ./slapd -f slapd.conf -h {:?} ;;\nesac\n",
            shop.address()
        );
        fs::write(shop.control(), control).expect("a file");
        for program in [shop.program(), shop.control()] {
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        shop.turn("start");
        let root = format!("dn: {BASE}\nobjectClass: organization\nobjectClass: dcObject\no: shop\ndc: shop\n");
        until("the directory server answers", || shop.ask("ldapadd", &[], &root).ok());
        shop
    }

    fn database(&self) -> PathBuf {
        self.home.join("db")
    }

    fn program(&self) -> PathBuf {
        self.home.join("openldap")
    }

    fn control(&self) -> PathBuf {
        self.home.join("control")
    }

    fn address(&self) -> String {
        format!("ldapi://{}", self.home.join("socket").display().to_string().replace('/', "%2F"))
    }

    fn turn(&self, word: &str) {
        let done = Command::new(self.control()).arg(word).stdin(Stdio::null()).status().expect("a shell");
        assert!(done.success(), "{word}");
    }

    fn ask(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(program);
        let admin = format!("cn=admin,{BASE}");
        command.args(["-x", "-H", &self.address(), "-D", &admin, "-w", PASSWORD]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the package ldap-utils");
        let mut stdin = child.stdin.take().expect("a pipe");
        // One that could not connect has ended already.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("its outputs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(said(&output))
        }
    }

    fn orders(&self) -> Result<Vec<i64>, String> {
        let found = self.ask("ldapsearch", &["-LLL", "-b", BASE, "(objectClass=organizationalRole)", "cn"], "")?;
        Ok(found.lines().filter_map(|line| line.strip_prefix("cn: ")?.parse().ok()).collect())
    }

    fn serve(self: &Arc<Self>) -> u16 {
        // The server ends with the test, whatever still listens.
        let shop = Arc::downgrade(self);
        serve(Turns::One, move || {
            let shop = shop.upgrade().ok_or("the shop is closed")?;
            let number = shop.orders()?.len() + 1;
            let entry = format!("dn: cn={number},{BASE}\nobjectClass: organizationalRole\ncn: {number}\n");
            shop.ask("ldapadd", &[], &entry)?;
            fs::write(shop.files.join("number"), number.to_string()).map_err(|error| error.to_string())?;
            Ok(number.to_string())
        })
    }

    fn declaration(&self, port: u16) -> String {
        format!(
            "[[project]]\nid = \"shop\"\n\n[[project.environment]]\nname = \"main\"\ntype = \"production\"\n\n\
             [[project.environment.service]]\nname = \"people\"\ntype = \"command\"\ncommand = [{:?}, {:?}, {:?}]\n\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {:?}\n\n\
             [[project.environment.route]]\nhost = \"main.shop.test\"\nupstream = \"http://127.0.0.1:{port}\"\n",
            self.program(),
            self.database(),
            self.control(),
            self.files
        )
    }
}

impl Counting for Shop {
    fn numbers(&self) -> (i64, i64) {
        let orders = self.orders().expect("the directory server answers");
        let last = orders.iter().max().copied().unwrap_or(0);
        assert_eq!(i64::try_from(orders.len()).expect("few"), last, "none is missing");
        (last, fs::read_to_string(self.files.join("number")).expect("a number").parse().expect("a number"))
    }

    fn left_beside(&self) -> usize {
        fs::read_dir(self.home.join("db.stillpoint")).map_or(0, |listing| listing.flatten().count())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.home.join("hang"));
        self.turn("stop");
    }
}

/// In this order: the shop closes before its directory goes.
fn installed() -> (Installation, Arc<Shop>, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let site = Site::new(&directory.path().join("site"));
    let shop = Arc::new(Shop::new(&directory.path().join("site/ldap")));
    let declaration = shop.declaration(shop.serve());
    let mut at = Installation::bare(directory, site);
    at.add_operator();
    (at, shop, declaration)
}

#[test]
fn a_restore_through_a_command_whose_worker_dies_is_taken_back_or_finished() {
    for (step, beside) in [
        ("restore: a service loaded", 1),
        ("restore: prepared", 1),
        ("restore: a service exchanged", 2),
        ("restore: swapped", 2),
        ("restore: safety stored", 2),
    ] {
        let (at, shop, declaration) = installed();
        let (applied, told) = at.apply(&declaration);
        assert!(applied, "{told}");
        at.restore_dies(step, beside, &*shop);
    }
}

#[test]
fn a_worker_that_is_killed_while_its_program_exchanges_takes_it_along_and_the_next_one_takes_back() {
    let (at, shop, declaration) = installed();
    assert!(at.apply(&declaration).0);
    let mut dying = at.start();
    assert_eq!(at.visit().expect("the gateway").body, "1");
    let first = at.snapshot();
    assert_eq!(at.visit().expect("the gateway").body, "2");
    fs::write(shop.home.join("hang"), "").expect("a file");
    let asked = at.ask_restore(&first);
    until("the exchange is under way", || shop.home.join("hangs").exists().then_some(()));
    dying.kill();
    fs::remove_file(shop.home.join("hang")).expect("it is there");
    let server = at.start();
    let activity = at.succeeded(&asked);
    assert_eq!(shop.numbers(), (1, 1));
    at.restore(activity["payload"]["safety_backup_name"].as_str().expect("a name"));
    assert_eq!(shop.numbers(), (2, 2));

    // One that takes longer than a gate waits is killed, and taken back by the same worker.
    fs::write(shop.home.join("hang"), "").expect("a file");
    fs::remove_file(shop.home.join("hangs")).expect("it is there");
    let asked = at.ask_restore(&first);
    until("the exchange is under way", || shop.home.join("hangs").exists().then_some(()));
    fs::remove_file(shop.home.join("hang")).expect("it is there");
    let reason = at.failed(&asked);
    assert!(reason.contains("taken back") && reason.contains("did not end within 8.0 s"), "{reason}");
    assert_eq!(shop.numbers(), (2, 2));
    assert_eq!(at.visit().expect("the gateway").body, "3");
    until("nothing is left beside", || (shop.left_beside() == 0).then_some(()));
    server.terminate();
}

#[test]
fn an_environment_behind_a_command_is_snapshot_restored_undone_and_got_back_by_hand() {
    let (at, shop, declaration) = installed();
    let (applied, told) = at.apply(&declaration.replace("/db\"", "/elsewhere\""));
    assert!(!applied && told.contains(":8: Service people: `") && told.contains("there is no database in"), "{told}");
    let (applied, told) = at.apply(&declaration);
    assert!(applied, "{told}");

    let server = at.start();
    let kept = at.there_and_back(PASSWORD, &*shop);
    assert_eq!(shop.left_beside(), 0, "views are gone too");

    // Stock restic and the program, as docs/recovery.md says.
    let (back, manifest) = at.by_restic(&kept);
    let by_hand = by_hand(&back, &shop);
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    assert_eq!(shop.orders().expect("the directory server answers").len() as i64, kept.number);
    assert!(manifest.contains("\"command\"") && manifest.contains("OpenLDAP"), "{manifest}");
    assert!(manifest.contains("\"id2e\"") && manifest.contains("(cn=config)"), "{manifest}");
    at.assert_repository_whole();

    fs::remove_file(shop.program()).expect("it is there");
    let reason = at.failed(&at.ask_snapshot());
    assert!(reason.contains("Service people") && reason.contains("install it, or correct"), "{reason}");
    server.terminate();
}

/// The commands of docs/recovery.md.
fn by_hand(back: &Path, shop: &Shop) -> Output {
    let [program, database, control] =
        [shop.program(), shop.database(), shop.control()].map(|path| path.display().to_string());
    let names = [
        ("/usr/local/bin/openldap", &*program),
        ("/var/lib/ldap", &*database),
        ("/usr/local/bin/slapd-control", &*control),
    ];
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &recovery::block("A program of the operator's", 0, &names)]);
    shell.current_dir(back.parent().expect("a directory")).output().expect("a shell")
}

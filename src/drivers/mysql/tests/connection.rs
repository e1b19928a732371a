use std::io::Cursor;

use super::{PASSWORD, SERVER, Site};
use crate::domain::Secret;
use crate::drivers::mysql::session::{ident, literal};
use crate::drivers::mysql::tools::Tools;
use crate::drivers::mysql::{Address, Mysql};
use crate::drivers::{Error, Service};

#[test]
fn each_thing_that_is_wrong_with_a_connection_is_told_apart() {
    let site = Site::new();
    let test = |change: &dyn Fn(&mut Address)| {
        let mut address = site.address().clone();
        change(&mut address);
        let error = Mysql::connect(address).expect("a complete address").test().expect_err("it can't be used");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        error
    };
    let wrong = test(&|address| address.password = Secret::new("wrong secret"));
    assert!(matches!(wrong, Error::LoginRefused { .. }), "{wrong:?}");
    let none = test(&|address| address.password = Secret::new(""));
    assert!(matches!(none, Error::LoginRefused { .. }), "{none:?}");
    let nobody = test(&|address| address.user = "nobody_here".to_owned());
    assert!(matches!(nobody, Error::LoginRefused { .. }), "{nobody:?}");
    let closed = test(&|address| address.port = 1);
    assert!(matches!(closed, Error::Unreachable { .. }), "{closed:?}");
    assert!(closed.to_string().contains("no MySQL or MariaDB server answers at 127.0.0.1:1"), "{closed}");
    let foreign = test(&|address| address.database = "mysql".to_owned());
    assert!(matches!(foreign, Error::NotPermitted { .. }), "{foreign:?}");
    let relative = Address { host: "run/mysqld.sock".to_owned(), ..site.address().clone() };
    assert!(matches!(Mysql::connect(relative), Err(Error::NotAbsolute { .. })));
    let tested = site.service.test().expect("a sound one");
    assert!(tested.size.0 > 10_000 && tested.version.contains("MariaDB"), "{tested:?}");

    // An administrator through the socket, where a database may be missing.
    let host = SERVER.socket().to_str().expect("UTF-8").to_owned();
    let root = Address { host, user: "root".to_owned(), password: Secret::new(""), ..site.address().clone() };
    let tested = Mysql::connect(root.clone()).expect("an absolute path").test().expect("it answers");
    assert_eq!(tested.limits.len(), 1, "{tested:?}");
    let missing = Mysql::connect(root.with_database("missing")).expect("an absolute path").test();
    assert!(matches!(missing, Err(Error::NoDatabase { .. })), "{missing:?}");
}

#[test]
fn an_account_that_may_not_do_all_is_told_before_anything_happens() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    let tested = site.service.test().expect("all is there").limits.join(" ");
    assert!(
        tested.contains("GRANT PROCESS, CONNECTION ADMIN ON *.*") && !tested.contains("can't be restored"),
        "{tested}"
    );

    let user = format!("{}@'127.0.0.1'", literal(&site.address().user));
    let pattern = ident(&format!("{}\\_stillpoint\\_%", site.address().database.replace('_', "\\_")));
    site.admin(&format!("REVOKE ALL ON {pattern}.* FROM {user}"));
    let tested = site.service.test().expect("a snapshot can be taken").limits.join(" ");
    assert!(tested.contains(&format!("GRANT ALL ON {pattern}.* TO {user}")), "{tested}");
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
    assert!(refused.to_string().contains("the account may not SELECT, INSERT"), "{refused}");
    site.admin(&format!("GRANT ALL ON {pattern}.* TO {user}"));

    // Somebody else's function: its text, and making it anew in their name.
    site.admin("CREATE DEFINER=root@localhost FUNCTION theirs() RETURNS int RETURN 1");
    let hidden = site.service.test().expect_err("its text can't be seen").to_string();
    assert!(hidden.contains("`theirs`") && hidden.contains("GRANT SELECT ON mysql.proc"), "{hidden}");
    site.admin(&format!("GRANT SELECT ON mysql.proc TO {user}"));
    let tested = site.service.test().expect("now it can").limits.join(" ");
    assert!(tested.contains("theirs run as another account: GRANT SET USER ON *.*"), "{tested}");
    site.admin(&format!("GRANT SET USER ON *.* TO {user}"));
    let tested = site.service.test().expect("now it can").limits.join(" ");
    assert!(!tested.contains("can't be restored"), "{tested}");

    let own = ident(&site.address().database.replace('_', "\\_"));
    site.admin(&format!("REVOKE EVENT, TRIGGER ON {own}.* FROM {user}"));
    let refused = site.service.test().expect_err("a dump would lack them without a word").to_string();
    assert!(refused.contains(&format!("GRANT TRIGGER, EVENT ON {own}.* TO {user}")), "{refused}");
    assert_eq!(site.databases(), 1);
}

#[test]
fn foreign_keys_from_elsewhere_stop_a_restore_before_anything_happens() {
    let site = Site::new();
    let (bytes, _) = site.dump();
    let own = site.address().database.clone();
    let other = ident(&format!("{own} other"));
    site.admin(&format!(
        "CREATE DATABASE {other}; CREATE TABLE {other}.leads (id int, FOREIGN KEY (id) REFERENCES {}.orders (id))",
        ident(&own)
    ));
    site.admin(&format!("GRANT SELECT, REFERENCES ON {other}.* TO {}@'127.0.0.1'", literal(&site.address().user)));
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
    assert!(refused.to_string().contains("foreign keys of other databases lead into it"), "{refused}");
}

#[test]
fn a_client_that_is_missing_is_named_with_its_package() {
    let mut site = Site::new();
    let home = tempfile::tempdir().expect("a temporary directory");
    site.service.tools = Tools { places: vec![home.path().to_owned()] };
    let missing = site.service.test().expect_err("nothing is there").to_string();
    assert!(missing.contains("`mariadb` is not installed") && missing.contains("mariadb-client"), "{missing}");
}

#[test]
fn a_password_that_changed_is_told_and_harms_no_view_that_is_ready() {
    let site = Site::new();
    site.service.get_ready(site.scratch.path(), &|| false).expect("ready");
    let user = format!("{}@'127.0.0.1'", literal(&site.address().user));
    site.admin(&format!("SET PASSWORD FOR {user} = PASSWORD('another')"));
    let (bytes, facts) = site.dump();
    assert_eq!(facts.rows["orders"], 100);
    assert!(matches!(site.service.test(), Err(Error::LoginRefused { .. })));
    let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
    assert!(!format!("{refused} {refused:?}").contains(PASSWORD), "{refused:?}");
}

#[test]
fn provisioning_makes_an_empty_one_and_touches_no_existing_one() {
    let site = Site::new();
    assert!(matches!(site.service.provision(), Err(Error::DatabaseExists { .. })));
    let database = format!("{}_stillpoint_new", site.address().database);
    let new = Mysql::connect(Address { database, ..site.address().clone() }).expect("a complete address");
    new.provision().expect("a new one");
    assert_eq!(super::text(&mut new.address.open(super::CONNECT).expect("it opens"), "SHOW TABLES"), "");
}

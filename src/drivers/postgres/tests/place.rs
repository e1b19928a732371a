//! Restores in place, by accounts that may not create databases.

use super::*;

impl Site {
    /// Whose account may not create databases, as with many that rent one.
    fn rented() -> Self {
        let site = Self::new();
        let user = &site.address().user;
        admin(&SERVER, "postgres").command("forbid", format!("ALTER ROLE {user} NOCREATEDB")).expect("forbidden");
        site
    }

    /// The same database as another worker sees it.
    fn another_worker(&self) -> Postgres {
        Postgres::connect(self.address().clone()).expect("a complete address")
    }

    fn swap(&self, bytes: &[u8], facts: &Facts) -> (Beside, Aside) {
        let beside = self.load(bytes);
        self.service.check(&beside, facts).expect("all is as recorded");
        let aside = self.service.prepare(&beside).expect("fixed");
        self.service.commit(&beside, &aside).expect("replaced");
        (beside, aside)
    }

    fn facts(&self) -> Facts {
        self.service.open_view(WITHIN).expect("a view").facts().expect("facts")
    }
}

#[test]
fn in_place_everything_comes_back_byte_for_byte_and_what_is_newer_goes() {
    let site = Site::rented();
    assert!(site.service.in_place().expect("it answers").is_some_and(|found| found.why.contains("CREATEDB")));
    site.sql(ODD);
    site.insert(2_000);
    let (before, kept) = (contents(&mut site.open()), "SELECT oid::text FROM pg_extension WHERE extname = 'hstore'");
    let extension = site.text(kept);
    let (bytes, facts) = site.dump();

    site.sql(
        "DELETE FROM orders WHERE id > 50; SELECT nextval('tickets'); CREATE SCHEMA newer;
         CREATE TABLE newer.lines (n int REFERENCES public.orders (id)); CREATE TABLE public.later (h hstore, m mood);
         CREATE FUNCTION later(orders) RETURNS int LANGUAGE sql AS 'SELECT $1.id'; CREATE AGGREGATE every_one(int)
           (SFUNC = int4pl, STYPE = int); CREATE AGGREGATE nothing(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0');
         CREATE TYPE span AS RANGE (SUBTYPE = float8); CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
         CREATE STATISTICS two_of_it ON n, at FROM parts; CREATE COLLATION mine FROM \"C\";
         CREATE TEXT SEARCH CONFIGURATION words (COPY = simple); CREATE PROCEDURE p(INOUT a int) LANGUAGE sql AS 'SELECT 1';
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO with_password; GRANT ALL ON SCHEMA public TO
           with_password; SELECT lo_from_bytea(0, '\\x09'); INSERT INTO stored VALUES ('new=>1')",
    );
    let newer = site.facts();
    let (beside, aside) = site.swap(&bytes, &facts);
    let now = contents(&mut site.open());
    let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
    let differs = differs.map(|(now, before)| [now, before].map(|line| line.chars().take(500).collect::<String>()));
    assert!(now == before, "{differs:#?}");
    assert_eq!(site.facts(), facts);
    assert_eq!(site.text(kept), extension, "it was not touched");
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'newer')::text
        || (SELECT count(*) FROM pg_default_acl)
        || (SELECT count(*) FROM pg_class WHERE relacl::text LIKE '%with_password%')
        || (SELECT count(*) FROM pg_proc WHERE proname IN ('later', 'every_one', 'nothing', 'p', 'span'))";
    assert_eq!(site.text(left), "0000");
    site.sql("INSERT INTO orders (text) VALUES ('new'); DELETE FROM audit");
    assert_eq!(site.text("SELECT count(*)::text FROM public.audit"), "2001", "trigger, rule and sequence work");
    assert_eq!(site.databases().len(), 1);

    // Undo is a restore like any other.
    let mut old = Vec::new();
    site.service.dump_aside(&aside, &mut old).expect("a dump of what was replaced");
    assert_eq!(site.service.aside_facts(&aside).expect("facts"), newer);
    let size = site.service.aside_size(&aside).expect("known").expect("measured");
    assert_eq!(size.0, old.len() as u64);
    site.service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!(std::fs::read_dir(site.scratch.path()).expect("a directory").count(), 0);
    site.swap(&old, &newer);
    assert_eq!(site.facts(), newer);
    assert_eq!(site.text("SELECT count(*)::text FROM pg_default_acl"), "1");
}

#[test]
fn in_place_every_step_may_be_repeated_in_any_order() {
    let site = Site::rented();
    let (bytes, facts) = site.dump();
    site.insert(11);
    let service = &site.service;
    let announced = service.beside(site.scratch.path()).expect("announced");
    service.discard(&announced, None).expect("nothing to do");
    let beside = site.load(&bytes);
    service.check(&beside, &facts).expect("all is as recorded");

    let aside = service.prepare(&beside).expect("fixed");
    service.roll_back(&beside, &aside).expect("nothing to do");
    assert!(matches!(service.commit(&beside, &aside), Err(Error::NotPrepared { .. })));
    assert_eq!(site.count(), "111");
    site.insert(1);
    let first = service.prepare(&beside).expect("fixed anew");
    let aside = service.prepare(&beside).expect("and again");
    assert_ne!(first, aside, "it is another transaction");
    service.commit(&beside, &aside).expect("replaced");
    service.commit(&beside, &aside).expect("is");
    assert_eq!(service.prepare(&beside).expect("what was fixed"), aside);
    assert_eq!(site.count(), "100");

    site.another_worker().roll_back(&beside, &aside).expect("back");
    assert_eq!(site.count(), "112");
    site.insert(1);
    service.roll_back(&beside, &aside).expect("is");
    assert_eq!(site.count(), "113", "a second roll back does not take away what was written since");

    let aside = service.prepare(&beside).expect("fixed");
    service.commit(&beside, &aside).expect("replaced");
    assert_eq!(service.aside_facts(&aside).expect("facts").rows["public.orders"], 113);
    let json = serde_json::to_string(&(&beside, &aside)).expect("plain data");
    assert!(!json.contains("secret"), "{json}");
    assert_eq!(serde_json::from_str::<(Beside, Aside)>(&json).expect("the same"), (beside.clone(), aside.clone()));
    service.discard(&beside, Some(&aside)).expect("removed");
    service.discard(&beside, Some(&aside)).expect("and again");
    assert_eq!(site.count(), "100", "what is live is never discarded");
}

#[test]
fn from_the_safety_dump_to_the_end_nobody_writes_and_everybody_reads_until_it_is_replaced() {
    let site = Site::rented();
    let (bytes, facts) = site.dump();
    let idle = site.open();
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    let aside = site.service.prepare(&beside).expect("fixed");
    drop(idle);
    assert_eq!(site.count(), "100", "it can be read");
    let refused = site.open().command("write", format!("SET lock_timeout = 50; {}", insert(1))).expect_err("locked");
    assert!(super::super::session::is_code(&refused, "55P03"), "{refused:?}");
    site.open().command("make", "CREATE TABLE public.unseen (n int)".to_owned()).expect("nobody holds that back");
    let refused = site.service.commit(&beside, &aside).expect_err("it would be lost");
    assert!(refused.to_string().contains("public.unseen was made after"), "{refused}");
    assert_eq!(site.count(), "100");
    site.insert(1);
}

#[test]
fn a_transaction_of_a_worker_that_hangs_is_ended_before_the_site_opens() {
    let site = Site::rented();
    let (bytes, facts) = site.dump();
    site.insert(11);
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    let aside = site.service.prepare(&beside).expect("fixed");
    // Its process lives, and has everything locked.
    site.another_worker().roll_back(&beside, &aside).expect("back");
    site.insert(1);
    site.service.commit(&beside, &aside).expect_err("it was ended");
    assert_eq!(site.count(), "112");
    site.service.roll_back(&beside, &aside).expect("it is as it was");
    assert_eq!(site.count(), "112");
}

#[test]
fn what_turns_out_otherwise_in_the_transaction_leaves_everything_as_it_was() {
    let site = Site::rented();
    let (bytes, mut facts) = site.dump();
    site.insert(11);
    let beside = site.load(&bytes);
    *facts.rows.get_mut("public.orders").expect("a table") += 1;
    let refused = site.service.check(&beside, &facts).expect_err("a row is missing");
    assert!(matches!(refused, Error::Mismatch { .. }), "{refused:?}");
    *facts.rows.get_mut("public.orders").expect("a table") -= 1;
    facts.schema = "of another".to_owned();
    site.service.check(&beside, &facts).expect("the rows are right");
    let aside = site.service.prepare(&beside).expect("fixed");
    let refused = site.service.commit(&beside, &aside).expect_err("another schema");
    assert!(matches!(refused, Error::Mismatch { .. }), "{refused:?}");
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(site.count(), "111");
    site.service.discard(&beside, Some(&aside)).expect("removed");

    let cut = &bytes[..bytes.len() - 20];
    let refused = site
        .service
        .load_beside(site.scratch.path(), &mut Cursor::new(cut))
        .and_then(|beside| site.service.check(&beside, &facts))
        .expect_err("its end is missing");
    assert!(matches!(refused, Error::ToolFailed { tool: "pg_restore", .. } | Error::Mismatch { .. }), "{refused:?}");
    assert_eq!(site.count(), "111");
}

#[test]
fn what_can_not_be_replaced_in_place_is_refused_with_its_reason() {
    let site = Site::rented();
    let database = site.address().database.clone();
    let publishing = format!("CREATE PUBLICATION told_{}", site.address().user);
    admin(&SERVER, &database).command("make", publishing).expect("made");
    let (bytes, _) = site.dump();
    let refused = |site: &Site| {
        let refused = site.service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
        assert!(refused.to_string().contains("nothing was replaced"), "{refused}");
        refused.to_string()
    };
    let said = refused(&site);
    assert!(said.contains("may not create databases") && said.contains("has the publication told_"), "{said}");
    let limits = site.service.test().expect("a snapshot can be taken").limits.join(" ");
    assert!(limits.contains("can't be restored as things are") && limits.contains("nor in place"), "{limits}");
    assert_eq!(site.service.in_place().expect("it answers"), None);

    let dropping = format!("DROP PUBLICATION told_{}", site.address().user);
    admin(&SERVER, &database).command("drop", dropping).expect("dropped");
    let said = refused(&site);
    assert!(said.contains("the snapshot has publications"), "{said}");

    admin(&SERVER, &database)
        .command("make", "CREATE TABLE public.theirs (n int); GRANT SELECT ON public.theirs TO PUBLIC".to_owned())
        .expect("made");
    let said = refused(&site);
    assert!(said.contains("public.theirs belongs to postgres"), "{said}");
}

#[test]
fn who_keeps_a_table_locked_is_named_and_nothing_is_replaced() {
    let site = Site::rented();
    let (bytes, facts) = site.dump();
    let beside = site.load(&bytes);
    site.service.check(&beside, &facts).expect("all is as recorded");
    let mut foreign = site.admin();
    foreign.command("write", format!("BEGIN; {}", insert(1))).expect("a row");
    let refused = site.service.prepare(&beside).expect_err("a superuser's session");
    let Error::InTheWay { by, .. } = &refused else { panic!("{refused:?}") };
    assert!(by.contains("of postgres keeps public.orders"), "{by}");
    foreign.command("leave", "COMMIT".to_owned()).expect("left");
    assert_eq!(site.count(), "101");
    let aside = site.service.prepare(&beside).expect("now it can");
    site.service.commit(&beside, &aside).expect("replaced");
    assert_eq!(site.count(), "100");
}

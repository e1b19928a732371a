//! Collections of SolrCloud: one node, and two.

use std::collections::BTreeSet;

use super::*;

/// An alias with its driver, before a collection `…_v1` of two shards.
struct Alias<'a> {
    server: &'a Server,
    name: &'static str,
    service: Solr,
    scratch: TempDir,
}

impl<'a> Alias<'a> {
    fn new(server: &'a Server, name: &'static str) -> Self {
        server.ok(&format!("admin/collections?action=CREATE&name={name}_v1&numShards=2&maxShardsPerNode=4"));
        server.ok(&format!("admin/collections?action=CREATEALIAS&name={name}&collections={name}_v1"));
        let scratch = tempfile::tempdir().expect("a temporary directory");
        Self { server, name, service: driver(server, name), scratch }
    }

    fn load(&self, dump: &[u8]) -> Result<Beside, Error> {
        self.service.load_beside(self.scratch.path(), &mut Cursor::new(dump))
    }

    fn restore(&self, dump: &[u8], facts: &Facts) -> (Beside, Aside) {
        let beside = self.load(dump).expect("loaded");
        self.service.check(&beside, facts).expect("as recorded");
        let aside = self.service.prepare(&beside).expect("prepared");
        self.service.commit(&beside, &aside).expect("committed");
        (beside, aside)
    }

    fn again(self) -> Self {
        Self { scratch: tempfile::tempdir().expect("a temporary directory"), ..self }
    }

    fn found(&self) -> u64 {
        self.server.found(self.name)
    }

    /// Collections and configsets that are this test's.
    fn left(&self) -> (Vec<String>, Vec<String>) {
        let named = |path: &str, key: &str| -> Vec<String> {
            let answer = self.server.ok(path);
            let names = answer[key].as_array().expect("names").iter().filter_map(|name| name.as_str());
            names.filter(|name| name.starts_with(self.name)).map(str::to_owned).collect()
        };
        (named("admin/collections?action=LIST", "collections"), named("admin/configs?action=LIST", "configSets"))
    }

    /// Entries of the directory that restores write into.
    fn entries(&self) -> usize {
        let entries = std::fs::read_dir(self.server.cores()).expect("the directory of the cores").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(self.name)).count()
    }

    fn stands_for(&self) -> String {
        let answer = self.server.ok("admin/collections?action=LISTALIASES");
        answer["aliases"][self.name].as_str().unwrap_or_default().to_owned()
    }

    fn has_field(&self, field: &str) -> bool {
        let answer = self.server.ok(&format!("{}/schema/fields", self.name));
        answer["fields"].as_array().expect("fields").iter().any(|it| it["name"] == field)
    }
}

fn rows(facts: &Facts) -> u64 {
    facts.rows.values().sum()
}

#[test]
fn a_collection_comes_back_and_can_be_undone() {
    let Some(server) = server::shared_cloud() else { return };
    let site = Alias::new(server, "round");
    server.add("round", 0..300);
    server.delete("round", "id:7");
    let limits = site.service.test().expect("usable").limits;
    assert!(limits.len() == 1 && limits[0].contains("shards"), "only that shards are fixed one by one: {limits:?}");
    server.add_pending("round", 1_000..1_003);
    let (bytes, facts) = dump(&site.service);
    assert_eq!((facts.rows.len(), rows(&facts)), (2, 302), "{:?}", facts.rows);

    server.delete("round", "*:*");
    server.add("round", 5_000..5_005);
    server.schema("round", serde_json::json!({"add-field": {"name": "later", "type": "string"}}));
    assert!(site.has_field("later"));
    let (beside, aside) = site.restore(&bytes, &facts);
    assert_eq!((site.found(), site.has_field("later")), (302, false), "the configuration is the snapshot's");
    let safety = site.service.aside_facts(&aside).expect("what was replaced");
    assert_eq!(rows(&safety), 5);
    let mut replaced = Vec::new();
    site.service.dump_aside(&aside, &mut replaced).expect("what was replaced");
    assert!(site.left().0.contains(&"round_v1".to_owned()), "it stays aside until it is given up");
    site.service.discard(&beside, Some(&aside)).expect("removed");
    let live = site.stands_for();
    assert_eq!(site.left(), (vec![live.clone()], vec![live]), "the old collection and its configuration are gone");
    assert_eq!((site.found(), site.entries()), (302, 2), "a core for each shard and nothing else");
    assert!(matches!(site.load(&replaced), Err(Error::CannotRestore { .. })), "what is live is never loaded over");

    let site = site.again();
    let (beside, aside) = site.restore(&replaced, &safety);
    assert_eq!((site.found(), site.has_field("later")), (5, true));
    server.add("round", 9_000..9_050);
    assert_eq!(site.found(), 55, "it takes documents, in both shards");
    site.service.discard(&beside, Some(&aside)).expect("removed");
    let live = site.stands_for();
    assert_eq!(site.left(), (vec![live.clone()], vec![live]), "also those of the restore before");
    assert_eq!(rows(&dump(&site.service).1), 55);
}

#[test]
fn an_alias_is_taken_back_and_each_step_may_be_repeated() {
    let Some(server) = server::shared_cloud() else { return };
    let site = Alias::new(server, "twice");
    server.add("twice", 0..10);
    let (bytes, _) = dump(&site.service);
    server.add("twice", 10..30);
    server.add_pending("twice", 30..31);
    let beside = site.load(&bytes).expect("loaded");
    assert_eq!(site.service.beside(site.scratch.path()).expect("named"), beside);
    assert_eq!(site.load(&bytes).expect("loaded again"), beside);
    site.service.prepare(&beside).expect("prepared");
    let aside = site.service.prepare(&beside).expect("prepared anew");
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    for _ in 0..2 {
        site.service.commit(&beside, &aside).expect("committed");
        assert_eq!(site.found(), 10);
    }
    assert_eq!(site.service.prepare(&beside).expect("what was fixed"), aside);
    site.service.discard(&beside, None).expect("what is live stays");
    assert_eq!(site.found(), 10);
    for _ in 0..2 {
        site.service.roll_back(&beside, &aside).expect("taken back");
        assert_eq!(
            (site.found(), site.stands_for()),
            (30, "twice_v1".to_owned()),
            "the pending one is not searched yet"
        );
    }
    assert!(matches!(site.service.aside_facts(&aside), Err(Error::NotPrepared { .. })));
    let journaled = serde_json::to_string(&aside).expect("JSON");
    assert_eq!(serde_json::from_str::<Aside>(&journaled).expect("the same"), aside);
    // Somebody passes the alias on by hand: theirs stays.
    server.ok("admin/collections?action=CREATE&name=twice_v2&numShards=1");
    server.ok("admin/collections?action=CREATEALIAS&name=twice&collections=twice_v2");
    assert!(matches!(site.service.commit(&beside, &aside), Err(Error::CannotRestore { .. })));
    site.service.roll_back(&beside, &aside).expect("nothing to do");
    assert_eq!(site.stands_for(), "twice_v2");
    server.ok("admin/collections?action=CREATEALIAS&name=twice&collections=twice_v1");
    for _ in 0..2 {
        site.service.discard(&beside, Some(&aside)).expect("removed");
    }
    assert!(!site.left().0.iter().chain(&site.left().1).any(|name| name.contains("stillpoint")), "{:?}", site.left());
    assert!(matches!(site.service.prepare(&beside), Err(Error::NotPrepared { .. })));
    assert_eq!(rows(&dump(&site.service).1), 31, "the pending one was kept");
}

#[test]
fn an_alias_outlasts_a_power_cut_and_a_load_that_it_hits_is_begun_again() {
    let Some(mut server) = Server::cloud() else { return };
    let (bytes, facts, scratch) = {
        let site = Alias::new(&server, "shop");
        server.add("shop", 0..10);
        let (bytes, facts) = dump(&site.service);
        server.add("shop", 10..30);
        (bytes, facts, site.scratch)
    };
    let (service, port) = (driver(&server, "shop"), server.port);
    let load = |service: &Solr| service.load_beside(scratch.path(), &mut Cursor::new(&bytes));
    // The server dies as soon as the collection is there, within its restore.
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&service));
        until(|| {
            server::asked(port, "admin/collections?action=LIST").is_some_and(|text| text.contains("_stillpoint_"))
        });
        server.kill();
        loading.join().expect("it ends").expect_err("nobody is there");
    });
    server.begin_again();
    // Its embedded ZooKeeper, its place in the cluster and the shards' leaders come back one after the other.
    until(|| service.test().is_ok());
    assert_eq!(server.found("shop"), 30);
    let beside = load(&service).expect("begun again");
    service.check(&beside, &facts).expect("as recorded");
    let aside = service.prepare(&beside).expect("prepared");
    service.commit(&beside, &aside).expect("committed");
    server.kill();
    assert!(matches!(service.roll_back(&beside, &aside), Err(Error::SolrUnreachable { .. })));
    server.again();
    assert_eq!(server.found("shop"), 10);
    service.roll_back(&beside, &aside).expect("taken back");
    server.kill();
    server.again();
    assert_eq!(server.found("shop"), 30);
    service.commit(&beside, &aside).expect("committed");
    until(|| service.aside_facts(&aside).is_ok());
    assert_eq!(rows(&service.aside_facts(&aside).expect("still there")), 30);
    service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!((server.names().len(), server.found("shop")), (2, 10));
}

#[test]
fn a_load_that_is_given_up_while_solr_works_leaves_nothing() {
    let Some(server) = server::shared_cloud() else { return };
    let site = Alias::new(server, "given");
    server.add("given", 0..100);
    let (bytes, _) = dump(&site.service);
    let other = driver(server, "given");
    let beside = other.beside(site.scratch.path()).expect("named");
    std::thread::scope(|scope| {
        // The worker that died, as far as Solr is concerned: what it asked for goes on.
        let loading = scope.spawn(|| site.load(&bytes));
        until(|| site.left().0.len() == 2);
        other.discard(&beside, None).expect("removed");
        drop(loading.join().expect("it ends"));
    });
    other.discard(&beside, None).expect("nothing to do");
    assert_eq!((site.left().0, site.entries(), site.found()), (vec!["given_v1".to_owned()], 2, 100));
}

#[test]
fn what_a_later_restore_set_aside_is_not_an_earlier_ones_to_give_up() {
    let Some(server) = server::shared_cloud() else { return };
    let site = Alias::new(server, "later");
    server.add("later", 0..10);
    let (bytes, facts) = dump(&site.service);
    server.add("later", 10..30);
    let (first, first_aside) = site.restore(&bytes, &facts);
    let loaded = site.stands_for();
    server.add("later", 40..45);
    let site = site.again();
    let (second, second_aside) = site.restore(&bytes, &facts);
    let live = site.stands_for();
    let collections = || site.left().0.into_iter().collect::<BTreeSet<String>>();
    let both = BTreeSet::from([loaded, live.clone()]);

    let safety = site.service.aside_facts(&first_aside).expect("what the first one replaced");
    assert_eq!(rows(&safety), 30, "it can be archived for as long as it is there");
    for _ in 0..2 {
        site.service.discard(&first, Some(&first_aside)).expect("removed");
        assert_eq!(collections(), both, "what the first one replaced is gone, what it loaded is the second's");
    }
    assert_eq!(rows(&site.service.aside_facts(&second_aside).expect("still there")), 15);
    site.service.roll_back(&second, &second_aside).expect("taken back");
    assert_eq!(site.found(), 15);
    site.service.commit(&second, &second_aside).expect("committed");

    // Somebody removes the alias and uses a collection by its own name.
    server.ok("admin/collections?action=DELETEALIAS&name=later");
    site.service.discard(&second, Some(&second_aside)).expect("nothing is removed");
    assert_eq!(collections(), both);
    server.ok(&format!("admin/collections?action=CREATEALIAS&name=later&collections={live}"));
    site.service.discard(&second, Some(&second_aside)).expect("removed");
    assert_eq!((site.left().0, site.found()), (vec![live], 10));
}

#[test]
fn a_loaded_collection_that_somebody_gave_an_alias_stays() {
    let Some(server) = server::shared_cloud() else { return };
    let site = Alias::new(server, "shown");
    server.add("shown", 0..10);
    let (bytes, _) = dump(&site.service);
    let beside = site.load(&bytes).expect("loaded");
    let loaded = site.left().0.into_iter().find(|name| name.contains("stillpoint")).expect("beside");
    server.ok(&format!("admin/collections?action=CREATEALIAS&name=shown_too&collections={loaded}"));
    site.service.discard(&beside, None).expect("it stays");
    assert!(matches!(site.load(&bytes), Err(Error::CannotRestore { .. })), "nor is it loaded over");
    assert_eq!(server.found("shown_too"), 10);
    server.ok("admin/collections?action=DELETEALIAS&name=shown_too");
    site.service.discard(&beside, None).expect("removed");
    assert_eq!(site.left().0, ["shown_v1"]);
}

#[test]
fn what_stands_in_the_way_of_a_collections_restore_is_found_before() {
    let Some(server) = server::shared_cloud() else { return };
    let site = Alias::new(server, "refuses");
    server.add("refuses", 0..20);
    let (bytes, facts) = dump(&site.service);
    let refused = |service: &Solr, why: &str| {
        let limits = service.test().expect("snapshots work").limits;
        assert!(limits.iter().any(|limit| limit.starts_with("Can't be restored") && limit.contains(why)), "{limits:?}");
        let refused = service.load_beside(site.scratch.path(), &mut Cursor::new(&bytes)).expect_err("refused");
        assert!(matches!(&refused, Error::CannotRestore { why: said, .. } if said.contains(why)), "{refused}");
    };
    let at = |name, path| Solr::connect(address(&server.url(), name, path)).expect("an address");
    refused(&at("refuses", None), "`path`");
    let elsewhere = server.cores().join("nowhere");
    refused(&at("refuses", Some(&elsewhere)), "can't be opened");
    // It looks like the directory of the cores, and is another: only a trial tells.
    let copy = tempfile::tempdir().expect("a temporary directory");
    let core = server.names().into_iter().find(|name| name.starts_with("refuses_v1")).expect("a core");
    std::fs::create_dir(copy.path().join(&core)).expect("a directory");
    std::fs::write(copy.path().join(core).join("core.properties"), "").expect("a file");
    refused(&at("refuses", Some(copy.path())), "does not see the declared path");
    refused(&driver(server, "refuses_v1"), "CREATEALIAS&name=refuses_v1_live&collections=refuses_v1");
    server.ok("admin/collections?action=CREATEALIAS&name=refuses_too&collections=refuses_v1");
    refused(&site.service, "name=refuses_too&collections=refuses");
    server.ok("admin/collections?action=CREATEALIAS&name=refuses_too&collections=refuses");
    refused(&driver(server, "refuses_too"), "declare `refuses`");
    assert!(matches!(driver(server, "none").test(), Err(Error::SolrNoIndex { .. } | Error::Solr { .. })));

    for broken in [&bytes[..bytes.len() / 2], b"no dump".as_slice()] {
        site.load(broken).expect_err("not whole");
        assert_eq!((site.left().0, site.entries()), (vec!["refuses_v1".to_owned()], 2), "nothing is left of it");
    }
    let beside = site.load(&bytes).expect("loaded, for what stood in the way is gone");
    let mut other = facts.clone();
    other.rows.values_mut().for_each(|rows| *rows += 1);
    assert!(matches!(site.service.check(&beside, &other), Err(Error::Mismatch { .. })));
    let other = Facts { schema: "0".to_owned(), ..facts };
    assert!(matches!(site.service.check(&beside, &other), Err(Error::Mismatch { .. })));
    site.service.discard(&beside, None).expect("removed");
    assert_eq!(site.found(), 20);

    // A core is no collection, and a collection no core.
    let Some(single) = server::shared() else { return };
    let core = Site::new(single, "nocloud");
    single.add("nocloud", 0..3);
    for refused in [site.load(&core.dump().0), core.load(&bytes)] {
        assert!(matches!(refused, Err(Error::CannotRestore { .. })), "{refused:?}");
    }
    assert_eq!((site.found(), core.found()), (20, 3));
}

#[test]
fn a_new_collection_is_made_empty_filled_and_taken_away() {
    let Some(server) = server::shared_cloud() else { return };
    let parent = Alias::new(server, "parent");
    server.add("parent", 0..20);
    let (bytes, facts) = dump(&parent.service);
    let child = Alias { name: "child", service: driver(server, "child"), ..parent };
    child.service.remove().expect("nothing to do");
    child.service.provision().expect("made");
    assert!(matches!(child.service.provision(), Err(Error::DatabaseExists { .. })));
    assert_eq!(rows(&child.service.contents(WITHIN).expect("empty")), 0);
    let (beside, aside) = child.restore(&bytes, &facts);
    child.service.discard(&beside, Some(&aside)).expect("removed");
    assert_eq!((child.found(), server.found("parent")), (20, 20));
    child.service.remove().expect("taken away");
    assert_eq!((child.left(), child.stands_for()), ((Vec::new(), Vec::new()), String::new()));
    let foreign = driver(server, "parent").remove();
    assert!(matches!(foreign, Err(Error::Unsuitable { .. })), "nobody made that one here: {foreign:?}");
    assert_eq!(server.found("parent"), 20);
}

#[test]
fn a_cluster_of_two_nodes_needs_one_directory_that_both_see() {
    let Some(first) = Server::cloud() else { return };
    let second = first.joined();
    first.ok("admin/collections?action=CREATE&name=shop_v1&numShards=2&replicationFactor=2&maxShardsPerNode=2");
    first.ok("admin/collections?action=CREATEALIAS&name=shop&collections=shop_v1");
    first.add("shop", 0..100);
    let shared = tempfile::tempdir().expect("a temporary directory");
    let service = Solr::connect(address(&first.url(), "shop", Some(shared.path()))).expect("an address");
    let limits = service.test().expect("usable").limits;
    assert!(!limits.iter().any(|limit| limit.starts_with("Can't")), "{limits:?}");
    let (bytes, facts) = dump(&service);
    second.add("shop", 200..250);
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let beside = service.load_beside(scratch.path(), &mut Cursor::new(&bytes)).expect("loaded");
    service.check(&beside, &facts).expect("as recorded");
    let aside = service.prepare(&beside).expect("prepared");
    service.commit(&beside, &aside).expect("committed");
    assert_eq!((first.found("shop"), second.found("shop")), (100, 100), "both at once");
    service.roll_back(&beside, &aside).expect("taken back");
    assert_eq!((first.found("shop"), second.found("shop")), (150, 150));
    service.commit(&beside, &aside).expect("committed");
    service.discard(&beside, Some(&aside)).expect("removed");
    second.add("shop", 300..310);
    assert_eq!((first.found("shop"), second.found("shop")), (110, 110));
    assert_eq!(
        (first.names().len(), second.names().len()),
        (2, 2),
        "two copies of two shards, and the old ones are gone"
    );
    assert_eq!(std::fs::read_dir(shared.path()).expect("there").count(), 0, "nothing stays in the directory between");
}

use std::collections::BTreeMap;

use super::super::points::Way;
use super::super::{BESIDE, Contents, Index, MountAside, MountBeside};
use super::entries::dies_at;
use super::*;
use crate::domain::{ActivityId, MountPath};

const GOES_ON: &dyn Fn(&'static str) = &|_| ();

/// `files`, and `media` somewhere inside it.
struct Nested {
    site: Site,
    outer: Mount,
    inner: Mount,
    /// Where the inner one lies, from the top of the outer one.
    at: &'static str,
}

fn spec(name: &str, path: &Path, exclude: &[&str]) -> MountSpec {
    MountSpec {
        name: MountName::parse(name).expect("a valid name"),
        path: path.to_str().expect("temporary paths are UTF-8").to_owned(),
        exclude: exclude.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below")).expect("directories");
    fs::write(path, text).expect("a file");
}

fn activity() -> ActivityId {
    ActivityId::parse("0123456789abcdef0123").expect("20 hexadecimal digits")
}

impl Nested {
    fn new(at: &'static str) -> Self {
        Self::within(Site::new(), at)
    }

    fn within(site: Site, at: &'static str) -> Self {
        let live = site.path();
        for (path, text) in [("page", "old"), ("only-old", "old"), ("a/x", "old"), ("cache/entry", "warm")] {
            put(&live.join(path), text);
        }
        put(&live.join(at).join("picture"), "old");
        put(&live.join(at).join("tmp/session"), "open");
        let all = [spec("files", &live, &["cache"]), spec("media", &live.join(at), &["tmp"])];
        let [outer, inner] = all.clone().map(|spec| Mount::connect(&spec).expect("valid").among(&all));
        Self { site, outer, inner, at }
    }

    fn live(&self, path: &str) -> PathBuf {
        self.site.path().join(path)
    }

    fn picture(&self) -> Option<String> {
        fs::read_to_string(self.live(self.at).join("picture")).ok()
    }

    /// Every file of both, without what is ours.
    fn files(&self) -> BTreeMap<String, String> {
        let top = self.site.path();
        let mut found = BTreeMap::new();
        let mut directories = vec![top.clone()];
        while let Some(next) = directories.pop() {
            for entry in fs::read_dir(next).expect("a directory") {
                let path = entry.expect("readable").path();
                if path.file_name().is_some_and(|name| name == BESIDE) {
                    continue;
                }
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let name = path.strip_prefix(&top).expect("below").to_str().expect("UTF-8").to_owned();
                found.insert(name, fs::read_to_string(path).expect("a file"));
            }
        }
        found
    }

    fn expected(&self, outer: &[(&str, &str)], picture: &str) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            outer.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        all.insert("cache/entry".to_owned(), "warm".to_owned());
        all.insert(format!("{}/picture", self.at), picture.to_owned());
        all.insert(format!("{}/tmp/session", self.at), "open".to_owned());
        all
    }

    #[track_caller]
    fn is(&self, outer: &str, inner: &str) {
        let old = [("page", "old"), ("only-old", "old"), ("a/x", "old")];
        let new = [("page", "new"), ("a/y", "new")];
        let expected = if outer == "old" { &old[..] } else { &new[..] };
        assert_eq!(self.files(), self.expected(expected, inner));
    }

    fn load_outer(&self, way: Way) -> MountBeside {
        let root = self.outer.root().expect("a directory");
        let beside = self.outer.beside_by(way, root, &activity(), Vec::new()).expect("a directory");
        put(&beside.tree().join("page"), "new");
        put(&beside.tree().join("a/y"), "new");
        beside
    }

    fn load_inner(&self, way: Way) -> MountBeside {
        let root = self.inner.root().expect("a directory");
        let beside = self.inner.beside_by(way, root, &activity(), Vec::new()).expect("a directory");
        put(&beside.tree().join("picture"), "new");
        beside
    }
}

/// Both loaded and prepared.
struct Both<'a> {
    nested: &'a Nested,
    besides: [MountBeside; 2],
    asides: [MountAside; 2],
}

impl<'a> Both<'a> {
    fn new(nested: &'a Nested, ways: [Way; 2]) -> Self {
        let besides = [nested.load_outer(ways[0]), nested.load_inner(ways[1])];
        let asides =
            [nested.outer.prepare(&besides[0]).expect("noted"), nested.inner.prepare(&besides[1]).expect("noted")];
        Self { nested, besides, asides }
    }

    fn each(&self, mut work: impl FnMut(&Mount, &MountBeside, &MountAside) -> Result<(), Error>) -> Result<(), Error> {
        work(&self.nested.outer, &self.besides[0], &self.asides[0])?;
        work(&self.nested.inner, &self.besides[1], &self.asides[1])
    }

    fn commit(&self, at: &dyn Fn(&'static str)) -> Result<(), Error> {
        self.each(|mount, beside, aside| {
            mount.commit(beside, aside, at)?;
            at("exchanged");
            Ok(())
        })
    }

    fn roll_back(&self, at: &dyn Fn(&'static str)) -> Result<(), Error> {
        self.each(|mount, beside, aside| {
            mount.roll_back(beside, aside, at)?;
            at("taken back");
            Ok(())
        })
    }

    fn discard(&self) {
        self.each(|mount, beside, aside| mount.discard(beside, Some(aside))).expect("removed");
        for hidden in ["..", "", "a", self.nested.at].map(|home| self.nested.live(home).join(BESIDE)) {
            assert!(!hidden.exists(), "{} is left", hidden.display());
        }
    }
}

const PLACES: [&str; 2] = ["media", "a/b/media"];
const WAYS: [[Way; 2]; 4] =
    [[Way::Whole, Way::Whole], [Way::Whole, Way::Entries], [Way::Entries, Way::Whole], [Way::Entries, Way::Entries]];

#[test]
fn the_inner_mount_is_not_stored_with_the_outer_one_and_the_page_says_so() {
    for at in PLACES {
        let nested = Nested::new(at);
        let index = nested.outer.follow().expect("an index");
        // page, only-old and a/x; cache is excluded.
        assert_eq!(index.contents(), Contents { files: 3, bytes: Bytes(9) });
        let limits = index.limits();
        assert!(limits.contains(&format!("`{at}` is the mount media and stored as that.")), "{limits:?}");
        assert_eq!(limits.len(), 2, "{limits:?}");
        let inner = nested.inner.follow().expect("an index");
        assert_eq!(inner.contents(), Contents { files: 1, bytes: Bytes(3) });

        // What is written in the inner one is no change of the outer one, nor is what a restore of it keeps beside it.
        nested.site.settle();
        let (outer, inner) = (nested.outer.follow().expect("an index"), nested.inner.follow().expect("an index"));
        put(&nested.live(at).join("second"), "new");
        let beside = nested.load_inner(Way::Whole);
        let changed = |index: &Index, name: &str| {
            let staging = nested.site.staging().join(name);
            fs::create_dir(&staging).expect("a directory");
            let scan = index.changes(&staging, LIMITS).expect("a scan");
            assert_eq!(index.moved_since(&scan).expect("a look"), Vec::<PathBuf>::new());
            let files = scan.changes.overrides.into_iter().filter(|(_, change)| change.staged.is_some());
            files.map(|(path, _)| path).collect::<Vec<_>>()
        };
        assert_eq!(changed(&outer, "outer"), Vec::<PathBuf>::new());
        assert_eq!(changed(&inner, "inner"), [PathBuf::from("second")]);
        nested.inner.discard(&beside, None).expect("removed");
    }
}

#[test]
fn mounts_may_lie_inside_each_other_but_not_at_the_same_place_nor_inside_other_environments() {
    let nested = Nested::new("media");
    let rules = nested.site.rules();
    for mount in [&nested.outer, &nested.inner] {
        mount.test(&rules).expect("both are good");
    }
    let twin = [spec("files", &nested.site.path(), &[]), spec("twin", &nested.site.path(), &[])];
    let refused = Mount::connect(&twin[0]).expect("valid").among(&twin).test(&rules);
    assert!(matches!(refused, Err(Error::Overlap { .. })), "{refused:?}");
    let others = Rules { mounts: vec![nested.live("media/others")], ..rules };
    assert!(matches!(nested.inner.test(&others), Err(Error::Overlap { .. })));
    assert!(matches!(nested.outer.test(&others), Err(Error::Overlap { .. })));
    assert!(nested.outer.depth() < nested.inner.depth());
}

#[test]
fn a_restore_of_one_of_them_leaves_the_other_as_it_is() {
    for at in PLACES {
        for way in [Way::Whole, Way::Entries] {
            let nested = Nested::new(at);
            let there = |path: &str| fs::metadata(nested.live(path)).expect("it is there");
            let facts = |path: &str| (there(path).ino(), there(path).mtime(), there(path).mtime_nsec());
            let inner = facts(at);
            let mut open = File::options().append(true).open(nested.live(at).join("picture")).expect("open");
            let beside = nested.load_outer(way);
            let aside = nested.outer.prepare(&beside).expect("noted");
            nested.outer.commit(&beside, &aside, GOES_ON).expect("swapped");
            nested.is("new", "old");
            assert_eq!(facts(at), inner, "{at} {way:?}");
            std::io::Write::write_all(&mut open, b", written to").expect("whoever has it open goes on");
            assert_eq!(nested.picture().as_deref(), Some("old, written to"));
            let kept = nested.outer.index_aside(&beside).expect("an index").contents();
            assert_eq!(kept.files, 3, "the safety snapshot holds the outer one alone");
            nested.outer.discard(&beside, Some(&aside)).expect("removed");
            assert_eq!(nested.picture().as_deref(), Some("old, written to"));

            let outer = facts("");
            let beside = nested.load_inner(way);
            let aside = nested.inner.prepare(&beside).expect("noted");
            nested.inner.commit(&beside, &aside, GOES_ON).expect("swapped");
            nested.is("new", "new");
            assert_eq!(nested.inner.index_aside(&beside).expect("an index").contents().files, 1);
            nested.inner.discard(&beside, Some(&aside)).expect("removed");
            if at != "media" {
                assert_eq!(facts(""), outer);
            }
            assert_eq!(nested.outer.index().expect("an index").contents().files, 2);
        }
    }
}

#[test]
fn both_are_restored_and_taken_back_together_wherever_the_worker_dies() {
    for at in PLACES {
        // Deeper, what differs is how the outer one finds the way.
        for ways in WAYS.into_iter().filter(|ways| at == "media" || ways[1] == Way::Whole) {
            let mut deaths = 0;
            for number in 0.. {
                let mut died = false;
                for forward in [true, false] {
                    let nested = Nested::new(at);
                    let both = Both::new(&nested, ways);
                    died = dies_at(number, &|| (), |at| both.commit(at));
                    if forward {
                        both.commit(GOES_ON).expect("forward");
                        nested.is("new", "new");
                    }
                    // In this process the whole of it may die once more on the way back.
                    dies_at(number / 2, &|| (), |at| both.roll_back(at));
                    both.roll_back(GOES_ON).expect("back");
                    nested.is("old", "old");
                    both.commit(GOES_ON).expect("swapped");
                    nested.is("new", "new");
                    both.discard();
                    nested.is("new", "new");
                }
                if !died {
                    break;
                }
                deaths += 1;
            }
            assert!(deaths >= 3, "{at} {ways:?}: {deaths}");
        }
    }
}

#[test]
fn what_an_older_snapshot_holds_of_an_inner_mount_gives_way_to_it() {
    for at in PLACES {
        let nested = Nested::new(at);
        let beside = nested.load_outer(Way::Whole);
        put(&beside.tree().join(at).join("picture"), "from before it was declared");
        let aside = nested.outer.prepare(&beside).expect("noted");
        nested.outer.commit(&beside, &aside, GOES_ON).expect("swapped");
        nested.is("new", "old");
        assert_eq!(nested.outer.index_aside(&beside).expect("an index").contents().files, 3);
        nested.outer.roll_back(&beside, &aside, GOES_ON).expect("back");
        nested.is("old", "old");
        nested.outer.discard(&beside, Some(&aside)).expect("removed");
    }
}

#[test]
fn a_path_of_the_inner_mount_is_named_by_it_and_stays_when_what_is_above_it_is_restored() {
    let nested = Nested::new("a/b/media");
    let path = |text: &str| text.parse::<MountPath>().expect("a path");
    let refused = nested.outer.beside_paths(&activity(), &[path("a/b/media/picture")]).expect_err("not of this one");
    assert!(refused.to_string().contains("name it as `mount:media/picture`"), "{refused}");

    let beside = nested.outer.beside_paths(&activity(), &[path("a")]).expect("a directory");
    put(&beside.tree().join("a/y"), "new");
    let aside = nested.outer.prepare(&beside).expect("noted");
    nested.outer.commit(&beside, &aside, GOES_ON).expect("swapped");
    let outer = [("page", "old"), ("only-old", "old"), ("a/y", "new")];
    assert_eq!(nested.files(), nested.expected(&outer, "old"));
    nested.outer.roll_back(&beside, &aside, GOES_ON).expect("back");
    nested.is("old", "old");
}

#[test]
fn three_levels_keep_apart() {
    let site = Site::new();
    let paths = ["", "a", "a/b"].map(|below| site.path().join(below));
    for path in &paths {
        put(&path.join("page"), "old");
    }
    let all: Vec<MountSpec> =
        ["one", "two", "three"].iter().zip(&paths).map(|(name, path)| spec(name, path, &[])).collect();
    let mounts: Vec<Mount> = all.iter().map(|spec| Mount::connect(spec).expect("valid").among(&all)).collect();
    let besides: Vec<MountBeside> =
        mounts.iter().map(|mount| mount.beside_dir(&activity()).expect("a place")).collect();
    for beside in &besides {
        put(&beside.tree().join("page"), "new");
    }
    let asides: Vec<MountAside> =
        mounts.iter().zip(&besides).map(|(mount, beside)| mount.prepare(beside).expect("noted")).collect();
    let texts = || paths.clone().map(|path| fs::read_to_string(path.join("page")).unwrap_or_default());
    for (number, mount) in mounts.iter().enumerate() {
        assert_eq!(mount.index().expect("an index").contents().files, 1);
        mount.commit(&besides[number], &asides[number], GOES_ON).expect("swapped");
        assert_eq!(texts(), [0, 1, 2].map(|at| if at <= number { "new" } else { "old" }));
    }
    for (number, mount) in mounts.iter().enumerate() {
        mount.roll_back(&besides[number], &asides[number], GOES_ON).expect("back");
        assert_eq!(texts(), [0, 1, 2].map(|at| if at <= number { "old" } else { "new" }));
    }
    for (number, mount) in mounts.iter().enumerate() {
        mount.discard(&besides[number], Some(&asides[number])).expect("removed");
    }
    assert_eq!(texts(), ["old"; 3]);
}

#[test]
fn an_inner_mount_may_be_a_mount_point() {
    if !in_own_namespace("drivers::mount::tests::nested::an_inner_mount_may_be_a_mount_point") {
        return;
    }
    let site = Site::new();
    mount_small(&site.path().join("media"));
    let nested = Nested::within(site, "media");
    for mount in [&nested.outer, &nested.inner] {
        mount.test(&nested.site.rules()).expect("both are good");
    }
    let besides =
        [&nested.outer, &nested.inner].map(|mount| mount.beside_dir(&activity()).expect("a place on its own disk"));
    put(&besides[0].tree().join("page"), "new");
    put(&besides[0].tree().join("a/y"), "new");
    put(&besides[1].tree().join("picture"), "new");
    let asides = [nested.outer.prepare(&besides[0]).expect("noted"), nested.inner.prepare(&besides[1]).expect("noted")];
    let both = Both { nested: &nested, besides, asides };
    both.commit(GOES_ON).expect("swapped");
    nested.is("new", "new");
    both.roll_back(GOES_ON).expect("back");
    nested.is("old", "old");
    both.commit(GOES_ON).expect("swapped");
    both.discard();
    nested.is("new", "new");

    // Deeper, what is above it has to be a mount too: a mount point stays where it is.
    let deep = Site::new();
    mount_small(&deep.path().join("a/media"));
    let two = [spec("files", &deep.path(), &[]), spec("media", &deep.path().join("a/media"), &[])];
    let refused = Mount::connect(&two[0]).expect("valid").among(&two).test(&deep.rules());
    assert!(matches!(refused, Err(Error::NestedMountPoint { .. })), "{refused:?}");
    let three = [two.to_vec(), vec![spec("between", &deep.path().join("a"), &[])]].concat();
    for spec in &three {
        Mount::connect(spec).expect("valid").among(&three).test(&deep.rules()).expect("each holds one at its top");
    }
}

//! A mount that is declared inside another one: each is stored, restored and undone by itself.

use std::fs;
use std::path::Path;

use crate::process::{Asked, Installation};

fn text(path: &Path) -> String {
    fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
}

/// Versions of the outer mount's file, of the one in the inner mount, and of the database.
fn versions(home: &Path) -> (String, String, String) {
    let database = rusqlite::Connection::open(home.join("shop.db")).expect("a database");
    let rows = database.query_row("SELECT group_concat(DISTINCT version) FROM items", [], |row| row.get(0));
    let uploads = home.join("uploads");
    (text(&uploads.join("version.txt")), text(&uploads.join("deep/version.txt")), rows.expect("rows"))
}

#[track_caller]
fn are(home: &Path, outer: u32, inner: u32, database: u32) {
    assert_eq!(versions(home), (outer.to_string(), inner.to_string(), database.to_string()));
}

fn safety_of(at: &Installation, asked: &Asked) -> String {
    at.succeeded(asked)["payload"]["safety_backup_name"].as_str().expect("a name").to_owned()
}

#[test]
fn nested_mounts_are_restored_together_and_each_by_itself() {
    let at = Installation::with_an_inner_mount();
    let home = at.site.home.clone();
    let server = at.start();
    let first = at.snapshot();
    let backup = at.backup(&first);
    assert_eq!(backup["attributes"]["consistency"], "consistent", "{backup:#}");

    at.site.write(2);
    at.restore(&first);
    assert_eq!(at.site.version(), 1);
    at.assert_no_leftovers();

    at.site.write(2);
    for (part, outer, inner) in [("mount:uploads", 1, 2), ("mount:deep", 2, 1), ("mount:deep/version.txt", 2, 1)] {
        let asked = at.ask_restore_of(&first, &[part]);
        let safety = safety_of(&at, &asked);
        are(&home, outer, inner, 2);
        at.assert_no_leftovers();
        at.restore(&safety);
        are(&home, 2, 2, 2);
        assert_eq!(at.site.version(), 2, "{part}, undone");
        at.assert_no_leftovers();
    }
    let (said, _) = at.refused_restore_of(&first, "mount:uploads/deep/version.txt");
    assert!(said.contains("deep/version.txt"), "{said}");

    let back = at.directory().join("back");
    let to = back.to_str().expect("UTF-8");
    let done = at.restic(&at.recovery_key(), &["restore", "latest", "--tag", &first, "--target", to]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(text(&back.join("mounts/deep/version.txt")), "1");
    assert_eq!(text(&back.join("mounts/uploads/version.txt")), "1");
    assert!(!back.join("mounts/uploads/deep").exists(), "nothing is stored twice");
    let manifest = fs::read_to_string(back.join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("`deep` is the mount deep and stored as that."), "{manifest}");
    at.assert_repository_whole();
    server.terminate();
}

#[test]
fn they_are_restored_into_an_environment_where_they_are_nested_too_and_into_one_where_they_are_not() {
    let at = Installation::with_an_inner_mount();
    let environment = |name: &str, home: &Path, inner: &Path| {
        fs::create_dir_all(home.join("uploads/deep")).expect("a directory");
        fs::create_dir_all(inner).expect("a directory");
        fs::write(home.join("uploads/deep/version.txt"), "9\n").expect("written");
        fs::write(inner.join("version.txt"), "9\n").expect("written");
        let database = rusqlite::Connection::open(home.join("shop.db")).expect("a database");
        database.execute_batch("CREATE TABLE items (n INTEGER PRIMARY KEY, version, body)").expect("a table");
        let (file, uploads) = (home.join("shop.db"), home.join("uploads"));
        format!(
            "\n[[project.environment]]\nname = \"{name}\"\ntype = \"staging\"\n\
             [[project.environment.service]]\nname = \"database\"\ntype = \"sqlite\"\npath = {file:?}\n\
             [[project.environment.mount]]\nname = \"uploads\"\npath = {uploads:?}\n\
             [[project.environment.mount]]\nname = \"deep\"\npath = {inner:?}\n"
        )
    };
    let homes = ["nested", "apart"].map(|name| at.directory().join(name));
    let inners = [homes[0].join("uploads/deep"), homes[1].join("elsewhere")];
    let own =
        format!("\n[[project.environment.mount]]\nname = \"deep\"\npath = {:?}\n", at.site.uploads().join("deep"));
    let more = [own, environment("nested", &homes[0], &inners[0]), environment("apart", &homes[1], &inners[1])];
    let (applied, said) = at.apply(&at.site.declaration(&more.concat()));
    assert!(applied, "{said}");
    let server = at.start();
    let first = at.snapshot();
    for (name, home, inner) in [("nested", &homes[0], &inners[0]), ("apart", &homes[1], &inners[1])] {
        at.restore_into(&first, name);
        assert_eq!(text(&inner.join("version.txt")), "1", "{name}");
        assert_eq!(text(&home.join("uploads/version.txt")), "1", "{name}");
        let hidden = [home.join(".stillpoint"), home.join("uploads/.stillpoint")];
        crate::process::until("nothing is left beside", || hidden.iter().all(|it| !it.exists()).then_some(()));
    }
    assert!(!homes[1].join("uploads/deep").exists(), "no mount of its own there: it was replaced with the rest");
    assert_eq!(at.site.version(), 1);
    server.terminate();
}

#[test]
fn what_lies_inside_another_environments_mount_is_refused_still() {
    let at = Installation::new();
    let inside = at.site.uploads().join("deep");
    let more = format!(
        "\n[[project.environment]]\nname = \"staging\"\ntype = \"staging\"\n\
         [[project.environment.mount]]\nname = \"deep\"\npath = {inside:?}\n"
    );
    let (applied, said) = at.apply(&at.site.declaration(&more));
    assert!(!applied && said.contains("overlap"), "{said}");
}

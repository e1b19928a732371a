//! The law of direction: a room uses only what stands before it. Read from the paths in the source.

use std::collections::BTreeSet;
use std::path::Path;

/// Which rooms a room may name.
const LAW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("wire", &["domain"]),
    ("store", &["domain"]),
    ("queue", &["domain", "store"]),
    ("engine", &["domain"]),
    ("drivers", &["domain"]),
    ("gateway", &["domain"]),
    ("authz", &["domain", "store"]),
    ("jobs", &["domain", "store", "queue", "engine", "drivers", "gateway", "authz"]),
    ("ops", &["domain", "store", "queue", "engine", "drivers", "gateway", "jobs", "authz"]),
    ("api", &["domain", "wire", "authz", "ops"]),
    ("app", &["domain", "wire", "authz", "ops"]),
    ("cli", &["domain", "wire"]),
    (
        "boot",
        &["domain", "wire", "store", "queue", "engine", "drivers", "gateway", "jobs", "authz", "ops", "api", "app"],
    ),
];

#[test]
fn no_room_names_one_that_stands_after_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut breaches = Vec::new();
    for (room, allowed) in LAW {
        for entry in walkdir::WalkDir::new(source.join(room)) {
            let entry = entry.expect("a readable source");
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).expect("a readable file");
            for named in rooms_named_in(&text) {
                if named != *room && !allowed.contains(&named.as_str()) {
                    let file = entry.path().strip_prefix(&source).expect("below src").display();
                    breaches.push(format!("{file} names {named}"));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn every_room_has_its_law() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeSet<String> = std::fs::read_dir(source)
        .expect("a readable source")
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "bin")
        .collect();
    let governed: BTreeSet<String> = LAW.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, governed);
}

#[test]
fn the_reader_of_paths_sees_through_groups_and_detours() {
    let text = "use crate::{domain::Bytes, store};\nuse crate::ops::App;\nlet x = crate::jobs::run();\n\
                // crate::engine is only talked about\nuse super::super::api;\n";
    let named: Vec<String> = rooms_named_in(text).into_iter().collect();
    assert_eq!(named, ["api", "domain", "jobs", "ops", "store"]);
}

/// Rooms behind `crate::`, in groups too, and behind `super::super::…` when that is a room's name.
fn rooms_named_in(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => found.extend(word(after)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, letter) in group.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if start && letter.is_alphabetic() => {
                            found.extend(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    for after in code.split("super::").skip(1) {
        found.extend(word(after));
    }
    found.into_iter().filter(|name| LAW.iter().any(|(room, _)| room == name)).collect()
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    (!word.is_empty()).then_some(word)
}

//! The law of direction: a room uses only what stands before it. Read from the paths in the source; and DOMAIN's rules, from
//! where they are cited.

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

/// DOMAIN's rules are cited where they are kept, and where that is tested.
#[test]
fn every_rule_is_cited_in_the_source_and_in_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut kept, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(root.join(folder)) {
            let path = entry.expect("a readable tree").into_path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let is_test = folder == "tests" || path.to_string_lossy().contains("tests");
            let (code, beside) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
            let cited = if is_test { &mut tested } else { &mut kept };
            cited.extend(rules_cited_in(code));
            tested.extend(rules_cited_in(beside));
        }
    }
    let missing = |cited: &BTreeSet<u32>| (1..=34).filter(|rule| !cited.contains(rule)).collect::<Vec<_>>();
    assert_eq!((missing(&kept), missing(&tested)), (vec![], vec![]), "in the source, in tests");
}

#[test]
fn the_reader_of_rules_takes_whole_words_and_ranges() {
    let cited: Vec<u32> = rules_cited_in("(R1, R13) R22-R25; not SR7, R2x or R").into_iter().collect();
    assert_eq!(cited, [1, 13, 22, 23, 24, 25]);
}

fn rules_cited_in(text: &str) -> BTreeSet<u32> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
    let rule = |word: &str| word.strip_prefix('R').and_then(|number| number.parse::<u32>().ok());
    let cited = words.filter_map(|word| match word.split_once('-') {
        Some((first, last)) => Some(rule(first)?..=rule(last)?),
        None => rule(word).map(|rule| rule..=rule),
    });
    cited.flatten().collect()
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

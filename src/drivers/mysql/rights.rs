//! What an account may do: its grants, as the server lists them.

use std::collections::BTreeSet;

use super::session::Session;
use crate::drivers::Error;

/// Upper-case names of rights.
#[derive(Debug, Default)]
pub(super) struct Rights {
    everywhere: BTreeSet<String>,
    /// By the pattern that the grant names.
    databases: Vec<(String, BTreeSet<String>)>,
}

const ALL: &str = "ALL PRIVILEGES";

impl Rights {
    pub fn read(session: &mut Session) -> Result<Self, Error> {
        let grants = session.rows("read the grants on", "SHOW GRANTS")?;
        let mut rights = Self::default();
        for grant in grants.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
            rights.add(&grant);
        }
        Ok(rights)
    }

    /// `` GRANT SELECT, INSERT (`a`, `b`) ON `shop`.* TO … ``
    fn add(&mut self, grant: &str) {
        let Some((words, rest)) = grant.strip_prefix("GRANT ").and_then(|grant| grant.split_once(" ON ")) else {
            return;
        };
        let words = words.split(", ").map(|word| word.trim().to_uppercase()).collect::<BTreeSet<_>>();
        if rest.starts_with("*.* ") {
            self.everywhere.extend(words);
        } else if let Some(pattern) = quoted(rest).filter(|(_, rest)| rest.starts_with(".* ")).map(|(name, _)| name) {
            self.databases.push((pattern, words));
        }
    }

    pub fn everywhere(&self, right: &str) -> bool {
        self.everywhere.contains(ALL) || self.everywhere.contains(right)
    }

    /// On every table of a database. Of several patterns that fit, the server looks at the most exact alone.
    pub fn on(&self, database: &str, right: &str) -> bool {
        if self.everywhere(right) {
            return true;
        }
        let plain = |pattern: &str| pattern.replace("\\_", "_").replace("\\%", "%");
        let exact: Vec<_> = self.databases.iter().filter(|(pattern, _)| plain(pattern) == database).collect();
        let fitting: Vec<_> = match exact.is_empty() {
            true => {
                self.databases.iter().filter(|(pattern, _)| matches(pattern.as_bytes(), database.as_bytes())).collect()
            }
            false => exact,
        };
        fitting.iter().any(|(_, rights)| rights.contains(ALL) || rights.contains(right))
    }

    pub fn missing<'a>(&self, database: &str, wanted: &[&'a str]) -> Vec<&'a str> {
        wanted.iter().filter(|right| !self.on(database, right)).copied().collect()
    }
}

/// The name at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut letters = rest.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '`' if letters.peek().is_some_and(|(_, next)| *next == '`') => {
                name.push('`');
                letters.next();
            }
            '`' => return Some((name, &rest[at + 1..])),
            letter => name.push(letter),
        }
    }
    None
}

/// As `LIKE` does it.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'%', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'\\', one @ (b'%' | b'_' | b'\\'), rest @ ..] => text.first() == Some(one) && matches(rest, &text[1..]),
        [b'_', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [one, rest @ ..] => text.first() == Some(one) && matches(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::Rights;

    #[test]
    fn a_grant_counts_where_its_pattern_fits_and_the_most_exact_one_alone() {
        let mut rights = Rights::default();
        rights.add("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*1'");
        rights.add("GRANT SELECT, SHOW VIEW ON `odd``shop`.* TO `a`@`%`");
        rights.add("GRANT ALL PRIVILEGES ON `odd``shop\\_still%`.* TO `a`@`%`");
        rights.add("GRANT INSERT (`x`, `y`) ON `other`.`t` TO `a`@`%`");
        assert!(rights.on("odd`shop", "SELECT") && !rights.on("odd`shop", "INSERT"));
        assert!(rights.on("odd`shop_stillpoint_1", "INSERT") && !rights.on("odd`shopXstillpoint_1", "INSERT"));
        assert!(!rights.on("other", "INSERT") && !rights.everywhere("SELECT"));
        assert_eq!(rights.missing("odd`shop", &["SELECT", "EVENT"]), ["EVENT"]);
    }
}

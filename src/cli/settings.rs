//! What the command line takes from the environment (R32): our variables, else those of S4, so that its lines work as
//! they stand inside an application container.

use std::collections::HashMap;

use super::error::Error;
use crate::domain::Secret;
use crate::domain::ids::{EnvironmentName, ProjectId};

/// The process's environment variables. Empty ones count as absent.
#[derive(Clone, Default)]
pub struct Variables(HashMap<String, String>);

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Variables(…)")
    }
}

impl Variables {
    /// Those of this process; one that is not Unicode is left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| {
            let value = self.0.get(*name).map(|value| value.trim()).filter(|value| !value.is_empty());
            value.map(|value| (*name, value))
        })
    }

    pub fn url(&self) -> Result<&str, Error> {
        self.first(&["STILLPOINT_URL"]).map(|(_, url)| url).ok_or_else(|| {
            configuration("the server's address is not known", "Set STILLPOINT_URL to the console's address.")
        })
    }

    pub fn token(&self) -> Result<Secret, Error> {
        let token = self.first(&["STILLPOINT_TOKEN", "PLATFORMSH_CLI_TOKEN"]);
        token.map(|(_, text)| Secret::new(text)).ok_or_else(|| Error::Api(not_logged_in()))
    }

    pub fn project(&self) -> Result<Option<ProjectId>, Error> {
        let found = self.first(&["STILLPOINT_PROJECT", "PLATFORM_PROJECT"]);
        found.map(|(name, text)| ProjectId::parse(text).map_err(|error| unusable(name, &error))).transpose()
    }

    pub fn branch(&self) -> Result<Option<EnvironmentName>, Error> {
        let found = self.first(&["STILLPOINT_BRANCH", "PLATFORM_BRANCH"]);
        found.map(|(name, text)| EnvironmentName::of_branch(text).map_err(|error| unusable(name, &error))).transpose()
    }

    /// Whether this may be a deploy hook or cron job of the project itself (R31).
    pub fn names_project(&self) -> bool {
        self.first(&["STILLPOINT_PROJECT", "PLATFORM_PROJECT"]).is_some()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

pub fn configuration(message: &str, hint: &str) -> Error {
    Error::Configuration { message: message.to_owned(), hint: hint.to_owned() }
}

fn unusable(name: &str, error: &crate::domain::ids::InvalidId) -> Error {
    configuration(&format!("{name} can't be used: {error}"), &format!("Correct {name}, or give -p and -e."))
}

fn not_logged_in() -> crate::wire::client::Error {
    let (code, message) = ("not_logged_in".to_owned(), "No API token is set.".to_owned());
    crate::wire::client::Error::Problem(crate::wire::Problem { status: 401, code, message, hint: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_variables_come_before_those_of_the_hosted_product() {
        let both = Variables::from_iter([
            ("STILLPOINT_PROJECT", "ours"),
            ("PLATFORM_PROJECT", "theirs"),
            ("STILLPOINT_BRANCH", "main"),
            ("PLATFORM_BRANCH", "master"),
            ("STILLPOINT_TOKEN", "a"),
            ("PLATFORMSH_CLI_TOKEN", "b"),
        ]);
        assert_eq!(both.project().expect("valid").expect("set").as_str(), "ours");
        assert_eq!(both.branch().expect("valid").expect("set").as_str(), "main");
        assert_eq!(both.token().expect("set").reveal(), "a");
    }

    #[test]
    fn those_of_the_hosted_product_do_where_ours_are_absent_or_empty() {
        let theirs = Variables::from_iter([
            ("STILLPOINT_PROJECT", ""),
            ("PLATFORM_PROJECT", "theirs"),
            ("PLATFORM_BRANCH", "master"),
            ("PLATFORMSH_CLI_TOKEN", "b"),
        ]);
        assert_eq!(theirs.project().expect("valid").expect("set").as_str(), "theirs");
        assert_eq!(theirs.branch().expect("valid").expect("set").as_str(), "master");
        assert_eq!(theirs.token().expect("set").reveal(), "b");
    }

    #[test]
    fn a_branch_with_a_slash_names_its_environment() {
        let branch = Variables::from_iter([("PLATFORM_BRANCH", "feature/x")]).branch().expect("valid");
        assert_eq!(branch.expect("set").as_str(), "feature-x");
    }

    #[test]
    fn what_is_missing_or_wrong_says_which_variable_to_set() {
        let none = Variables::default();
        assert_eq!(none.url().expect_err("not set").code(), 4);
        assert_eq!(none.token().expect_err("not set").code(), 3);
        assert_eq!(none.project().expect("absent is no error"), None);
        let wrong = Variables::from_iter([("PLATFORM_BRANCH", "feature x")]).branch().expect_err("not a name");
        assert_eq!(wrong.code(), 4);
        assert!(wrong.message().starts_with("PLATFORM_BRANCH can't be used"), "{}", wrong.message());
    }
}

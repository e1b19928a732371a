//! A command that an operator named (R6): a program by its absolute path, and words for it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Run as it stands, without a shell. Never empty; the first word is an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CommandLine(Vec<String>);

/// Commands that an operator named for a project (R6, R10). Run with their word behind them: `merge`, `resize`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectCommands {
    /// Merges an environment into its parent. Without one a merge is only announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<CommandLine>,
    /// Gives a service or mount another size. Without one only the declaration changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<CommandLine>,
    /// What one run may take; [`ProjectCommands::MINUTES`] if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u16>,
}

impl ProjectCommands {
    pub const MINUTES: u16 = 30;
    pub const MOST_MINUTES: u16 = 24 * 60;

    pub fn lines(&self) -> impl Iterator<Item = &CommandLine> {
        [&self.merge, &self.resize].into_iter().flatten()
    }

    pub fn minutes(&self) -> u16 {
        self.minutes.unwrap_or(Self::MINUTES)
    }

    pub fn within(&self) -> Duration {
        Duration::from_secs(u64::from(self.minutes()) * 60)
    }
}

/// Words that are no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommand {
    #[error("a command needs a program: write it as a list, e.g. [\"/usr/local/bin/pause-workers\"]")]
    Empty,
    #[error("`{0}` is not an absolute path: name the program from the root, beginning with `/`")]
    NotAbsolute(String),
    #[error("a word of the command holds a NUL, which no program can be given")]
    Nul,
}

impl CommandLine {
    /// # Errors
    /// [`InvalidCommand`].
    pub fn new(words: Vec<String>) -> Result<Self, InvalidCommand> {
        let program = words.first().filter(|program| !program.is_empty()).ok_or(InvalidCommand::Empty)?;
        if !program.starts_with('/') {
            return Err(InvalidCommand::NotAbsolute(program.clone()));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(InvalidCommand::Nul);
        }
        Ok(Self(words))
    }

    pub fn program(&self) -> &Path {
        Path::new(&self.0[0])
    }

    /// What the program is given before anything else.
    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for CommandLine {
    type Error = InvalidCommand;
    fn try_from(words: Vec<String>) -> Result<Self, InvalidCommand> {
        Self::new(words)
    }
}

impl From<CommandLine> for Vec<String> {
    fn from(line: CommandLine) -> Self {
        line.0
    }
}

/// As somebody would type it, for people; quoted where a word would not be one otherwise.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, word) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                f.write_str(word)?;
            } else {
                write!(f, "'{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Result<CommandLine, InvalidCommand> {
        CommandLine::new(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn a_command_names_its_program_from_the_root() {
        assert_eq!(line(&[]), Err(InvalidCommand::Empty));
        assert_eq!(line(&[""]), Err(InvalidCommand::Empty));
        assert_eq!(line(&["bin/pause"]), Err(InvalidCommand::NotAbsolute("bin/pause".to_owned())));
        assert_eq!(line(&["/bin/pause", "a\0b"]), Err(InvalidCommand::Nul));
        assert!(line(&["/bin/pause"]).is_ok());
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let shown = line(&["/bin/sh", "-c", "echo it's", ""]).expect("it is a command").to_string();
        assert_eq!(shown, r"/bin/sh -c 'echo it'\''s' ''");
    }

    #[test]
    fn a_command_is_stored_as_a_list_and_refused_when_it_is_none() {
        let stored = serde_json::to_string(&line(&["/bin/true", "now"]).expect("it is a command")).expect("it is text");
        assert_eq!(stored, r#"["/bin/true","now"]"#);
        let error = serde_json::from_str::<CommandLine>(r#"["true"]"#).expect_err("it is no absolute path");
        assert!(error.to_string().contains("not an absolute path"), "{error}");
    }
}

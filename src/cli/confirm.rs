//! Questions before something happens.

use super::error::Error;
use super::flags::AnswerFlags;
use super::talk::Talk;

/// What is at stake: decides what happens when nobody can be asked, and what an empty answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stake {
    /// Goes ahead.
    Harmless,
    /// Is refused (R33).
    Destructive,
}

pub fn confirm(question: &str, stake: Stake, flags: &AnswerFlags, talk: &mut Talk<'_>) -> Result<(), Error> {
    let declined = |hint: Option<&str>, message: &str| {
        Err(Error::Declined { message: message.to_owned(), hint: hint.map(str::to_owned) })
    };
    if flags.yes {
        return Ok(());
    }
    if flags.no {
        return declined(None, "Nothing was done");
    }
    if flags.no_interaction || !talk.terminal.is_attended() {
        return match stake {
            Stake::Harmless => Ok(()),
            Stake::Destructive => declined(
                Some("Add --yes to do it without being asked."),
                "What this takes away or overwrites is lost, and nobody is there to confirm it",
            ),
        };
    }
    let choices = if stake == Stake::Harmless { "[Y/n]" } else { "[y/N]" };
    loop {
        let answer = talk.ask(&format!("{question} {choices} "))?.map(|answer| answer.to_lowercase());
        match answer.as_deref() {
            Some("y" | "yes") => return Ok(()),
            Some("") if stake == Stake::Harmless => return Ok(()),
            Some("n" | "no" | "") | None => return declined(None, "Nothing was done"),
            Some(_) => talk.say("Please answer yes or no."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::talk::Terminal;

    fn ask(stake: Stake, flags: AnswerFlags, attended: bool, typed: &str) -> (Result<(), u8>, String) {
        let terminal = Terminal { stdin: attended, stdout: attended, stderr: attended };
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), typed.as_bytes());
        let mut talk = Talk::new(&mut out, &mut err, &mut input, terminal);
        let answer = confirm("Sure?", stake, &flags, &mut talk).map_err(|error| error.code());
        (answer, String::from_utf8(err).expect("UTF-8"))
    }

    #[test]
    fn a_destructive_command_without_a_terminal_needs_yes() {
        let none = AnswerFlags::default();
        assert_eq!(ask(Stake::Destructive, none, false, "y\n").0, Err(1));
        assert_eq!(ask(Stake::Destructive, AnswerFlags { yes: true, ..none }, false, "").0, Ok(()));
        assert_eq!(ask(Stake::Destructive, AnswerFlags { no_interaction: true, ..none }, true, "y\n").0, Err(1));
        assert_eq!(ask(Stake::Harmless, none, false, "").0, Ok(()));
        assert_eq!(ask(Stake::Harmless, AnswerFlags { no: true, ..none }, false, "").0, Err(1));
    }

    #[test]
    fn an_empty_answer_is_yes_only_where_nothing_is_lost() {
        let none = AnswerFlags::default();
        assert_eq!(ask(Stake::Harmless, none, true, "\n"), (Ok(()), "Sure? [Y/n] ".to_owned()));
        assert_eq!(ask(Stake::Destructive, none, true, "\n"), (Err(1), "Sure? [y/N] ".to_owned()));
        assert_eq!(ask(Stake::Destructive, none, true, "").0, Err(1), "the end of the input is a no");
        assert_eq!(ask(Stake::Destructive, none, true, "what\nYES\n").0, Ok(()));
    }
}

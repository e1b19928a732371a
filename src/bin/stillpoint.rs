//! `stillpoint`, the command line; works the same when it is called `platform`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use signal_hook::consts::SIGINT;
use signal_hook::flag;
use stillpoint::cli::{self, Interrupt, Talk, Terminal, Variables};

fn main() -> ExitCode {
    let (mut out, mut err, mut input) = (io::stdout(), io::stderr(), io::stdin().lock());
    let terminal = Terminal { stdin: io::stdin().is_terminal(), stdout: out.is_terminal(), stderr: err.is_terminal() };
    let mut talk = Talk::new(&mut out, &mut err, &mut input, terminal);
    if let Err(error) = end_on_ctrl_c(&talk.interrupt) {
        talk.say(&format!("Ctrl-C will end the command without a word: {error}"));
    }
    ExitCode::from(cli::run(std::env::args_os(), &Variables::of_process(), &mut talk))
}

/// The order matters: the first handler ends the process where the flag is set, the second sets it. A command that
/// waits clears it, sees it set by the first Ctrl-C, and is ended by the second at the latest.
fn end_on_ctrl_c(interrupt: &Interrupt) -> io::Result<()> {
    flag::register_conditional_shutdown(SIGINT, 130, interrupt.flag())?;
    flag::register(SIGINT, interrupt.flag())?;
    Ok(())
}

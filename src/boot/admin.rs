//! `stillpointd admin …` and `stillpointd apply`: on this machine, on the data directory, while the server runs as well.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

use super::accounts::secret_from_stdin;
use super::config::{Admin, KeyCommand, User};
use crate::domain::bytes::counted;
use crate::domain::policy::Grants;
use crate::domain::problem::chain;
use crate::ops::installation::{self, Applied, Consent, Trouble};
use crate::ops::tokens::TokenRequest;
use crate::ops::{self, App, account, accounts, people, tokens};

/// `url`: the console's address, for links.
///
/// # Errors
/// What did not work, for the terminal.
pub async fn run(app: &App, command: Admin, url: &str) -> Result<()> {
    match command {
        Admin::User(User::Add { email, password_stdin, operator, support }) => {
            if !password_stdin {
                bail!("give the password by standard input, with --password-stdin: arguments can be seen by others");
            }
            let password = secret_from_stdin("password")?;
            let kind = match (operator, support) {
                (true, _) => accounts::Kind::Operator,
                (_, true) => accounts::Kind::Support,
                _ => accounts::Kind::Member,
            };
            accounts::unchecked_add(app, &email, &password, kind).await.map_err(told)?;
            eprintln!("Added {}.", email.trim().to_lowercase());
        }
        Admin::User(User::ResetLink { email }) => {
            let made = account::unchecked_reset_link(app, &email).await;
            let (email, code) = made.map_err(|error| of_account(&email, error))?;
            eprintln!("For {email}; it works once, for a day:");
            println!("{url}/reset?code={}", code.reveal());
        }
        Admin::User(User::List) => {
            for account in people::unchecked_list(app).await.map_err(told)? {
                let tags = [
                    (account.operator, "operator"),
                    (account.support, "support"),
                    (account.closed_at.is_some(), "closed"),
                ];
                let words: Vec<&str> = tags.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
                println!("{}\t{}", account.email, words.join(", "));
            }
        }
        Admin::User(change) => {
            let (email, change) = change.change().context("every other command changes an account")?;
            let changed = people::unchecked_change(app, email, change).await;
            let changed = changed.map_err(|error| of_account(email, error))?;
            eprintln!("{}", changed.told);
            for warning in changed.warnings {
                eprintln!("note: {warning}");
            }
        }
        Admin::Token { user, name, expires, read_only, project, types, acts } => {
            let actor = accounts::unchecked_actor(app, &user).await.map_err(|error| match error {
                ops::Error::NotFound(_) => anyhow!("there is no account for {user}; add it with `admin user add`"),
                other => told(other),
            })?;
            let grants = Grants { read_only, projects: project, types, acts, ..Grants::default() };
            let request = TokenRequest { name, grants, expires_in_days: expires };
            println!("{}", tokens::create(app, &actor, request).await.map_err(told)?.text.reveal());
        }
        Admin::Key(KeyCommand::Rotate) => unreachable!("it runs alone, before the database is opened"),
        Admin::RecoveryKey => println!("{}", installation::recovery_key(app).await.map_err(told)?.reveal()),
        Admin::Adopt { repository, key_stdin } => {
            if !key_stdin {
                bail!("give the key by standard input, with --key-stdin: arguments can be seen by others");
            }
            let key = secret_from_stdin("key")?;
            let adopted = installation::adopt(app, &repository, &key).await.map_err(told)?;
            let snapshots = counted(adopted.snapshots as u64, "snapshot");
            let environments = counted(adopted.environments as u64, "environment");
            println!("Took over {snapshots} of {environments} of the project {}.", adopted.project);
            for id in adopted.passed_over {
                println!("Passed over {id}: it is not one of ours, or it can't be read.");
            }
            println!("Declare the environments' services and mounts with `stillpointd apply FILE`, then restore.");
        }
    }
    Ok(())
}

/// # Errors
/// When the file does not work, each place on standard error; and when snapshots would go by it and nobody agreed to that.
pub async fn apply(app: &App, file: &Path, consent: Consent, reinstate: &[String]) -> Result<()> {
    match installation::apply_with(app, file, consent, reinstate).await.map_err(told)? {
        Applied::Done { contents, notes } => {
            warn(&notes);
            println!("Applied {}: {contents}.", file.display());
        }
        Applied::Refused(troubles) => {
            for trouble in &troubles {
                eprintln!("{trouble}");
            }
            bail!("nothing was changed; mend the file and apply it again");
        }
        Applied::Looked(outlook) => {
            warn(&outlook.notes);
            let going = outlook.going.len() as u64;
            if going > 0 {
                println!("By {} these go that are kept now:", file.display());
            }
            for gone in &outlook.going {
                println!("  {gone}");
            }
            if consent != Consent::No {
                let them = if going == 1 { "let it go" } else { "let them go" };
                bail!(
                    "nothing was changed: {} would go; to {them}, apply the file with --yes",
                    counted(going, "snapshot")
                );
            }
            println!("{} works: {}. Nothing was changed.", file.display(), outlook.contents);
        }
    }
    Ok(())
}

fn warn(notes: &[Trouble]) {
    for note in notes {
        eprintln!("note: {note}");
    }
}

fn of_account(email: &str, error: ops::Error) -> anyhow::Error {
    match error {
        ops::Error::NotFound(_) => anyhow!("there is no account for {}", email.trim()),
        other => told(other),
    }
}

/// An operation's error with its hint and, since the operator looks at it, its causes.
fn told(error: ops::Error) -> anyhow::Error {
    let problem = error.problem();
    let text = chain(&error);
    match problem.hint.filter(|_| problem.status < 500) {
        Some(hint) => anyhow!("{text} ({hint})"),
        None => anyhow!(text),
    }
}

//! Secrets that come by standard input.

use anyhow::{Context as _, Result, bail};

use crate::domain::Secret;

/// The first line of standard input.
///
/// # Errors
/// When there is none.
pub fn secret_from_stdin(what: &str) -> Result<Secret> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).with_context(|| format!("the {what} can't be read from standard input"))?;
    let text = line.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("no {what} came by standard input");
    }
    Ok(Secret::new(text))
}

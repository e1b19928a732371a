//! By mail, through the server that the operator has named.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::{Message, SmtpTransport, Transport as _};

use super::{Letter, Post, Unsent};

const PATIENCE: Duration = Duration::from_secs(20);

/// Blocks.
pub(super) fn send(post: &Post, to: &str, letter: &Letter) -> Result<(), Unsent> {
    let no_server = Unsent::Setting("this installation sends no mail: its operator can name a server with --smtp");
    let Some(smtp) = &post.smtp else { return Err(no_server) };
    let no_sender =
        Unsent::Setting("this installation's mail has no sender: its operator can name one with --mail-from");
    let Some(from) = &post.from else { return Err(no_sender) };
    let address = |text: &str| text.parse().map_err(|_| Unsent::Address(text.to_owned()));
    let message = Message::builder()
        .from(address(from)?)
        .to(address(to)?)
        .subject(letter.subject())
        .header(ContentType::TEXT_PLAIN)
        .body(letter.text())?;
    let server = SmtpTransport::from_url(smtp.reveal())?.timeout(Some(PATIENCE)).build();
    server.send(&message)?;
    Ok(())
}

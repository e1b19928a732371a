//! The postman: sends notices that are due, by mail and as signed posts, and tries those again that did not arrive.
//!
//! **Invariant:** a delivery is taken for longer than a try may last, and what came of it is stored after it: whoever dies
//! in between has it sent a second time, never not at all. No post reaches an address of an inner network that the
//! operator has not allowed: the name is resolved here, and what it leads to is looked at before it is connected to.

mod mail;
mod webhook;

use std::time::Duration;

use ipnet::IpNet;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::authz;
use crate::domain::activity::{Activity, ActivityResult, ActivityState, Payload};
use crate::domain::notice::{Channel, Delivery, DeliveryState, Destination, Notice, Way, pause_after};
use crate::domain::ticket::Ticket;
use crate::domain::{Secret, TicketId, Timestamp};
use crate::store::{self, Store, activities, clock, environments, notices, projects, tickets, users};

pub use webhook::signature;

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_secs(5);
/// No try lasts longer.
const TRY: Duration = Duration::from_secs(30);
/// So many are sent at once, each to another destination.
const SIDE_BY_SIDE: usize = 8;
/// How long what is being sent may go on after the order to stop.
const STOP: Duration = Duration::from_secs(5);
/// Nobody else takes a delivery within that time.
const TAKEN: Duration = Duration::from_secs(120);

/// What the operator has set up.
#[derive(Debug, Clone)]
pub struct Post {
    /// `smtp://`, `smtps://`; `None`: no mail is sent.
    pub smtp: Option<Secret>,
    /// Whom mail is from.
    pub from: Option<String>,
    /// Networks inside that posts may go to.
    pub inside: Vec<IpNet>,
    /// Where people reach the console; `None`: nobody said, and notices carry no links.
    pub console: Option<String>,
}

/// What is told, as both ways say it.
#[derive(Debug)]
struct Letter {
    notice: Notice,
    project: String,
    environment: Option<String>,
    activity: Option<Activity>,
    /// A sentence more.
    about: Option<String>,
    /// Its page in the console.
    link: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("{0}")]
    Setting(&'static str),
    #[error("`{0}` is not an address that mail can be sent to")]
    Address(String),
    #[error("the mail server did not take it: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    #[error("the message could not be written: {0}")]
    Message(#[from] lettre::error::Error),
    #[error("it answered {0}")]
    Status(u16),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Post(Box<ureq::Error>),
    #[error("it could not be read: {0}")]
    Store(store::Error),
    #[error("whoever it is for may not see the ticket any more")]
    Hidden,
    #[error("the account of whoever it is for is closed")]
    Closed,
    #[error("no answer within {} s", TRY.as_secs())]
    Late,
}

/// Runs until `stop`.
pub async fn run(store: Store, post: Post, stop: CancellationToken) {
    let mut round = Round::new(store, post);
    loop {
        if let Err(error) = round.fill().await {
            tracing::warn!(%error, "notices could not be looked for; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = round.one_is_over(), if !round.sending.is_empty() => {}
            () = stop.cancelled() => break,
        }
    }
    // What is on its way may still arrive; what does not is tried again by whoever is next.
    let all_over = async {
        while !round.sending.is_empty() {
            round.one_is_over().await;
        }
    };
    let _ = tokio::time::timeout(STOP, all_over).await;
}

/// Sends what is due now, and waits until all of it is over.
///
/// # Errors
/// When the store fails. What does not arrive is no error: its delivery says why.
pub async fn send_due(store: &Store, post: &Post) -> Result<(), store::Error> {
    let mut round = Round::new(store.clone(), post.clone());
    loop {
        round.fill().await?;
        if round.sending.is_empty() {
            return Ok(());
        }
        round.one_is_over().await;
    }
}

/// What is on its way, side by side: a server that takes long keeps only what goes there waiting.
struct Round {
    store: Store,
    post: Post,
    sending: JoinSet<Result<(), store::Error>>,
}

impl Round {
    fn new(store: Store, post: Post) -> Self {
        Self { store, post, sending: JoinSet::new() }
    }

    /// Takes what is due, as much as there is room for.
    async fn fill(&mut self) -> Result<(), store::Error> {
        while self.sending.len() < SIDE_BY_SIDE {
            let mut tx = self.store.write().await?;
            let now = clock::now(&mut tx, self.store.dialect()).await?;
            let taken = notices::take(&mut tx, self.store.dialect(), now, TAKEN).await?;
            let Some(delivery) = taken else { return Ok(()) };
            self.store.commit(tx).await?;
            self.sending.spawn(deliver(self.store.clone(), self.post.clone(), delivery));
        }
        Ok(())
    }

    async fn one_is_over(&mut self) {
        match self.sending.join_next().await {
            Some(Ok(Err(error))) => tracing::warn!(%error, "what came of a notice could not be written down"),
            Some(Err(error)) => tracing::error!(%error, "sending a notice ended unexpectedly; it is tried again"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

/// One try, and what came of it.
async fn deliver(store: Store, post: Post, delivery: Delivery) -> Result<(), store::Error> {
    // What can't be read must not stand in the way of all others.
    let sent = send(&store, &post, &delivery).await.unwrap_or_else(|error| Err(Unsent::Store(error)));
    let mut tx = store.write().await?;
    let now = clock::now(&mut tx, store.dialect()).await?;
    let (state, error, next) = match sent {
        Ok(()) => (DeliveryState::Delivered, None, now),
        Err(error) => match pause_after(delivery.notice, delivery.attempts).filter(|_| !error.is_final(&delivery.to)) {
            Some(pause) => (DeliveryState::Waiting, Some(error.to_string()), now.plus(pause)),
            None => (DeliveryState::GivenUp, Some(error.to_string()), now),
        },
    };
    if let Some(error) = &error {
        tracing::info!(delivery.id = %delivery.id, project.id = %delivery.project, error, "a notice was not delivered");
    }
    notices::tried(&mut tx, &delivery.id, state, error.as_deref(), (now, next)).await?;
    store.commit(tx).await
}

/// Where it goes to, at this moment.
enum Door {
    Channel(Channel, Secret),
    /// A mail address.
    Person(String),
}

async fn send(store: &Store, post: &Post, delivery: &Delivery) -> Result<Result<(), Unsent>, store::Error> {
    let mut db = store.read().await?;
    let Some(project) = projects::by_id(&mut db, &delivery.project).await? else { return Ok(Ok(())) };
    let activity = match &delivery.activity {
        Some(id) => activities::by_id(&mut db, id).await?,
        None => None,
    };
    let environment = match &activity {
        Some(activity) => environments::by_id(&mut db, &activity.environment).await?,
        None => None,
    };
    let ticket = match activity.as_ref().and_then(ticket_of) {
        Some(ticket) => tickets::by_id(&mut db, ticket).await?,
        None => None,
    };
    let door = match &delivery.to {
        Destination::Channel(id) => match notices::channel(&mut db, store.sealer(), id).await? {
            Some((channel, secret)) => Door::Channel(channel, secret),
            // Removed meanwhile, and this delivery with it.
            None => return Ok(Ok(())),
        },
        Destination::Person(id) => {
            let Some(person) = users::open_by_id(&mut db, id).await? else { return Ok(Err(Unsent::Closed)) };
            // A role may have been taken since (R1).
            let standing = authz::standing_of(&mut db, &person, &project).await?;
            if !ticket.as_ref().is_some_and(|ticket| ticket.is_visible(&standing)) {
                return Ok(Err(Unsent::Hidden));
            }
            Door::Person(person.email)
        }
    };
    drop(db);
    let letter = Letter {
        notice: delivery.notice,
        link: post.console.as_ref().map(|console| link(console, delivery, &activity, ticket.as_ref())),
        project: project.title,
        environment: environment.map(|environment| environment.name.to_string()),
        about: delivery.about.clone().or_else(|| told_of(activity.as_ref()?, ticket.as_ref())),
        activity,
    };
    let (post, delivery, now) = (post.clone(), delivery.clone(), Timestamp::now());
    let sending = tokio::task::spawn_blocking(move || match &door {
        Door::Person(address) => mail::send(&post, address, &letter),
        Door::Channel(channel, secret) => match channel.way {
            Way::Mail => mail::send(&post, &channel.address, &letter),
            Way::Webhook => webhook::send(&post, &channel.address, secret, &delivery, &letter, now),
        },
    });
    Ok(match tokio::time::timeout(TRY, sending).await {
        Ok(Ok(sent)) => sent,
        // It panicked, or goes on by itself until its own limits end it.
        Ok(Err(_)) | Err(_) => Err(Unsent::Late),
    })
}

fn ticket_of(activity: &Activity) -> Option<&TicketId> {
    match &activity.payload {
        Payload::Ticket(step) => Some(&step.ticket),
        Payload::RestoreSnapshot(restore) => restore.ticket.as_ref(),
        _ => None,
    }
}

/// Where the console shows it.
fn link(console: &str, delivery: &Delivery, activity: &Option<Activity>, ticket: Option<&Ticket>) -> String {
    let project = format!("{}/projects/{}", console.trim_end_matches('/'), delivery.project);
    match (delivery.notice, ticket, activity) {
        (Notice::TicketChanged, Some(ticket), _) => format!("{project}/tickets/{}", ticket.id),
        (Notice::StorageNear, ..) => format!("{project}/plan"),
        (_, _, Some(activity)) => format!("{project}/activities/{}", activity.id),
        (_, _, None) => format!("{project}/notices"),
    }
}

/// What the activity's result alone does not say.
fn told_of(activity: &Activity, ticket: Option<&Ticket>) -> Option<String> {
    let name = &activity.initiator.name;
    match (&activity.payload, ticket) {
        (Payload::Ticket(step), Some(ticket)) => {
            let text = step.text.as_ref().map(|text| format!(" “{text}”")).unwrap_or_default();
            Some(format!("{name} {}: {}.{text}", step.act.done(), ticket.title()))
        }
        (Payload::RestoreSnapshot(_), Some(ticket)) => Some(match activity.result {
            Some(ActivityResult::Success) => format!("The restore is done: {}.", ticket.title()),
            _ => format!("The restore did not succeed, and the ticket is still in progress: {}.", ticket.title()),
        }),
        _ => match activity.state {
            ActivityState::Pending => Some(format!(
                "It was due at {} UTC and still waits for its turn, or for a worker of its region: see that one runs.",
                activity.created_at.table()
            )),
            ActivityState::InProgress => Some(format!(
                "It was due at {} UTC and is still running; its log says what it is at.",
                activity.created_at.table()
            )),
            ActivityState::Complete | ActivityState::Cancelled => None,
        },
    }
}

impl Letter {
    fn subject(&self) -> String {
        let place = match &self.environment {
            Some(environment) => format!("{} / {environment}", self.project),
            None => self.project.clone(),
        };
        format!("[{place}] {}", self.notice.title())
    }

    fn text(&self) -> String {
        let mut text = format!("{}.\n", self.notice.title());
        if self.notice == Notice::Trial {
            text.push_str("\nSomebody pressed the test button: notices of this project arrive here.\n");
        }
        if let Some(about) = &self.about {
            text.push_str(&format!("\n{about}\n"));
        }
        if let Some(activity) = self.activity.as_ref().filter(|_| self.notice != Notice::TicketChanged) {
            let (name, at) = (&activity.initiator.name, activity.created_at.table());
            text.push_str(&format!("\nAsked for by {name} at {at} UTC.\n"));
            if let Some(failure) = &activity.failure {
                text.push_str(&format!("\n{failure}\n"));
            }
        }
        match &self.link {
            Some(link) => text.push_str(&format!("\n{link}\n")),
            None => text.push_str(
                "\nThere is no link here, since nobody said where the console is: its operator can, with --public-url.\n",
            ),
        }
        text
    }
}

impl Unsent {
    /// Trying again changes nothing. Where no mail is sent at all nobody asked for theirs.
    fn is_final(&self, to: &Destination) -> bool {
        matches!((self, to), (Self::Hidden | Self::Closed, _) | (Self::Setting(_), Destination::Person(_)))
    }
}

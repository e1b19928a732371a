//! The postman: sends notices that are due, by mail and as signed posts, and tries those again that did not arrive.
//!
//! **Invariant:** a delivery is taken for longer than a try may last, and what came of it is stored after it: whoever dies
//! in between has it sent a second time, never not at all. No post reaches an address of an inner network that the
//! operator has not allowed: the name is resolved here, and what it leads to is looked at before it is connected to.

mod mail;
mod webhook;

use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::domain::activity::Activity;
use crate::domain::notice::{Delivery, DeliveryState, Notice, Way, pause_after};
use crate::domain::{Secret, Timestamp};
use crate::store::{self, Store, activities, clock, environments, notices, projects};

pub use webhook::signature;

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_secs(5);
/// No try lasts longer.
const TRY: Duration = Duration::from_secs(30);
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
    /// Where people reach the console.
    pub console: String,
}

/// What is told, as both ways say it.
#[derive(Debug)]
struct Letter {
    notice: Notice,
    project: String,
    environment: Option<String>,
    activity: Option<Activity>,
    /// Its page in the console.
    link: String,
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
    #[error("no answer within {} s", TRY.as_secs())]
    Late,
}

/// Runs until `stop`.
pub async fn run(store: Store, post: Post, stop: CancellationToken) {
    loop {
        if let Err(error) = send_due(&store, &post).await {
            tracing::warn!(%error, "notices could not be looked for; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Sends what is due now, one after the other.
///
/// # Errors
/// When the store fails. What does not arrive is no error: its delivery says why.
pub async fn send_due(store: &Store, post: &Post) -> Result<(), store::Error> {
    loop {
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        let Some(delivery) = notices::take(&mut tx, store.dialect(), now, TAKEN).await? else { return Ok(()) };
        store.commit(tx).await?;
        // What can't be read must not stand in the way of all others.
        let sent = send(store, post, &delivery).await.unwrap_or_else(|error| Err(Unsent::Store(error)));
        let mut tx = store.write().await?;
        let now = clock::now(&mut tx, store.dialect()).await?;
        let (state, error, next) = match sent {
            Ok(()) => (DeliveryState::Delivered, None, now),
            Err(error) => match pause_after(delivery.notice, delivery.attempts) {
                Some(pause) => (DeliveryState::Waiting, Some(error.to_string()), now.plus(pause)),
                None => (DeliveryState::GivenUp, Some(error.to_string()), now),
            },
        };
        if let Some(error) = &error {
            tracing::info!(delivery.id = %delivery.id, project.id = %delivery.project, error, "a notice was not delivered");
        }
        notices::tried(&mut tx, &delivery.id, state, error.as_deref(), (now, next)).await?;
        store.commit(tx).await?;
    }
}

async fn send(store: &Store, post: &Post, delivery: &Delivery) -> Result<Result<(), Unsent>, store::Error> {
    let mut db = store.read().await?;
    let Some((channel, secret)) = notices::channel(&mut db, store.sealer(), &delivery.channel).await? else {
        // Removed meanwhile, and this delivery with it.
        return Ok(Ok(()));
    };
    let project = projects::by_id(&mut db, &delivery.project).await?;
    let activity = match &delivery.activity {
        Some(id) => activities::by_id(&mut db, id).await?,
        None => None,
    };
    let environment = match &activity {
        Some(activity) => environments::by_id(&mut db, &activity.environment).await?,
        None => None,
    };
    drop(db);
    let console = post.console.trim_end_matches('/');
    let link = match &activity {
        Some(activity) => format!("{console}/projects/{}/activities/{}", delivery.project, activity.id),
        None => format!("{console}/projects/{}/notices", delivery.project),
    };
    let letter = Letter {
        notice: delivery.notice,
        project: project.map_or_else(|| delivery.project.to_string(), |project| project.title),
        environment: environment.map(|environment| environment.name.to_string()),
        activity,
        link,
    };
    let (post, delivery, now) = (post.clone(), delivery.clone(), Timestamp::now());
    let sending = tokio::task::spawn_blocking(move || match channel.way {
        Way::Mail => mail::send(&post, &channel.address, &letter),
        Way::Webhook => webhook::send(&post, &channel.address, &secret, &delivery, &letter, now),
    });
    Ok(match tokio::time::timeout(TRY, sending).await {
        Ok(Ok(sent)) => sent,
        // It panicked, or goes on by itself until its own limits end it.
        Ok(Err(_)) | Err(_) => Err(Unsent::Late),
    })
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
        if let Some(activity) = &self.activity {
            text.push_str(&format!(
                "\nAsked for by {} at {} UTC.\n",
                activity.initiator.name,
                activity.created_at.table()
            ));
            if let Some(failure) = &activity.failure {
                text.push_str(&format!("\n{failure}\n"));
            }
        } else {
            text.push_str("\nSomebody pressed the test button: notices of this project arrive here.\n");
        }
        text.push_str(&format!("\n{}\n", self.link));
        text
    }
}

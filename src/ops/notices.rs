//! Notices: where a project's go, what became of them, and a trial.

use super::audit;
use super::{App, Error};
use crate::authz::{Authorized, ManageNotices};
use crate::domain::audit::AuditKind;
use crate::domain::ids::ChannelId;
use crate::domain::notice::{Channel, Delivery, DeliveryState, Destination, Notice, Way};
use crate::domain::policy::Refusal;
use crate::domain::view::{ChannelEntry, NoticesPage};
use crate::domain::{ProjectId, Secret};
use crate::store::notices::{self, Told};
use crate::store::{self, Db};

/// A project's.
const MOST_CHANNELS: usize = 20;
/// Of the log.
const LISTED: u32 = 50;
const LONGEST: usize = 500;

#[derive(Debug, Clone)]
pub struct ChannelRequest {
    pub way: Way,
    pub address: String,
    pub notices: Vec<Notice>,
}

/// A new channel. The secret of a webhook is shown this once.
#[derive(Debug, Clone)]
pub struct NewChannel {
    pub channel: Channel,
    pub secret: Option<Secret>,
}

/// # Errors
/// When the store fails.
pub async fn page(app: &App, proof: &Authorized<ManageNotices>) -> Result<NoticesPage, Error> {
    let project = &proof.on().project;
    let mut db = app.store().read().await?;
    let deliveries = notices::deliveries(&mut db, &project.id, LISTED).await?;
    let channels = notices::channels(&mut db, app.store().sealer(), &project.id).await?;
    let entry = |channel: Channel| {
        let to = Destination::Channel(channel.id.clone());
        let last = deliveries.iter().find(|delivery| delivery.to == to).cloned();
        ChannelEntry { channel, last }
    };
    let to_people = match proof.actor().me().operator {
        true => Some(notices::to_people(&mut db, &project.id, LISTED).await?),
        false => None,
    };
    Ok(NoticesPage {
        project: project.clone(),
        channels: channels.into_iter().map(entry).collect(),
        deliveries,
        to_people,
    })
}

/// # Errors
/// [`Error::Invalid`] for an address that can't be one, or when nothing is to be told.
pub async fn add(app: &App, proof: &Authorized<ManageNotices>, request: ChannelRequest) -> Result<NewChannel, Error> {
    let address = checked(request.way, request.address.trim())?;
    let mut kinds = request.notices;
    kinds.retain(|notice| Notice::ALL.contains(notice));
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        return Err(Error::invalid("Choose at least one thing to be told of."));
    }
    let project = &proof.on().project.id;
    let secret = Secret::new(format!("whs_{}", hex::encode(rand::random::<[u8; 32]>())));
    let mut tx = app.store().write().await?;
    let there = notices::channels(&mut tx, app.store().sealer(), project).await?;
    if there.len() >= MOST_CHANNELS {
        return Err(Error::invalid(format!("A project's notices go to {MOST_CHANNELS} addresses at most.")));
    }
    if there.iter().any(|channel| channel.way == request.way && channel.address == address) {
        return Err(Error::Invalid {
            message: "Notices go there already.".to_owned(),
            hint: Some("Remove it first to choose other ones.".to_owned()),
        });
    }
    let channel = Channel {
        id: ChannelId::parse(store::random_id())?,
        project: project.clone(),
        way: request.way,
        address,
        notices: kinds,
        created_at: app.now().await?,
    };
    notices::insert_channel(&mut tx, app.store().sealer(), &channel, &secret).await?;
    let about = format!("has notices sent {}", told(&channel));
    audit::note(&mut tx, app, (proof.actor().initiator(), Some(project)), AuditKind::ChannelMade, about).await?;
    app.store().commit(tx).await?;
    let secret = (channel.way == Way::Webhook).then_some(secret);
    Ok(NewChannel { channel, secret })
}

/// Its log goes with it.
///
/// # Errors
/// [`Error::NotFound`] when the project has no such channel.
pub async fn remove(app: &App, proof: &Authorized<ManageNotices>, id: &ChannelId) -> Result<(), Error> {
    let project = &proof.on().project.id;
    let mut tx = app.store().write().await?;
    let channel = own(app, &mut tx, project, id).await?;
    notices::delete_channel(&mut tx, project, id).await?;
    let about = format!("has no more notices sent {}", told(&channel));
    audit::note(&mut tx, app, (proof.actor().initiator(), Some(project)), AuditKind::ChannelRemoved, about).await?;
    Ok(app.store().commit(tx).await?)
}

/// Sends a test message soon, and gives its delivery: the log tells what became of it.
///
/// # Errors
/// [`Error::NotFound`] when the project has no such channel.
pub async fn try_out(app: &App, proof: &Authorized<ManageNotices>, id: &ChannelId) -> Result<Delivery, Error> {
    let project = &proof.on().project.id;
    let mut tx = app.store().write().await?;
    own(app, &mut tx, project, id).await?;
    let last = notices::deliveries(&mut tx, project, LISTED).await?;
    let to = Destination::Channel(id.clone());
    let waits = |delivery: &Delivery| {
        (delivery.notice, delivery.state, &delivery.to) == (Notice::Trial, DeliveryState::Waiting, &to)
    };
    if last.iter().any(waits) {
        return Err(Error::Conflict(Refusal::new("A test message is on its way already.")));
    }
    let told = Told { project, activity: None, about: None, at: app.now().await? };
    let made = notices::put(&mut tx, &to, &told, Notice::Trial).await?;
    let found = notices::deliveries(&mut tx, project, LISTED).await?.into_iter().find(|delivery| delivery.id == made);
    app.store().commit(tx).await?;
    found.ok_or(Error::NotFound("delivery"))
}

/// The log, newest first.
///
/// # Errors
/// When the store fails.
pub async fn deliveries(app: &App, proof: &Authorized<ManageNotices>) -> Result<Vec<Delivery>, Error> {
    Ok(notices::deliveries(&mut *app.store().read().await?, &proof.on().project.id, LISTED).await?)
}

async fn own(app: &App, db: &mut Db, project: &ProjectId, id: &ChannelId) -> Result<Channel, Error> {
    let found = notices::channel(db, app.store().sealer(), id).await?.map(|(channel, _)| channel);
    found.filter(|channel| channel.project == *project).ok_or(Error::NotFound("channel"))
}

/// Without what a service may have put its password into.
fn told(channel: &Channel) -> String {
    match channel.way {
        Way::Mail => format!("by mail to {}", channel.address),
        Way::Webhook => {
            let host = url::Url::parse(&channel.address).ok().and_then(|url| url.host_str().map(str::to_owned));
            format!("as posts to {}", host.unwrap_or_default())
        }
    }
}

fn checked(way: Way, address: &str) -> Result<String, Error> {
    if address.len() > LONGEST {
        return Err(Error::invalid(format!("An address has at most {LONGEST} characters.")));
    }
    match way {
        Way::Mail => {
            let parsed = address.parse::<lettre::Address>();
            parsed.map(|address| address.to_string()).map_err(|_| Error::Invalid {
                message: "This is no e-mail address.".to_owned(),
                hint: Some("Write it as in somebody@example.org.".to_owned()),
            })
        }
        Way::Webhook => {
            let parsed = url::Url::parse(address).ok();
            let usable = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
            usable.map(|url| url.to_string()).ok_or_else(|| Error::Invalid {
                message: "This is no address that a post can go to.".to_owned(),
                hint: Some("Write it whole, as in https://example.org/hooks/stillpoint.".to_owned()),
            })
        }
    }
}

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
const SHORTEST_SECRET: usize = 16;

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

/// What is to be different; `None` leaves it. How notices travel there stays: for another way another one is added.
#[derive(Debug, Clone, Default)]
pub struct ChannelEdit {
    pub address: Option<String>,
    pub notices: Option<Vec<Notice>>,
    pub secret: Option<NewSecret>,
}

/// What signs a webhook's posts from now on.
#[derive(Debug, Clone)]
pub enum NewSecret {
    /// A random one, which is shown once.
    Made,
    /// What whoever receives the posts has already.
    Given(Secret),
}

/// # Errors
/// [`Error::Invalid`] for an address that can't be one, or when nothing is to be told.
pub async fn add(app: &App, proof: &Authorized<ManageNotices>, request: ChannelRequest) -> Result<NewChannel, Error> {
    let address = checked(request.way, request.address.trim())?;
    let notices = chosen(request.notices)?;
    let project = &proof.on().project.id;
    let secret = random();
    let mut tx = app.store().write().await?;
    let there = notices::channels(&mut tx, app.store().sealer(), project).await?;
    if there.len() >= MOST_CHANNELS {
        return Err(Error::invalid(format!("A project's notices go to {MOST_CHANNELS} addresses at most.")));
    }
    is_new((request.way, &address), &there)?;
    let channel = Channel {
        id: ChannelId::parse(store::random_id())?,
        project: project.clone(),
        way: request.way,
        address,
        notices,
        created_at: app.now().await?,
    };
    notices::insert_channel(&mut tx, app.store().sealer(), &channel, &secret).await?;
    let about = format!("has notices sent {}", told(&channel));
    audit::note(&mut tx, app, (proof.actor().initiator(), Some(project)), AuditKind::ChannelMade, about).await?;
    app.store().commit(tx).await?;
    let secret = (channel.way == Way::Webhook).then_some(secret);
    Ok(NewChannel { channel, secret })
}

/// Changes where a channel leads, what it carries, or what signs its posts. Its log stays, and what waits goes to the new
/// address. The answer has the secret only if a new one was made.
///
/// # Errors
/// [`Error::NotFound`] when the project has no such channel, [`Error::Invalid`] as [`add`].
pub async fn update(
    app: &App,
    proof: &Authorized<ManageNotices>,
    id: &ChannelId,
    edit: ChannelEdit,
) -> Result<NewChannel, Error> {
    let (project, sealer) = (&proof.on().project.id, app.store().sealer());
    let mut tx = app.store().write().await?;
    let known = own(app, &mut tx, project, id).await?;
    let mut channel = known.clone();
    if let Some(address) = edit.address {
        channel.address = checked(known.way, address.trim())?;
        let mut others = notices::channels(&mut tx, sealer, project).await?;
        others.retain(|other| other.id != known.id);
        is_new((channel.way, &channel.address), &others)?;
    }
    if let Some(notices) = edit.notices {
        channel.notices = chosen(notices)?;
    }
    let (secret, shown) = match edit.secret {
        None => (None, None),
        Some(_) if channel.way == Way::Mail => return Err(Error::invalid("Mail is not signed: it has no secret.")),
        Some(NewSecret::Made) => {
            let made = random();
            (Some(made.clone()), Some(made))
        }
        Some(NewSecret::Given(given)) => (Some(usable(given)?), None),
    };
    let mut changes = Vec::new();
    changes.extend((channel.address != known.address).then(|| format!("they go {}", told(&channel))));
    changes.extend((channel.notices != known.notices).then(|| {
        let kinds: Vec<&str> = channel.notices.iter().map(|notice| notice.as_str()).collect();
        format!("they are {}", kinds.join(", "))
    }));
    changes.extend(secret.is_some().then(|| "they are signed with a new secret".to_owned()));
    if !changes.is_empty() {
        notices::update_channel(&mut tx, sealer, &channel, secret.as_ref()).await?;
        let about = format!("changed the notices that were sent {}: {}", told(&known), changes.join("; "));
        audit::note(&mut tx, app, (proof.actor().initiator(), Some(project)), AuditKind::ChannelChanged, about).await?;
        app.store().commit(tx).await?;
    }
    Ok(NewChannel { channel, secret: shown })
}

fn random() -> Secret {
    Secret::new(format!("whs_{}", hex::encode(rand::random::<[u8; 32]>())))
}

fn usable(secret: Secret) -> Result<Secret, Error> {
    match secret.reveal().chars().count() {
        SHORTEST_SECRET..=LONGEST => Ok(secret),
        _ => Err(Error::Invalid {
            message: format!("A secret has {SHORTEST_SECRET} to {LONGEST} characters."),
            hint: Some("Have one made instead: it is shown once.".to_owned()),
        }),
    }
}

/// In order, each once.
fn chosen(mut notices: Vec<Notice>) -> Result<Vec<Notice>, Error> {
    notices.retain(|notice| Notice::ALL.contains(notice));
    notices.sort_unstable();
    notices.dedup();
    if notices.is_empty() {
        return Err(Error::invalid("Choose at least one thing to be told of."));
    }
    Ok(notices)
}

fn is_new((way, address): (Way, &str), others: &[Channel]) -> Result<(), Error> {
    match others.iter().any(|other| other.way == way && other.address == address) {
        false => Ok(()),
        true => Err(Error::Invalid {
            message: "Notices go there already.".to_owned(),
            hint: Some("Change that address's entry, or remove it.".to_owned()),
        }),
    }
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

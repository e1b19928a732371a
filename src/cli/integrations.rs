//! `integration:list`, `integration:add`, `integration:update`, `integration:delete`, `integration:validate`, `integration:activity:list`: where a
//! project's notices go, and what became of them; by the names that scripts know.

use std::time::Duration;

use super::arguments::{
    IntegrationActivities, IntegrationAdd, IntegrationList, IntegrationType, IntegrationUpdate, NamedIntegration,
};
use super::confirm::{Stake, confirm};
use super::error::Error;
use super::flags::AnswerFlags;
use super::session::Session;
use super::table::{self, Column, Format};
use super::talk::Talk;
use super::wait;
use crate::domain::ProjectId;
use crate::domain::ids::ChannelId;
use crate::domain::notice::{DeliveryState, Way};
use crate::wire::notice::{Channel, ChannelEdit, ChannelRequest, Delivery};

/// How long a test message is waited for: longer than the server tries.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn list(command: &IntegrationList, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let channels = session.ask(&project, |client| client.channels(&project))?;
    if !channels.is_empty() || command.list.format == Format::Json {
        table::write(&channels, CHANNELS, &["id", "type", "address", "notices"], &command.list, talk)?;
    }
    match channels.is_empty() {
        true => Err(Error::Empty(format!("Notices of {project} go nowhere; `integration:add` changes that"))),
        false => Ok(()),
    }
}

pub fn add(command: &IntegrationAdd, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let (way, addresses) = addresses(command)?;
    let notices = Some(command.notices.clone()).filter(|notices| !notices.is_empty());
    for address in addresses {
        let request = ChannelRequest { way: Some(way), address: address.clone(), notices: notices.clone() };
        let made = session.ask(&project, |client| client.add_channel(&project, &request))?;
        talk.say(&format!("Notices of {project} go to {address}"));
        talk.answer(&format!("Integration: {}", made.id))?;
        if let Some(secret) = made.secret {
            talk.say("Posts are signed with this secret; it is shown this once:");
            talk.answer(&format!("Secret: {secret}"))?;
        }
    }
    Ok(())
}

/// One flag belongs to one way.
fn addresses(command: &IntegrationAdd) -> Result<(Way, Vec<String>), Error> {
    match (command.way, &command.url, command.recipients.as_slice()) {
        (IntegrationType::Webhook, Some(url), _) => Ok((Way::Webhook, vec![url.clone()])),
        (IntegrationType::Webhook, None, _) => Err(Error::Usage("a webhook has a --url".to_owned())),
        (IntegrationType::Mail, _, []) => Err(Error::Usage("mail goes to --recipients".to_owned())),
        (IntegrationType::Mail, _, some) => Ok((Way::Mail, some.to_vec())),
    }
}

pub fn update(command: &IntegrationUpdate, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let channel = find(session, &project, &command.id)?;
    let address = match (channel.way, &command.url, &command.recipients) {
        (Way::Mail, Some(_), _) => return Err(Error::Usage("mail goes to --recipients".to_owned())),
        (Way::Webhook, _, Some(_)) => return Err(Error::Usage("a webhook has a --url".to_owned())),
        (_, url, recipients) => url.clone().or_else(|| recipients.clone()),
    };
    let notices = Some(command.notices.clone()).filter(|notices| !notices.is_empty());
    let request = ChannelEdit { address, notices, secret: None, renew_secret: command.new_secret };
    let changed = session.ask(&project, |client| client.edit_channel(&project, &channel.id, &request))?;
    let told: Vec<String> = changed.notices.iter().map(ToString::to_string).collect();
    talk.say(&format!("Notices of {project} go to {}: {}", changed.address, told.join(", ")));
    if let Some(secret) = changed.secret {
        talk.say("Posts are signed with this secret from now on; it is shown this once:");
        talk.answer(&format!("Secret: {secret}"))?;
    }
    Ok(())
}

pub fn delete(
    command: &NamedIntegration,
    answer: &AnswerFlags,
    session: &Session,
    talk: &mut Talk<'_>,
) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let channel = find(session, &project, &command.id)?;
    let question = format!("Send no more notices of {project} to {}? Its log goes with it.", channel.address);
    confirm(&question, Stake::Destructive, answer, talk)?;
    session.ask(&project, |client| client.remove_channel(&project, &channel.id))?;
    talk.say("Nothing is sent there any more.");
    Ok(())
}

/// Ends with 1 when it did not arrive.
pub fn validate(command: &NamedIntegration, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let channel = find(session, &project, &command.id)?;
    let sent = session.ask(&project, |client| client.try_channel(&project, &channel.id))?;
    talk.say(&format!("Sending a test message to {}", channel.address));
    let over = wait::look_until(PATIENCE, talk, || {
        let log = session.ask(&project, |client| client.deliveries(&project))?;
        Ok(log.into_iter().find(|delivery| delivery.id == sent.id && delivery.state != DeliveryState::Waiting))
    })?;
    match over {
        Some(Delivery { state: DeliveryState::Delivered, .. }) => {
            talk.say("It was delivered.");
            Ok(())
        }
        Some(Delivery { error, .. }) => Err(Error::ActivityFailed(format!(
            "It was not delivered: {}",
            error.unwrap_or_else(|| "the server does not say why".to_owned())
        ))),
        None => Err(Error::ActivityFailed(
            "Nobody has sent it within a minute: see that a process runs that takes jobs (`all` or `work`)".to_owned(),
        )),
    }
}

pub fn activities(command: &IntegrationActivities, session: &Session, talk: &mut Talk<'_>) -> Result<(), Error> {
    let project = session.project(command.project.as_ref())?;
    let channels = session.ask(&project, |client| client.channels(&project))?;
    let mut log = session.ask(&project, |client| client.deliveries(&project))?;
    if let Some(id) = &command.id {
        log.retain(|delivery| delivery.channel == *id);
    }
    let address = |delivery: &Delivery| {
        let channel = channels.iter().find(|channel| channel.id == delivery.channel);
        channel.map_or_else(|| delivery.channel.to_string(), |channel| channel.address.clone())
    };
    let sent: Vec<Sent> = log.into_iter().map(|delivery| Sent { address: address(&delivery), delivery }).collect();
    if !sent.is_empty() || command.list.format == Format::Json {
        table::write(&sent, DELIVERIES, &["created_at", "notice", "state", "address", "error"], &command.list, talk)?;
    }
    match sent.is_empty() {
        true => Err(Error::Empty("Nothing was sent in the last 30 days".to_owned())),
        false => Ok(()),
    }
}

fn find(session: &Session, project: &ProjectId, id: &ChannelId) -> Result<Channel, Error> {
    let channels = session.ask(project, |client| client.channels(project))?;
    channels.into_iter().find(|channel| channel.id == *id).ok_or_else(|| Error::Refused {
        message: format!("there is no integration {id} in {project}"),
        hint: Some("`integration:list` shows them.".to_owned()),
    })
}

/// With the address that it went to.
#[derive(serde::Serialize)]
struct Sent {
    #[serde(flatten)]
    delivery: Delivery,
    address: String,
}

const CHANNELS: &[Column<Channel>] = &[
    Column { key: "id", header: "ID", value: |channel, _| channel.id.as_str().into() },
    Column { key: "type", header: "Type", value: |channel, _| channel.way.as_str().into() },
    Column { key: "address", header: "Address", value: |channel, _| channel.address.clone().into() },
    Column {
        key: "notices",
        header: "Notices",
        value: |channel, _| channel.notices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ").into(),
    },
    Column { key: "created_at", header: "Created", value: |channel, look| look.dates.write(channel.created_at).into() },
];

const DELIVERIES: &[Column<Sent>] = &[
    Column {
        key: "created_at",
        header: "Created",
        value: |sent, look| look.dates.write(sent.delivery.created_at).into(),
    },
    Column { key: "notice", header: "Notice", value: |sent, _| sent.delivery.notice.as_str().into() },
    Column { key: "state", header: "State", value: |sent, _| sent.delivery.state.as_str().into() },
    Column { key: "address", header: "Address", value: |sent, _| sent.address.clone().into() },
    Column { key: "error", header: "Error", value: |sent, _| sent.delivery.error.clone().into() },
    Column { key: "about", header: "About", value: |sent, _| sent.delivery.about.clone().into() },
    Column {
        key: "activity",
        header: "Activity",
        value: |sent, _| sent.delivery.activity.as_ref().map(ToString::to_string).into(),
    },
    Column { key: "attempts", header: "Tries", value: |sent, _| i64::from(sent.delivery.attempts).into() },
    Column {
        key: "done_at",
        header: "Done",
        value: |sent, look| sent.delivery.done_at.map(|at| look.dates.write(at)).into(),
    },
    Column { key: "id", header: "ID", value: |sent, _| sent.delivery.id.as_str().into() },
    Column { key: "integration", header: "Integration", value: |sent, _| sent.delivery.channel.as_str().into() },
];

//! Notices on the wire (ours).

use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActivityId, ChannelId, DeliveryId};
use crate::domain::notice::{self, DeliveryState, Destination, Notice, Way};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// Where a project's notices go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    pub id: ChannelId,
    /// `mail` or `webhook`.
    #[serde(rename = "type")]
    pub way: Way,
    pub address: String,
    pub notices: Vec<Notice>,
    pub created_at: Timestamp,
    /// What signs its posts: only in the answer to the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Body of `POST …/notices/channels`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelRequest {
    #[serde(rename = "type")]
    pub way: Option<Way>,
    pub address: String,
    /// All of them when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notices: Option<Vec<Notice>>,
}

/// Body of `PATCH …/notices/channels/{channel}`: what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelEdit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notices: Option<Vec<Notice>>,
    /// What signs a webhook's posts from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Have another one made, which is in the answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub renew_secret: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub channel: ChannelId,
    pub activity: Option<ActivityId>,
    pub notice: Notice,
    /// What is told, where the activity does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    pub state: DeliveryState,
    pub attempts: u32,
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub done_at: Option<Timestamp>,
}

impl From<notice::Channel> for Channel {
    fn from(channel: notice::Channel) -> Self {
        let notice::Channel { id, way, address, notices, created_at, .. } = channel;
        Self { id, way, address, notices, created_at, secret: None }
    }
}

impl Delivery {
    /// `None`: what a single person was told is theirs.
    pub fn of_channel(delivery: notice::Delivery) -> Option<Self> {
        let notice::Delivery { id, to, activity, notice, about, state, attempts, error, created_at, done_at, .. } =
            delivery;
        let Destination::Channel(channel) = to else { return None };
        Some(Self { id, channel, activity, notice, about, state, attempts, error, created_at, done_at })
    }
}

//! An activity's log: one JSON value a line, ended by a sealed one.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::domain::view::LogLine;

/// **Invariant:** exactly the last item of a finished log is sealed; without it clients wait for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogItem {
    /// The line's sequence number: give it as `after` to get what follows.
    #[serde(rename = "_id")]
    pub id: String,
    pub data: LogData,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seal: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogData {
    pub timestamp: Option<Timestamp>,
    /// Ends with a line feed: existing clients print it as it is.
    pub message: String,
}

impl LogItem {
    /// The end: carries no text of its own.
    pub fn sealed(after: i64) -> Self {
        let data = LogData { timestamp: None, message: String::new() };
        Self { id: after.saturating_add(1).to_string(), data, seal: true }
    }

    pub fn message(&self) -> &str {
        self.data.message.trim_end_matches('\n')
    }

    /// As it goes over the wire, with its line feed.
    pub fn line(&self) -> String {
        let json = serde_json::to_string(self).expect("strings and a flag always serialise");
        format!("{json}\n")
    }
}

impl From<LogLine> for LogItem {
    fn from(line: LogLine) -> Self {
        let data = LogData { timestamp: Some(line.at), message: format!("{}\n", line.message) };
        Self { id: line.seq.to_string(), data, seal: false }
    }
}

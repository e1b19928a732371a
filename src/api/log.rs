//! An activity's log: follows until it is sealed, which is what existing clients count on; `?follow=0` gives what is
//! there, `?after=ID` what comes after that line.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::Stream;

use super::extract::{Asked, Caller, OfActivity, Place};
use super::fault::Fault;
use crate::authz::{Authorized, ViewHistory};
use crate::domain::ids::ActivityId;
use crate::domain::view::LogLine;
use crate::ops::{self, App};
use crate::wire::LogItem;

/// How often the log is asked for new lines.
const POLL: Duration = Duration::from_millis(250);

pub async fn read(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfActivity>,
    asked: Asked,
) -> Result<Response, Fault> {
    let after = asked.last("after").and_then(|text| text.parse().ok()).unwrap_or(0);
    let proof = app.authorize_activity::<ViewHistory>(&actor, &at.project, &at.activity).await?;
    let first = ops::activities::log(&app, &proof, &at.activity, after).await?;
    let body = match asked.last("follow") {
        Some("0" | "false" | "no") => Body::from(text(&first.0, after, first.1)),
        _ => Body::from_stream(follow(app, proof, at.activity, after, first)),
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// A failure on the way ends the stream without its seal: clients then ask again after the last line they have.
fn follow(
    app: App,
    proof: Authorized<ViewHistory>,
    activity: ActivityId,
    mut after: i64,
    first: (Vec<LogLine>, bool),
) -> impl Stream<Item = Result<String, Infallible>> {
    async_stream::stream! {
        let (mut lines, mut sealed) = first;
        loop {
            if !lines.is_empty() || sealed {
                yield Ok(text(&lines, after, sealed));
            }
            if sealed {
                return;
            }
            after = lines.last().map_or(after, |line| line.seq);
            tokio::time::sleep(POLL).await;
            match ops::activities::log(&app, &proof, &activity, after).await {
                Ok(more) => (lines, sealed) = more,
                Err(_) => return,
            }
        }
    }
}

fn text(lines: &[LogLine], after: i64, sealed: bool) -> String {
    let last = lines.last().map_or(after, |line| line.seq);
    let seal = if sealed { LogItem::sealed(last).line() } else { String::new() };
    lines.iter().cloned().map(|line| LogItem::from(line).line()).chain([seal]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn line(seq: i64) -> LogLine {
        LogLine { seq, at: Timestamp::from_micros(0), message: format!("line {seq}") }
    }

    #[test]
    fn only_a_sealed_log_ends_with_the_seal() {
        let seals = |text: &str| text.lines().map(|line| line.contains("\"seal\":true")).collect::<Vec<_>>();
        assert_eq!(seals(&text(&[line(1), line(2)], 0, false)), [false, false]);
        assert_eq!(seals(&text(&[line(1), line(2)], 0, true)), [false, false, true]);
        assert_eq!(seals(&text(&[], 7, true)), [true]);
        assert_eq!(text(&[], 7, false), "");
    }
}

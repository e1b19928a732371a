//! Activities: lists, one, cancelling.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Asked, Caller, InEnvironment, InProject, OfActivity, OfEnvironmentActivity, Place};
use super::fault::Fault;
use crate::authz::{CancelActivity, ViewHistory, ViewProject};
use crate::domain::time::Timestamp;
use crate::domain::view::Feed;
use crate::ops::activities::Filter;
use crate::ops::{self, App};
use crate::wire::{Activity, Operation};

type Activities = Result<Json<Vec<Activity>>, Fault>;

pub async fn of_project(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InProject>,
    asked: Asked,
) -> Activities {
    let proof = app.authorize_project::<ViewProject>(&actor, &at.project).await?;
    let Some(filter) = filter(&asked)? else { return Ok(Json(Vec::new())) };
    let feed = ops::activities::project_feed(&app, &proof, filter).await?;
    Ok(Json(entries(feed)))
}

pub async fn of_environment(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    asked: Asked,
) -> Activities {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let Some(filter) = filter(&asked)? else { return Ok(Json(Vec::new())) };
    let feed = ops::activities::feed(&app, &proof, filter).await?;
    Ok(Json(entries(feed)))
}

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfActivity>,
) -> Result<Json<Activity>, Fault> {
    let proof = app.authorize_activity::<ViewHistory>(&actor, &at.project, &at.activity).await?;
    let page = ops::activities::page(&app, &proof, &at.activity).await?;
    Ok(Json(page.into()))
}

pub async fn get_of_environment(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfEnvironmentActivity>,
) -> Result<Json<Activity>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    let page = ops::activities::page(&app, &proof, &at.activity).await?;
    Ok(Json(page.into()))
}

pub async fn cancel(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<OfActivity>,
) -> Result<(StatusCode, Json<Operation>), Fault> {
    let proof = app.authorize_activity::<CancelActivity>(&actor, &at.project, &at.activity).await?;
    let entry = ops::activities::cancel(&app, proof, &at.activity).await?;
    Ok((StatusCode::ACCEPTED, Json(entry.into())))
}

fn entries(feed: Feed) -> Vec<Activity> {
    feed.entries.into_iter().map(Activity::from).collect()
}

/// `None`: nothing can match, because only words were asked for that U has and we don't (`environment.push`).
fn filter(asked: &Asked) -> Result<Option<Filter>, Fault> {
    let (Some(kinds), Some(states), Some(results)) =
        (known(asked, "type"), known(asked, "state"), known(asked, "result"))
    else {
        return Ok(None);
    };
    let starts_at = asked.last("starts_at").map(instant).transpose()?;
    let count =
        asked.last("count").map(|text| text.parse().map_err(|_| not_a("count", text, "a number"))).transpose()?;
    let result = results.first().copied().filter(|_| results.len() == 1);
    Ok(Some(Filter { kinds, states, result, before: None, starts_at, count }))
}

/// The known ones among the words asked for; `None` when words were asked for and none is known.
fn known<T: FromStr>(asked: &Asked, key: &'static str) -> Option<Vec<T>> {
    let words: Vec<T> = asked.all(key).filter_map(|word| word.parse().ok()).collect();
    (!words.is_empty() || asked.all(key).next().is_none()).then_some(words)
}

/// RFC 3339, or whole seconds since 1970, as existing clients send it.
pub(super) fn instant(text: &str) -> Result<Timestamp, Fault> {
    let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    match seconds {
        Some(micros) => Ok(Timestamp::from_micros(micros)),
        None => serde_json::from_value(text.into())
            .map_err(|_| not_a("starts_at", text, "an instant such as 2015-06-19T17:11:42Z; write + as %2B")),
    }
}

pub(super) fn not_a(key: &str, text: &str, expected: &str) -> Fault {
    let text: String = text.chars().take(80).collect();
    Fault::bad_request(format!("`{key}` is `{text}`, which is not {expected}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::activity::{ActivityKind, ActivityResult, ActivityState};

    fn parse(query: &str) -> Result<Option<Filter>, u16> {
        filter(&Asked::parse(query)).map_err(|fault| fault.problem().status)
    }

    #[test]
    fn a_query_becomes_a_filter() {
        let query = "type=environment.backup&type=environment.restore&state=pending&state=in_progress&result=failure\
                     &starts_at=2015-06-19T19:11:42%2B02:00&count=5";
        let filter = parse(query).expect("a valid query").expect("something can match");
        assert_eq!(filter.kinds, [ActivityKind::Backup, ActivityKind::Restore]);
        assert_eq!(filter.states, [ActivityState::Pending, ActivityState::InProgress]);
        assert_eq!(filter.result, Some(ActivityResult::Failure));
        assert_eq!(filter.starts_at.map(Timestamp::table).as_deref(), Some("2015-06-19 17:11:42"));
        assert_eq!(filter.count, Some(5));
    }

    #[test]
    fn words_that_only_the_hosted_product_has_match_nothing() {
        assert!(matches!(parse("type=environment.push"), Ok(None)));
        assert!(matches!(parse("state=staged"), Ok(None)));
        let some = parse("type=environment.push&type=environment.backup").expect("valid").expect("can match");
        assert_eq!(some.kinds, [ActivityKind::Backup]);
    }

    #[test]
    fn what_is_no_instant_or_number_is_a_bad_request() {
        for query in ["starts_at=yesterday", "count=many", "count=-1", "starts_at=2015-13-01T00:00:00Z"] {
            assert!(matches!(parse(query), Err(400)), "{query}");
        }
        let seconds = parse("starts_at=1434733902").expect("valid").expect("can match");
        assert_eq!(seconds.starts_at.map(Timestamp::table).as_deref(), Some("2015-06-19 17:11:42"));
    }
}

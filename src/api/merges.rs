//! Merging an environment into its parent.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, InEnvironment, Json, Place};
use super::fault::Fault;
use crate::ops::App;
use crate::ops::merges::{self, Merge};
use crate::wire::{self, MergeRequest, Operation};

pub async fn preview(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<wire::Merge>, Fault> {
    let merge = Merge::authorize(&app, &actor, &at.project, &at.environment).await?;
    Ok(Reply(merges::preview(&app, &merge).await?.into()))
}

pub async fn merge(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    Json(body): Json<MergeRequest>,
) -> Result<(StatusCode, Reply<Operation>), Fault> {
    let merge = Merge::authorize(&app, &actor, &at.project, &at.environment).await?;
    let evict = body.evict.map(Into::into).unwrap_or_default();
    let request = merges::MergeRequest { snapshot: body.snapshot.into(), evict, shown: body.how };
    let entry = merges::create(&app, merge, request).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

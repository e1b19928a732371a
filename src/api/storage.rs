//! Declared storage.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, InEnvironment, Json, Place};
use super::fault::Fault;
use crate::authz::{ChangeStorage, ViewHistory};
use crate::ops::{App, storage};
use crate::wire::{Operation, Storage, StorageRequest};

pub async fn get(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
) -> Result<Reply<Storage>, Fault> {
    let proof = app.authorize_environment::<ViewHistory>(&actor, &at.project, &at.environment).await?;
    Ok(Reply(storage::page(&app, &proof).await?.into()))
}

pub async fn change(
    State(app): State<App>,
    Caller(actor): Caller,
    Place(at): Place<InEnvironment>,
    Json(body): Json<StorageRequest>,
) -> Result<(StatusCode, Reply<Operation>), Fault> {
    let proof = app.authorize_environment::<ChangeStorage>(&actor, &at.project, &at.environment).await?;
    let told =
        || Fault::bad_request("Give `part` and `size`, e.g. {\"part\": \"mount:uploads\", \"size\": \"20 GiB\"}.");
    let (part, size) = body.part.zip(body.size).ok_or_else(told)?;
    let evict = body.evict.map(Into::into).unwrap_or_default();
    let size = storage::size(&size.to_string())?;
    let request = storage::StorageRequest { part, size, snapshot: body.snapshot.into(), evict };
    let entry = storage::change(&app, proof, request).await?;
    Ok((StatusCode::ACCEPTED, Reply(entry.into())))
}

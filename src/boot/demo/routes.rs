//! The shop's doors.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Form, Multipart, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use image::ImageFormat;
use serde::Deserialize;

use super::shop::{Load, Shop};
use super::{Error, pages};

/// Bytes of an uploaded picture.
const LARGEST_PICTURE: usize = 5_000_000;

pub fn router(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/products/{id}", get(product))
        .route("/products/{id}/reviews", post(review))
        .route("/products/{id}/orders", post(order))
        .route("/products/{id}/pictures", post(upload))
        .route("/pictures/{file}", get(picture))
        .route("/empty", post(empty))
        .route("/load", get(newest_load).post(load))
        .route(
            "/shop.css",
            get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("shop.css"))),
        )
        .route("/healthz", get(healthz))
        .fallback(async || Failure::NotFound)
        .layer(DefaultBodyLimit::max(LARGEST_PICTURE + 10_000))
        .with_state(shop)
}

/// Why a request was not answered as asked.
enum Failure {
    NotFound,
    /// What the visitor may do better.
    Invalid(&'static str),
    Broken(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "There is nothing at this address."),
            Self::Invalid(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason),
            Self::Broken(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "The demo shop could not answer");
                (StatusCode::INTERNAL_SERVER_ERROR, "The shop can't read its data. Was it just emptied, or broken?")
            }
        };
        (status, Html(pages::failure(text))).into_response()
    }
}

/// SQLite and files block: away from the threads that serve.
async fn blocking<T: Send + 'static>(
    shop: Arc<Shop>,
    work: impl FnOnce(&Shop) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(move || work(&shop)).await?
}

async fn front(State(shop): State<Arc<Shop>>) -> Result<Html<String>, Failure> {
    let page = |shop: &Shop| {
        let (products, counts) = shop.front()?;
        Ok(pages::front(&shop.name, &products, counts))
    };
    Ok(Html(blocking(shop, page).await?))
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Html<String>, Failure> {
    let page = move |shop: &Shop| {
        let Some(shelf) = shop.shelf(id)? else { return Ok(None) };
        Ok(Some(pages::product(&shop.name, &shelf)))
    };
    blocking(shop, page).await?.map(Html).ok_or(Failure::NotFound)
}

#[derive(Deserialize)]
struct NewReview {
    author: String,
    stars: i64,
    body: String,
}

async fn review(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<i64>,
    Form(new): Form<NewReview>,
) -> Result<Redirect, Failure> {
    let (author, body) = (new.author.trim().to_owned(), new.body.trim().to_owned());
    if author.is_empty() || author.chars().count() > 80 || body.is_empty() || body.chars().count() > 2_000 {
        return Err(Failure::Invalid("A review needs a name (80 letters at most) and a text (2,000 at most)."));
    }
    if !(1..=5).contains(&new.stars) {
        return Err(Failure::Invalid("A review has one to five stars."));
    }
    let write = move |shop: &Shop| {
        let known = shop.shelf(id)?.is_some();
        if known {
            shop.review(id, &author, new.stars, &body)?;
        }
        Ok(known)
    };
    let known = blocking(shop, write).await?;
    if known { Ok(Redirect::to(&format!("/products/{id}#reviews"))) } else { Err(Failure::NotFound) }
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Html<String>, Failure> {
    let order = move |shop: &Shop| {
        let Some(order) = shop.order(id)? else { return Ok(None) };
        Ok(Some(pages::ordered(&shop.name, id, order, shop.counts()?)))
    };
    blocking(shop, order).await?.map(Html).ok_or(Failure::NotFound)
}

async fn upload(State(shop): State<Arc<Shop>>, Path(id): Path<i64>, mut form: Multipart) -> Result<Redirect, Failure> {
    const UNREADABLE: Failure = Failure::Invalid("The picture did not arrive whole, or is larger than 5 MB.");
    let mut jpeg = None;
    while let Some(field) = form.next_field().await.map_err(|_| UNREADABLE)? {
        if field.name() == Some("picture") {
            jpeg = Some(field.bytes().await.map_err(|_| UNREADABLE)?);
        }
    }
    let Some(jpeg) = jpeg.filter(|jpeg| !jpeg.is_empty()) else {
        return Err(Failure::Invalid("Choose a picture first."));
    };
    let add = move |shop: &Shop| {
        if image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).is_err() {
            return Ok(Err(Failure::Invalid("That is not a JPEG picture; the shop shows no others.")));
        }
        if shop.shelf(id)?.is_none() {
            return Ok(Err(Failure::NotFound));
        }
        shop.add_picture(id, &jpeg)?;
        Ok(Ok(Redirect::to(&format!("/products/{id}"))))
    };
    blocking(shop, add).await?
}

async fn picture(State(shop): State<Arc<Shop>>, Path(file): Path<String>) -> Result<Response, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if file.starts_with('.') || !file.ends_with(".jpg") || !file.chars().all(plain) {
        return Err(Failure::NotFound);
    }
    let content = blocking(shop, move |shop| shop.picture(&file)).await?.ok_or(Failure::NotFound)?;
    // After a restore the same name may hold another picture.
    Ok(([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-cache")], content).into_response())
}

async fn empty(State(shop): State<Arc<Shop>>) -> Result<Redirect, Failure> {
    blocking(shop, Shop::empty).await?;
    Ok(Redirect::to("/"))
}

async fn load(State(shop): State<Arc<Shop>>) -> Result<Json<Load>, Failure> {
    Ok(Json(blocking(shop, Shop::load).await?))
}

async fn newest_load(State(shop): State<Arc<Shop>>) -> Result<Json<Load>, Failure> {
    Ok(Json(blocking(shop, Shop::newest_load).await?))
}

async fn healthz(State(shop): State<Arc<Shop>>) -> Result<&'static str, Failure> {
    blocking(shop, Shop::counts).await?;
    Ok("ok\n")
}

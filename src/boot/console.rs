//! The console and the API on one address.

use std::net::SocketAddr;

use anyhow::Result;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use leptos::prelude::LeptosOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;

use super::sessions::{self, Cookies};
use super::{assets, config::Options, origin};
use crate::app::Assets;
use crate::ops::App;
use crate::store::Store;
use crate::{api, app};

/// No form of ours is larger.
const LARGEST_BODY: usize = 64 * 1024;

/// All that answers at the console's address.
pub fn router(app: &App, store: Store, options: &Options, stop: CancellationToken) -> axum::Router {
    let public_https = options.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    let cookies = if public_https || !options.listen.ip().is_loopback() { Cookies::Secure } else { Cookies::Plain };
    let site = assets::site();
    if site.files.is_empty() {
        tracing::warn!(
            "this program was built without the console's styles and scripts: build it with `cargo xtask build`"
        );
    }
    let bundle = Assets {
        options: LeptosOptions::builder()
            .output_name(site.output_name.as_str())
            .site_root(".")
            .site_pkg_dir("pkg")
            .site_addr(options.listen)
            .hash_files(false)
            .build(),
        stylesheet: site.href("stillpoint.css").unwrap_or_else(|| "/pkg/stillpoint.css".to_owned()),
    };
    axum::Router::new()
        .merge(app::router(app.clone(), bundle, stop).layer(sessions::layer(store, cookies)))
        .merge(assets::router())
        .nest("/api", api::router(app.clone()))
        .layer(from_fn_with_state(options.proxies(), origin::find))
        .route("/healthz", get(health).with_state(app.clone()))
        .layer(RequestBodyLimitLayer::new(LARGEST_BODY))
}

/// Serves until `stop`; then ends open connections soon.
///
/// # Errors
/// When serving fails.
pub async fn serve(router: axum::Router, listener: TcpListener, stop: CancellationToken) -> Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?)
}

async fn health(State(app): State<App>) -> Response {
    match app.ready().await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
        }
    }
}

//! The browser door's routes.

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::LOCATION;
use leptos::prelude::{LeptosOptions, provide_context};
use leptos::server_fn::redirect::REDIRECT_HEADER;
use leptos_axum::{LeptosRoutes, generate_route_list, render_app_async_with_context};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use super::once::Once;
use super::{Assets, downloads, events, evidence, forms, security, shell};
use crate::ops;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Console {
    pub app: ops::App,
    pub assets: Assets,
    pub shutdown: CancellationToken,
    once: Once,
}

impl FromRef<Console> for LeptosOptions {
    fn from_ref(console: &Console) -> Self {
        console.assets.options.clone()
    }
}

impl Console {
    /// Gives pages and server functions what they find by `use_context`.
    pub fn provide(&self) {
        provide_context(self.app.clone());
        provide_context(self.assets.clone());
        provide_context(self.once.clone());
    }
}

/// Pages, actions, live streams and downloads. The caller adds the session layer (outside), the API and the assets; event streams
/// end when `shutdown` is cancelled.
pub fn router(app: ops::App, assets: Assets, shutdown: CancellationToken) -> Router {
    let console = Console { app, assets, shutdown, once: Once::default() };
    Router::new()
        .leptos_routes_with_handler(generate_route_list(shell::Console), page)
        .route("/actions/{name}", post(forms::answer))
        .route("/projects/{project}/environments/{environment}/feed/events", get(events::environment))
        .route("/projects/{project}/activities/{activity}/events", get(events::activity))
        .route("/projects/{project}/activities/{activity}/report", get(downloads::report))
        .route("/projects/{project}/environments/{environment}/services/{service}/dump", get(downloads::dump))
        .route(
            "/projects/{project}/environments/{environment}/snapshots/{snapshot}/services/{service}/dump",
            get(downloads::dump),
        )
        .route("/projects/{project}/audit/export", get(downloads::audit))
        .route("/audit/export", get(downloads::audit))
        .route("/projects/{project}/tickets/{ticket}/evidence.json", get(evidence::json))
        .fallback(page)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::from_fn(security::same_origin))
        .layer(axum::middleware::from_fn(security::headers))
        .with_state(console)
}

/// Renders the page whole before its first byte: its status and where it leads are known only then.
async fn page(State(console): State<Console>, request: Request) -> Response {
    let provided = console.clone();
    let render = render_app_async_with_context(move || provided.provide(), move || shell::document(&console.assets));
    let mut response = render(request).await;
    // Leptos leaves a redirect's status to its own client where the request does not ask for a page by name.
    response.headers_mut().remove(REDIRECT_HEADER);
    if response.headers().contains_key(LOCATION) {
        *response.status_mut() = StatusCode::SEE_OTHER;
    }
    response
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a page panicked");
    let text = "Something went wrong on the server. Load the page again; if it stays so, tell the operator when it \
                happened: the server's log says more.";
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}

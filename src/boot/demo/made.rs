//! Shops of environments that were made of snapshots: one listener for all, which tells them by their host names.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;

use super::routes;
use super::shop::Shop;
use crate::domain::ids::EnvironmentName;

/// `folder` has a folder for each, as docs/provisioning.md says what lies where.
pub fn router(folder: PathBuf) -> Router {
    let made = Arc::new(Made { folder, shops: Mutex::default() });
    Router::new().fallback(move |request| answer(Arc::clone(&made), request))
}

struct Made {
    folder: PathBuf,
    /// Those that somebody visited.
    shops: Mutex<HashMap<EnvironmentName, Router>>,
}

async fn answer(made: Arc<Made>, request: Request) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.split('.').next().and_then(|name| EnvironmentName::parse(name).ok());
    let shop = match name {
        Some(name) => tokio::task::spawn_blocking(move || made.shop(name)).await.ok().flatten(),
        None => None,
    };
    match shop {
        // A router never fails.
        Some(shop) => shop.oneshot(request).await.into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such shop.").into_response(),
    }
}

impl Made {
    /// Blocks.
    fn shop(&self, name: EnvironmentName) -> Option<Router> {
        let folder = self.folder.join(name.as_str());
        let mut shops = self.shops.lock().unwrap_or_else(PoisonError::into_inner);
        if !folder.is_dir() {
            shops.remove(&name);
            return None;
        }
        if let Some(shop) = shops.get(&name) {
            return Some(shop.clone());
        }
        let shop = Shop::open(name.as_str(), &folder, "database.db").ok()?;
        Some(shops.entry(name).or_insert(routes::router(Arc::new(shop))).clone())
    }
}

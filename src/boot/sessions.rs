//! Browser sessions in our own database.

use async_trait::async_trait;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions::{Expiry, SessionManagerLayer, SessionStore};

use crate::app::visit_keys::{FROM, SINCE, USER};
use crate::domain::Timestamp;
use crate::store::{Store, sessions};

/// Without a request for this long, a person logs in again.
const IDLE: Duration = Duration::days(14);

#[derive(Debug, Clone)]
pub struct Sessions(pub Store);

/// `HttpOnly`, `SameSite=Lax`, and `Secure` unless people come by plain HTTP on the loopback address.
pub fn layer(store: Store, secure: Cookies) -> SessionManagerLayer<Sessions> {
    let layer = SessionManagerLayer::new(Sessions(store))
        .with_name("stillpoint")
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_expiry(Expiry::OnInactivity(IDLE));
    layer.with_secure(secure == Cookies::Secure)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookies {
    Secure,
    Plain,
}

fn expiry(record: &Record) -> Timestamp {
    let micros = record.expiry_date.unix_timestamp_nanos() / 1_000;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

fn backend(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

/// As it is stored: with whose it is beside, so that a person can end all of theirs.
fn encode(record: &Record) -> Result<sessions::Record> {
    let text = |key: &str| record.data.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let since = record.data.get(SINCE).and_then(|value| value.as_i64()).map(Timestamp::from_micros);
    Ok(sessions::Record {
        id: record.id.to_string(),
        data: serde_json::to_string(record).map_err(|error| Error::Encode(error.to_string()))?,
        expires_at: expiry(record),
        owner: sessions::Owner { user: text(USER), since, address: text(FROM) },
    })
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        loop {
            let mut tx = self.0.write().await.map_err(backend)?;
            if sessions::create(&mut tx, &encode(record)?).await.map_err(backend)? {
                return tx.commit().await.map_err(backend);
            }
            record.id = Id::default();
        }
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let mut tx = self.0.write().await.map_err(backend)?;
        sessions::save(&mut tx, &encode(record)?).await.map_err(backend)?;
        tx.commit().await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let mut db = self.0.read().await.map_err(backend)?;
        let found = sessions::load(&mut db, &id.to_string(), Timestamp::now()).await.map_err(backend)?;
        found.map(|data| serde_json::from_str(&data).map_err(|error| Error::Decode(error.to_string()))).transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let mut tx = self.0.write().await.map_err(backend)?;
        sessions::delete(&mut tx, &id.to_string()).await.map_err(backend)?;
        tx.commit().await.map_err(backend)
    }
}

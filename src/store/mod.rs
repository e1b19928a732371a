//! The only SQL: a file per noun, one text for SQLite and PostgreSQL.
//!
//! **Invariant:** functions take a connection or a transaction and never begin or commit one, so that an operation can
//! change rows and enqueue its job in a single transaction.

pub mod activities;
pub mod audit;
pub mod clock;
mod dialect;
pub mod drills;
pub mod environments;
mod error;
pub mod events;
pub mod gateways;
pub mod invitations;
pub mod leases;
pub mod logs;
pub mod members;
pub mod notices;
pub mod pauses;
pub mod plans;
pub mod projects;
pub mod regions;
pub mod relocations;
pub mod reseal;
pub mod resets;
pub mod retention;
mod row;
pub mod schedules;
pub mod seal;
pub mod sessions;
pub mod settings;
pub mod snapshots;
mod sql;
pub mod swaps;
pub mod tickets;
pub mod tokens;
pub mod users;
mod wake;
pub mod work;

use std::sync::Arc;

pub use dialect::Dialect;
pub use error::Error;
pub use seal::Sealer;
use sqlx::Connection as _;
use sqlx::any::AnyPoolOptions;

/// A connection, inside a transaction or not.
pub type Db = sqlx::AnyConnection;
/// A transaction that writes; rolls back when dropped.
pub type Tx = sqlx::Transaction<'static, sqlx::Any>;

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: sqlx::AnyPool,
    dialect: Dialect,
    sealer: Arc<Sealer>,
    wake: wake::Wake,
}

const CONNECTIONS: u32 = 8;

impl Store {
    /// Connects to `sqlite:PATH` or `postgres://…` and applies the migrations that are missing.
    ///
    /// # Errors
    /// When the address is of no known kind, the server can't be reached, or a migration fails.
    pub async fn open(url: &str, sealer: Sealer) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .after_connect(move |connection, _| Box::pin(dialect.prepare(connection)))
            // SQLite takes a transaction back by itself when the disk is full; sqlx goes on counting it, and would begin
            // no other on that connection.
            .before_acquire(|connection, _| {
                let is_usable = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_usable) })
            })
            .connect(&dialect.address(url))
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        plans::renew(&mut *pool.acquire().await?).await?;
        let wake = wake::Wake::new();
        if dialect == Dialect::Postgres {
            wake.listen(url).await?;
        }
        Ok(Self { pool, dialect, sealer: Arc::new(sealer), wake })
    }

    /// A connection for reading.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn read(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Any>, Error> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction for writing; on SQLite it holds the write lock from its first moment, so that it can't fail half
    /// way because another one was faster.
    ///
    /// # Errors
    /// When none can be begun.
    pub async fn write(&self) -> Result<Tx, Error> {
        Ok(self.pool.begin_with(self.dialect.begin()).await?)
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Commits, and wakes whoever waits for events or for work.
    ///
    /// # Errors
    /// When the commit fails: nothing was changed.
    pub async fn commit(&self, mut tx: Tx) -> Result<(), Error> {
        self.dialect.notify(&mut tx).await?;
        tx.commit().await?;
        self.wake.all();
        Ok(())
    }

    /// Resolves at the next commit by anybody, or after a short while: then look again.
    pub async fn changed(&self, since: &mut WakeMark) {
        self.wake.changed(since).await;
    }

    /// Take it *before* looking, so that no change is missed between looking and waiting.
    pub fn mark(&self) -> WakeMark {
        self.wake.mark()
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

pub use wake::WakeMark;

/// 20 random hexadecimal digits, for ids and snapshot names (R19).
pub fn random_id() -> String {
    hex::encode(rand::random::<[u8; 10]>())
}

//! The PostgreSQL server that all tests of the suite share.

use std::sync::LazyLock;

use sqlx::{Connection as _, PgConnection};

use super::server::Server;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// A database of its own for one test.
pub async fn fresh_database() -> String {
    let port = tokio::task::spawn_blocking(|| SERVER.port).await.expect("the server starts");
    let name = format!("test_{}", stillpoint::store::random_id());
    let base = format!("postgres://postgres@127.0.0.1:{port}");
    let mut admin = PgConnection::connect(&format!("{base}/postgres")).await.expect("the server answers");
    let create = format!("CREATE DATABASE {name}");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("a new database");
    format!("{base}/{name}")
}

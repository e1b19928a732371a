//! The demo project: a small shop with a database and pictures, in three environments, to snapshot, change and restore.
//!
//! Each environment is its own web site on its own loopback port, with its state in `<data>/demo/<name>/`. Its data is
//! made once, always the same, and from then on is the visitors'.
//!
//! **Invariant:** the shop knows nothing of Stillpoint. Between two requests it holds no lock, no transaction and no
//! open file of `uploads`, so that both can be exchanged beneath it while it runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod catalog;
mod made;
mod pages;
mod picture;
mod routes;
mod seed;
mod shop;
#[cfg(test)]
mod tests;

use seed::Stock;
use shop::Shop;

/// The running demo. Dropping it stops its sites; `stop` also waits for them.
#[derive(Debug)]
pub struct Demo {
    pub sites: Vec<DemoSite>,
    /// Environments that are made of snapshots lie here, and all their shops answer there.
    pub made: (PathBuf, SocketAddr),
    stopping: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Clone)]
pub struct DemoSite {
    /// The environment's name: `main`, `staging` or `develop`.
    pub name: &'static str,
    pub address: SocketAddr,
    /// A SQLite database in WAL mode.
    pub database: PathBuf,
    /// The folder of pictures, a mount.
    pub uploads: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the demo shop could not use {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the demo shop found no free port on the loopback address")]
    Listen(#[source] io::Error),
    #[error("the demo shop's database refused")]
    Database(#[from] rusqlite::Error),
    #[error("the demo shop could not draw its pictures")]
    Picture(#[source] Arc<image::ImageError>),
    #[error("the demo shop was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Makes what is missing below `<data>/demo` and serves the three sites.
pub async fn start(data: &Path) -> Result<Demo, Error> {
    let root = data.join("demo");
    let folder = root.join("environments");
    std::fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
    let listener = listen(&root.join("environments.address")).await?;
    let made = (folder.clone(), listener.local_addr().map_err(Error::Listen)?);
    let mut demo = Demo { sites: Vec::new(), made, stopping: CancellationToken::new(), tasks: TaskTracker::new() };
    demo.serve("environments", listener, made::router(folder));
    for stock in Stock::ALL {
        let folder = root.join(stock.name);
        let made = folder.clone();
        tokio::task::spawn_blocking(move || seed::create(&made, &stock)).await??;

        let shop = Arc::new(Shop::open(stock.name, &folder, "shop.db")?);
        let listener = listen(&folder.join("address")).await?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        demo.sites.push(DemoSite {
            name: stock.name,
            address,
            database: shop.database.clone(),
            uploads: shop.uploads.clone(),
        });
        demo.serve(stock.name, listener, routes::router(shop));
    }
    demo.tasks.close();
    Ok(demo)
}

impl Demo {
    fn serve(&self, name: &'static str, listener: TcpListener, router: axum::Router) {
        let serving = axum::serve(listener, router).with_graceful_shutdown(self.stopping.clone().cancelled_owned());
        self.tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(demo.site = name, %error, "A demo site stopped serving");
            }
        });
    }

    /// Stops taking requests and waits for those that are under way.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// The port of last time if it is still free, so that a route to the site outlives a restart.
async fn listen(remembered: &Path) -> Result<TcpListener, Error> {
    let io_error = |source| Error::Io { path: remembered.to_path_buf(), source };
    let last = std::fs::read_to_string(remembered).ok().and_then(|text| text.trim().parse::<SocketAddr>().ok());
    if let Some(last) = last.filter(|last| last.ip().is_loopback())
        && let Ok(listener) = TcpListener::bind(last).await
    {
        return Ok(listener);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::Listen)?;
    let address = listener.local_addr().map_err(Error::Listen)?;
    std::fs::write(remembered, format!("{address}\n")).map_err(io_error)?;
    Ok(listener)
}

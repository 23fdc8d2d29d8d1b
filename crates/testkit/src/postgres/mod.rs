//! A hermetic PostgreSQL: own folder, socket and port, gone when dropped, and databases made in milliseconds.
//!
//! `binaries` finds an installation, `template` keeps an initialised folder to copy, `server` runs one, `database`
//! makes databases in it. Tests of one binary use [`shared`]; a test that kills or reconfigures starts its own.

mod binaries;
mod template;
pub mod tls;
mod server;
mod database;

pub use binaries::Binaries;
pub use database::{Database, connect, notifications};
pub use server::{Auth, Options, Server, Tls};

use tokio::sync::OnceCell;

/// The server that all tests of this process share. It cannot be stopped; it ends with the process.
pub async fn shared() -> &'static Server {
    static SHARED: OnceCell<Server> = OnceCell::const_new();
    let start = || async {
        Server::start(Options::default())
            .await
            .expect("a PostgreSQL server can be started")
    };
    SHARED.get_or_init(start).await
}

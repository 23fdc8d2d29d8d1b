//! The scenarios, each one question with its floor.

mod slices;
pub(crate) mod fanout;
pub(crate) mod publish;
pub(crate) mod socketio;
pub(crate) mod latency;
pub(crate) mod redis;
pub(crate) mod memory;
pub(crate) mod writers;
pub(crate) mod wal;
pub(crate) mod slot;
pub(crate) mod decrypt;
pub(crate) mod drain;
pub(crate) mod log;
pub(crate) mod hostile;

use pregon_testkit::{Server, postgres::Options};

/// How thorough to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// One short pass, for a look; its figures are not kept.
    pub(crate) quick: bool,
    /// Passes of which the median is taken.
    pub(crate) passes: usize,
}

/// What drives the test kit's servers.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// A server that really writes, as an application's does.
async fn postgres_with_fsync() -> anyhow::Result<Server> {
    let options = Options {
        fsync: true,
        ..Options::default()
    };
    Server::start(options).await
}

/// Our configuration for a watch of `public.bench`, captured this way, whose changes go to the channel of that name.
fn watch(url: &str, capture: &str) -> String {
    format!(
        "[postgres]\nurl = \"{url}\"\napply = \"auto\"\ncapture = \"{capture}\"\n\n[[watch]]\ntable = \"public.bench\"\n"
    )
}

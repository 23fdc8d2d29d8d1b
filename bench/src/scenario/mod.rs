//! The scenarios, each one question with its floor.

pub(crate) mod fanout;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod writers;
pub(crate) mod wal;
pub(crate) mod decrypt;

use pregon_testkit::{Server, postgres::Options};

/// How thorough to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// One short pass, for a look; its figures are not kept.
    pub(crate) quick: bool,
    /// Passes of which the median is taken.
    pub(crate) passes: usize,
}

/// A server that really writes, as an application's does.
async fn postgres_with_fsync() -> anyhow::Result<Server> {
    let options = Options {
        fsync: true,
        ..Options::default()
    };
    Server::start(options).await
}

/// The same with changes from the WAL.
fn watch_wal(url: &str) -> String {
    watch(url).replace("[postgres]\n", "[postgres]\ncapture = \"wal\"\n")
}

/// Our configuration for a watch of `public.bench`, whose changes go to the channel of that name.
fn watch(url: &str) -> String {
    format!("[postgres]\nurl = \"{url}\"\napply = \"auto\"\n\n[[watch]]\ntable = \"public.bench\"\n")
}

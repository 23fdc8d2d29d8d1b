//! Listening: one dedicated connection whose reader never stops reading.
//!
//! ```text
//!  socket ──▶ reader ──(common case, same task)──────────────▶ sink
//!               └──▶ slow lane (big rows are read by key) ──▶ sink      order is kept: while the lane holds anything,
//!                                                                        everything goes through it
//! ```
//!
//! A NOTIFY queue that is not drained makes the *application's* commits fail, so a full sink never holds up the reader: items
//! are dropped, counted, and announced by one [`Captured::Overflow`]. [`Listener::run`] owns the connection, the heartbeat and
//! the lane; all of them end with it. Every loss of the connection is announced once, before anything that follows it.

mod heartbeat;
pub(crate) mod lane;
mod outlet;
mod prove;
mod reader;
mod supervisor;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::change::Change;
use crate::connect::Settings;
use crate::decode::Watches;
pub use crate::decode::{CHANNEL, WatchTable};
use crate::fault::Fault;
pub use prove::{ProveError, prove};

/// NAMEDATALEN - 1. `LISTEN` cuts longer names silently, `pg_notify` refuses them.
const MAX_CHANNEL_BYTES: usize = 63;

/// What to listen to. Start from [`ListenOptions::new`].
#[derive(Debug, Clone)]
pub struct ListenOptions {
    pub settings: Settings,
    /// Channels that existing triggers notify, spelled exactly as their `NOTIFY` spells them (unquoted names in SQL are lower
    /// case).
    pub channels: Vec<String>,
    /// Watches by name; their payloads come on pregón's own channel.
    pub watches: HashMap<String, WatchTable>,
    /// Also take what `pregon.publish` sends; it shares the channel with the watches.
    pub publish: bool,
    /// Time between two round trips through the database.
    pub heartbeat: Duration,
    /// Name of this node, for the heartbeat's channel and `pg_stat_activity`.
    pub node: String,
    /// Room in the slow lane. The common case is bounded by the sink.
    pub queue: usize,
    /// Connections that read big rows.
    pub fetchers: usize,
}

impl ListenOptions {
    /// Nothing to listen to yet, the heartbeat every 5 s.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            channels: Vec::new(),
            watches: HashMap::new(),
            publish: false,
            heartbeat: Duration::from_secs(5),
            node: "node".to_owned(),
            // A big row holds up what follows it for about a millisecond; this is half a second at 20,000 a second.
            queue: 10_000,
            fetchers: 2,
        }
    }
}

/// What the listener tells, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    /// LISTEN is committed and a round trip proved that notifications arrive. `pid` is the backend's.
    Attached { pid: i32 },
    /// A row of a watch changed.
    Change(Change),
    /// Somebody called `pregon.publish`.
    Published {
        channel: String,
        event: String,
        data: Bytes,
        seq: u64,
        at: Option<SystemTime>,
    },
    /// A notification on one of the configured channels. `seq` counts them in this process; `at` is when it was received.
    Notification {
        channel: Arc<str>,
        payload: Bytes,
        seq: u64,
        at: SystemTime,
    },
    /// A change of this watch cannot be shown: the trigger failed on the row, or reading it failed. Clients of the watch
    /// missed something.
    RenderError { watch: Arc<str>, fault: Fault },
    /// The connection is gone: what follows may have missed something. Said once, until [`Captured::Attached`] comes again.
    Lost { reason: String },
    /// The consumer was too slow, or stored payloads had gone: this many items were dropped here.
    Overflow { dropped: u64 },
}

/// A wrong list of channels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    #[error(
        "the channel name {0:?} has more than 63 bytes: PostgreSQL would cut it and nothing would arrive"
    )]
    TooLong(String),
    #[error("a channel name is empty or has a zero byte")]
    Empty,
}

/// Listens until it is stopped.
#[derive(Debug)]
pub struct Listener {
    settings: Settings,
    channels: Vec<Arc<str>>,
    watches: Arc<Watches>,
    own: bool,
    heartbeat: Duration,
    heartbeat_channel: String,
    queue: usize,
    fetchers: usize,
    sink: mpsc::Sender<Captured>,
}

impl Listener {
    /// Checks the names; connects only when run. A full `sink` loses items (and says so) instead of holding up the database,
    /// so give it room for a burst.
    pub fn new(options: ListenOptions, sink: mpsc::Sender<Captured>) -> Result<Self, ListenError> {
        for channel in &options.channels {
            if channel.is_empty() || channel.contains('\0') {
                return Err(ListenError::Empty);
            }
            if channel.len() > MAX_CHANNEL_BYTES {
                return Err(ListenError::TooLong(channel.clone()));
            }
        }
        let watches = options
            .watches
            .into_iter()
            .map(|(name, table)| (Arc::from(name), table))
            .collect::<Watches>();
        let own = options.publish || !watches.is_empty();
        Ok(Self {
            settings: options.settings.with_name(&format!("{}/listen", options.node)),
            channels: options
                .channels
                .iter()
                .map(|channel| Arc::from(channel.as_str()))
                .collect(),
            watches: Arc::new(watches),
            own,
            heartbeat: options.heartbeat,
            heartbeat_channel: heartbeat::channel_name(&options.node),
            queue: options.queue.max(1),
            fetchers: options.fetchers.max(1),
            sink,
        })
    }

    /// Listens, reconnecting for ever, until the token is cancelled or the sink's receiver is dropped.
    pub async fn run(self, stop: CancellationToken) {
        supervisor::run(self, stop).await;
    }
}

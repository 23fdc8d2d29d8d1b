//! Hands log entries to the sessions that follow their channels.
//!
//! One shard per core: a thread that alone owns its sockets, sessions and subscriptions, without locks. Shards read new
//! entries from the log's window (whose push wakes them), encode each once per codec, join what one channel gets in a
//! batch, and write it straight to the sockets. A session whose socket blocks keeps a cursor into the window, no copies.
//!
//! Lifecycle: [`Hub::start`] spawns the threads; connections come in through [`Hub::adopt`]; [`Hub::drain`] closes sessions
//! spread over a time; [`Hub::join`] returns when every shard has let its last session go. Shards stop before the runtime
//! that answers their questions.

pub mod channels;
pub mod socket;
pub mod encoded;
pub mod timers;
pub mod conn;
mod shard;
mod fanout;
mod backlog;
mod incoming;
mod lifecycle;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::auth::Claims;
use crate::desk::Desk;
use crate::limits::Permit;
use crate::log::Window;
use crate::metrics::Metrics;
use crate::route::grant::Rights;
use crate::session::command::Answer;
use crate::session::replay::From;
pub use encoded::{Codec, Variant};

/// A connection of a shard; the generation tells a place's tenants apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub index: u32,
    pub generation: u32,
}

/// Limits and times of sessions.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message of a client, bytes, after inflating.
    pub message: usize,
    pub subscriptions: usize,
    /// Bytes that a session may be behind before it is closed with "reconnect and resume".
    pub queue: usize,
    pub publishes_per_second: u32,
    /// Time between heartbeats.
    pub ping: Duration,
    /// Time that a client has to answer one; at most `ping`.
    pub pong: Duration,
    /// Time for a first-message token.
    pub auth: Duration,
}

/// A connection whose request was answered, ready for a shard.
pub struct Newcomer {
    pub socket: socket::ShardSocket,
    pub variant: Variant,
    pub claims: Claims,
    /// Channels that the session follows from the start.
    pub channels: Vec<Arc<str>>,
    /// Where they begin.
    pub from: From,
    /// A first-message token must come before anything else.
    pub must_authenticate: bool,
    /// The answer to the request. The shard writes it, once the session follows its channels: whoever has the answer misses
    /// nothing that is published from then on.
    pub greeting: Vec<u8>,
    /// Bytes that came behind the request.
    pub leftover: Vec<u8>,
    pub permit: Permit,
}

/// What other threads tell a shard. Bounded by the number of connections: each has at most one of each under way.
enum Message {
    Adopt(Box<Newcomer>),
    Answer(Key, Answer),
    Drain(Duration),
    Recheck,
}

/// A shard as other threads see it.
#[derive(Clone)]
pub struct ShardHandle {
    inbox: mpsc::Sender<Message>,
    waker: Arc<mio::Waker>,
    /// A wake-up is under way: no second system call for it.
    woken: Arc<AtomicBool>,
    sessions: Arc<AtomicUsize>,
}

impl ShardHandle {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Waking fails only if the shard is gone, and then nobody is there to be told.
            let _ = self.waker.wake();
        }
    }

    fn tell(&self, message: Message) {
        // A shard that is gone has closed its sessions; what is told to it has no reader.
        if self.inbox.send(message).is_ok() {
            self.wake();
        }
    }

    /// Brings the answer to a session's question.
    pub fn answer(&self, key: Key, answer: Answer) {
        self.tell(Message::Answer(key, answer));
    }
}

/// What all shards share.
pub struct Shared {
    pub window: Arc<Window>,
    pub rights: Arc<ArcSwap<Rights>>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub desk: Arc<Desk>,
    pub shards: u32,
}

/// Runs a shard. One that panics takes the process with it: its sessions are lost, half a node would go on taking
/// newcomers for it, and a supervisor starts a whole one at once.
fn run(shard: shard::Shard) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shard.run())).is_err() {
        tracing::error!("a shard panicked: aborting, so that clients reconnect and resume");
        std::process::abort();
    }
}

/// All shards of a node.
pub struct Hub {
    shards: Vec<ShardHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Hub {
    /// Starts the shard threads.
    pub fn start(shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let mut hub = Self {
            shards: Vec::new(),
            threads: Mutex::default(),
        };
        for number in 0..shared.shards {
            let (handle, shard) = shard::Shard::new(Arc::clone(&shared))?;
            let thread = std::thread::Builder::new()
                .name(format!("shard-{number}"))
                .spawn(move || run(shard))?;
            let waking = handle.clone();
            shared.window.on_push(move || waking.wake());
            hub.shards.push(handle);
            hub.threads.lock().push(thread);
        }
        Ok(hub)
    }

    /// Gives a connection to the shard with the fewest sessions.
    pub fn adopt(&self, newcomer: Newcomer) {
        let least = self
            .shards
            .iter()
            .min_by_key(|shard| shard.sessions.load(Ordering::Relaxed));
        if let Some(shard) = least {
            // Counted here, so that a burst of newcomers spreads.
            shard.sessions.fetch_add(1, Ordering::Relaxed);
            shard.tell(Message::Adopt(Box::new(newcomer)));
        }
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.sessions.load(Ordering::Relaxed))
            .sum()
    }

    /// Closes all sessions, spread over `over` so that they do not all come back at once; then the shards end.
    pub fn drain(&self, over: Duration) {
        for shard in &self.shards {
            shard.tell(Message::Drain(over));
        }
    }

    /// Holds every session's channels against the present rights.
    pub fn recheck(&self) {
        for shard in &self.shards {
            shard.tell(Message::Recheck);
        }
    }

    /// Waits for the threads to end; blocks.
    pub fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
    }
}

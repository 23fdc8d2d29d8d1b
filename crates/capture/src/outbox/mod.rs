//! The outbox: changes that triggers wrote into a table of ours, in the transactions of the writes, read in an order that loses, repeats
//! and inverts nothing.
//!
//! ```text
//!  attach ──(one reader: advisory lock, fencing number)──▶ Reader ──passes──▶ gate ──▶ batches ──▶ the gateway
//!                                                            ▲ bell: when to look               │
//!  clerk (a connection of its own): retention, limits, signs of life ◀── what is in the log ────┘
//! ```
//!
//! One session at a time: [`attach`] waits until no other gateway reads, [`Reader::begin`] finds the place to go on from, [`Reader::run`]
//! reads until it is stopped or the connection ends. A lost connection loses nothing: the next session begins behind what the log has.
//! A second reader, should there ever be one for a moment, gives its clients what the first gives to its own; what it may not do is move
//! the cursor or delete, and that the fencing number prevents.

mod attach;
mod bell;
mod clerk;
mod gate;
mod ledger;
mod piece;
mod reader;
mod row;
mod sound;
mod stall;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::connect::{ConnectError, Settings, chain};
use crate::fault::code_told;

pub use attach::{Begun, attach};
pub use clerk::Clerk;
pub use reader::Reader;
pub use row::Item;
pub(crate) use sound::remedy;
pub(crate) use stall::blockers;
pub use stall::{Blocker, Stall};

/// The NOTIFY channel of the bell.
const WAKE: &str = "pregon_wake";

/// Held by who reads. The bytes of "outbox".
const LOCK: i64 = 0x6f75_7462_6f78;

/// What reading needs.
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    pub settings: Settings,
    /// Names of the watches; rows of others are passed over.
    pub watches: HashSet<Arc<str>>,
    /// How long rows stay that are in the log already: another gateway may have to read them.
    pub retention: Duration,
    /// Bytes of such rows.
    pub kept: u64,
    /// Bytes of the whole outbox; beyond that the oldest rows go, read or not.
    pub most: u64,
    /// Whether rows wait until their commit is on the server's disk, also those of writers that did not wait for it.
    pub durable: bool,
    /// Whether writers may ring.
    pub doorbell: bool,
    /// Name of this node, for `pg_stat_activity`.
    pub node: String,
}

/// A place in an outbox. Those of different epochs cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Identity of the table, of the server, and of its history.
    pub epoch: u64,
    /// Everything up to this id.
    pub upto: u64,
    /// When the row of that id was written, in microseconds since 1970: the same id with another time is another row. 0 where no row has
    /// the id.
    pub at: u64,
}

/// Rows in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// With their ids.
    pub items: Vec<(u64, Item)>,
    /// The place once these are in the log; also ids that no row has.
    pub upto: u64,
    /// As in [`Place`].
    pub at: u64,
    /// What it weighs in memory, about.
    pub bytes: usize,
}

/// What a session tells about itself, beside its batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Rows in the table, about.
    pub rows: u64,
    /// Their bytes, about.
    pub bytes: u64,
    /// Age of the oldest row that was not read yet, in seconds.
    pub lag: f64,
    /// Open transactions that hold delivery back, where they do so for a while.
    pub stall: Option<Stall>,
}

/// Why a session ended or was not made.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the connection to the outbox was lost: {0}")]
    Lost(String),
    /// The message may quote values and is not shown.
    #[error("the database refuses it ({})", code_told(.code))]
    Sql { code: String, message: String },
    #[error("there is no outbox in this database: run `pregon db apply`, or set [postgres] apply = \"auto\"")]
    Missing,
    #[error("{0}")]
    Flawed(String),
    #[error("the outbox was emptied or written anew")]
    Replaced,
    #[error("the server is a standby: connect to the primary, an outbox cannot be read here")]
    Standby,
    #[error("the session changed between two statements: connect directly or through a session pooler")]
    Pooled,
    #[error("another gateway has taken over the outbox")]
    Fenced,
    #[error("no answer in {0:?}")]
    Silent(Duration),
}

impl OutboxError {
    /// As a trigger writes an error: the code and the message, which may quote values.
    pub(super) fn coded(&self) -> String {
        match self {
            Self::Sql { code, message } => format!("{code} {message}"),
            other => other.to_string(),
        }
    }

    /// Trying again soon will not help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Missing | Self::Flawed(_) | Self::Pooled | Self::Standby => true,
            Self::Sql { code, .. } => code == "42501",
            Self::Lost(_) | Self::Replaced | Self::Fenced | Self::Silent(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for OutboxError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // 57P01-57P05: the server stops, or ends this session.
            Some(db) if !db.code().code().starts_with("57P") => {
                let (code, message) = (db.code().code().to_owned(), db.message().to_owned());
                tracing::debug!(code, message, "what the database said of the outbox");
                Self::Sql { code, message }
            }
            _ => Self::Lost(chain(&error)),
        }
    }
}

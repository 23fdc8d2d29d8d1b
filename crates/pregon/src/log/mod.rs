//! The ordered history of all publications: gives positions, keeps entries, serves replay.
//!
//! A [`Log`] numbers what is appended, pushes it into its [`Window`] in that order, tells the shards, and resolves
//! the [`Receipt`] when the entries are as durable as the log makes them. Deliveries never wait for receipts. What a log keeps
//! beyond its window is its [`History`]; [`Past`] is both, as replay sees them.

pub mod position;
pub mod entry;
pub mod found;
pub mod window;
pub mod past;
pub mod ledger;
pub mod memory;
pub mod disk;
pub mod shared;
pub mod volatile;
#[cfg(test)]
pub mod contract;

use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

pub use entry::{Body, Entry, Gap};
pub use past::{History, Past};
pub use position::{Epoch, Position, Since};
pub use volatile::{Told, Volatile};
pub use window::Window;

use crate::event::Publication;

/// One thing to append.
#[derive(Debug, Clone)]
pub enum Append {
    Publication(Publication),
    Gap(Gap),
}

impl Append {
    /// The identity by which it is appended once.
    pub fn id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Publication(publication) => publication.id.0.as_ref(),
            Self::Gap(_) => None,
        }
    }

    /// Decrypts what is sealed, as entries of the window are.
    pub fn open(&mut self, opener: &dyn Open) {
        if let Self::Publication(publication) = self
            && !publication.sealed.is_empty()
        {
            opener.open(publication);
        }
    }
}

/// How far a source was when a batch was made. The log keeps it with the batch, as one: a source that begins again after
/// [`Log::taken`] repeats nothing and leaves nothing out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The source, of its own name among those of a log.
    pub source: Arc<str>,
    /// Identity of the source's own history (an outbox table, a slot): places of different ones cannot be compared.
    pub epoch: u64,
    /// The place in that history up to which everything is in the log, the batch included; compared in order.
    pub upto: (u64, u64),
}

impl Taken {
    /// Whether everything that `self` speaks of was in the log already when it was at `known`.
    pub fn is_repeated(&self, known: &Self) -> bool {
        self.epoch == known.epoch && self.upto <= known.upto
    }
}

/// Decrypts what a publication carries sealed. Logs keep publications as they come, and call this where entries enter the window.
pub trait Open: Send + Sync + 'static {
    /// Opens all sealed fields; what cannot be opened becomes null. Called only where there are some.
    fn open(&self, publication: &mut Publication);
}

/// Why the log did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log is closed")]
    Closed,
    /// The log was further already: somebody else reads the same source.
    #[error("the log has already taken this from {source_name}: another reader is at work")]
    Repeated { source_name: Arc<str> },
    /// An earlier batch of the source was not kept; it has to come again first.
    #[error("the log waits for a batch of {source_name} that it could not keep")]
    Held { source_name: Arc<str> },
    /// Another node has become the reader of the source.
    #[error("another node reads {source_name} now")]
    Fenced { source_name: Arc<str> },
    /// Whether the batch is kept is not known yet.
    #[error("the log has not answered in time: whether this is kept is not known")]
    Unanswered,
    /// Nothing of the batch is kept. The log goes on by itself when it can be written again.
    #[error("the log cannot be written: {0}")]
    Unwritable(Arc<std::io::Error>),
    /// More waits to be written than is good for the memory.
    #[error("the log is written too slowly: too much waits for the disk")]
    Full,
    #[error("a publication is larger than a log can keep")]
    TooLarge,
    /// What was written may not be on the disk, and cannot be brought there any more.
    #[error("the log could not be made durable, restart the node: {0}")]
    Unsynced(Arc<std::io::Error>),
}

impl LogError {
    /// Whether the same batch may be taken later by this same log.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unwritable(_) | Self::Full | Self::Held { .. })
    }
}

/// The promise that a batch is in the log: resolves to one position for each item, in order.
#[must_use = "dropping a receipt forgets whether the log has the batch"]
pub struct Receipt {
    inner: Inner,
    /// Positions of items that were not appended, with their places among the others, rising.
    beside: Vec<(usize, Position)>,
}

enum Inner {
    Ready(Result<Vec<Position>, LogError>),
    Later {
        written: oneshot::Receiver<Result<Vec<Position>, LogError>>,
        durable: oneshot::Receiver<Result<(), LogError>>,
    },
    Shared {
        answer: oneshot::Receiver<Result<Vec<Position>, LogError>>,
        until: Instant,
    },
}

impl Receipt {
    pub fn ready(outcome: Result<Vec<Position>, LogError>) -> Self {
        Self::of(Inner::Ready(outcome))
    }

    /// Of a log that first writes a batch (it is delivered then) and later knows that it survives the machine.
    pub fn later(
        written: oneshot::Receiver<Result<Vec<Position>, LogError>>,
        durable: oneshot::Receiver<Result<(), LogError>>,
    ) -> Self {
        Self::of(Inner::Later { written, durable })
    }

    /// Of a log whose batches are delivered once they are durable. Whoever may ask again waits no longer than `until`.
    pub fn until(answer: oneshot::Receiver<Result<Vec<Position>, LogError>>, until: Instant) -> Self {
        Self::of(Inner::Shared { answer, until })
    }

    fn of(inner: Inner) -> Self {
        let beside = Vec::new();
        Self { inner, beside }
    }

    /// Adds the positions of items that stood among the appended ones and went another way.
    pub fn with(mut self, beside: Vec<(usize, Position)>) -> Self {
        self.beside = beside;
        self
    }

    /// Waits until the log has the batch, as durably as it can.
    pub async fn wait(self) -> Result<Vec<Position>, LogError> {
        let outcome = match self.inner {
            Inner::Ready(outcome) => outcome,
            Inner::Later { written, durable } => {
                let positions = written.await.unwrap_or(Err(LogError::Closed))?;
                let durable = durable.await.unwrap_or(Err(LogError::Closed));
                durable.map(|()| positions)
            }
            Inner::Shared { answer, until } => match tokio::time::timeout_at(until.into(), answer).await {
                Ok(answer) => answer.unwrap_or(Err(LogError::Closed)),
                Err(_) => Err(LogError::Unanswered),
            },
        };
        Ok(insert(outcome?, self.beside))
    }

    /// Waits until the batch has its positions and is on its way to clients: enough for a source that could not repeat it
    /// anyway. The machine may still lose it.
    pub async fn written(self) -> Result<Vec<Position>, LogError> {
        let outcome = match self.inner {
            Inner::Ready(outcome) => outcome,
            Inner::Later { written, .. } => written.await.unwrap_or(Err(LogError::Closed)),
            Inner::Shared { answer, .. } => answer.await.unwrap_or(Err(LogError::Closed)),
        };
        Ok(insert(outcome?, self.beside))
    }
}

fn insert(mut positions: Vec<Position>, beside: Vec<(usize, Position)>) -> Vec<Position> {
    for (place, position) in beside {
        positions.insert(place.min(positions.len()), position);
    }
    positions
}

/// An ordered, numbered history. Every implementation passes the contract suite beside this module.
pub trait Log: Send + Sync + 'static {
    /// Appends all of `batch` or nothing. A publication whose identity the log already has is not appended again: its
    /// position is the earlier one. With `taken`, the place of the source is kept in the same step, also without a batch; a place
    /// that is not after the known one is refused as [`LogError::Repeated`]. After a batch of a source that could not be kept, later ones
    /// of that source are refused as [`LogError::Held`] until the same comes again or the source asks where it was. Does not block.
    fn append(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt;

    /// How far `source` was taken, as far as this log remembers.
    fn taken(&self, source: &str) -> Option<Taken>;

    /// The same for whoever reads the source from now on: where others append to the log too, this is the last word, and what they still
    /// have of the source is refused as [`LogError::Fenced`] once something of it was appended here.
    fn lead<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Option<Taken>, LogError>> {
        ready(Ok(self.taken(source))).boxed()
    }

    /// The recent entries; its epoch is the log's and its head the newest offset.
    fn window(&self) -> &Arc<Window>;

    /// Applies retention by age; called every few seconds.
    fn prune(&self) -> Result<(), LogError>;

    /// What it keeps beyond the window, if it does.
    fn history(&self) -> Option<Arc<dyn History>> {
        None
    }

    /// Takes nothing more and makes everything durable; blocks until that is done. Called once nobody appends any more.
    fn close(&self) {}
}

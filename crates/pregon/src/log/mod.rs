//! The ordered history of all publications: gives positions, keeps entries, serves replay.
//!
//! A [`Log`] numbers what is appended, pushes it into its [`Window`] in that order (which wakes the shards), and resolves
//! the [`Receipt`] when the entries are as durable as the log makes them. Deliveries never wait for receipts.

pub mod position;
pub mod entry;
pub mod window;
pub mod memory;
pub mod volatile;
#[cfg(test)]
pub mod contract;

use std::sync::Arc;

use tokio::sync::oneshot;

pub use entry::{Body, Entry, Gap};
pub use position::{Epoch, Position, Since};
pub use volatile::Volatile;
pub use window::Window;

use crate::event::Publication;

/// One thing to append.
#[derive(Debug, Clone)]
pub enum Append {
    Publication(Publication),
    Gap(Gap),
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
    Later(oneshot::Receiver<Result<Vec<Position>, LogError>>),
}

impl Receipt {
    pub fn ready(outcome: Result<Vec<Position>, LogError>) -> Self {
        Self::of(Inner::Ready(outcome))
    }

    pub fn later(outcome: oneshot::Receiver<Result<Vec<Position>, LogError>>) -> Self {
        Self::of(Inner::Later(outcome))
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

    /// Waits until the log has the batch.
    pub async fn wait(self) -> Result<Vec<Position>, LogError> {
        let outcome = match self.inner {
            Inner::Ready(outcome) => outcome,
            Inner::Later(outcome) => outcome.await.unwrap_or(Err(LogError::Closed)),
        };
        outcome.map(|mut positions| {
            for (place, position) in self.beside {
                positions.insert(place.min(positions.len()), position);
            }
            positions
        })
    }
}

/// An ordered, numbered history. Every implementation passes the contract suite beside this module.
pub trait Log: Send + Sync + 'static {
    /// Appends all of `batch` or nothing. A publication whose identity the log already has is not appended again: its
    /// position is the earlier one. With `taken`, the place of the source is kept in the same step, also without a batch; a place
    /// that is not after the known one is refused as [`LogError::Repeated`]. Does not block.
    fn append(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt;

    /// How far `source` was taken, as far as this log remembers.
    fn taken(&self, source: &str) -> Option<Taken>;

    /// The recent entries; its epoch is the log's and its head the newest offset.
    fn window(&self) -> &Arc<Window>;

    /// Applies retention by age; called every few seconds.
    fn prune(&self) -> Result<(), LogError>;
}

//! What a shared log needs of the system that keeps it: one order of frames, each appended once, kept until it is pruned.
//!
//! An engine numbers frames by 1 from one to the next. It may be away at any moment: then nobody knows whether a frame was appended, and
//! the same frame is given again. Every engine passes the suite `contract`.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::log::position::Epoch;

/// Number of a frame.
pub type Seq = u64;

/// What an engine answers, or why it does not.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// Why an engine did not do it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Whether it was done is not known: the same may be asked again.
    #[error("{0}")]
    Away(String),
    /// Somebody else has appended for the source since.
    #[error("another node has appended for this source")]
    Fenced,
    /// The history is not that of the named epoch any more.
    #[error("the history of the log was lost")]
    History,
    /// Asking again helps only once somebody has changed something.
    #[error("{0}")]
    Refused(String),
}

/// One frame to append.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// Frames with the same are appended once.
    pub id: Arc<str>,
    pub body: Bytes,
    /// For a frame of a source.
    pub lane: Option<Lane>,
}

/// What a frame of a source brings beside its body.
#[derive(Debug, Clone)]
pub struct Lane {
    pub source: Arc<str>,
    /// The frame is appended only if this is the last one of the source; 0 if it has none.
    pub behind: Seq,
    /// Kept for the source until its next frame.
    pub place: Bytes,
}

/// The newest frame of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    pub seq: Seq,
    pub place: Vec<u8>,
}

/// Where a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Now(Seq),
    /// It was appended by an earlier call.
    Before(Seq),
}

/// A frame as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub seq: Seq,
    pub id: String,
    pub at: SystemTime,
    pub body: Vec<u8>,
}

/// What there is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub epoch: Epoch,
    /// Frames of this epoch have greater numbers.
    pub began: Seq,
    /// The oldest frame that is kept, or the next one.
    pub first: Seq,
    /// The newest frame.
    pub last: Seq,
}

/// See the module.
pub trait Engine: Send + Sync + 'static {
    /// A connection that follows what is appended. One that has failed is of no use any more.
    fn reader(&self) -> Answer<'_, Box<dyn Reader>>;

    /// Appends a frame to the history of `epoch`.
    fn append<'a>(&'a self, epoch: Epoch, fresh: &'a Fresh) -> Answer<'a, Appended>;

    /// The newest frame of a source; the last word, not that of a copy which may be behind.
    fn last_of<'a>(&'a self, source: &'a str) -> Answer<'a, Option<Last>>;

    /// Begins another epoch behind `given`, unless `epoch` has ended already.
    fn renew(&self, epoch: Epoch, given: Seq) -> Answer<'_, ()>;

    /// Removes the oldest frames: those from before `older`, and those beyond so many bytes.
    fn prune(&self, older: SystemTime, most: u64) -> Answer<'_, ()>;
}

/// See [`Engine::reader`].
pub trait Reader: Send + Sync {
    fn bounds(&self) -> Answer<'_, Bounds>;

    /// The number behind which the newest frames have about so many bytes.
    fn recent(&self, bytes: u64) -> Answer<'_, Seq>;

    /// Frames behind a number in their order: at least one if there is one, and about so many bytes.
    fn read(&self, after: Seq, bytes: u64) -> Answer<'_, Vec<Stored>>;

    /// The id of a frame, if it is kept.
    fn id_of(&self, seq: Seq) -> Answer<'_, Option<String>>;

    /// Waits until there may be something new. It may never come: whoever waits looks by itself now and then.
    fn news(&self) -> BoxFuture<'_, ()>;
}

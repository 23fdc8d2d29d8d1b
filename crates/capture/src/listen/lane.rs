//! The slow lane: reads big rows by their key and stored payloads by reference, a few at a time, and delivers in order.
//!
//! Its own task and its own small pool; it may wait as long as it likes, the reader goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::Captured;
use crate::change::{Change, Op};
use crate::decode::{Decoded, Watches, decode};
use crate::fault::Fault;
use crate::fetch;
use crate::query::{Pool, QueryError};

/// A restarting database is back within this many tries, or the connection that listens is lost and says so.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(250);

const GONE: &str =
    "the row is too big for a notification and had gone, or no longer matched, before it was read";

/// What the lane carries.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing to do, only to keep its place.
    Ready(Captured),
    /// Read the row.
    Key { change: Change, key: Bytes },
    /// Read the payload.
    Stored { id: i64 },
}

/// The lane's end: takes work, gives captured items to the sink.
pub(super) struct Lane {
    pub(super) pool: Pool,
    pub(super) watches: Arc<Watches>,
    pub(super) sink: mpsc::Sender<Captured>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) width: usize,
}

impl Lane {
    /// Runs until the reader's end is dropped.
    pub(super) async fn run(self, work: mpsc::Receiver<Work>) {
        let items =
            futures_util::stream::unfold(work, |mut work| async move { Some((work.recv().await?, work)) });
        let mut done = std::pin::pin!(items.map(|work| self.resolve(work)).buffered(self.width));
        while let Some(captured) = done.next().await {
            if let Some(captured) = captured {
                // A closed sink stops the reader, and with it the lane.
                let _ = self.sink.send(captured).await;
            }
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    async fn resolve(&self, work: Work) -> Option<Captured> {
        match work {
            Work::Ready(captured) => Some(captured),
            Work::Key { change, key } => Some(self.resolve_key(change, key).await),
            Work::Stored { id } => self.resolve_stored(id).await,
        }
    }

    async fn resolve_key(&self, mut change: Change, key: Bytes) -> Captured {
        change.fetched = true;
        let lost = |watch, fault| Captured::RenderError { watch, fault };
        let Some(table) = self.watches.get(&change.watch) else {
            return lost(change.watch, "unknown watch".into());
        };
        // Ours come by reference: an old row cannot be read again, and a key alone must not pass for a row.
        if change.op == Op::Delete {
            return lost(change.watch, "a deleted row came as its key".into());
        }
        match patiently(|| fetch::by_key(&self.pool, table, &key)).await {
            Ok(Some(row)) => {
                change.row = Some(row);
                Captured::Change(change)
            }
            Ok(None) => lost(change.watch, GONE.into()),
            Err(error) => {
                let said = |error: &str| {
                    format!("the row is too big for a notification and could not be read: {error}")
                };
                let fault = Fault::new(said(&error.to_string()), said(&error.whole()));
                lost(change.watch, fault)
            }
        }
    }

    async fn resolve_stored(&self, id: i64) -> Option<Captured> {
        match patiently(|| fetch::stored(&self.pool, id)).await {
            Ok(Some(payload)) => self.resolve_payload(&payload).await,
            Ok(None) => {
                tracing::warn!(id, "a stored payload had gone before it was read");
                Some(Captured::Overflow { dropped: 1 })
            }
            Err(error) => {
                tracing::warn!(id, %error, "a stored payload could not be read");
                Some(Captured::Overflow { dropped: 1 })
            }
        }
    }

    async fn resolve_payload(&self, payload: &str) -> Option<Captured> {
        match decode(payload, &self.watches) {
            Decoded::Key { change, key } => Some(self.resolve_key(change, key).await),
            decoded => ready(decoded),
        }
    }
}

/// What needs no reading; `None` if it is not for us.
pub(crate) fn ready(decoded: Decoded) -> Option<Captured> {
    match decoded {
        Decoded::Change(change) => Some(Captured::Change(change)),
        Decoded::Published {
            channel,
            event,
            data,
            seq,
            at,
        } => Some(Captured::Published {
            channel,
            event,
            data,
            seq,
            at,
        }),
        Decoded::RenderError { watch, fault } => Some(Captured::RenderError { watch, fault }),
        Decoded::Key { .. } | Decoded::Stored { .. } | Decoded::Foreign { .. } | Decoded::Malformed => None,
    }
}

async fn patiently<T, F: Future<Output = Result<T, QueryError>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, QueryError> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(error) if tries < ATTEMPTS && !error.is_permanent() => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

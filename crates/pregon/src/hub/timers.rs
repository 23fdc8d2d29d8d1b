//! Deadlines of a shard's sessions: a heap with lazy deletion. A fired timer whose session is gone means nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Key;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Time for a heartbeat.
    Ping,
    /// An answer to it must have come.
    Pong,
    /// The token ends.
    Expiry,
    /// No token came in time, or no connect.
    Auth,
    /// A client that was too fast may go on.
    Turn,
    /// A WebSocket has not taken over in time.
    Upgrade,
    /// The client did not finish the closing handshake.
    Linger,
    /// Suites are told what they sent with their connect.
    Greeting,
    /// The node is draining or stands by: this session's turn to go.
    Drain,
}

/// A shard's timers.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key, Due)>>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, key: Key, due: Due) {
        self.heap.push(Reverse((at, key, due)));
    }

    /// The next timer that is due at `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Key, Due)> {
        let Reverse((at, _, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, key, due))| (key, due))
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Gives memory back after many sessions have left.
    pub(crate) fn shrink(&mut self) {
        if self.heap.capacity() > 1024 && self.heap.capacity() > 4 * self.heap.len() {
            self.heap.shrink_to(2 * self.heap.len());
        }
    }
}

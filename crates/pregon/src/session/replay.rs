//! Replay: sending what was missed, in order, once, before what is live; or saying that it cannot be complete.
//!
//! The rule in one place: a subscription first *joins* at the present offset (so that nothing live is missed), then the
//! entries between the asked-for position and the join are sent, while live ones wait in the window behind the session's
//! cursor, then the session is live. No entry is sent twice: one that also belongs to a channel which the session already
//! followed at that offset is left out.

use std::sync::Arc;

use pregon_wire::words::GapReason;

use smallvec::SmallVec;

use crate::log::window::{Follow, Most, Start};
use crate::log::{Entry, Position, Since, Window};

/// What a client asked for when it subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Now,
    Since(Since),
    Last(u32),
}

/// How a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Live from the join on.
    Live,
    /// Send the channel's entries after this offset first.
    Replay { after: u64 },
    /// They are not all here: tell a gap, then live.
    Gap {
        from: Option<Position>,
        reason: GapReason,
    },
}

/// Decides how a subscription to `channel` begins.
pub fn plan(window: &Window, channel: &str, from: From) -> Plan {
    let since = match from {
        From::Now => return Plan::Live,
        From::Last(n) => {
            return Plan::Replay {
                after: window.before_last(channel, n as usize),
            };
        }
        From::Since(since) => since,
    };
    let position = match since {
        Since::Position(position) => Some(position),
        Since::Ago(_) | Since::Foreign => None,
    };
    match window.start(channel, since) {
        Start::After(after) => Plan::Replay { after },
        Start::Pruned => Plan::Gap {
            from: position,
            reason: GapReason::Pruned,
        },
        Start::Foreign => Plan::Gap {
            from: position,
            reason: GapReason::Restart,
        },
    }
}

/// A replay under way. Holds offsets and names, no entries: a slow client costs nothing more.
#[derive(Debug)]
pub struct Replay {
    /// The channels to send and the offset after which each begins.
    pub channels: Vec<(Arc<str>, u64)>,
    /// Channels that the session followed already, with the offset after which it did: their entries were sent.
    pub known: Vec<(Arc<str>, u64)>,
    /// Sent up to here.
    pub cursor: u64,
    /// The join: what comes after is live.
    pub upto: u64,
    /// What the client is told when the replay is complete: the gaps of channels that could not be replayed. Said earlier,
    /// their position would make a client that reconnects skip the rest of the replay.
    pub then: Vec<u8>,
}

/// A piece of a replay.
pub struct Piece {
    /// Entries in order, each with the channel through which it is sent.
    pub entries: Vec<(Arc<Entry>, Arc<str>)>,
    pub done: bool,
}

impl Replay {
    /// The next piece, or `None` if the window no longer holds all of it.
    pub fn next(&mut self, window: &Window, most: Most) -> Option<Piece> {
        let follows: Vec<_> = self
            .channels
            .iter()
            .map(|(channel, after)| Follow {
                channel,
                after: *after,
            })
            .collect();
        let merged = window.merge(&follows, self.cursor, self.upto, most)?;
        let last = merged.entries.last().map_or(self.upto, |entry| entry.offset);
        self.cursor = if merged.complete { self.upto } else { last };
        let mut entries = Vec::with_capacity(merged.entries.len());
        for entry in merged.entries {
            let channels = self.through(&entry);
            entries.extend(channels.into_iter().map(|channel| (Arc::clone(&entry), channel)));
        }
        Some(Piece {
            entries,
            done: merged.complete,
        })
    }

    /// The session no longer follows `channel`.
    pub fn forget(&mut self, channel: &str) {
        self.channels.retain(|(name, _)| **name != *channel);
    }

    fn is_excepted(&self, entry: &Entry) -> bool {
        let mut followed = self.channels.iter().chain(&self.known);
        followed.any(|(channel, _)| entry.except().contains(channel))
    }

    /// The channels through which `entry` is sent; none if it was sent through another one before.
    fn through(&self, entry: &Entry) -> SmallVec<[Arc<str>; 1]> {
        if !entry.is_gap() && !entry.through(&self.known).is_empty() || self.is_excepted(entry) {
            return SmallVec::new();
        }
        entry
            .through(&self.channels)
            .into_iter()
            .map(Arc::clone)
            .collect()
    }
}

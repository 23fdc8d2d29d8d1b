//! Replay: sending what was missed, in order, once, before what is live; or saying that it cannot be complete.
//!
//! The rule in one place: a subscription first *joins* at the present offset (so that nothing live is missed), then the
//! entries between the asked-for position and the join are sent, while live ones wait in the window behind the session's
//! cursor, then the session is live. No entry is sent twice: one that also belongs to a channel which the session already
//! followed at that offset is left out.

use std::sync::Arc;

use pregon_wire::words::GapReason;

use crate::log::window::{Follow, Start};
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
        Since::Ago(_) => None,
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
}

/// A piece of a replay.
pub struct Piece {
    /// Entries in order, each with the channel through which it is sent.
    pub entries: Vec<(Arc<Entry>, Arc<str>)>,
    pub done: bool,
}

impl Replay {
    /// The next piece of at most `most` entries, or `None` if the window no longer holds all of it.
    pub fn next(&mut self, window: &Window, most: usize) -> Option<Piece> {
        if !self
            .channels
            .iter()
            .all(|(channel, after)| window.holds(channel, self.cursor.max(*after)))
        {
            return None;
        }
        let follows: Vec<_> = self
            .channels
            .iter()
            .map(|(channel, after)| Follow {
                channel,
                after: *after,
            })
            .collect();
        let merged = window.merge(&follows, self.cursor, self.upto, most);
        let done = merged.len() < most;
        self.cursor = if done {
            self.upto
        } else {
            merged.last().map_or(self.upto, |entry| entry.offset)
        };
        let entries = merged
            .into_iter()
            .filter_map(|entry| self.through(&entry).map(|channel| (entry, channel)))
            .collect();
        Some(Piece { entries, done })
    }

    /// The channel through which `entry` is sent, or `None` if it was sent through another one before.
    fn through(&self, entry: &Entry) -> Option<Arc<str>> {
        // A gap is told for each channel.
        if !entry.channels().is_empty() && entry.through(&self.known).is_some() {
            return None;
        }
        entry.through(&self.channels).map(Arc::clone)
    }
}

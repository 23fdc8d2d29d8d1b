//! Replay: sending what was missed, in order, once, before what is live; or saying that it cannot be complete.
//!
//! The rule in one place: a subscription first *joins* at the present offset (so that nothing live is missed), then the
//! entries between the asked-for position and the join are sent, while live ones wait in the window behind the session's
//! cursor, then the session is live. No entry is sent twice: one that also belongs to a channel which the session already
//! followed at that offset is left out.
//!
//! What the window no longer holds and the log still has is fetched: the shard asks the desk, which may read files, and goes on with
//! the piece that comes back.

use std::sync::Arc;

use pregon_wire::words::GapReason;

use smallvec::SmallVec;

use super::shown;
use crate::log::past::Found;
use crate::log::window::{Follow, Merged, Most, Start, Window};
use crate::log::{Entry, Past, Position, Since};
use crate::route::grant::Rights;

/// What a client asked for when it subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    Now,
    Since(Since),
    Last(u32),
}

impl StartAt {
    /// The position, if it is one that another node has given and that is still to come here.
    pub(crate) fn ahead(self, window: &Window) -> Option<Position> {
        match self {
            Self::Since(Since::Position(position)) => Some(position).filter(|at| window.is_ahead(*at)),
            Self::Since(_) | Self::Now | Self::Last(_) => None,
        }
    }
}

/// How a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Live from the join on.
    Live,
    /// Send the channel's entries after this offset first.
    Replay { after: u64 },
    /// The same, and before it tell a gap: what is asked for goes back to before the log began.
    Younger { after: u64 },
    /// Send the newest entries of the channel first; where they begin, only a look at the disk can say.
    Last { n: u32 },
    /// They are not all here: tell a gap, then live.
    Gap {
        from: Option<Position>,
        reason: GapReason,
    },
}

/// Decides how a subscription to `channel` begins for a client: nothing of the past where its section gives no history, however it was
/// asked for.
pub(crate) fn plan_by(rights: &Rights, past: &Past, channel: &str, from: StartAt) -> Plan {
    match from {
        _ if rights.history(channel) => plan(past, channel, from),
        StartAt::Now | StartAt::Last(_) => Plan::Live,
        StartAt::Since(since) => Plan::Gap {
            from: position(since),
            reason: GapReason::Pruned,
        },
    }
}

fn position(since: Since) -> Option<Position> {
    match since {
        Since::Position(position) => Some(position),
        Since::Ago(_) | Since::Foreign => None,
    }
}

/// Decides how a subscription to `channel` begins.
pub(crate) fn plan(past: &Past, channel: &str, from: StartAt) -> Plan {
    let since = match from {
        StartAt::Now => return Plan::Live,
        StartAt::Last(n) => {
            return match past.last(channel, n as usize) {
                Some(after) => Plan::Replay { after },
                None => Plan::Last { n },
            };
        }
        StartAt::Since(since) => since,
    };
    let position = position(since);
    match past.start(channel, since) {
        Start::After(after) => Plan::Replay { after },
        Start::Younger(after) => Plan::Younger { after },
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
pub(crate) struct Replay {
    /// The channels to send and the offset after which each begins.
    pub channels: Vec<(Arc<str>, u64)>,
    /// Channels that the session followed already, with the offset after which it did: their entries were sent.
    pub known: Vec<(Arc<str>, u64)>,
    /// Begin with so many of the newest entries of each channel: where that is comes with the first fetched piece.
    pub last: Option<u32>,
    /// A piece is being fetched.
    pub fetching: bool,
    /// Sent up to here.
    pub cursor: u64,
    /// The join: what comes after is live.
    pub upto: u64,
    /// What the client is told when the replay is complete: the gaps of channels that could not be replayed. Said earlier,
    /// their position would make a client that reconnects skip the rest of the replay.
    pub then: Vec<u8>,
}

/// A piece of a replay.
pub(crate) struct Piece {
    /// Entries in order, each with the channel through which it is sent.
    pub entries: Vec<(Arc<Entry>, Arc<str>)>,
    pub done: bool,
}

/// How a replay goes on.
pub(crate) enum Next {
    Piece(Piece),
    /// The desk has to read it.
    Fetch(Box<Fetch>),
    /// The log no longer has all of it.
    Gone,
}

/// Channels, each with the offset after which it begins.
pub(crate) type Begins = Vec<(Arc<str>, u64)>;

/// A piece that has to be read where reading may block.
#[derive(Debug)]
pub(crate) struct Fetch {
    channels: Vec<(Arc<str>, u64)>,
    last: Option<u32>,
    live: bool,
    cursor: u64,
    upto: u64,
    most: Most,
}

/// What was read for a [`Fetch`].
pub(crate) struct Fetched {
    /// For a session that is behind, not for a replay.
    pub live: bool,
    /// The channels as they were then, each with the offset after which it begins.
    pub channels: Begins,
    /// `None` if the log no longer has all of it.
    pub merged: Option<Merged>,
}

impl Fetch {
    /// What a session misses that is behind: everything of these channels between the two offsets.
    pub(crate) fn missed(channels: Vec<(Arc<str>, u64)>, cursor: u64, upto: u64, most: Most) -> Self {
        Self {
            channels,
            last: None,
            live: true,
            cursor,
            upto,
            most,
        }
    }

    /// Reads the piece. Blocks.
    pub(crate) fn read(mut self, past: &Past) -> Fetched {
        if let Some(n) = self.last {
            for (channel, after) in &mut self.channels {
                *after = past.before_last(channel, n as usize).min(self.upto);
            }
            let earliest = self.channels.iter().map(|(_, after)| *after).min();
            self.cursor = earliest.unwrap_or(self.upto);
        }
        let merged = past.read(&follows(&self.channels), self.cursor, self.upto, self.most);
        Fetched {
            live: self.live,
            channels: self.channels,
            merged,
        }
    }
}

/// Channels as a log is asked for them.
pub(crate) fn follows(channels: &[(Arc<str>, u64)]) -> Vec<Follow<'_>> {
    let mut follows = Vec::with_capacity(channels.len());
    for (channel, after) in channels {
        let after = *after;
        follows.push(Follow { channel, after });
    }
    follows
}

impl Replay {
    /// How it goes on: at most so much of the window, or so much to be read. A replay that is being fetched is not asked.
    pub(crate) fn next(&mut self, past: &Past, most: Most, read: Most) -> Next {
        let found = match self.last {
            Some(_) => Found::Older,
            None => past.find(&follows(&self.channels), self.cursor, self.upto, most),
        };
        match found {
            Found::Here(merged) => Next::Piece(self.piece(merged)),
            Found::Gone => Next::Gone,
            Found::Older => {
                self.fetching = true;
                Next::Fetch(Box::new(Fetch {
                    channels: self.channels.clone(),
                    last: self.last,
                    live: false,
                    cursor: self.cursor,
                    upto: self.upto,
                    most: read,
                }))
            }
        }
    }

    /// A fetched piece is there; `None` if the log no longer has all of it. Says where channels have turned out to begin.
    pub(crate) fn take(&mut self, fetched: Fetched) -> Option<(Piece, Begins)> {
        self.fetching = false;
        self.last = None;
        for (channel, after) in &mut self.channels {
            let begins = fetched.channels.iter().find(|(name, _)| name == channel);
            *after = begins.map_or(*after, |(_, begins)| *begins);
        }
        let piece = fetched.merged.map(|merged| self.piece(merged))?;
        Some((piece, fetched.channels))
    }

    fn piece(&mut self, merged: Merged) -> Piece {
        self.cursor = merged.reached;
        let mut entries = Vec::with_capacity(merged.entries.len());
        for entry in merged.entries {
            let channels = self.through(&entry);
            entries.extend(channels.into_iter().map(|channel| (Arc::clone(&entry), channel)));
        }
        Piece {
            entries,
            done: merged.complete,
        }
    }

    /// The session no longer follows `channel`.
    pub(crate) fn forget(&mut self, channel: &str) {
        self.channels.retain(|(name, _)| **name != *channel);
    }

    fn is_excepted(&self, entry: &Entry) -> bool {
        let mut followed = self.channels.iter().chain(&self.known);
        followed.any(|(channel, _)| entry.except().contains(channel))
    }

    /// The channels through which `entry` is sent; none if it was sent through another one before.
    fn through(&self, entry: &Entry) -> SmallVec<[Arc<str>; 1]> {
        if !entry.is_gap() && !shown::through(entry, &self.known).is_empty() || self.is_excepted(entry) {
            return SmallVec::new();
        }
        shown::through(entry, &self.channels)
            .into_iter()
            .map(Arc::clone)
            .collect()
    }
}

//! One numbered line of the log: a publication, or the note that something may be missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use pregon_wire::words::GapReason;
use smallvec::SmallVec;

use super::Append;
use super::position::{Epoch, Position};
use crate::event::{Data, Publication};
use crate::route::template::Pattern;

/// An entry's fixed cost in the window beside its payload: the struct, its index slots and its texts.
const OVERHEAD: usize = 320;

/// A publication or a gap with its place in the log. Shared by all shards, never changed.
#[derive(Debug)]
pub struct Entry {
    pub offset: u64,
    /// The position as clients see it, rendered once.
    pub position: Box<str>,
    /// When the event happened, RFC 3339 in UTC, rendered once.
    pub time: Box<str>,
    pub at: SystemTime,
    /// When the log took it; what retention and the latency histogram count from.
    pub appended: Instant,
    pub body: Body,
    reach: Reach,
}

#[derive(Debug, Clone)]
pub enum Body {
    Publication {
        channels: SmallVec<[Arc<str>; 2]>,
        except: Box<[Arc<str>]>,
        event: Arc<str>,
        data: Data,
        /// Fields of the data that the source keeps encrypted: whoever is no follower shall not read them.
        opened: Box<[Arc<str>]>,
        id: Option<Arc<str>>,
    },
    Gap(Gap),
    /// Somebody began or ceased to follow the channel; never in a log.
    Member {
        channel: Arc<str>,
        client: Arc<str>,
        joined: bool,
    },
}

impl From<Publication> for Body {
    fn from(publication: Publication) -> Self {
        Self::Publication {
            channels: publication.channels,
            except: publication.except,
            event: publication.event,
            data: publication.data,
            opened: publication.opened,
            id: publication.id.0,
        }
    }
}

/// Something may be missing between `from` and the entry's own position, on every channel that a pattern can render.
#[derive(Debug, Clone)]
pub struct Gap {
    pub from: Position,
    pub reason: GapReason,
    pub patterns: Arc<[Pattern]>,
    /// Any channel may be concerned.
    pub everything: bool,
}

impl Gap {
    pub fn concerns(&self, channel: &str) -> bool {
        self.everything || self.patterns.iter().any(|pattern| pattern.is_match(channel))
    }
}

/// How many sessions an entry reached, counted by the shards.
#[derive(Debug, Default)]
struct Reach {
    sessions: AtomicU32,
    shards: AtomicU32,
}

impl Entry {
    pub fn publication(offset: u64, epoch: Epoch, publication: Publication) -> Self {
        Self::new(offset, epoch, publication.at, publication.into())
    }

    pub fn gap(offset: u64, epoch: Epoch, gap: Gap) -> Self {
        Self::new(offset, epoch, SystemTime::now(), Body::Gap(gap))
    }

    /// What was appended, at its offset.
    pub fn of(offset: u64, epoch: Epoch, item: Append) -> Self {
        match item {
            Append::Publication(publication) => Self::publication(offset, epoch, publication),
            Append::Gap(gap) => Self::gap(offset, epoch, gap),
        }
    }

    /// What a log took at `time`, which was `appended` by our own clock.
    pub fn stored(offset: u64, epoch: Epoch, item: Append, time: SystemTime, appended: Instant) -> Self {
        let entry = match item {
            Append::Publication(publication) => Self::publication(offset, epoch, publication),
            Append::Gap(gap) => Self::new(offset, epoch, time, Body::Gap(gap)),
        };
        Self { appended, ..entry }
    }

    /// An entry that is not kept, for those who have everything up to `offset`.
    pub fn volatile(offset: u64, epoch: Epoch, at: SystemTime, body: Body) -> Self {
        Self::new(offset, epoch, at, body)
    }

    fn new(offset: u64, epoch: Epoch, at: SystemTime, body: Body) -> Self {
        Self {
            offset,
            position: Position { epoch, offset }.to_string().into_boxed_str(),
            time: rfc3339(at).into_boxed_str(),
            at,
            appended: Instant::now(),
            body,
            reach: Reach::default(),
        }
    }

    /// The channels of a publication; a gap names patterns instead.
    pub fn channels(&self) -> &[Arc<str>] {
        match &self.body {
            Body::Publication { channels, .. } => channels,
            Body::Member { channel, .. } => std::slice::from_ref(channel),
            Body::Gap(_) => &[],
        }
    }

    /// The channels whose followers do not get the entry.
    pub fn except(&self) -> &[Arc<str>] {
        match &self.body {
            Body::Publication { except, .. } => except,
            Body::Gap(_) | Body::Member { .. } => &[],
        }
    }

    pub fn is_gap(&self) -> bool {
        matches!(self.body, Body::Gap(_))
    }

    /// Bytes that the entry takes of the window's budget.
    pub fn weight(&self) -> usize {
        OVERHEAD
            + match &self.body {
                Body::Publication { channels, data, .. } => {
                    data.weight() + channels.iter().map(|channel| channel.len() + 16).sum::<usize>()
                }
                Body::Gap(_) | Body::Member { .. } => 0,
            }
    }

    /// Adds one shard's count. The last of `shards` to report gets the total, the others `None`.
    pub fn reached(&self, sessions: u32, shards: u32) -> Option<u32> {
        self.reach.sessions.fetch_add(sessions, Ordering::AcqRel);
        (self.reach.shards.fetch_add(1, Ordering::AcqRel) + 1 == shards)
            .then(|| self.reach.sessions.load(Ordering::Acquire))
    }

    /// Time since the event happened, zero if the clocks disagree.
    pub fn age(&self) -> Duration {
        self.at.elapsed().unwrap_or_default()
    }
}

/// RFC 3339 in UTC with milliseconds; a time outside the years 1970 to 9999 becomes the epoch.
pub fn rfc3339(at: SystemTime) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let at = if seconds < 253_402_300_800 {
        at
    } else {
        SystemTime::UNIX_EPOCH
    };
    let at = at.max(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(at).to_string()
}

//! What the engine keeps beyond the window of this node: read when somebody asks for it, away from the shards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::Core;
use super::engine::{EngineError, Reader, Seq, Stored};
use super::frame::{self, Item};
use crate::log::entry::{Body, Entry};
use crate::log::past::History;
use crate::log::window::{Follow, Merged, Most};

/// Bytes of frames that are read at once, and in one call.
const READ: u64 = 1 << 20;
const CALL: u64 = 16 << 20;

/// How long whoever asks waits for the engine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two times that are remembered, and how many are: a day and more.
const SAMPLE: Duration = Duration::from_secs(10);
const SAMPLES: usize = 10_000;

/// When frames were appended, some of them, as far as this node has followed the log.
#[derive(Default)]
pub(super) struct Times(Mutex<VecDeque<(SystemTime, Seq)>>);

impl Times {
    pub(super) fn note(&self, at: SystemTime, seq: Seq) {
        let mut samples = self.0.lock();
        let due = |(last, _): &(SystemTime, Seq)| at.duration_since(*last).is_ok_and(|since| since >= SAMPLE);
        if samples.back().is_none_or(due) {
            samples.push_back((at, seq));
        }
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// A frame before which nothing of `time` and later is; `None` of what was before this node.
    fn before(&self, time: SystemTime) -> Option<Seq> {
        let samples = self.0.lock();
        let later = samples.partition_point(|(at, _)| *at <= time);
        let (_, seq) = samples.get(later.checked_sub(1)?)?;
        Some(*seq)
    }
}

/// See the module.
pub(super) struct Kept {
    pub(super) core: Arc<Core>,
    pub(super) runtime: Handle,
    /// A connection of whoever asks; one at a time.
    pub(super) reader: tokio::sync::Mutex<Option<Box<dyn Reader>>>,
}

impl Kept {
    async fn read(&self, after: Seq) -> Result<Vec<Stored>, EngineError> {
        let mut known = self.reader.lock().await;
        let reader = match known.take() {
            Some(reader) => reader,
            None => self.core.engine.reader().await?,
        };
        let frames = reader.read(after, READ).await?;
        // One that has failed is of no use any more.
        *known = Some(reader);
        Ok(frames)
    }

    /// A piece; `None` if some of it is gone, or the engine does not give it.
    async fn collect(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged> {
        let mut found = Piece {
            merged: Merged {
                reached: after,
                ..Merged::default()
            },
            bytes: 0,
            most,
        };
        // Of the frame of the last one there may be more.
        let mut seq = frame::seq(after).saturating_sub(1);
        let mut read = 0;
        while read < CALL {
            let frames = self.read(seq).await.ok()?;
            if frames.is_empty() {
                // The frame of `upto` is kept, unless history was lost.
                return None;
            }
            for stored in frames {
                if stored.seq != seq + 1 && !(read == 0 && frame::behind(stored.seq - 1) <= after) {
                    return None;
                }
                seq = stored.seq;
                read += stored.body.len() as u64;
                if !self.take(&stored, follows, (after, upto), &mut found)? {
                    return Some(found.merged);
                }
                if frame::behind(seq) >= upto {
                    found.merged.complete = true;
                    found.merged.reached = upto;
                    return Some(found.merged);
                }
            }
        }
        let ended = frame::behind(seq) >= upto;
        found.merged.complete = ended;
        found.merged.reached = if ended {
            upto
        } else {
            frame::behind(seq).max(after)
        };
        Some(found.merged)
    }

    /// Takes what is asked for of a frame; whether there is room for more. `None` if this version does not know it.
    fn take(
        &self,
        stored: &Stored,
        follows: &[Follow<'_>],
        (after, upto): (u64, u64),
        found: &mut Piece,
    ) -> Option<bool> {
        let epoch = self.core.window.epoch();
        for (place, item) in frame::items(&stored.body)?.into_iter().enumerate() {
            let offset = frame::offset(stored.seq, place);
            let Item::Entry(mut item) = item else { continue };
            if offset <= after || offset > upto {
                continue;
            }
            item.open(&*self.core.opener);
            let entry = Entry::stored(offset, epoch, item, stored.at, Instant::now());
            if concerns(&entry, follows) && !found.add(Arc::new(entry)) {
                return Some(false);
            }
        }
        Some(true)
    }
}

fn concerns(entry: &Entry, follows: &[Follow<'_>]) -> bool {
    let mut follows = follows.iter().filter(|follow| entry.offset > follow.after);
    follows.any(|follow| match &entry.body {
        Body::Gap(gap) => gap.concerns(follow.channel),
        _ => entry
            .channels()
            .iter()
            .any(|channel| **channel == *follow.channel),
    })
}

/// What was found so far.
struct Piece {
    merged: Merged,
    bytes: usize,
    most: Most,
}

impl Piece {
    /// Takes one more, at least one; whether there was room.
    fn add(&mut self, entry: Arc<Entry>) -> bool {
        let weight = entry.weight();
        let full = self.merged.entries.len() == self.most.entries;
        if full || (self.bytes > 0 && self.bytes + weight > self.most.bytes) {
            self.merged.reached = self.merged.entries.last().map_or(0, |last| last.offset);
            return false;
        }
        self.bytes += weight;
        self.merged.entries.push(entry);
        true
    }
}

impl History for Kept {
    fn pruned(&self, _: &str) -> u64 {
        let first = self.core.known.lock().first;
        frame::behind(first.saturating_sub(1))
    }

    fn since(&self, channel: &str, time: SystemTime) -> Option<u64> {
        let before = frame::behind(self.core.times.before(time)?.saturating_sub(1));
        (before >= self.pruned(channel)).then_some(before)
    }

    fn merge(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged> {
        let collecting = tokio::time::timeout(PATIENCE, self.collect(follows, after, upto, most));
        self.runtime.block_on(collecting).ok().flatten()
    }

    fn before_last(&self, channel: &str, n: usize, _: u64) -> u64 {
        // As far back as the window goes: further on every frame would have to be read.
        self.core.window.before_last(channel, n)
    }
}

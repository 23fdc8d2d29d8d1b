//! Reads what the window no longer holds, in bounded pieces, for whoever may block.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;

use super::Core;
use super::codec::{self, Kind, channel_number};
use super::frame::{Frames, Next, Record};
use super::open::instant_of;
use super::segment::Segment;
use crate::log::entry::{Body, Entry};
use crate::log::past::History;
use crate::log::window::{Follow, Merged, Most};
use crate::metrics::Metrics;

/// Bytes that one piece may cost: about 10 ms of reading. Then it ends, with what was found.
const PIECE: u64 = 8 << 20;

/// Bytes that a search for the last entries of a channel may cost.
const LOOK_BACK: u64 = 256 << 20;

/// A piece that is being read.
struct Reading<'a> {
    wanted: HashMap<&'a str, u64, foldhash::fast::RandomState>,
    upto: u64,
    most: Most,
    merged: Merged,
    bytes: usize,
    /// Bytes that it has cost.
    spent: u64,
}

/// How far a segment was read.
#[derive(PartialEq, Eq)]
enum Read {
    Through,
    /// The piece is full, or has cost enough.
    Enough,
}

impl History for Core {
    fn pruned(&self, channel: &str) -> u64 {
        self.pruned.read().of(channel)
    }

    fn since(&self, channel: &str, time: SystemTime) -> Option<u64> {
        let micros = codec::micros(time);
        let after = {
            let segments = self.segments.read();
            let mut extents = segments.iter().map(|segment| segment.extent.read());
            let holding = extents.find(|extent| !extent.is_empty() && extent.last_time >= micros);
            holding.map_or(self.window.head(), |extent| extent.before(micros))
        };
        let pruned = self.pruned.read();
        let of_channel = pruned.of(channel);
        let later_is_gone = of_channel > 0 && pruned.newest >= micros;
        (!later_is_gone && of_channel <= after).then_some(after)
    }

    fn merge(&self, follows: &[Follow<'_>], after: u64, upto: u64, most: Most) -> Option<Merged> {
        let mut reading = Reading::new(follows, after, upto, most);
        let numbers: Vec<(u64, u64)> = reading
            .wanted
            .iter()
            .map(|(name, from)| (channel_number(name), *from))
            .collect();
        let segments = self.between(after, upto);
        if self.is_gone(follows, after, upto) {
            return None;
        }
        let newest = segments.last().map_or(0, |segment| segment.first);
        for segment in &segments {
            if reading.spent > PIECE {
                return Some(reading.merged);
            }
            if segment.first != newest && !segment.concerns(&numbers, &mut reading.spent) {
                reading.merged.reached = segment.last().min(upto);
                continue;
            }
            match reading.segment(self, segment) {
                Ok(Read::Enough) => return Some(reading.merged),
                Ok(Read::Through) => reading.merged.reached = segment.last().min(upto),
                // Removed meanwhile; whether that matters is known by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.is_gone(follows, reading.merged.reached, upto) {
                        return None;
                    }
                }
                Err(error) => {
                    self.lose(segment, &error);
                    return None;
                }
            }
        }
        reading.merged.reached = upto;
        reading.merged.complete = true;
        Some(reading.merged)
    }

    fn before_last(&self, channel: &str, n: usize, upto: u64) -> u64 {
        let number = [(channel_number(channel), 0)];
        let (mut found, mut spent, mut searched) = (0, 0, upto);
        for segment in self.between(0, upto).iter().rev() {
            if spent > LOOK_BACK {
                break;
            }
            if segment.concerns(&number, &mut spent) {
                let offsets = match offsets_of(segment, channel, upto, &mut spent) {
                    Ok(offsets) => offsets,
                    Err(error) => {
                        self.lose(segment, &error);
                        break;
                    }
                };
                let missing = n - found;
                if let Some(skip) = offsets.len().checked_sub(missing) {
                    return offsets.get(skip).map_or(upto, |first| first - 1);
                }
                found += offsets.len();
            }
            searched = segment.first - 1;
        }
        searched.max(self.pruned.read().of(channel))
    }
}

impl Core {
    /// The segments that have offsets between these.
    fn between(&self, after: u64, upto: u64) -> Vec<Arc<Segment>> {
        let segments = self.segments.read();
        let overlaps = |segment: &&Arc<Segment>| segment.first <= upto && segment.last() > after;
        segments.iter().filter(overlaps).map(Arc::clone).collect()
    }

    fn is_gone(&self, follows: &[Follow<'_>], after: u64, upto: u64) -> bool {
        let pruned = self.pruned.read();
        follows.iter().any(|follow| {
            let from = after.max(follow.after);
            from < upto && pruned.of(follow.channel) > from
        })
    }

    /// A segment cannot be read any more: what is in it is lost.
    fn lose(&self, segment: &Segment, error: &io::Error) {
        tracing::error!(%error, path = %segment.path.display(), "a segment of the log cannot be read: who needs it gets a gap");
        let metrics: &Metrics = &self.watcher.metrics;
        metrics.log_failures.inc();
        self.pruned.write().lose(segment.last());
    }
}

impl<'a> Reading<'a> {
    fn new(follows: &[Follow<'a>], after: u64, upto: u64, most: Most) -> Self {
        let wanted = follows
            .iter()
            .map(|follow| (follow.channel, after.max(follow.after)));
        Self {
            wanted: wanted.collect(),
            upto,
            most,
            merged: Merged {
                entries: Vec::new(),
                complete: false,
                reached: after,
            },
            bytes: 0,
            spent: 0,
        }
    }

    fn segment(&mut self, core: &Core, segment: &Segment) -> io::Result<Read> {
        let file = segment.open()?;
        let (position, end) = {
            let extent = segment.extent.read();
            (extent.position_after(self.merged.reached), extent.len)
        };
        let mut frames = Frames::new(&file, position, end);
        loop {
            if self.spent + frames.bytes_read() > PIECE {
                self.spent += frames.bytes_read();
                return Ok(Read::Enough);
            }
            match frames.next()? {
                Next::Record(record) if record.first > self.upto => break,
                Next::Record(record) => {
                    if !self.record(core, &record)? {
                        return Ok(Read::Enough);
                    }
                }
                Next::End => break,
                Next::Bad => return Err(io::Error::new(io::ErrorKind::InvalidData, "a record is damaged")),
            }
        }
        self.spent += frames.bytes_read();
        Ok(Read::Through)
    }

    /// Takes what is wanted of a record; `false` when the piece is full.
    fn record(&mut self, core: &Core, record: &Record<'_>) -> io::Result<bool> {
        for (offset, bytes) in record.entries() {
            if offset <= self.merged.reached {
                continue;
            }
            if offset > self.upto {
                break;
            }
            if let Some(entry) = self.entry(core, record, offset, bytes)? {
                let full = self.merged.entries.len() >= self.most.entries
                    || (self.bytes > 0 && self.bytes + entry.weight() > self.most.bytes);
                if full {
                    return Ok(false);
                }
                self.bytes += entry.weight();
                self.merged.entries.push(Arc::new(entry));
            }
            self.merged.reached = offset;
        }
        Ok(true)
    }

    /// The entry, if it is wanted.
    fn entry(
        &self,
        core: &Core,
        record: &Record<'_>,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<Option<Entry>> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "an entry is damaged");
        let wants = |name: &str| self.wanted.get(name).is_some_and(|from| offset > *from);
        let publication = match codec::kind(bytes).ok_or_else(broken)? {
            Kind::Publication(mut channels) => {
                if !channels.any(wants) {
                    return Ok(None);
                }
                true
            }
            Kind::Gap => false,
        };
        let mut item = codec::decode(bytes).ok_or_else(broken)?;
        item.open(&*core.opener);
        let time = codec::time_of(record.time);
        let entry = Entry::stored(offset, core.window.epoch(), item, time, instant_of(record.time));
        let concerned = match &entry.body {
            Body::Gap(gap) => self
                .wanted
                .iter()
                .any(|(name, from)| offset > *from && gap.concerns(name)),
            _ => publication,
        };
        Ok(concerned.then_some(entry))
    }
}

/// The offsets of a channel's entries in a segment, as far as `upto`.
fn offsets_of(segment: &Segment, channel: &str, upto: u64, spent: &mut u64) -> io::Result<Vec<u64>> {
    let file = segment.open()?;
    let (position, end) = {
        let extent = segment.extent.read();
        (extent.position_after(0), extent.len)
    };
    let mut frames = Frames::new(&file, position, end);
    let mut offsets = Vec::new();
    loop {
        match frames.next()? {
            Next::Record(record) => {
                let ours = record.entries().filter(|(offset, bytes)| {
                    let Some(Kind::Publication(mut channels)) = codec::kind(bytes) else {
                        return false;
                    };
                    *offset <= upto && channels.any(|name| name == channel)
                });
                offsets.extend(ours.map(|(offset, _)| offset));
            }
            Next::End => break,
            Next::Bad => return Err(io::Error::new(io::ErrorKind::InvalidData, "a record is damaged")),
        }
    }
    *spent += frames.bytes_read();
    Ok(offsets)
}

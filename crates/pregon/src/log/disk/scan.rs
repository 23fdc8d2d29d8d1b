//! Reads a whole segment to learn what it holds: at a start for the newest one, and where a summary is missing.

use std::fs::File;
use std::io;
use std::sync::Arc;

use hashbrown::HashMap;

use super::codec::{self, Kind};
use super::frame::{Frames, Next, Record, any_record_after};
use super::segment::{Extent, Mark, Notes};
use crate::log::Taken;

/// What was found.
pub(super) struct Scan {
    /// The whole batches from the beginning on.
    pub(super) extent: Extent,
    /// Where the sources were set by them.
    pub(super) taken: HashMap<Arc<str>, Taken>,
    /// Whole records stand behind something that is none: not what a crash leaves.
    pub(super) damaged: bool,
}

/// Reads the records from `start` to `end`, of which the first has the offset `first`.
pub(super) fn scan(file: &File, first: u64, start: u64, end: u64) -> io::Result<Scan> {
    let mut frames = Frames::new(file, start, end);
    let mut scan = Scan {
        extent: Extent::new(first, start),
        taken: HashMap::new(),
        damaged: false,
    };
    let mut notes = Notes::default();
    let (mut expected, mut position) = (first, start);
    let bad = loop {
        match frames.next()? {
            Next::Record(record) if record.first == expected && note(&record, &mut notes) => {
                expected = record.last() + 1;
                position = record.end;
                if !record.more {
                    scan.taken
                        .extend(record.taken().map(|taken| (Arc::clone(&taken.source), taken)));
                    scan.extent.grow(std::mem::take(&mut notes), record.end);
                }
            }
            Next::End => break false,
            Next::Record(_) | Next::Bad => break true,
        }
    };
    scan.damaged = bad && any_record_after(file, position, end, expected)?;
    Ok(scan)
}

/// Notes what a record has; `false` if one of its entries is none.
fn note(record: &Record<'_>, notes: &mut Notes) -> bool {
    notes.records.push(Mark {
        first: record.first,
        position: record.position,
        time: record.time,
    });
    let mut count = 0;
    for (offset, entry) in record.entries() {
        match codec::kind(entry) {
            Some(Kind::Publication(channels)) => {
                let numbers = channels.map(codec::channel_number);
                notes.channels.extend(numbers.map(|number| (number, offset)));
            }
            Some(Kind::Gap) => notes.newest_gap = offset,
            None => return false,
        }
        count += 1;
    }
    notes.last = record.last();
    count == record.count
}

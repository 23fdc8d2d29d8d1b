//! One file of the log and what is known of it: its bounds, where records stand in it, which channels it has.
//!
//! The writer alone changes an [`Extent`], and only after the bytes are written: readers see what is there. Once a segment is full its
//! channels go from memory to its summary.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::summary;

/// Bytes between two marks: what a reader passes over at most before it is where it wants to be.
const SPARSE: u64 = 64 * 1024;

/// A place where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) first: u64,
    pub(super) position: u64,
    pub(super) time: u64,
}

/// The newest offset of each channel, by its number.
pub(super) type Table = HashMap<u64, u64, foldhash::fast::RandomState>;

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: u64,
    /// Offset of the newest entry; the one before `first` if there is none.
    pub(super) last: u64,
    /// Bytes of the file that are whole records.
    pub(super) len: u64,
    /// When the first and the newest record were made; 0 without one.
    pub(super) first_time: u64,
    pub(super) last_time: u64,
    /// Offset of the newest gap entry, 0 without one.
    pub(super) newest_gap: u64,
    pub(super) marks: Vec<Mark>,
    /// In memory while the segment grows, in its summary afterwards.
    pub(super) table: Option<Table>,
}

/// What a batch adds to a segment.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) records: Vec<Mark>,
    pub(super) channels: Vec<(u64, u64)>,
    pub(super) newest_gap: u64,
    pub(super) last: u64,
}

impl Extent {
    /// A segment without records.
    pub(super) fn new(first: u64, len: u64) -> Self {
        Self {
            first,
            last: first - 1,
            len,
            first_time: 0,
            last_time: 0,
            newest_gap: 0,
            marks: Vec::new(),
            table: Some(Table::default()),
        }
    }

    /// Takes over what was written, up to `len`.
    pub(super) fn grow(&mut self, notes: Notes, len: u64) {
        for record in notes.records {
            let far = |mark: &Mark| record.position - mark.position >= SPARSE;
            if self.marks.last().is_none_or(far) {
                self.marks.push(record);
            }
            if self.first_time == 0 {
                self.first_time = record.time;
            }
            self.last_time = record.time;
        }
        if let Some(table) = &mut self.table {
            table.extend(notes.channels);
        }
        self.newest_gap = self.newest_gap.max(notes.newest_gap);
        self.last = self.last.max(notes.last);
        self.len = len;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// Where to read from for entries after `offset`.
    pub(super) fn position_after(&self, offset: u64) -> u64 {
        let later = self.marks.partition_point(|mark| mark.first <= offset + 1);
        let mark = later.checked_sub(1).and_then(|place| self.marks.get(place));
        mark.or(self.marks.first()).map_or(self.len, |mark| mark.position)
    }

    /// The offset after which everything of `time` and later lies.
    pub(super) fn before(&self, time: u64) -> u64 {
        let later = self.marks.partition_point(|mark| mark.time < time);
        let mark = later.checked_sub(1).and_then(|place| self.marks.get(place));
        mark.map_or(self.first, |mark| mark.first) - 1
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) extent: RwLock<Extent>,
}

impl Segment {
    pub(super) fn new(path: PathBuf, extent: Extent) -> Self {
        Self {
            path,
            first: extent.first,
            extent: RwLock::new(extent),
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.extent.read().last
    }

    pub(super) fn len(&self) -> u64 {
        self.extent.read().len
    }

    /// For reading; a segment that was retired meanwhile is not found.
    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// The newest offset of each channel.
    pub(super) fn table(&self) -> io::Result<Table> {
        if let Some(table) = &self.extent.read().table {
            return Ok(table.clone());
        }
        summary::read_table(&summary::path(&self.path))
    }

    /// Whether there may be an entry for one of `wanted`: channels by number, each with the offset after which. Adds what the answer
    /// has cost, bytes read, to `spent`.
    pub(super) fn concerns(&self, wanted: &[(u64, u64)], spent: &mut u64) -> bool {
        let has = |table: &Table| {
            let later =
                |(channel, after): &(u64, u64)| table.get(channel).is_some_and(|newest| newest > after);
            wanted.iter().any(later)
        };
        {
            let extent = self.extent.read();
            if wanted.iter().any(|(_, after)| extent.newest_gap > *after) {
                return true;
            }
            if let Some(table) = &extent.table {
                return has(table);
            }
        }
        // Without a summary it has to be searched.
        summary::read_table(&summary::path(&self.path)).map_or(true, |table| {
            *spent += 16 * table.len() as u64;
            has(&table)
        })
    }

    /// Writes the summary of a full segment, and lets its channels go from memory.
    pub(super) fn summarize(&self) -> io::Result<()> {
        let bytes = summary::encode(&self.extent.read());
        super::folder::replace(&summary::path(&self.path), &bytes)?;
        self.extent.write().table = None;
        Ok(())
    }

    /// Removes its files.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(summary::path(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::remove_file(&self.path)
    }
}

//! The order of the outbox: which of the rows that were read may go on, and which wait for one that may still be committed. Pure.
//!
//! Rows go on in the order of their ids, the order in which the changes of one row were made. An id that is missing below one that is
//! there belongs to a transaction that was rolled back, or to one that is still open and then holds a lock on the outbox, which it took
//! before its first id and keeps until its rows are visible or dead. One pass is: rows beyond the newest ([`Gate::read`]), then who
//! holds the lock ([`Gate::hold`]), then *with a newer snapshot* what has come into the missing ranges ([`Gate::fill`]), then what may go
//! on ([`Gate::take`]). A missing range is dead once nobody has held the lock ever since it was seen to be missing.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Ids that are missing below one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    first: u64,
    last: u64,
    /// The pass in which its possible owners were first asked for; none before that.
    born: Option<u64>,
}

/// A transaction that holds the lock of writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// Its virtual transaction id, which no other transaction gets while it lives.
    pub(super) transaction: Box<str>,
    /// Prepared for two-phase commit: it holds under another id what it took before, so that it may own any gap.
    pub(super) prepared: bool,
}

/// See the module. `T` is a row.
#[derive(Debug)]
pub(super) struct Gate<T> {
    pass: u64,
    /// The highest id that was read.
    seen: u64,
    /// Everything up to here has gone on or is dead.
    passed: u64,
    /// Rows that were read and wait, by id.
    rows: BTreeMap<u64, T>,
    /// In order; each lies between `passed` and `seen`.
    gaps: VecDeque<Gap>,
    /// Since which pass each transaction has held the lock without a break.
    since: HashMap<Box<str>, u64>,
}

impl<T> Gate<T> {
    /// Begins behind `place`.
    pub(super) fn new(place: u64) -> Self {
        Self {
            pass: 0,
            seen: place,
            passed: place,
            rows: BTreeMap::new(),
            gaps: VecDeque::new(),
            since: HashMap::new(),
        }
    }

    /// The highest id that was read: reading goes on behind it.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Everything up to here was taken or never will be there.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// First and last ids of what is missing, in order.
    pub(super) fn missing(&self) -> (Vec<u64>, Vec<u64>) {
        self.gaps.iter().map(|gap| (gap.first, gap.last)).unzip()
    }

    /// Whether anything is missing.
    pub(super) fn is_waiting(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// Takes rows beyond [`Gate::seen`] in rising order of their ids; others are passed over.
    pub(super) fn read(&mut self, rows: impl IntoIterator<Item = (u64, T)>) {
        for (id, row) in rows {
            if id <= self.seen {
                continue;
            }
            if id - self.seen > 1 {
                self.gaps.push_back(Gap {
                    first: self.seen + 1,
                    last: id - 1,
                    born: None,
                });
            }
            self.seen = id;
            self.rows.insert(id, row);
        }
    }

    /// Takes who holds the lock, as asked after the last [`Gate::read`].
    pub(super) fn hold(&mut self, holders: impl IntoIterator<Item = Holder>) {
        self.pass += 1;
        let before = std::mem::take(&mut self.since);
        for holder in holders {
            // A prepared transaction counts as older than every gap.
            let since = match (holder.prepared, before.get(&holder.transaction)) {
                (true, _) => 0,
                (false, Some(&since)) => since,
                (false, None) => self.pass,
            };
            self.since.insert(holder.transaction, since);
        }
        for gap in self.gaps.iter_mut().filter(|gap| gap.born.is_none()) {
            gap.born = Some(self.pass);
        }
    }

    /// Takes rows of the missing ranges, read with a snapshot that is newer than the last [`Gate::hold`]. `upto` is the last id that was
    /// looked at where not all of the ranges were.
    pub(super) fn fill(&mut self, rows: impl IntoIterator<Item = (u64, T)>, upto: Option<u64>) {
        let upto = upto.unwrap_or(u64::MAX);
        let oldest = self.since.values().min().copied().unwrap_or(u64::MAX);
        let mut found = rows.into_iter().peekable();
        let mut left = VecDeque::with_capacity(self.gaps.len());
        for gap in std::mem::take(&mut self.gaps) {
            let dead = gap.born.is_some_and(|born| born < oldest);
            let mut first = gap.first;
            let mut keep = |first: u64, last: u64| {
                // Of a dead range only what was not looked at is worth another look.
                let first = if dead {
                    first.max(upto.saturating_add(1))
                } else {
                    first
                };
                if first <= last {
                    left.push_back(Gap { first, last, ..gap });
                }
            };
            while let Some((id, row)) = found.next_if(|(id, _)| *id <= gap.last) {
                if id < first {
                    continue; // Not asked for.
                }
                if id > first {
                    keep(first, id - 1);
                }
                first = id + 1;
                self.rows.insert(id, row);
            }
            keep(first, gap.last);
        }
        self.gaps = left;
    }

    /// The rows that may go on, in order.
    pub(super) fn take(&mut self) -> Vec<(u64, T)> {
        let Some(gap) = self.gaps.front() else {
            self.passed = self.seen;
            return std::mem::take(&mut self.rows).into_iter().collect();
        };
        self.passed = gap.first - 1;
        let later = self.rows.split_off(&gap.first);
        std::mem::replace(&mut self.rows, later).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;

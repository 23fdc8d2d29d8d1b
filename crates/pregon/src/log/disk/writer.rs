//! Who writes: gives numbers, appends to the newest segment, delivers.
//!
//! A small batch that finds nobody writing is written by its source itself, because waking a thread takes longer than all the rest;
//! what comes meanwhile waits for the thread. Batches that wait are written by one call. If that fails, nothing of them is kept and
//! their sources are told; from then on the thread tries by itself whether the disk takes something again.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::{self, channel_number};
use super::frame::{Header, Records};
use super::queue::{Job, Waited};
use super::segment::{Mark, Notes};
use super::sync::Durable;
use super::{Active, Core, PROBE};
use crate::log::entry::Entry;
use crate::log::ledger::{Draft, Ledger, Number};
use crate::log::position::Position;
use crate::log::{Append, LogError, Taken};

/// A full disk takes less than this and is none.
const PROBE_BYTES: [u8; 4096] = [0; 4096];

/// A segment of a quiet log ends after this part of the retention, so that age can remove it.
const PARTS: u32 = 4;

/// See the module.
pub(super) struct Writer {
    core: Arc<Core>,
    active: Active,
    /// When the newest segment got its first entry, as far as this process knows.
    begun: Option<Instant>,
    buffer: Vec<u8>,
    /// Time of the last record; it never goes back.
    time: u64,
}

/// Batches that are being written.
struct Group {
    draft: Draft,
    notes: Notes,
    entries: Vec<Arc<Entry>>,
    accepted: Vec<Accepted>,
}

/// A batch of a group.
struct Accepted {
    positions: Vec<Position>,
    taken: Option<Taken>,
    written: oneshot::Sender<Result<Vec<Position>, LogError>>,
    durable: oneshot::Sender<Result<(), LogError>>,
}

/// Writes until the queue is closed and empty.
pub(super) fn run(core: &Core, writer: &Mutex<Writer>) {
    loop {
        match core.queue.wait(PROBE) {
            Waited::Jobs => writer.lock().write_waiting(),
            Waited::Idle => writer.lock().probe(),
            Waited::Closed => break,
        }
    }
    // A source may be writing the last batch.
    drop(writer.lock());
    core.syncer.close();
}

/// Writes what waits, unless somebody writes already. Whoever writes looks again when it is done, so nothing is left lying.
pub(super) fn lead(core: &Core, writer: &Mutex<Writer>) {
    if let Some(mut writer) = writer.try_lock() {
        writer.write_waiting();
        drop(writer);
        core.queue.stir();
    }
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, active: Active) -> Self {
        let (time, begun) = {
            let extent = active.segment.extent.read();
            let begun = (!extent.is_empty()).then(|| super::open::instant_of(extent.first_time));
            (extent.last_time, begun)
        };
        Self {
            core,
            active,
            begun,
            buffer: Vec::new(),
            time,
        }
    }

    /// Writes what waits.
    fn write_waiting(&mut self) {
        let jobs = self.core.queue.take();
        if !jobs.is_empty() {
            self.write(jobs);
        }
    }

    fn write(&mut self, jobs: Vec<Job>) {
        if let Some(error) = self.core.broken.get() {
            let error = Arc::clone(error);
            return jobs
                .into_iter()
                .for_each(|job| job.refuse(LogError::Unsynced(Arc::clone(&error))));
        }
        if let Err(error) = self.make_room() {
            let error = self.failed(error);
            let mut ledger = self.core.ledger.lock();
            for job in jobs {
                job.taken.iter().for_each(|taken| ledger.hold(taken));
                job.refuse(LogError::Unwritable(Arc::clone(&error)));
            }
            return;
        }
        let group = self.number(jobs);
        if let Err(error) = self
            .core
            .medium
            .write(&self.active.file, &self.buffer, self.active.len)
        {
            return self.take_back(group, error);
        }
        self.keep(group);
    }

    /// Gives numbers to batches, and puts their records into the buffer.
    fn number(&mut self, jobs: Vec<Job>) -> Group {
        self.time = self.time.max(codec::micros(SystemTime::now()));
        self.buffer.clear();
        let core = Arc::clone(&self.core);
        let mut ledger = core.ledger.lock();
        let mut group = Group {
            draft: ledger.draft(),
            notes: Notes::default(),
            entries: Vec::new(),
            accepted: Vec::with_capacity(jobs.len()),
        };
        for job in jobs {
            let refused = match &job.taken {
                Some(taken) => ledger.take_over(&mut group.draft, taken).err(),
                None => None,
            };
            match refused {
                Some(error) => {
                    if error.is_transient() {
                        job.taken.iter().for_each(|taken| ledger.hold(taken));
                    }
                    job.refuse(error);
                }
                None => self.number_batch(&ledger, job, &mut group),
            }
        }
        group
    }

    fn number_batch(&mut self, ledger: &Ledger, job: Job, group: &mut Group) {
        let epoch = self.core.window.epoch();
        let mut positions = Vec::with_capacity(job.items.len());
        let (base, time) = (self.active.len, self.time);
        // Lent to the batch's records when it has some that are new.
        let mut buffer = Some(&mut self.buffer);
        let mut records = None;
        for item in job.items {
            let offset = match ledger.number(&mut group.draft, item.content.id()) {
                Number::Known(offset) => {
                    positions.push(Position { epoch, offset });
                    continue;
                }
                Number::Fresh(offset) => offset,
            };
            positions.push(Position { epoch, offset });
            let bytes = job.bytes.get(item.range).unwrap_or_default();
            if let Some(buffer) = buffer.take() {
                records = Some(Records::begin(buffer, offset, time));
            }
            let Some(records) = &mut records else { break };
            let position = base + records.entry(bytes) as u64;
            group.notes.add(offset, position, time, &item.content);
            group
                .entries
                .push(Arc::new(Entry::of(offset, epoch, item.content)));
        }
        // Nothing may be new, and the source be further all the same.
        let placed = buffer.filter(|_| job.taken.is_some());
        let records = records.or_else(|| Some(Records::begin(placed?, group.draft.next(), time)));
        if let Some(records) = records {
            records.finish(job.taken.as_ref());
        }
        group.accepted.push(Accepted {
            positions,
            taken: job.taken,
            written: job.written,
            durable: job.durable,
        });
    }

    /// What was written becomes true and is delivered; receipts wait for the syncer.
    fn keep(&mut self, group: Group) {
        let news = !group.entries.is_empty();
        self.active.len += self.buffer.len() as u64;
        if self.begun.is_none() && news {
            self.begun = Some(Instant::now());
        }
        let mut extent = self.active.segment.extent.write();
        extent.grow(group.notes, self.active.len);
        drop(extent);
        let metrics = &self.core.watcher.metrics;
        metrics
            .log_bytes
            .inc_by(i64::try_from(self.buffer.len()).unwrap_or(i64::MAX));
        {
            let mut ledger = self.core.ledger.lock();
            ledger.commit(group.draft);
            let pruned = self.core.window.push(group.entries);
            ledger.forget(&pruned);
        }
        self.recovered();
        if news {
            self.core.window.tell();
        }
        let mut receipts = Vec::with_capacity(group.accepted.len());
        for accepted in group.accepted {
            // Whoever dropped the receipt does not want to know.
            let _ = accepted.written.send(Ok(accepted.positions));
            receipts.push(Durable {
                told: accepted.durable,
                patient: accepted.taken.is_some(),
            });
        }
        self.core
            .syncer
            .sync(&self.active.file, self.buffer.len(), receipts);
    }

    /// Nothing of the group is kept.
    fn take_back(&mut self, group: Group, error: io::Error) {
        // A part may have been written. It is overwritten by what comes next, and cut off here or by the next start.
        let _ = self.active.file.set_len(self.active.len);
        let error = self.failed(error);
        let mut ledger = self.core.ledger.lock();
        for accepted in group.accepted {
            accepted.taken.iter().for_each(|taken| ledger.hold(taken));
            let _ = accepted
                .written
                .send(Err(LogError::Unwritable(Arc::clone(&error))));
        }
    }

    fn failed(&mut self, error: io::Error) -> Arc<io::Error> {
        self.core.watcher.metrics.log_failures.inc();
        if self.core.queue.set_failing(true) {
            tracing::error!(%error, path = %self.core.folder.path().display(), "the log cannot be written: nothing is taken until it can");
            (self.core.watcher.up)(false);
        }
        Arc::new(error)
    }

    fn recovered(&mut self) {
        let broken = || self.core.broken.get().is_some();
        // What the disk takes now does not bring back what an fsync lost.
        if !self.core.queue.is_failing() || broken() {
            return;
        }
        tracing::info!("the log can be written again");
        self.core.queue.set_failing(false);
        (self.core.watcher.up)(true);
        if broken() {
            (self.core.watcher.up)(false); // It was said meanwhile, and must be what was said last.
        }
    }

    /// Whether the disk takes something again; nothing of it stays.
    fn probe(&mut self) {
        let medium = &self.core.medium;
        let written = medium.write(&self.active.file, &PROBE_BYTES, self.active.len);
        let cut = self.active.file.set_len(self.active.len);
        if written.and(cut).is_ok() {
            self.recovered();
        }
    }

    /// Begins a new segment if the newest one is full, or old.
    fn make_room(&mut self) -> io::Result<()> {
        let keeping = &self.core.keeping;
        let old = |begun: Instant| begun.elapsed() > keeping.window.age / PARTS;
        let full = self.active.len >= keeping.segment || self.begun.is_some_and(old);
        if !full || self.active.segment.extent.read().is_empty() {
            return Ok(());
        }
        let (next, taken) = {
            let ledger = self.core.ledger.lock();
            (ledger.next(), ledger.all_taken().cloned().collect())
        };
        let header = Header {
            epoch: self.core.state.epoch,
            first: next,
            created: codec::micros(SystemTime::now()),
            taken,
        };
        let fresh = Active::create(self.core.folder.segment(next), &header, &*self.core.medium)?;
        // What a failed write left behind the last batch is no part of a full segment.
        let _ = self.active.file.set_len(self.active.len);
        let segment = Arc::clone(&fresh.segment);
        let full = std::mem::replace(&mut self.active, fresh);
        self.begun = None;
        self.core.segments.write().push(segment);
        self.core.syncer.seal(full.segment, full.file);
        Ok(())
    }
}

impl Notes {
    /// Notes an entry whose record begins at `position`.
    fn add(&mut self, offset: u64, position: u64, time: u64, content: &Append) {
        if self
            .records
            .last()
            .is_none_or(|record| record.position != position)
        {
            self.records.push(Mark {
                first: offset,
                position,
                time,
            });
        }
        match content {
            Append::Publication(publication) => {
                let numbers = publication.channels.iter().map(|name| channel_number(name));
                self.channels.extend(numbers.map(|number| (number, offset)));
            }
            Append::Gap(_) => self.newest_gap = offset,
        }
        self.last = offset;
    }
}

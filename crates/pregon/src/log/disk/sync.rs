//! The thread that makes durable what is written, in groups: one fsync for all batches that came while the last one ran, or later
//! where only sources wait that can be asked again. An fsync of ours costs whoever writes to the same disk, PostgreSQL above all.
//!
//! It also does what may wait and takes the disk: summaries of full segments, and retention.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Core;
use super::folder::State;
use super::segment::Segment;
use crate::log::LogError;

/// How long an fsync waits for more if nobody is in a hurry. Clients have long been served; a source hears a little later that it
/// may forget.
const LINGER: Duration = Duration::from_millis(100);

/// Batches, and their bytes, that are not kept waiting any longer: half and a sixteenth of what a source has under way.
const MANY: usize = 128;
const MUCH: usize = 1 << 20;

/// Who is told when a batch is durable.
pub(super) struct Durable {
    pub(super) told: oneshot::Sender<Result<(), LogError>>,
    /// Its source has a place of its own and goes on meanwhile.
    pub(super) patient: bool,
}

impl Durable {
    fn is_urgent(&self) -> bool {
        !self.patient && !self.told.is_closed()
    }
}

/// The inbox of the thread. Bounded by what the writer has written since the last fsync.
#[derive(Default)]
pub(super) struct Syncer {
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Default)]
struct Work {
    files: Vec<Arc<File>>,
    receipts: Vec<Durable>,
    bytes: usize,
    sealed: Vec<Arc<Segment>>,
    /// When what is written is made durable at the latest.
    due: Option<Instant>,
    prune: bool,
    closed: bool,
}

impl Syncer {
    /// So many bytes were written to `file`.
    pub(super) fn sync(&self, file: &Arc<File>, bytes: usize, receipts: Vec<Durable>) {
        let mut work = self.work.lock();
        let idle = work.due.is_none();
        work.add(file);
        work.receipts.extend(receipts);
        work.bytes += bytes;
        let due = work.is_due();
        drop(work);
        if idle || due {
            self.wake.notify_one();
        }
    }

    /// A segment is full: another one has begun.
    pub(super) fn seal(&self, segment: Arc<Segment>, file: Arc<File>) {
        let mut work = self.work.lock();
        work.add(&file);
        work.sealed.push(segment);
        drop(work);
        // Whoever waits without an end does not know yet that there is one.
        self.wake.notify_one();
    }

    pub(super) fn prune(&self) {
        self.work.lock().prune = true;
        self.wake.notify_one();
    }

    /// Nothing more is written.
    pub(super) fn close(&self) {
        self.work.lock().closed = true;
        self.wake.notify_one();
    }

    fn take(&self) -> Work {
        let mut work = self.work.lock();
        while !work.is_due() {
            match work.due {
                None => self.wake.wait(&mut work),
                Some(due) => drop(self.wake.wait_until(&mut work, due)),
            }
        }
        let closed = work.closed;
        let taken = std::mem::take(&mut *work);
        work.closed = closed;
        taken
    }
}

impl Work {
    fn add(&mut self, file: &Arc<File>) {
        if !self.files.iter().any(|known| Arc::ptr_eq(known, file)) {
            self.files.push(Arc::clone(file));
        }
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
    }

    fn is_due(&self) -> bool {
        self.prune
            || self.closed
            || self.receipts.len() >= MANY
            || self.bytes >= MUCH
            || self.due.is_some_and(|due| due <= Instant::now())
            || self.receipts.iter().any(Durable::is_urgent)
    }
}

/// Runs until the log is closed and everything is durable.
pub(super) fn run(core: &Core) {
    loop {
        let work = core.syncer.take();
        let last = work.closed;
        let sealed = !work.sealed.is_empty();
        let synced = synchronize(core, &work.files, sealed);
        for receipt in work.receipts {
            let outcome = match &synced {
                Ok(()) => Ok(()),
                Err(error) => Err(LogError::Unsynced(Arc::clone(error))),
            };
            // Whoever dropped the receipt does not want to know.
            let _ = receipt.told.send(outcome);
        }
        if synced.is_ok() {
            summarize(core, &work.sealed);
            if work.prune || sealed {
                core.retire();
            }
        }
        if last {
            return;
        }
    }
}

fn synchronize(core: &Core, files: &[Arc<File>], created: bool) -> Result<(), Arc<io::Error>> {
    if files.is_empty() {
        return Ok(());
    }
    if let Some(error) = core.broken.get() {
        return Err(Arc::clone(error));
    }
    let begun = Instant::now();
    let mut outcome = files.iter().try_for_each(|file| core.medium.sync(file));
    if created {
        outcome = outcome.and_then(|()| core.folder.sync_segments());
    }
    let took = begun.elapsed().as_secs_f64();
    core.watcher.metrics.log_sync.observe(took);
    // After a failed fsync the kernel may have thrown the pages away: trying again would only seem to help.
    outcome.map_err(|error| core.break_off(error))
}

/// Full segments get their summaries, and the state says how far the log is at least.
fn summarize(core: &Core, sealed: &[Arc<Segment>]) {
    let Some(newest) = sealed.last() else { return };
    for segment in sealed {
        if let Err(error) = segment.summarize() {
            tracing::warn!(%error, path = %segment.path.display(), "a summary of the log could not be written: the next start makes it");
        }
    }
    let state = State {
        next: newest.last() + 1,
        ..core.state.clone()
    };
    if let Err(error) = core.folder.set_state(&state) {
        tracing::warn!(%error, "the state of the log could not be written");
    }
}

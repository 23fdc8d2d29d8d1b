//! The log on the disk: segments that are only ever appended to, with a checksum for every batch.
//!
//! ```text
//! append ─▶ queue ─▶ writer: number, write, push into the window (deliver) ─▶ syncer thread: fsync in groups, resolve receipts
//!                       (the source's thread for a small batch, else one of its own)        └▶ summaries, retention
//! replay beyond the window ─▶ history: reads segments, on threads of whoever asks
//! ```
//!
//! Only the writer changes numbers, the newest segment and the window, so that offsets reach all three in one order. Nothing that is not
//! written is delivered; what is delivered and not yet durable survives the process but not the machine, see `open`. The syncer alone
//! removes segments. [`Log::close`] stops the writer, then the syncer, then marks the folder as clean; a log that is dropped
//! without it is found as after a kill.

pub(in crate::log) mod bytes;
pub(in crate::log) mod codec;
mod frame;
mod segment;
mod summary;
mod pruned;
mod folder;
mod medium;
mod scan;
mod open;
mod queue;
mod writer;
mod sync;
mod retention;
mod history;
mod inspect;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use self::inspect::{Inspection, inspect};

use self::folder::{Folder, State};
use self::medium::{Disk, Medium};
use self::pruned::Pruned;
use self::queue::{Job, Queue};
use self::segment::Segment;
use self::sync::Syncer;
use self::writer::Writer;
use super::ledger::Ledger;
use super::position::Position;
use super::window::{Retention, Window};
use super::{Append, Gap, History, Log, LogError, Open, Receipt, Taken};
use crate::abort;
use crate::metrics::Metrics;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// What is kept in memory, and for how long anything is kept.
    pub window: Retention,
    /// Bytes on the disk.
    pub size: u64,
    /// Bytes after which a new segment begins; whole segments are removed.
    pub segment: u64,
}

/// Who is told how the log is.
pub struct Watcher {
    pub metrics: Arc<Metrics>,
    /// Called with whether it can be written, when that changes.
    pub up: Box<dyn Fn(bool) + Send + Sync>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the log's folder {path} cannot be used: {source}; name another with [log] path or PREGON_DATA")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "the log's folder {path} is in use by process {holder}: give every node a folder of its own with PREGON_DATA"
    )]
    Locked { path: PathBuf, holder: String },
    #[error("the log's file {path} cannot be used: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} has version {version} of the log's format, this program knows {known}: use a newer one")]
    Version { path: PathBuf, version: u32, known: u32 },
    #[error(
        "{path} is damaged at byte {at}: restore the folder from a backup, or move this file and the later ones away; the log \
         then goes on in a new epoch and clients are told of a gap"
    )]
    Damaged { path: PathBuf, at: u64 },
    #[error("a thread of the log could not be started: {0}")]
    Thread(io::Error),
}

/// The segment that grows.
struct Active {
    segment: Arc<Segment>,
    file: Arc<File>,
    /// Bytes of the file that are whole batches.
    len: u64,
}

/// What the threads of a log share.
struct Core {
    folder: Folder,
    medium: Box<dyn Medium>,
    keeping: Keeping,
    watcher: Watcher,
    opener: Arc<dyn Open>,
    window: Arc<Window>,
    ledger: Mutex<Ledger>,
    /// Oldest first; the last one grows.
    segments: RwLock<Vec<Arc<Segment>>>,
    pruned: RwLock<Pruned>,
    queue: Queue,
    syncer: Syncer,
    /// Why nothing is taken any more.
    broken: OnceLock<Arc<io::Error>>,
    state: State,
}

/// See the module.
pub struct DiskLog {
    core: Arc<Core>,
    writer: Arc<Mutex<Writer>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl DiskLog {
    /// Opens the log in a folder, or begins one. Blocks while the newest part is read.
    pub fn open(
        path: &Path,
        keeping: Keeping,
        opener: Arc<dyn Open>,
        watcher: Watcher,
    ) -> Result<Self, OpenError> {
        Self::open_on(path, keeping, opener, watcher, Box::new(Disk))
    }

    fn open_on(
        path: &Path,
        keeping: Keeping,
        opener: Arc<dyn Open>,
        watcher: Watcher,
        medium: Box<dyn Medium>,
    ) -> Result<Self, OpenError> {
        let opened = open::open(path, keeping.window, &*opener)?;
        let core = Arc::new(Core {
            folder: opened.folder,
            medium,
            keeping,
            watcher,
            opener,
            window: opened.window,
            ledger: Mutex::new(opened.ledger),
            segments: RwLock::new(opened.segments),
            pruned: RwLock::new(opened.pruned),
            queue: Queue::default(),
            syncer: Syncer::default(),
            broken: OnceLock::new(),
            state: opened.state,
        });
        core.measure();
        let writer = Writer::new(Arc::clone(&core), opened.active);
        let log = Self {
            threads: Mutex::default(),
            writer: Arc::new(Mutex::new(writer)),
            core: Arc::clone(&core),
        };
        let (shared, writer) = (Arc::clone(&core), Arc::clone(&log.writer));
        log.spawn("log-write", move || writer::run(&shared, &writer))?;
        log.spawn("log-sync", move || sync::run(&core))?;
        if let Some(from) = opened.lost {
            log.say_lost(from);
        }
        Ok(log)
    }

    /// Starts a thread.
    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let run = move || or_abort(run);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(run).map_err(OpenError::Thread)?;
        self.threads.lock().push(started);
        Ok(())
    }

    /// Who follows without a position is told too that something may be missing.
    fn say_lost(&self, from: Position) {
        let gap = Gap {
            from,
            reason: pregon_wire::words::GapReason::Restart,
            patterns: Arc::from([]),
            everything: true,
        };
        // Its failure is the writer's to tell; positions of the old epoch are answered by a gap in any case.
        drop(self.append(vec![Append::Gap(gap)], None));
    }

    /// Ends the threads when they have done what they were given.
    fn stop(&self) {
        self.core.queue.close();
        for thread in self.threads.lock().drain(..) {
            // Its panic would have ended the process.
            let _ = thread.join();
        }
    }
}

/// A panic takes the process with it: receipts would wait forever, and a supervisor starts a node that finds everything that was
/// written.
fn or_abort(run: impl FnOnce()) {
    abort::on_panic("the log panicked: aborting, so that nobody waits for it", run);
}

impl Core {
    /// Sets what is measured of the segments.
    fn measure(&self) {
        let segments = self.segments.read();
        let bytes: u64 = segments.iter().map(|segment| segment.len()).sum();
        let metrics = &self.watcher.metrics;
        metrics.log_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        metrics
            .log_segments
            .set(i64::try_from(segments.len()).unwrap_or(i64::MAX));
        let oldest = segments.first().map_or(0, |segment| segment.first);
        metrics.log_oldest.set(i64::try_from(oldest).unwrap_or(i64::MAX));
    }

    /// There is no room for a batch.
    fn refuse(&self, (job, error): (Job, LogError)) {
        // Later ones of its source must not pass it by.
        if error.is_transient() {
            let mut ledger = self.ledger.lock();
            job.taken.iter().for_each(|taken| ledger.hold(taken));
        }
        job.refuse(error);
    }

    /// Nothing can be promised any more: what is written may not be on the disk.
    fn break_off(&self, error: io::Error) -> Arc<io::Error> {
        let error = Arc::new(error);
        if self.broken.set(Arc::clone(&error)).is_ok() {
            tracing::error!(%error, "the log could not be made durable: it takes nothing more, restart the node");
            (self.watcher.up)(false);
            let state = State {
                boot: "unsynced".into(),
                ..self.state.clone()
            };
            if let Err(error) = self.folder.set_state(&state) {
                tracing::error!(%error, "nor could that be noted in the log's folder");
            }
        }
        error
    }
}

impl Log for DiskLog {
    fn append(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt {
        if batch.is_empty() && taken.is_none() {
            return Receipt::ready(Ok(Vec::new()));
        }
        if let Some(error) = self.core.broken.get() {
            return Receipt::ready(Err(LogError::Unsynced(Arc::clone(error))));
        }
        let (job, receipt) = match Job::new(batch, taken, &*self.core.opener) {
            Ok(made) => made,
            Err(error) => return Receipt::ready(Err(error)),
        };
        let small = job.weight() <= SMALL;
        match self.core.queue.push(job) {
            Ok(()) if small => or_abort(|| writer::lead(&self.core, &self.writer)),
            Ok(()) => self.core.queue.stir(),
            Err(refused) => self.core.refuse(*refused),
        }
        receipt
    }

    fn taken(&self, source: &str) -> Option<Taken> {
        self.core.ledger.lock().taken(source)
    }

    fn window(&self) -> &Arc<Window> {
        &self.core.window
    }

    fn prune(&self) -> Result<(), LogError> {
        {
            let mut ledger = self.core.ledger.lock();
            let pruned = self.core.window.prune();
            ledger.forget(&pruned);
        }
        self.core.syncer.prune();
        Ok(())
    }

    fn history(&self) -> Option<Arc<dyn History>> {
        Some(Arc::clone(&self.core) as Arc<dyn History>)
    }

    fn close(&self) {
        self.stop();
        if self.core.broken.get().is_some() {
            return;
        }
        let state = State {
            clean: true,
            next: self.core.ledger.lock().next(),
            ..self.core.state.clone()
        };
        if let Err(error) = self.core.folder.set_state(&state) {
            tracing::warn!(%error, "the log could not be marked as closed");
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Bytes that a source writes itself if nobody else writes: larger batches are written while it makes the next one.
const SMALL: usize = 64 << 10;

/// Time without an attempt after which a log that could not be written tries again by itself.
const PROBE: Duration = Duration::from_secs(1);

//! A disk that fails: no room left, in the middle of a batch or for a new file, and an fsync that reports an error.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::medium::{Disk, Medium};
use super::*;
use crate::log::entry::Body;

/// A disk with so many bytes left, whose fsync can be made to fail.
#[derive(Default)]
struct Faults {
    /// Bytes that it still takes.
    room: AtomicU64,
    no_sync: AtomicBool,
    /// Whoever holds it keeps fsyncs waiting.
    gate: Mutex<()>,
    writes: AtomicU64,
    /// What the watcher was told.
    up: Mutex<Vec<bool>>,
}

struct Faulty(Arc<Faults>);

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl Medium for Faulty {
    fn create(&self, path: &Path) -> io::Result<File> {
        if self.0.room.load(Ordering::SeqCst) == 0 {
            return Err(no_space());
        }
        Disk.create(path)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        let room = usize::try_from(self.0.room.load(Ordering::SeqCst)).unwrap_or(usize::MAX);
        let fits = bytes.get(..room).unwrap_or(bytes);
        Disk.write(file, fits, at)?;
        self.0.room.fetch_sub(fits.len() as u64, Ordering::SeqCst);
        if fits.len() < bytes.len() {
            Err(no_space())
        } else {
            Ok(())
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        drop(self.0.gate.lock());
        if self.0.no_sync.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Disk.sync(file)
    }
}

impl Faults {
    fn new() -> Arc<Self> {
        let faults = Self::default();
        faults.free();
        Arc::new(faults)
    }

    fn fill(&self, left: u64) {
        self.room.store(left, Ordering::SeqCst);
    }

    fn free(&self) {
        self.fill(u64::MAX / 2);
    }

    fn is_up(&self) -> bool {
        self.up.lock().last().copied().unwrap_or(true)
    }

    fn open(self: &Arc<Self>, folder: &Path, keeping: Keeping) -> DiskLog {
        let told = Arc::clone(self);
        let watcher = Watcher {
            metrics: Metrics::new(),
            up: Box::new(move |up| told.up.lock().push(up)),
        };
        DiskLog::open_on(
            folder,
            keeping,
            Arc::new(Opened),
            watcher,
            Box::new(Faulty(Arc::clone(self))),
        )
        .unwrap()
    }
}

/// Cut at every place that a record has: nothing of the batch stays, the next one takes its numbers, and all is read back.
#[test]
fn a_disk_that_fills_anywhere_in_a_batch_keeps_nothing_of_it() {
    for left in (0..400).step_by(7) {
        let temp = tempfile::tempdir().unwrap();
        let faults = Faults::new();
        let log = faults.open(temp.path(), keeping());
        append(&log, vec![publication("a")]);
        faults.fill(left);
        let large = format!("\"{}\"", "x".repeat(400));
        let refused = wait(log.append(
            vec![publication("a"), Append::Publication(said("a", &large))],
            None,
        ));
        let Err(LogError::Unwritable(error)) = &refused else {
            panic!("{left}: {refused:?}");
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert!(!faults.is_up() && offsets_in_window(&log) == [1], "{left}");
        faults.free();
        assert_eq!(append(&log, vec![named("a", "x")]), [2], "{left}");
        assert!(faults.is_up());
        drop(log);
        let log = open(temp.path());
        assert_eq!(offsets_in_window(&log), [1, 2], "{left}");
    }
}

#[test]
fn without_room_for_a_new_segment_batches_wait_until_there_is() {
    let temp = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let log = faults.open(temp.path(), long());
    // Until the file is full: the next batch needs a new one.
    while segment_files(temp.path())[0].metadata().unwrap().len() < long().segment {
        fill(&log, "a", 1);
    }
    let head = log.window().head();
    faults.fill(0);
    let refused = wait(log.append(vec![publication("a")], Some(place(1))));
    assert!(
        matches!(&refused, Err(error) if error.is_transient()),
        "{refused:?}"
    );
    // Room for the file, but not for its beginning.
    faults.fill(3);
    assert!(wait(log.append(vec![publication("b")], None)).is_err());
    assert_eq!(
        segment_files(temp.path()).len(),
        1,
        "no file without a header stays"
    );
    faults.free();
    wait(log.append(vec![publication("a")], Some(place(1)))).unwrap();
    assert_eq!(
        (log.window().head(), segment_files(temp.path()).len()),
        (head + 1, 2)
    );
    log.close();
    drop(log);
    let log = open_with(temp.path(), long());
    assert_eq!(
        reading::read_all(&log, "a", 0),
        (1..=head + 1).collect::<Vec<u64>>()
    );
    assert_eq!(log.taken("outbox"), Some(place(1)));
}

#[test]
fn a_disk_that_is_full_for_a_while_is_noticed_without_anybody_asking() {
    let temp = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let log = faults.open(temp.path(), keeping());
    faults.fill(0);
    assert!(wait(log.append(vec![publication("a")], None)).is_err());
    assert!(!faults.is_up());
    faults.free();
    until(|| faults.is_up());
    assert_eq!(append(&log, vec![publication("a")]), [1]);
}

/// What was delivered may be gone after a crash: no receipt resolves, nothing more is taken, and the next start gives no position twice.
#[test]
fn after_a_failed_fsync_nothing_is_promised_and_the_next_start_is_a_new_epoch() {
    let temp = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let log = faults.open(temp.path(), keeping());
    let epoch = log.window().epoch();
    take(&log, vec![publication("a")], 1);
    faults.no_sync.store(true, Ordering::SeqCst);
    let unsynced = wait(log.append(vec![publication("a")], Some(place(2))));
    assert!(matches!(unsynced, Err(LogError::Unsynced(_))), "{unsynced:?}");
    assert!(!faults.is_up());
    assert_eq!(offsets_in_window(&log), [1, 2], "it was delivered before");
    // The next one would succeed, and prove nothing about the pages that were lost.
    faults.no_sync.store(false, Ordering::SeqCst);
    let refused = wait(log.append(vec![publication("a")], None));
    assert!(matches!(refused, Err(LogError::Unsynced(_))), "{refused:?}");
    log.close();
    drop(log);
    let log = open(temp.path());
    assert_ne!(log.window().epoch(), epoch, "closing it did not make it clean");
    until(|| log.window().head() == 3);
    let all = entries(&log);
    let Body::Gap(gap) = &all.last().unwrap().body else {
        panic!("{all:?}");
    };
    assert!(
        gap.everything && gap.from == Position { epoch, offset: 2 },
        "{gap:?}"
    );
    assert_eq!(
        append(&log, vec![publication("a")]),
        [4],
        "no offset is given twice"
    );
}

/// A disk that breaks is often full as well: that it takes something again must not make the node ready.
#[test]
fn a_failed_fsync_is_not_forgiven_when_there_is_room_again() {
    let temp = tempfile::tempdir().unwrap();
    let faults = Faults::new();
    let log = faults.open(temp.path(), keeping());
    let gate = faults.gate.lock();
    faults.no_sync.store(true, Ordering::SeqCst);
    let first = log.append(vec![publication("a")], None);
    until(|| log.window().head() == 1);
    faults.fill(0);
    let second = wait(log.append(vec![publication("a")], None));
    assert!(matches!(second, Err(LogError::Unwritable(_))), "{second:?}");
    drop(gate);
    let first = wait(first);
    assert!(matches!(first, Err(LogError::Unsynced(_))), "{first:?}");
    faults.free();
    // It looks by itself whether the disk takes something; the second look begins after all that the first one did.
    let looks = faults.writes.load(Ordering::SeqCst);
    until(|| faults.writes.load(Ordering::SeqCst) >= looks + 2);
    assert!(!faults.is_up(), "{:?}", faults.up.lock());
}

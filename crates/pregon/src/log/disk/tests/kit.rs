//! What these tests share: logs in temporary folders, things to append, and looks at what is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{DiskLog, Keeping, OpenError, Watcher};
use crate::event::{Data, EventId, Publication, Sealed};
use crate::log::entry::{Body, Entry};
use crate::log::position::Position;
use crate::log::window::{Retention, Tail};
use crate::log::{Append, Log, LogError, Open, Receipt, Taken};
use crate::metrics::Metrics;

/// Opens by putting a word in the place of the payload.
pub(super) struct Opened;

impl Open for Opened {
    fn open(&self, publication: &mut Publication) {
        publication.sealed = Box::default();
        publication.data = Data::Json("\"opened\"".into());
    }
}

pub(super) fn keeping() -> Keeping {
    Keeping {
        window: Retention {
            bytes: 1 << 24,
            age: Duration::from_secs(3600),
        },
        size: 1 << 30,
        segment: 1 << 20,
    }
}

/// Four segments of a few entries, and a window of fewer.
pub(super) fn small() -> Keeping {
    Keeping {
        window: Retention {
            bytes: 4 * 1024,
            age: Duration::from_secs(3600),
        },
        size: 16 * 1024,
        segment: 4 * 1024,
    }
}

/// Segments of a few entries, and all of them are kept.
pub(super) fn long() -> Keeping {
    Keeping {
        size: 1 << 30,
        ..small()
    }
}

pub(super) fn watcher() -> Watcher {
    Watcher {
        metrics: Metrics::new(),
        up: Box::new(|_| {}),
    }
}

pub(super) fn open(folder: &Path) -> DiskLog {
    open_with(folder, keeping())
}

/// Opens a log that was just let go of. Another test of this process may be starting a child, which holds the lock until it is one.
pub(super) fn try_open(folder: &Path, keeping: Keeping) -> Result<DiskLog, OpenError> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match DiskLog::open(folder, keeping, Arc::new(Opened), watcher()) {
            Err(OpenError::Locked { .. }) if Instant::now() < end => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

pub(super) fn open_with(folder: &Path, keeping: Keeping) -> DiskLog {
    try_open(folder, keeping).unwrap()
}

pub(super) fn wait(receipt: Receipt) -> Result<Vec<Position>, LogError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(receipt.wait())
}

pub(super) fn append(log: &DiskLog, batch: Vec<Append>) -> Vec<u64> {
    let positions = wait(log.append(batch, None)).unwrap();
    positions.iter().map(|position| position.offset).collect()
}

pub(super) fn place(upto: u64) -> Taken {
    Taken {
        source: "outbox".into(),
        epoch: 1,
        upto: (upto, 0),
    }
}

pub(super) fn take(log: &DiskLog, batch: Vec<Append>, upto: u64) {
    wait(log.append(batch, Some(place(upto)))).unwrap();
}

pub(super) fn said(channel: &str, json: &str) -> Publication {
    Publication::new([Arc::from(channel)], "e", Data::Json(json.to_owned().into()))
}

pub(super) fn publication(channel: &str) -> Append {
    Append::Publication(said(channel, "{}"))
}

pub(super) fn named(channel: &str, id: &str) -> Append {
    Append::Publication(Publication {
        id: EventId::named(id),
        ..said(channel, "{}")
    })
}

pub(super) fn sealed(channel: &str, json: &str) -> Append {
    Append::Publication(Publication {
        sealed: Box::new([Sealed {
            field: "f".into(),
            with: "s".into(),
            aad: Some("row".into()),
        }]),
        ..said(channel, json)
    })
}

/// Appends entries of about 250 bytes, one by one.
pub(super) fn fill(log: &DiskLog, channel: &str, count: usize) {
    let json = format!("\"{}\"", "x".repeat(200));
    for _ in 0..count {
        append(log, vec![Append::Publication(said(channel, &json))]);
    }
}

pub(super) fn entries(log: &DiskLog) -> Vec<Arc<Entry>> {
    let window = log.window();
    let mut out = Vec::new();
    let tail = window.after(window.oldest() - 1, usize::MAX, usize::MAX, &mut out);
    assert_eq!(tail, Tail::Complete);
    out
}

pub(super) fn offsets_in_window(log: &DiskLog) -> Vec<u64> {
    offsets(&entries(log))
}

pub(super) fn offsets(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.offset).collect()
}

pub(super) fn data(entry: &Entry) -> String {
    match &entry.body {
        Body::Publication { data, .. } => String::from_utf8_lossy(data.raw()).into_owned(),
        _ => String::new(),
    }
}

pub(super) fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder.join("segments")).unwrap();
    let mut paths: Vec<_> = found
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    paths.sort();
    paths
}

/// Waits for what another thread does.
pub(super) fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "it never came");
        std::thread::yield_now();
    }
}

/// Another boot of the machine: what was not closed may have lost its end.
pub(super) fn reboot(folder: &Path) {
    edit_state(folder, |line| {
        if line.starts_with("boot ") {
            "boot another".into()
        } else {
            line.into()
        }
    });
}

pub(super) fn edit_state(folder: &Path, edit: impl Fn(&str) -> String) {
    let path = folder.join("state");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<String> = text.lines().map(edit).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

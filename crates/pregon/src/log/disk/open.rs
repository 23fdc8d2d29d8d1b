//! Opening a folder: what is in it, what a crash has cut off, whether history was lost, and the window as it was.
//!
//! The epoch stays as long as no offset can have been given twice: over orderly stops, and over the death of the process, whose writes
//! the kernel keeps. After an unclean stop of the machine, and where segments or the state are missing, it is a new one.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hashbrown::HashMap;

use super::codec;
use super::folder::{self, Folder, State};
use super::frame::{BadHeader, Frames, Header, Next, VERSION, any_record_after};
use super::medium::{Disk, Medium};
use super::pruned::Pruned;
use super::scan::{self, Scan};
use super::segment::{Extent, Segment};
use super::summary;
use super::{Active, OpenError};
use crate::log::ledger::Ledger;
use crate::log::position::{Epoch, Position};
use crate::log::window::{Retention, Window};
use crate::log::{Entry, Open, Taken};

/// What opening gives.
pub(super) struct Opened {
    pub(super) folder: Folder,
    pub(super) state: State,
    /// The position after which history was lost, if it was.
    pub(super) lost: Option<Position>,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) active: Active,
    pub(super) pruned: Pruned,
    pub(super) ledger: Ledger,
    pub(super) window: Arc<Window>,
}

/// Opens the log in a folder, or begins one.
pub(super) fn open(path: &Path, retention: Retention, opener: &dyn Open) -> Result<Opened, OpenError> {
    let folder = Folder::take(path)?;
    let mut found = Found::load(&folder)?;
    let (state, lost) = judge(&folder, &found);
    let active = found.activate(&folder, &state)?;
    let mut ledger = Ledger::new(state.next, std::mem::take(&mut found.taken));
    let window = fill(&found.segments, &state, retention, opener, &mut ledger)?;
    // Before anything is appended: whoever finds this state knows that more may have been.
    folder.set_state(&state).map_err(|source| OpenError::Folder {
        path: path.to_owned(),
        source,
    })?;
    Ok(Opened {
        folder,
        state,
        lost,
        segments: found.segments,
        active,
        pruned: found.pruned,
        ledger,
        window,
    })
}

/// What is in the folder.
struct Found {
    segments: Vec<Arc<Segment>>,
    taken: HashMap<Arc<str>, Taken>,
    pruned: Pruned,
    /// The first offset that no record has.
    next: u64,
}

impl Found {
    fn load(folder: &Folder) -> Result<Self, OpenError> {
        let files = folder.list().map_err(|source| OpenError::Folder {
            path: folder.path().to_owned(),
            source,
        })?;
        let mut found = Self {
            segments: Vec::with_capacity(files.len()),
            taken: HashMap::new(),
            pruned: Pruned::load(&folder.pruned()).unwrap_or_default(),
            next: 1,
        };
        let newest = files.len().saturating_sub(1);
        for (place, (first, path)) in files.into_iter().enumerate() {
            let loaded = if place == newest {
                found.load_newest(first, &path)?
            } else {
                Some(load(first, &path)?)
            };
            if let Some(extent) = loaded {
                found.add(path, extent)?;
            }
        }
        Ok(found)
    }

    /// The newest segment is read as a whole: it has no summary, and a crash may have cut it.
    fn load_newest(&mut self, first: u64, path: &Path) -> Result<Option<Extent>, OpenError> {
        let Some((header, scan, len)) = read(path)? else {
            remove_unmade(first, path)?;
            return Ok(None);
        };
        if header.first != first || scan.damaged {
            return Err(OpenError::Damaged {
                path: path.to_owned(),
                at: scan.extent.len,
            });
        }
        if scan.extent.len < len {
            tracing::warn!(
                path = %path.display(),
                at = scan.extent.len,
                bytes = len - scan.extent.len,
                "the log ended in an incomplete batch, which is cut off"
            );
        }
        let places = header
            .taken
            .into_iter()
            .map(|taken| (Arc::clone(&taken.source), taken));
        self.taken = places.collect();
        self.taken.extend(scan.taken);
        Ok(Some(scan.extent))
    }

    fn add(&mut self, path: PathBuf, extent: Extent) -> Result<(), OpenError> {
        if extent.first < self.next {
            return Err(OpenError::Damaged { path, at: 0 });
        }
        if extent.first > self.next && (!self.segments.is_empty() || self.pruned.newest == 0) {
            tracing::warn!(path = %path.display(), "segments before this one are missing: clients that need them get a gap");
            self.pruned.lose(extent.first - 1);
        }
        self.next = extent.last + 1;
        self.segments.push(Arc::new(Segment::new(path, extent)));
        Ok(())
    }

    /// When the log began, as far as its entries tell; now for one without any. Nothing is known where the first ones were removed.
    fn began(&self) -> Option<SystemTime> {
        let first = self.segments.first();
        let first = first.map_or(0, |segment| segment.extent.read().first_time);
        match (self.pruned.newest, first) {
            (0, 0) => Some(SystemTime::now()),
            (0, first) => Some(codec::time_of(first)),
            _ => None,
        }
    }

    /// The segment that goes on growing.
    fn activate(&mut self, folder: &Folder, state: &State) -> Result<Active, OpenError> {
        let newest = self.segments.last().filter(|_| self.next == state.next);
        let Some(segment) = newest else {
            let header = Header {
                epoch: state.epoch,
                first: state.next,
                created: codec::micros(SystemTime::now()),
                taken: self.taken.values().cloned().collect(),
            };
            let path = folder.segment(state.next);
            let active =
                Active::create(path.clone(), &header, &Disk).map_err(|source| file_error(&path, source))?;
            self.segments.push(Arc::clone(&active.segment));
            return Ok(active);
        };
        let path = segment.path.clone();
        Active::resume(Arc::clone(segment)).map_err(|source| file_error(&path, source))
    }
}

/// The state to go on with, and where history was lost.
fn judge(folder: &Folder, found: &Found) -> (State, Option<Position>) {
    let (boot, left) = (folder::boot(), folder.state());
    let began = left.as_ref().and_then(|left| left.began);
    let fresh = |next| State {
        epoch: Epoch::random(),
        boot: boot.clone(),
        clean: false,
        next,
        began: began.or_else(|| found.began()),
        copied: false,
    };
    let Some(left) = left else {
        let lost = (!found.segments.is_empty()).then(|| {
            tracing::warn!("the state of the log is missing: it goes on in a new epoch");
            Position {
                epoch: Epoch(0),
                offset: found.next - 1,
            }
        });
        return (fresh(found.next), lost);
    };
    let machine = !left.clean && left.boot != boot;
    let missing = found.next < left.next;
    if !machine && !missing && !left.copied {
        let same = State {
            epoch: left.epoch,
            ..fresh(found.next)
        };
        return (same, None);
    }
    let why = if left.copied {
        "the folder is a copy or was restored from one, so that others may go on with the same positions"
    } else if missing {
        "entries are missing at the end of the log"
    } else {
        "the machine stopped without closing the log, the last entries may be lost"
    };
    tracing::warn!(
        why,
        "the log goes on in a new epoch: clients that come back are told of a gap"
    );
    let mut state = fresh(found.next.max(left.next));
    while state.epoch == left.epoch {
        state.epoch = Epoch::random();
    }
    let lost = Position {
        epoch: left.epoch,
        offset: found.next - 1,
    };
    (state, Some(lost))
}

/// A file without a whole header was being made when the process ended, and nothing is in it; otherwise it is damaged.
fn remove_unmade(first: u64, path: &Path) -> Result<(), OpenError> {
    let failed = |source| file_error(path, source);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if any_record_after(&file, 0, len, first).map_err(failed)? {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            at: 0,
        });
    }
    tracing::warn!(path = %path.display(), "a segment without a whole header was removed");
    std::fs::remove_file(path).map_err(failed)
}

/// A full segment: by its summary, which is made again where it is missing.
fn load(first: u64, path: &Path) -> Result<Extent, OpenError> {
    let len = std::fs::metadata(path)
        .map_err(|source| file_error(path, source))?
        .len();
    let damaged = |at| OpenError::Damaged {
        path: path.to_owned(),
        at,
    };
    if let Ok(extent) = summary::read(&summary::path(path))
        && extent.first == first
        && extent.len <= len
    {
        // The name of a file says nothing of what is in it.
        let file = File::open(path).map_err(|source| file_error(path, source))?;
        let header = Header::read(&file, len).map_err(|source| file_error(path, source))?;
        return match header {
            Ok((header, _)) if header.first == first => Ok(extent),
            _ => Err(damaged(0)),
        };
    }
    let (header, scan, len) = read(path)?.ok_or_else(|| damaged(0))?;
    if header.first != first || scan.damaged || scan.extent.len < len {
        return Err(damaged(scan.extent.len));
    }
    let segment = Segment::new(path.to_owned(), scan.extent);
    if let Err(error) = segment.summarize() {
        tracing::warn!(%error, path = %path.display(), "a summary of the log could not be written");
    }
    Ok(segment.extent.into_inner())
}

/// Reads a segment as a whole; `None` if it ends within its header.
fn read(path: &Path) -> Result<Option<(Header, Scan, u64)>, OpenError> {
    let failed = |source| file_error(path, source);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let (header, start) = match Header::read(&file, len).map_err(failed)? {
        Ok(found) => found,
        Err(BadHeader::Short) => return Ok(None),
        Err(BadHeader::Damaged) => {
            return Err(OpenError::Damaged {
                path: path.to_owned(),
                at: 0,
            });
        }
        Err(BadHeader::Version(version)) => {
            return Err(OpenError::Version {
                path: path.to_owned(),
                version,
                known: VERSION,
            });
        }
    };
    let scan = scan::scan(&file, header.first, start, len).map_err(failed)?;
    Ok(Some((header, scan, len)))
}

impl Active {
    /// A new segment.
    pub(super) fn create(path: PathBuf, header: &Header, medium: &dyn Medium) -> io::Result<Self> {
        let file = medium.create(&path)?;
        let bytes = header.encode();
        let len = bytes.len() as u64;
        if let Err(error) = medium.write(&file, &bytes, 0) {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            segment: Arc::new(Segment::new(path, Extent::new(header.first, len))),
            file: Arc::new(file),
            len,
        })
    }

    /// The segment of an earlier process: what is behind its whole batches is cut off.
    fn resume(segment: Arc<Segment>) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        let len = segment.len();
        file.set_len(len)?;
        // What an earlier process wrote may be on no disk yet.
        file.sync_all()?;
        Ok(Self {
            segment,
            file: Arc::new(file),
            len,
        })
    }
}

/// The window as it was: the newest entries, as many as it holds.
fn fill(
    segments: &[Arc<Segment>],
    state: &State,
    retention: Retention,
    opener: &dyn Open,
    ledger: &mut Ledger,
) -> Result<Arc<Window>, OpenError> {
    let mut window: Option<Arc<Window>> = None;
    for (segment, position) in newest(segments, state.next, retention.bytes as u64) {
        let failed = |source| file_error(&segment.path, source);
        let file = segment.open().map_err(failed)?;
        let mut frames = Frames::new(&file, position, segment.len());
        loop {
            let record = match frames.next().map_err(failed)? {
                Next::Record(record) => record,
                Next::End => break,
                Next::Bad => {
                    return Err(OpenError::Damaged {
                        path: segment.path.clone(),
                        at: position,
                    });
                }
            };
            let appended = instant_of(record.time);
            let window = window.get_or_insert_with(|| {
                let earlier = (record.first > 1).then_some(appended);
                let window = Window::behind(state.epoch, record.first - 1, earlier, retention);
                Arc::new(window.since(state.began))
            });
            let mut entries = Vec::with_capacity(record.count as usize);
            for (offset, bytes) in record.entries() {
                let mut item = codec::decode(bytes).ok_or_else(|| OpenError::Damaged {
                    path: segment.path.clone(),
                    at: record.position,
                })?;
                item.open(opener);
                if let Some(id) = item.id() {
                    ledger.remember(id, offset);
                }
                let time = codec::time_of(record.time);
                entries.push(Arc::new(Entry::stored(offset, state.epoch, item, time, appended)));
            }
            ledger.forget(&window.push(entries));
        }
    }
    Ok(window.unwrap_or_else(|| {
        let earlier = (state.next > 1).then(Instant::now);
        let window = Window::behind(state.epoch, state.next - 1, earlier, retention);
        Arc::new(window.since(state.began))
    }))
}

/// The newest segments that follow one another, as many as have `bytes` together, each with the place from which on. An entry is larger
/// in the window than in its file, so that this is enough.
fn newest(segments: &[Arc<Segment>], next: u64, bytes: u64) -> Vec<(Arc<Segment>, u64)> {
    let (mut chosen, mut left, mut follows) = (Vec::new(), bytes, next);
    for segment in segments.iter().rev() {
        let extent = segment.extent.read();
        if left == 0 || extent.last + 1 != follows {
            break;
        }
        follows = extent.first;
        let from = extent.len.saturating_sub(left);
        let mark = extent.marks.partition_point(|mark| mark.position <= from);
        let mark = mark.checked_sub(1).and_then(|place| extent.marks.get(place));
        let start = mark
            .or(extent.marks.first())
            .map_or(extent.len, |mark| mark.position);
        left = left.saturating_sub(extent.len);
        chosen.push((Arc::clone(segment), start));
    }
    chosen.reverse();
    chosen
}

/// A time of a record by our own clock.
pub(super) fn instant_of(micros: u64) -> Instant {
    let age = codec::time_of(micros).elapsed().unwrap_or_default();
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

fn file_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::File {
        path: path.to_owned(),
        source,
    }
}

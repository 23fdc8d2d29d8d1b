//! The folder of a log: who uses it, which segments are in it, and what the last process left as its state.
//!
//! ```text
//! PATH/lock      held by the one process that uses the folder; its number is in it
//! PATH/state     epoch, boot of the machine, whether the log was closed, a lower bound of the next offset, when the log began, which file it was written to
//! PATH/pruned    newest pruned offset of channels
//! PATH/segments  00000000000000000001.seg (see `frame`) and .idx (see `summary`), named by their first offset
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{OpenError, codec};
use crate::log::position::Epoch;

/// Version of the folder's layout.
const VERSION: u32 = 1;

/// A folder that this process alone uses.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held by being open.
    _lock: File,
}

/// What the last process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    /// The machine's boot in which it was written; entries outlive their process but not an unclean stop of the machine.
    pub(super) boot: String,
    /// Everything is on the disk and nothing was appended since.
    pub(super) clean: bool,
    /// No offset below this is free.
    pub(super) next: u64,
    /// When the log began, whatever it still has of that time; a log of an earlier version may not know.
    pub(super) began: Option<SystemTime>,
    /// It was written to another file than this one: the folder is a copy, or was restored from one.
    pub(super) copied: bool,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it for this process.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder {
            path: path.to_owned(),
            source,
        };
        make(&path.join("segments")).map_err(failed)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options.open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The number is for people; a full disk must not keep a node from starting, which could free some of it.
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::warn!(%error, "the number of this process could not be noted in the log's lock file");
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.segments().join(format!("{first:020}.seg"))
    }

    pub(super) fn pruned(&self) -> PathBuf {
        self.path.join("pruned")
    }

    fn segments(&self) -> PathBuf {
        self.path.join("segments")
    }

    /// The segments by their first offset, oldest first. What has another name is not ours.
    pub(super) fn list(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.segments())? {
            let path = entry?.path();
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if let Some(first) = number.filter(|_| path.extension().is_some_and(|end| end == "seg")) {
                found.push((first, path));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Makes files that were created or removed durable.
    pub(super) fn sync_segments(&self) -> io::Result<()> {
        File::open(self.segments())?.sync_all()
    }

    /// What the last process left; `None` if it cannot be read or is of no version that we know.
    pub(super) fn state(&self) -> Option<State> {
        let path = self.path.join("state");
        let mut state = State::parse(&fs::read_to_string(&path).ok()?)?;
        let here = File::open(&path).ok().and_then(|file| identity(&file));
        let noted = fs::read_to_string(&path).ok();
        let noted = noted.as_deref().and_then(|text| value(text, "file"));
        // Earlier versions noted nothing, and some file systems know nothing.
        state.copied = noted.zip(here).is_some_and(|(noted, here)| noted != here);
        Some(state)
    }

    pub(super) fn set_state(&self, state: &State) -> io::Result<()> {
        replace_by(&self.path.join("state"), |file| {
            let line = identity(file).map(|identity| format!("file {identity}\n"));
            format!("{state}{}", line.unwrap_or_default()).into_bytes()
        })
    }
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| value(text, key);
        let version: u32 = value("version")?.parse().ok()?;
        if version != VERSION {
            return None;
        }
        Some(Self {
            epoch: Epoch(u32::from_str_radix(value("epoch")?, 16).ok()?),
            boot: value("boot")?.to_owned(),
            clean: value("clean")? == "yes",
            next: value("next")?.parse().ok()?,
            began: value("began")
                .and_then(|micros| micros.parse().ok())
                .map(codec::time_of),
            copied: false,
        })
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clean = if self.clean { "yes" } else { "no" };
        write!(
            f,
            "version {VERSION}\nepoch {:08x}\nboot {}\nclean {clean}\nnext {}\n",
            self.epoch.0, self.boot, self.next
        )?;
        match self.began {
            Some(began) => writeln!(f, "began {}", codec::micros(began)),
            None => Ok(()),
        }
    }
}

/// The value of a key of the state.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// What a file does not share with its copies: its number, and when it was made. A volume that is mounted elsewhere keeps both.
fn identity(file: &File) -> Option<String> {
    let facts = file.metadata().ok()?;
    let made = facts.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{}-{}", facts.ino(), made.as_nanos()))
}

/// What tells the boots of the machine apart. Where nothing does, every start counts as one: an unclean stop is then taken for one
/// of the machine.
pub(super) fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        "" => format!("unknown-{:016x}", rand::random::<u64>()),
        id => id.to_owned(),
    }
}

/// Puts a file in the place of another, durably and in one step.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, |_| bytes.to_vec())
}

fn replace_by(path: &Path, bytes: impl FnOnce(&File) -> Vec<u8>) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    let bytes = bytes(&file);
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Only we may read what clients get.
fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_state_survives_its_text_and_others_are_none() {
        let state = State {
            epoch: Epoch(0x1a2b),
            boot: "b".into(),
            clean: true,
            next: 7,
            began: Some(codec::time_of(1_700_000_000_000_000)),
            copied: false,
        };
        assert_eq!(State::parse(&state.to_string()), Some(state.clone()));
        for text in ["", "version 2\nepoch 1\nboot b\nclean yes\nnext 1", "version 1"] {
            assert_eq!(State::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_copy_of_the_state_is_known_for_one() {
        let (temp, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let state = State {
            epoch: Epoch(7),
            boot: "b".into(),
            clean: true,
            next: 7,
            began: Some(codec::time_of(1_700_000_000_000_000)),
            copied: false,
        };
        let folder = Folder::take(temp.path()).unwrap();
        folder.set_state(&state).unwrap();
        assert_eq!(folder.state(), Some(state.clone()));
        let old = fs::read(temp.path().join("state")).unwrap();
        let other = Folder::take(copy.path()).unwrap();
        fs::write(copy.path().join("state"), &old).unwrap();
        let copied = State {
            copied: true,
            ..state.clone()
        };
        assert_eq!(other.state(), Some(copied.clone()));
        // Put back over a later one, as a restore does.
        folder.set_state(&state).unwrap();
        fs::write(temp.path().join("state"), &old).unwrap();
        assert_eq!(folder.state(), Some(copied));
    }

    #[test]
    fn a_folder_has_one_user() {
        let temp = tempfile::tempdir().unwrap();
        let _first = Folder::take(temp.path()).unwrap();
        let second = Folder::take(temp.path()).unwrap_err();
        assert!(
            second.to_string().contains(&std::process::id().to_string()),
            "{second}"
        );
    }
}

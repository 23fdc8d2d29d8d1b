//! What was delivered: the newest key, and the keys seen within the overlap before it. Pure but for loading and saving.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Key;

/// Text keys cannot be counted back, so the newest of them are remembered.
const MAX_TEXT_KEYS: usize = 1000;

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read the state file {file}")]
    Read { file: PathBuf, source: io::Error },
    #[error("the state file {file} is damaged; delete it to start at the present maximum")]
    Damaged {
        file: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write the state file {file}")]
    Write { file: PathBuf, source: io::Error },
}

/// The state of one reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// The newest key; absent while the table was empty.
    last: Option<Key>,
    seen: BTreeSet<Key>,
    #[serde(skip)]
    overlap: u64,
}

impl State {
    pub(super) fn new(last: Option<Key>, overlap: u64) -> Self {
        let mut state = Self {
            last: None,
            seen: BTreeSet::new(),
            overlap,
        };
        if let Some(last) = last {
            state.remember(last);
        }
        state
    }

    /// Where the next query starts.
    pub(super) fn from(&self) -> Option<Key> {
        self.last.as_ref().map(|last| last.back(self.overlap))
    }

    pub(super) fn is_new(&self, key: &Key) -> bool {
        !self.seen.contains(key)
    }

    pub(super) fn remember(&mut self, key: Key) {
        if self.last.as_ref().is_none_or(|last| *last < key) {
            self.last = Some(key.clone());
        }
        self.seen.insert(key);
        self.forget();
    }

    /// Forgets what no query will find again. The start itself is kept: the SQL may say `>=`.
    fn forget(&mut self) {
        match self.from() {
            Some(from @ Key::Number(_)) => self.seen = self.seen.split_off(&from),
            Some(Key::Text(_)) => {
                while self.seen.len() > MAX_TEXT_KEYS {
                    self.seen.pop_first();
                }
            }
            None => {}
        }
    }

    pub(super) fn load(file: &Path, overlap: u64) -> Result<Option<Self>, StateError> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StateError::Read {
                    file: file.to_owned(),
                    source,
                });
            }
        };
        let state: Self = serde_json::from_slice(&text).map_err(|source| StateError::Damaged {
            file: file.to_owned(),
            source,
        })?;
        Ok(Some(Self { overlap, ..state }))
    }

    /// Writes beside the file, syncs and renames: a crash leaves the old state or the new one.
    pub(super) fn save(&self, file: &Path) -> Result<(), StateError> {
        self.write(file).map_err(|source| StateError::Write {
            file: file.to_owned(),
            source,
        })
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let mut out = File::create(&beside)?;
        out.write_all(&serde_json::to_vec(self)?)?;
        out.sync_all()?;
        fs::rename(&beside, file)?;
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn late_rows_within_the_overlap_are_new_once() {
        let mut state = State::new(Some(Key::Number(100)), 10);
        assert_eq!(state.from(), Some(Key::Number(90)));
        assert!(!state.is_new(&Key::Number(100)));
        assert!(state.is_new(&Key::Number(97)));
        state.remember(Key::Number(97));
        assert!(!state.is_new(&Key::Number(97)));
        state.remember(Key::Number(105));
        assert_eq!(state.from(), Some(Key::Number(95)));
        assert_eq!(
            state.seen.iter().cloned().collect::<Vec<_>>(),
            [97, 100, 105].map(Key::Number)
        );
    }

    #[test]
    fn the_state_survives_and_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        assert!(State::load(&file, 5).unwrap().is_none());
        let mut state = State::new(None, 5);
        state.save(&file).unwrap();
        assert_eq!(State::load(&file, 5).unwrap().unwrap(), state);
        for number in 0..100_000 {
            state.remember(Key::Number(number));
        }
        assert_eq!(state.seen.len(), 6);
        state.save(&file).unwrap();
        assert_eq!(State::load(&file, 5).unwrap().unwrap(), state);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&file, "{").unwrap();
        assert!(matches!(State::load(&file, 5), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn keys_are_numbers_only_if_they_look_the_same_again() {
        assert_eq!(Key::from_text("-12".into()), Key::Number(-12));
        assert_eq!(Key::from_text("007".into()), Key::Text("007".into()));
        assert_eq!(Key::from_json(&serde_json::json!(7)), Some(Key::Number(7)));
        assert_eq!(Key::from_json(&serde_json::json!(null)), None);
    }
}

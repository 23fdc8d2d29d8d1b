//! The position at a gateway, kept in a file, so that a restart resumes where the last run was.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    position: String,
}

/// Makes the folders that a state file shall be in: otherwise the first event would be the one to find out.
pub(super) fn make_folders(file: &Path) -> anyhow::Result<()> {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder of the state file {}", file.display())),
        None => Ok(()),
    }
}

/// Where we are, in memory and perhaps in a file.
#[derive(Debug)]
pub(super) struct Place {
    file: Option<PathBuf>,
    position: Option<String>,
}

impl Place {
    /// Reads the file; a missing one means a first start.
    pub(super) fn open(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let position = match &file {
            Some(file) => {
                read(file).with_context(|| format!("cannot use the state file {}", file.display()))?
            }
            None => None,
        };
        Ok(Self { file, position })
    }

    pub(super) fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    /// Takes a position without writing it.
    pub(super) fn moved(&mut self, position: &str) {
        self.position = Some(position.to_owned());
    }

    /// The position is worthless: the next subscribe starts at the present.
    pub(super) fn forget(&mut self) {
        self.position = None;
    }

    /// Writes beside the file, syncs and renames: a crash leaves the old state or the new one.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let (Some(file), Some(position)) = (&self.file, &self.position) else {
            return Ok(());
        };
        write(file, position).with_context(|| format!("cannot write the state file {}", file.display()))
    }
}

fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match fs::read(file) {
        Ok(text) => {
            let saved: Saved =
                serde_json::from_slice(&text).context("it is damaged; delete it to start at the present")?;
            Ok(Some(saved.position))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(file: &Path, position: &str) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let mut out = File::create(&beside)?;
    out.write_all(&serde_json::to_vec(&Saved {
        position: position.to_owned(),
    })?)?;
    out.sync_all()?;
    Ok(fs::rename(&beside, file)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_place_survives_and_a_damaged_one_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("place");
        let mut place = Place::open(Some(file.clone())).unwrap();
        assert_eq!(place.position(), None);
        place.moved("e-7");
        place.save().unwrap();
        assert_eq!(Place::open(Some(file.clone())).unwrap().position(), Some("e-7"));
        fs::write(&file, "{").unwrap();
        assert!(Place::open(Some(file)).is_err());
    }
}

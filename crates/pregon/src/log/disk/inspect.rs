//! A look at a log's folder from outside, for `pregon doctor`: takes no lock and opens no file for writing, so that it can be done while a
//! node uses the folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

/// What is there, and what could be.
#[derive(Debug)]
pub struct Inspection {
    /// Whether it is a log already; otherwise it would be made.
    pub exists: bool,
    /// The process that uses it.
    pub holder: Option<u32>,
    /// What its files take.
    pub bytes: u64,
    /// What this user may still write to the file system, and the size of all of it.
    pub free: u64,
    pub total: u64,
}

/// Looks at a folder, or at where it would be made. An error says that this user could not use it.
pub fn inspect(path: &Path) -> io::Result<Inspection> {
    let there = nearest(path)?;
    access(&there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)?;
    let space = statvfs(&there)?;
    let exists = path.join("state").exists();
    Ok(Inspection {
        exists,
        holder: holder(path),
        bytes: if exists { weight(path)? } else { 0 },
        free: space.f_bavail.saturating_mul(space.f_frsize),
        total: space.f_blocks.saturating_mul(space.f_frsize),
    })
}

/// The folder itself, or the first one above it that is there.
fn nearest(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for folder in path.ancestors() {
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => return Ok(folder.to_owned()),
            Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

/// Blocks on the disk, also of files beside the segments. One that retention removes meanwhile is none.
fn weight(path: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for folder in [path.to_owned(), path.join("segments")] {
        for entry in fs::read_dir(folder)? {
            let found = entry?.metadata();
            sum += found.map_or(0, |found| found.blocks() * 512);
        }
    }
    Ok(sum)
}

/// Who has the lock, by the kernel's list: to try the lock could get in the way of a node that starts.
fn holder(path: &Path) -> Option<u32> {
    let lock = path.join("lock");
    let inode = fs::metadata(&lock).ok()?.ino();
    let noted: u32 = fs::read_to_string(&lock).ok()?.trim().parse().ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| held(line, inode)).map(|listed| {
        // Of a process in another namespace the list says 0, and the file knows better.
        if listed == 0 { noted } else { listed }
    })
}

/// The process of a line such as `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`, if it is about that file.
fn held(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["FLOCK", _, "WRITE", process, file, ..] = words.get(1..)? else {
        return None;
    };
    let about = file.rsplit(':').next()?.parse::<u64>().ok()?;
    (about == inode).then(|| process.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_of_the_kernel_tells_who_has_the_lock() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF";
        assert_eq!(held(line, 1234), Some(4711));
        assert_eq!(held(line, 1235), None);
        for other in [
            "1: POSIX  ADVISORY  WRITE 4711 08:01:1234 0 EOF",
            "1: -> FLOCK ADVISORY WRITE 1 08:01:1234 0 EOF",
            "",
            "1:",
        ] {
            assert_eq!(held(other, 1234), None, "{other}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above() {
        let temp = tempfile::tempdir().unwrap();
        let found = inspect(&temp.path().join("a/b")).unwrap();
        assert!(!found.exists && found.holder.is_none() && found.total >= found.free && found.total > 0);
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(inspect(&temp.path().join("file/b")).is_err());
    }
}

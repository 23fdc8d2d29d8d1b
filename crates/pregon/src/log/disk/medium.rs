//! What the log asks of the disk while it grows: the three calls whose failure it has to survive. Tests put another one in its place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Creates, writes and makes durable.
pub(super) trait Medium: Send + Sync {
    /// A new file; one that is there is an error.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Writes all of it, or fails having written any part.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;

    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The disk itself.
pub(super) struct Disk;

impl Medium for Disk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(path)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

//! A small disk of its own for the gateway's log, which can be filled: a tmpfs, where the run may mount one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Enough for the log of a long run.
const SIZE: &str = "size=2g";

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// `None` where mounting is not allowed: then the disk cannot be filled without harm to others.
    pub(crate) fn mount() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("pregon-chaos-{}", std::process::id()));
        fs::create_dir_all(&folder).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&folder);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self { folder }),
            _ => {
                let _ = fs::remove_dir(&folder);
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&self) -> std::io::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let block = vec![0_u8; 1 << 20];
        while ballast.write_all(&block).is_ok() {}
        // The last bytes too.
        while ballast.write_all(&[0; 64]).is_ok() {}
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn free(&self) -> std::io::Result<()> {
        fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).output();
        let _ = fs::remove_dir(&self.folder);
    }
}

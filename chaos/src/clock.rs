//! The gateway's clock, which can be put forward and back: the machine's stays as it is.
//!
//! `libfaketime` (Debian's package of that name) stands between the gateway and the system's calendar time and adds what a
//! file says; it reads the file again every second. The monotonic clock is left alone, as it is when a machine's time is set.

use std::fs;
use std::path::{Path, PathBuf};

use pregon_testkit::NodeOptions;
use rand::RngExt;
use rand::rngs::StdRng;

/// The library for programs with threads, relative to a folder of libraries.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Where Debian keeps libraries, by machine.
const FOLDERS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib",
];
/// Farthest jump, seconds: less than the log keeps its entries and tokens are valid, so that nothing may be lost.
const FARTHEST: i64 = 3_600;

/// What the gateway's calendar is off by; the file goes with this.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// `None` where the library is not installed.
    pub(crate) fn find() -> Option<Self> {
        let library = FOLDERS
            .iter()
            .map(|folder| Path::new(folder).join(LIBRARY))
            .find(|library| library.exists())?;
        let file = std::env::temp_dir().join(format!("pregon-chaos-{}.clock", std::process::id()));
        let clock = Self { library, file };
        clock.set(0).ok()?;
        Some(clock)
    }

    /// A gateway that goes by this clock.
    pub(crate) fn given_to(&self, options: NodeOptions) -> NodeOptions {
        options
            .env("LD_PRELOAD", self.library.to_string_lossy())
            .env("FAKETIME_TIMESTAMP_FILE", self.file.to_string_lossy())
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
    }

    /// Back to the true time half of the times, anywhere within an hour otherwise.
    pub(crate) fn jump(&self, random: &mut StdRng) -> std::io::Result<()> {
        let seconds = if random.random_bool(0.5) {
            0
        } else {
            random.random_range(-FARTHEST..=FARTHEST)
        };
        self.set(seconds)
    }

    /// The gateway must never read half of it.
    fn set(&self, seconds: i64) -> std::io::Result<()> {
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{seconds:+}\n"))?;
        fs::rename(&draft, &self.file)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

//! The initialised data folder that every server starts as a copy of: `initdb` takes most of a second, a copy 0.1 s.
//!
//! It lives in the user's cache folder, one per installation. Many processes may want it at once: each makes its own
//! and renames it into place, the first one wins, and nobody ever writes into it afterwards.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use super::binaries::Binaries;
use crate::process::{self, Account};

/// Raise when the arguments of `initdb` change.
const FORMAT: u32 = 1;

/// Makes `data` a fresh data folder: superuser `postgres`, UTF8, locale C.
pub(super) fn copy_to(data: &Path, binaries: &Binaries, account: Option<Account>) -> anyhow::Result<()> {
    let shelf = cache_folder();
    // An account without a home of its own goes without a cache.
    let Some(shelf) = shelf.filter(|shelf| fs::create_dir_all(shelf).is_ok()) else {
        return initialise(data, binaries, account);
    };
    let place = shelf.join(name(binaries, account));
    if !place.is_dir() {
        make(&shelf, &place, binaries, account)?;
    }
    copy(&place, data)
}

fn make(shelf: &Path, place: &Path, binaries: &Binaries, account: Option<Account>) -> anyhow::Result<()> {
    let fresh = process::scratch("initdb", account)?.join("data");
    initialise(&fresh, binaries, account)?;
    let own = shelf.join(format!(".making-{}-{:x}", std::process::id(), process::random()));
    copy(&fresh, &own)?;
    if fs::rename(&own, place).is_err() {
        let _ = fs::remove_dir_all(&own); // somebody else was first
    }
    anyhow::ensure!(
        place.is_dir(),
        "could not put the PostgreSQL template at {}",
        place.display()
    );
    Ok(())
}

fn name(binaries: &Binaries, account: Option<Account>) -> String {
    let mut hasher = DefaultHasher::new();
    (
        FORMAT,
        binaries.version(),
        binaries.program("initdb"),
        account.map(|a| (a.uid, a.gid)),
    )
        .hash(&mut hasher);
    format!("postgres-{}-{:016x}", binaries.major(), hasher.finish())
}

/// The user's own cache, where nobody else can have put a folder for us to trust.
fn cache_folder() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Some(cache.or_else(home)?.join("pregon-testkit"))
}

fn initialise(data: &Path, binaries: &Binaries, account: Option<Account>) -> anyhow::Result<()> {
    let password = data.with_file_name("password");
    fs::write(&password, "postgres\n")?;
    process::hand_over(&password, account)?;
    let mut command = Command::new(binaries.program("initdb"));
    command.args([
        "--no-sync",
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--locale=C",
        "-A",
        "trust",
    ]);
    command.arg("--pwfile").arg(&password).arg("-D").arg(data);
    command.current_dir("/").stdin(Stdio::null());
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    let made = command.output().context("running initdb")?;
    anyhow::ensure!(
        made.status.success(),
        "initdb failed: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .output()
        .context("running cp")?;
    anyhow::ensure!(
        done.status.success(),
        "cp failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

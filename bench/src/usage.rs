//! What a process uses, read from outside, and which core this thread may run on.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::clock_getcpuclockid,
    unistd::Pid,
};

/// The core of servers under load, and that of the load.
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// The cores of this machine.
pub(crate) fn cores() -> usize {
    fs::read_to_string("/proc/cpuinfo").map_or(1, |text| {
        text.lines().filter(|line| line.starts_with("processor")).count()
    })
}

/// CPU time of all threads, user and system: the same sum as in `/proc/PID/stat`, in nanoseconds.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?)).context("the process's CPU clock")?;
    Ok(clock.now()?.into())
}

/// Resident bytes, exactly: the counters of `/proc/PID/status` lag behind by up to 64 pages and core.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the process's memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib: u64 = line
        .and_then(|rest| rest.split_whitespace().next())
        .context("no Rss")?
        .parse()?;
    Ok(kib * 1024)
}

/// Open files, sockets included.
pub(crate) fn open_files(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Keeps the calling thread on the load's core, if there is one.
pub(crate) fn pin_load() -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    if cores() > LOAD_CORE {
        set.set(LOAD_CORE)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    Ok(())
}

/// Gives the core to any other thread as soon as that can run. Without it the kernel lets a busy thread go on until its next tick,
/// and the load's own wait of up to 4 ms would be taken for the server's.
pub(crate) fn give_way() -> anyhow::Result<()> {
    let thread = nix::unistd::gettid().to_string();
    let status = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .status()
        .context("chrt (package util-linux) cannot be run")?;
    ensure!(status.success(), "chrt failed: {status}");
    Ok(())
}

/// Lets the calling thread run anywhere again.
pub(crate) fn unpin() -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    (0..cores()).try_for_each(|core| set.set(core))?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

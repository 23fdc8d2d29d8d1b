//! Child processes that cannot outlive us, signals, ports, and the folder that vanishes with the process.
//!
//! Linux sends a child its death signal when the *thread* that forked it ends, and a test's thread ends long before the
//! test binary. So every child is forked by one thread that lives as long as the process. All `unsafe` of the kit is here.

#![allow(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::Context;

/// Signals that the kit sends.
pub use libc::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM};

struct Order {
    command: Command,
    death_signal: i32,
    answer: mpsc::Sender<io::Result<Child>>,
}

/// Starts `command` in its own process group; the kernel sends it `death_signal` when this process ends in any way.
pub fn spawn(mut command: Command, death_signal: i32) -> io::Result<Child> {
    static FORKER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for mut order in inbox {
                die_with_parent(&mut order.command, order.death_signal);
                let _ = order.answer.send(order.command.spawn());
            }
        });
        orders
    });
    command.process_group(0);
    let (answer, result) = mpsc::channel();
    forker
        .send(Order {
            command,
            death_signal,
            answer,
        })
        .map_err(io::Error::other)?;
    result.recv().map_err(io::Error::other)?
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl and getppid are plain system
    // calls, and building an `io::Error` from a number or errno allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the call above took effect.
            if libc::getppid().cast_unsigned() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _signal: i32) {}

/// Sends a signal; a process that is gone already is fine.
pub fn signal(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: kill(2) takes two integers and touches no memory of ours.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Limits the size of files that a running process may write, as `ulimit -f` does; `None` lifts it. Stands for a full disk.
#[cfg(target_os = "linux")]
pub fn limit_file_size(pid: u32, bytes: Option<u64>) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY),
        rlim_max: libc::RLIM_INFINITY,
    };
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the new limit is whole and outlives the call; no old one is asked for.
    match unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the process exists and is not a zombie.
pub fn is_running(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z')),
        Err(_) => false,
    }
}

/// Direct children of a process, from `/proc` (empty where that does not exist).
pub fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may hold spaces; state and parent follow its last parenthesis.
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Waits for a child without blocking the runtime.
pub async fn wait_exit(child: &mut Child, timeout: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "process {} still runs after {timeout:?}",
            child.id()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Ends a child for good, for `Drop`: `first` signal, then SIGKILL after `patience`.
pub fn end(child: &mut Child, first: i32, patience: Duration) {
    signal_if_running(child, first);
    let deadline = Instant::now() + patience;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            signal_if_running(child, SIGKILL);
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Signals a child unless it was reaped already (its number may belong to somebody else by then).
pub fn signal_if_running(child: &mut Child, number: i32) {
    if matches!(child.try_wait(), Ok(None)) {
        signal(child.id(), number);
    }
}

/// A free TCP port on 127.0.0.1 below the range that the kernel gives to outgoing connections: a client that keeps
/// retrying a server which is down can otherwise be connected to itself and take the port. This process is given each
/// port once, for a server takes its own some time later, and gives it up while it restarts.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..200 {
        let port = 12_000 + (random() % 20_000) as u16;
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between 12000 and 32000 on 127.0.0.1")
}

/// A number that differs between processes and calls; not for secrets.
pub fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// The account that servers run as when we are root, which PostgreSQL refuses to be.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The `postgres` account, else `nobody`, when this process is root; `None` when no change is needed.
pub fn unprivileged() -> anyhow::Result<Option<Account>> {
    // SAFETY: geteuid(2) has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let found = ["postgres", "nobody"].iter().find_map(|name| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2);
        Some(Account {
            uid: numbers.next()?.parse().ok()?,
            gid: numbers.next()?.parse().ok()?,
        })
    });
    found
        .map(Some)
        .context("running as root and there is neither a postgres nor a nobody account")
}

/// Gives a path to the account, if there is one to change to.
pub fn hand_over(path: &Path, account: Option<Account>) -> io::Result<()> {
    match account {
        Some(account) => std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    }
}

/// A new folder inside the folder of this process, which a watcher removes when the process has ended.
pub fn scratch(name: &str, account: Option<Account>) -> anyhow::Result<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = run_folder()?.join(format!("{name}{number}"));
    fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    hand_over(&path, account)?;
    Ok(path)
}

struct RunFolder {
    path: PathBuf,
    /// Its pipe's closing, by any kind of death of ours, is the watcher's signal.
    _watcher: Child,
}

fn run_folder() -> anyhow::Result<&'static Path> {
    static FOLDER: OnceLock<Result<RunFolder, String>> = OnceLock::new();
    match FOLDER.get_or_init(|| make_run_folder().map_err(|error| format!("{error:#}"))) {
        Ok(folder) => Ok(&folder.path),
        Err(error) => anyhow::bail!("{error}"),
    }
}

fn make_run_folder() -> anyhow::Result<RunFolder> {
    let mut base = std::env::temp_dir();
    // A unix socket's path holds at most 107 bytes, and its name and our folders need about 60.
    if base.as_os_str().len() > 45 {
        base = PathBuf::from("/tmp");
    }
    let path = base.join(format!("pregon-{}-{:08x}", std::process::id(), random() as u32));
    fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let watcher = Command::new("sh")
        .args(["-c", WATCH, "sh"])
        .arg(&path)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the folder's watcher")?;
    Ok(RunFolder {
        path,
        _watcher: watcher,
    })
}

/// Servers may still be writing while they die, so removal is tried again for up to ten seconds.
const WATCH: &str = r#"trap "" HUP INT TERM; cat >/dev/null; n=0
until rm -rf "$1"; do n=$((n+1)); [ $n -ge 100 ] && exit 1; sleep 0.1; done"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let mut child = std::thread::spawn(|| spawn(sleeper(), SIGKILL).unwrap())
            .join()
            .unwrap();
        assert!(is_running(child.id()));
        assert!(children_of(std::process::id()).contains(&child.id()));
        end(&mut child, SIGTERM, Duration::from_secs(5));
        assert!(!is_running(child.id()));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(spawn(Command::new("/nonexistent/program"), SIGKILL).is_err());
    }

    #[tokio::test]
    async fn an_aborted_process_leaves_no_child_and_no_folder() {
        // The test binary runs itself once more; that copy starts a child, tells us and aborts.
        let copy = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "process::tests::aborts_when_told",
                "--ignored",
                "--nocapture",
            ])
            .env("TESTKIT_ABORT", "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&copy.stdout).into_owned();
        let line = told
            .lines()
            .find_map(|line| line.split_once("left "))
            .unwrap_or_else(|| panic!("{told}"))
            .1;
        let (pid, folder) = line.split_once(' ').unwrap();
        let (pid, folder) = (pid.parse().unwrap(), PathBuf::from(folder));
        crate::eventually(Duration::from_secs(10), || async {
            !is_running(pid) && !folder.exists()
        })
        .await
        .unwrap();
    }

    #[test]
    #[allow(clippy::print_stdout)]
    #[ignore = "run by an_aborted_process_leaves_no_child_and_no_folder"]
    fn aborts_when_told() {
        if std::env::var_os("TESTKIT_ABORT").is_some() {
            let folder = scratch("abort", None).unwrap();
            let child = spawn(sleeper(), SIGKILL).unwrap();
            fs::write(folder.join("file"), "x").unwrap();
            println!("left {} {}", child.id(), folder.display());
            std::process::abort();
        }
    }
}

//! A disk that takes nothing: a limit on the size of files, in a process of its own because the limit holds for all of it.

use std::process::Command;

use super::*;

/// Bytes that a file may have, in the test's copy of itself.
const LIMIT: u64 = 256 * 1024;

#[test]
fn a_batch_that_does_not_fit_is_refused_whole_and_later_ones_wait_for_it() {
    let copy = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "log::disk::tests::full::under_a_limit",
            "--ignored",
            "--nocapture",
        ])
        .env("PREGON_TEST_LIMIT", "1")
        .output()
        .unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&copy.stdout),
        String::from_utf8_lossy(&copy.stderr)
    );
    assert!(copy.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "run by a_batch_that_does_not_fit_is_refused_whole_and_later_ones_wait_for_it"]
fn under_a_limit() {
    if std::env::var_os("PREGON_TEST_LIMIT").is_none() {
        return;
    }
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGXFSZ, full).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let up = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&up);
    let watcher = Watcher {
        metrics: Metrics::new(),
        up: Box::new(move |up| seen.lock().push(up)),
    };
    let log = DiskLog::open(temp.path(), keeping(), Arc::new(Opened), watcher).unwrap();
    limit(LIMIT);
    take(&log, vec![publication("a")], 1);
    let big = format!("\"{}\"", "x".repeat(300 * 1024));
    let batch = || vec![publication("a"), Append::Publication(said("a", &big))];
    let refused = wait(log.append(batch(), Some(place(2))));
    assert!(
        matches!(&refused, Err(error) if error.is_transient()),
        "{refused:?}"
    );
    assert_eq!(offsets_in_window(&log), [1], "nothing of it is delivered");
    let next = wait(log.append(vec![publication("a")], Some(place(3))));
    assert!(matches!(next, Err(LogError::Held { .. })), "{next:?}");
    assert_eq!(
        append(&log, vec![publication("b")]),
        [2],
        "what fits and is of others goes on"
    );
    limit(libc::RLIM_INFINITY);
    wait(log.append(batch(), Some(place(2)))).unwrap();
    take(&log, vec![publication("a")], 3);
    assert_eq!(*up.lock(), [false, true]);
    drop(log);
    let log = open(temp.path());
    assert_eq!(offsets_in_window(&log), [1, 2, 3, 4, 5]);
    assert_eq!(log.taken("outbox"), Some(place(3)));
}

/// Limits the size of files of this process.
#[allow(unsafe_code)]
fn limit(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the struct is whole and outlives the call, which touches no other memory of ours.
    assert_eq!(
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) },
        0
    );
}

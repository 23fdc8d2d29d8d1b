//! How many file descriptors the process may have, and how many of them are kept from clients: the log, the database and the files
//! of the disk log need some while strangers take all they get.

use crate::config;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Kept for the log, the database, Redis, the listener and what the process has open beside.
const KEPT: u64 = 128;

/// Who has not said how many connections there may be is told if there can be fewer than this.
const FEW: usize = 1_000;

/// The limit of the process; `None` means that there is no limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The limit that `serve` raises it to.
pub fn highest() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the soft limit to the hard one: the soft one is that of programs that use `select`.
pub fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused the old limit holds, and is said where `connections` is compared with it.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The connections for which the limit has descriptors. Zero asks for as many as there can be.
pub fn connections(wanted: usize, limit: Option<u64>) -> usize {
    let room = limit.map_or(usize::MAX, |limit| {
        // Of a very small limit half is kept.
        let kept = KEPT.min(limit / 2);
        usize::try_from(limit - kept).unwrap_or(usize::MAX)
    });
    match wanted {
        0 => room,
        wanted => wanted.min(room),
    }
}

/// Why `connections` cannot be reached, and what to do about it.
pub fn shortage(wanted: usize, limit: Option<u64>) -> Option<String> {
    let limit = limit?;
    let room = connections(wanted, Some(limit));
    let is_told = wanted > room && (wanted != config::Limits::default().connections || room < FEW);
    is_told.then(|| {
        format!(
            "[limits] connections = {wanted} needs {} file descriptors, and the process may have {limit} (RLIMIT_NOFILE): at most {room} clients are let in; \
             raise it with LimitNOFILE= of systemd, --ulimit nofile= of Docker or ulimit -Hn, or set connections = {room}",
            wanted as u64 + KEPT,
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn some_descriptors_are_kept_from_clients() {
        assert_eq!(connections(100_000, Some(1024)), 896);
        assert_eq!(connections(0, Some(1024)), 896);
        assert_eq!(connections(500, Some(1024)), 500);
        assert_eq!(connections(500, Some(100)), 50);
        assert_eq!(connections(0, None), usize::MAX);
    }

    #[test]
    fn a_shortage_says_what_to_do() {
        assert_eq!(shortage(896, Some(1024)), None);
        assert_eq!(shortage(0, Some(1024)), None);
        assert_eq!(
            shortage(100_000, Some(20_000)),
            None,
            "the default asks for nothing"
        );
        assert!(shortage(50_000, Some(20_000)).is_some());
        let said = shortage(100_000, Some(1024)).unwrap();
        assert!(said.contains("896") && said.contains("LimitNOFILE"), "{said}");
    }
}

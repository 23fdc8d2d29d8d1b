//! Connection state recovery: which sessions clients had, kept so that a later connection can have one back.
//!
//! A session is known by a secret (`pid` on the wire) that only its client has. What is kept are its rooms, never its rights:
//! whoever comes back is asked for a token again, and for every room. The memory of one process; one that outlives it belongs
//! beside a log that does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::log::Position;

/// Sessions that left and may come back; beyond them the oldest are forgotten, and their clients begin anew.
const LEFT: usize = 100_000;

/// What a client says of the session that it had.
#[derive(Debug, Clone)]
pub struct Recovery {
    pub pid: String,
    /// The last position that it has seen.
    pub offset: Position,
    pub namespace: u8,
}

/// A session as it was.
#[derive(Debug, Clone)]
pub struct Kept {
    pub sid: Arc<str>,
    pub namespace: u8,
    pub channels: Vec<Arc<str>>,
}

/// A session that its client may have back.
#[derive(Debug)]
pub struct Recalled {
    pub kept: Kept,
    pub pid: Arc<str>,
    /// Where its client is.
    pub after: Position,
}

struct Place {
    kept: Kept,
    left: Option<Instant>,
}

/// See the module.
pub struct Sessions {
    window: Duration,
    places: Mutex<HashMap<Arc<str>, Place>>,
}

impl Sessions {
    /// `window` is how long a session may be away.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            places: Mutex::default(),
        }
    }

    /// Keeps a session as it is now.
    pub fn keep(&self, pid: &Arc<str>, kept: Kept) {
        let place = Place { kept, left: None };
        self.places.lock().insert(Arc::clone(pid), place);
    }

    /// Its connection is gone: from now on the time counts.
    pub fn left(&self, pid: &str) {
        if let Some(place) = self.places.lock().get_mut(pid) {
            place.left = Some(Instant::now());
        }
    }

    /// It said farewell, or may not come back.
    pub fn forget(&self, pid: &str) {
        self.places.lock().remove(pid);
    }

    /// The session of a secret, unless it has been away for too long.
    pub fn recall(&self, pid: &str) -> Option<(Arc<str>, Kept)> {
        let places = self.places.lock();
        let (pid, place) = places.get_key_value(pid)?;
        let here = place.left.is_none_or(|left| left.elapsed() <= self.window);
        here.then(|| (Arc::clone(pid), place.kept.clone()))
    }

    /// Forgets who has been away for too long; called every few seconds.
    pub fn prune(&self) {
        let mut places = self.places.lock();
        places.retain(|_, place| place.left.is_none_or(|left| left.elapsed() <= self.window));
        let mut left: Vec<(Instant, Arc<str>)> = places
            .iter()
            .filter_map(|(pid, place)| Some((place.left?, Arc::clone(pid))))
            .collect();
        if left.len() > LEFT {
            left.sort_unstable();
            let surplus = left.len() - LEFT;
            for (_, pid) in left.into_iter().take(surplus) {
                places.remove(&pid);
            }
        }
        if places.capacity() > 1024 && places.capacity() > 4 * places.len() {
            places.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kept(room: &str) -> Kept {
        Kept {
            sid: Arc::from("s"),
            namespace: 0,
            channels: vec![Arc::from(room)],
        }
    }

    #[test]
    fn a_session_is_recalled_by_its_secret_until_its_time_is_over() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let pid: Arc<str> = Arc::from("secret");
        sessions.keep(&pid, kept("a"));
        sessions.keep(&pid, kept("b"));
        sessions.left("secret");
        let (_, found) = sessions.recall("secret").unwrap();
        assert_eq!(found.channels, [Arc::from("b")]);
        assert!(sessions.recall("other").is_none());
        sessions.forget("secret");
        assert!(sessions.recall("secret").is_none());
    }

    #[test]
    fn who_is_away_for_too_long_is_forgotten_and_who_is_here_is_not() {
        let sessions = Sessions::new(Duration::ZERO);
        for pid in ["here", "away"] {
            sessions.keep(&Arc::from(pid), kept("a"));
        }
        sessions.left("away");
        std::thread::yield_now();
        while sessions.recall("away").is_some() {}
        sessions.prune();
        assert_eq!(sessions.places.lock().len(), 1);
        assert!(sessions.recall("here").is_some());
    }
}

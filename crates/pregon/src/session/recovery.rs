//! Connection state recovery: which sessions clients had, kept so that a later connection can have one back.
//!
//! A session is known by a secret (`pid` on the wire) that only its client has. What is kept are its rooms, never its rights:
//! whoever comes back is asked for a token again, and for every room. They outlive the process where its log does, see `store`.

mod store;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

pub use store::Store;

use self::store::{Change, Saver};
use crate::log::Position;
use crate::metrics::Metrics;

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
    /// The connection that has it now, or had it last.
    owner: Owner,
    left: Option<Instant>,
}

/// A connection of this process. One that was lost without a word may end long after its session went on in another.
pub type Owner = (u16, u64);

/// No connection of this process.
const NOBODY: Owner = (u16::MAX, u64::MAX);

/// See the module.
pub struct Sessions {
    window: Duration,
    places: Arc<Mutex<Places>>,
    saver: Option<Arc<Saver>>,
}

type Places = HashMap<Arc<str>, Place>;

impl Sessions {
    /// `window` is how long a session may be away.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            places: Arc::default(),
            saver: None,
        }
    }

    /// Sessions that outlive the process. Those that were connected when it ended are away since now.
    pub fn stored(window: Duration, store: Store, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut places = Places::new();
        for found in store.load()? {
            let away = found.left.and_then(|left| clock.duration_since(left).ok());
            let left = now.checked_sub(away.unwrap_or_default()).unwrap_or(now);
            let place = Place {
                kept: found.kept,
                owner: NOBODY,
                left: Some(left),
            };
            places.insert(found.pid, place);
        }
        let places = Arc::new(Mutex::new(places));
        let saver = Arc::new(Saver::new(metrics));
        let looked = Arc::clone(&places);
        saver.start(store, move |changed| changes(&looked.lock(), changed))?;
        Ok(Self {
            window,
            places,
            saver: Some(saver),
        })
    }

    /// Keeps a session as it is now.
    pub fn keep(&self, pid: &Arc<str>, kept: Kept, owner: Owner) {
        let left = None;
        let place = Place { kept, owner, left };
        self.places.lock().insert(Arc::clone(pid), place);
        self.changed(pid);
    }

    /// Its connection is gone: from now on the time counts, unless another connection has it by now.
    pub fn left(&self, pid: &Arc<str>, owner: Owner) {
        let mut places = self.places.lock();
        let Some(place) = places.get_mut(pid).filter(|place| place.owner == owner) else {
            return;
        };
        place.left = Some(Instant::now());
        drop(places);
        self.changed(pid);
    }

    /// It said farewell, or may not come back; said by a connection that has it no more, it means nothing.
    pub fn forget(&self, pid: &Arc<str>, owner: Owner) {
        let mut places = self.places.lock();
        if places.get(pid).is_none_or(|place| place.owner != owner) {
            return;
        }
        places.remove(pid);
        drop(places);
        self.changed(pid);
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
        let forgotten = self.surplus();
        forgotten.iter().for_each(|pid| self.changed(pid));
    }

    fn surplus(&self) -> Vec<Arc<str>> {
        let mut places = self.places.lock();
        let mut left: Vec<(Instant, Arc<str>)> = places
            .iter()
            .filter_map(|(pid, place)| Some((place.left?, Arc::clone(pid))))
            .collect();
        left.sort_unstable();
        let surplus = left.len().saturating_sub(LEFT);
        let mut forgotten = Vec::new();
        for (place, (left, pid)) in left.into_iter().enumerate() {
            if place < surplus || left.elapsed() > self.window {
                places.remove(&pid);
                forgotten.push(pid);
            }
        }
        if places.capacity() > 1024 && places.capacity() > 4 * places.len() {
            places.shrink_to_fit();
        }
        forgotten
    }

    /// Stores what is not stored yet; blocks. Nothing is kept any more.
    pub fn close(&self) {
        if let Some(saver) = &self.saver {
            saver.close();
        }
    }

    fn changed(&self, pid: &Arc<str>) {
        if let Some(saver) = &self.saver {
            saver.changed(pid);
        }
    }
}

/// How sessions are now.
fn changes(places: &Places, changed: HashSet<Arc<str>>) -> Vec<Change> {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let at = |left: Instant| clock.checked_sub(now.saturating_duration_since(left));
    let session = |place: &Place| (place.kept.clone(), place.left.and_then(at));
    changed
        .into_iter()
        .map(|pid| {
            let session = places.get(&pid).map(session);
            (pid, session)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ONE: Owner = (0, 1);

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
        sessions.keep(&pid, kept("a"), ONE);
        sessions.keep(&pid, kept("b"), ONE);
        sessions.left(&pid, ONE);
        let (_, found) = sessions.recall("secret").unwrap();
        assert_eq!(found.channels, [Arc::from("b")]);
        assert!(sessions.recall("other").is_none());
        sessions.forget(&pid, ONE);
        assert!(sessions.recall("secret").is_none());
    }

    #[test]
    fn a_connection_that_ends_late_does_not_end_the_session_of_another() {
        let sessions = Sessions::new(Duration::ZERO);
        let pid: Arc<str> = Arc::from("secret");
        sessions.keep(&pid, kept("a"), ONE);
        sessions.keep(&pid, kept("a"), (1, 1));
        sessions.left(&pid, ONE);
        sessions.forget(&pid, ONE);
        sessions.prune();
        assert!(sessions.recall("secret").is_some());
    }

    #[test]
    fn who_is_away_for_too_long_is_forgotten_and_who_is_here_is_not() {
        let sessions = Sessions::new(Duration::ZERO);
        for pid in ["here", "away"] {
            sessions.keep(&Arc::from(pid), kept("a"), ONE);
        }
        sessions.left(&Arc::from("away"), ONE);
        std::thread::yield_now();
        while sessions.recall("away").is_some() {}
        sessions.prune();
        assert_eq!(sessions.places.lock().len(), 1);
        assert!(sessions.recall("here").is_some());
    }

    #[test]
    fn stored_sessions_come_back_in_a_later_process_and_forgotten_ones_do_not() {
        let temp = tempfile::tempdir().unwrap();
        let namespaces = ["/".to_owned()];
        let open = |namespaces: &[String]| {
            let store = Store::open(&temp.path().join("sessions.redb"), namespaces).unwrap();
            Sessions::stored(Duration::from_secs(60), store, Metrics::new()).unwrap()
        };
        let sessions = open(&namespaces);
        for pid in ["here", "away", "gone"] {
            sessions.keep(&Arc::from(pid), kept("a"), ONE);
        }
        sessions.left(&Arc::from("away"), ONE);
        sessions.forget(&Arc::from("gone"), ONE);
        sessions.close();
        drop(sessions);
        let sessions = open(&namespaces);
        for pid in ["here", "away"] {
            assert_eq!(
                sessions.recall(pid).unwrap().1.channels,
                [Arc::from("a")],
                "{pid}"
            );
        }
        assert!(sessions.recall("gone").is_none());
        sessions.close();
        drop(sessions);
        let others = open(&["/".to_owned(), "/admin".to_owned()]);
        assert!(
            others.recall("here").is_none(),
            "places of namespaces mean others now"
        );
        others.close();
    }
}

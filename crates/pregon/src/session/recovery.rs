//! Connection state recovery: which sessions clients had, kept so that a later connection can have one back.
//!
//! A session is known by a secret (`pid` on the wire) that only its client has. What is kept are its rooms, never its rights:
//! whoever comes back is asked for a token again, and for every room. They outlive the process where its log does, see `store`.

mod store;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

pub(crate) use store::Store;

use self::store::{Change, Saver};
use crate::log::{Epoch, Position};

/// What a session weighs beside its texts, bytes: its place here and in the store.
const SESSION: usize = 256;
const CHANNEL: usize = 48;

/// What a client says of the session that it had.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    pub pid: String,
    /// The last position that it has seen.
    pub offset: Position,
    pub namespace: u8,
}

/// A session as it was.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub sid: Arc<str>,
    pub namespace: u8,
    pub channels: Vec<Arc<str>>,
    /// How far its client is, where it cannot say so itself.
    pub follows: Option<Follows>,
}

/// How far a client is that names no position.
#[derive(Debug, Clone)]
pub(crate) struct Follows {
    pub epoch: Epoch,
    /// What the client has acknowledged; its connection goes on writing it here.
    pub acked: Arc<AtomicU64>,
    /// For each of the channels the offset after which it is followed.
    pub after: Vec<u64>,
    /// Channels that an earlier connection followed, each with where the client was.
    pub rest: Vec<(Arc<str>, Position)>,
}

/// A session that its client may have back.
#[derive(Debug)]
pub(crate) struct Recalled {
    pub kept: Kept,
    pub pid: Arc<str>,
    /// Where its client is.
    pub after: Position,
}

impl Kept {
    /// Where the client is in each of its channels.
    pub(crate) fn places(&self) -> Vec<(Arc<str>, Position)> {
        let Some(follows) = &self.follows else {
            return Vec::new();
        };
        let acked = follows.acked.load(Ordering::Relaxed);
        let place = |after: &u64| Position {
            epoch: follows.epoch,
            offset: acked.max(*after),
        };
        let followed = self.channels.iter().cloned().zip(follows.after.iter().map(place));
        followed.chain(follows.rest.iter().cloned()).collect()
    }

    /// About what it takes, in memory and on the disk alike.
    fn weight(&self) -> usize {
        let rest = self.follows.iter().flat_map(|follows| &follows.rest);
        let names = self.channels.iter().chain(rest.map(|(channel, _)| channel));
        let channels: usize = names.map(|channel| channel.len() + CHANNEL).sum();
        SESSION + self.sid.len() + channels
    }
}

struct Place {
    kept: Kept,
    /// The connection that has it now, or had it last.
    owner: Owner,
    left: Option<Instant>,
}

/// A connection of this process. One that was lost without a word may end long after its session went on in another.
pub(crate) type Owner = (u16, u64);

/// No connection of this process.
const NOBODY: Owner = (u16::MAX, u64::MAX);

/// See the module.
pub(crate) struct Sessions {
    window: Duration,
    /// Bytes of sessions that left and may come back; beyond them those that left first are forgotten, and their clients begin anew.
    room: usize,
    places: Arc<Mutex<Places>>,
    saver: Option<Arc<Saver>>,
}

#[derive(Default)]
struct Places {
    by_pid: HashMap<Arc<str>, Place>,
    /// Who left, in that order; some have come back or are forgotten since.
    gone: VecDeque<(Instant, Arc<str>)>,
    /// Sessions that are away, and what they weigh.
    away: usize,
    bytes: usize,
}

impl Places {
    fn insert(&mut self, pid: &Arc<str>, place: Place) {
        self.remove(pid);
        if let Some(left) = place.left {
            self.away += 1;
            self.bytes += place.kept.weight();
            self.gone.push_back((left, Arc::clone(pid)));
        }
        self.by_pid.insert(Arc::clone(pid), place);
    }

    fn remove(&mut self, pid: &str) -> Option<Place> {
        let place = self.by_pid.remove(pid)?;
        if place.left.is_some() {
            self.away -= 1;
            self.bytes -= place.kept.weight();
        }
        Some(place)
    }

    fn leave(&mut self, pid: &Arc<str>) {
        if let Some(place) = self.remove(pid) {
            let left = Some(Instant::now());
            self.insert(pid, Place { left, ..place });
        }
    }

    /// Forgets those that left first, as long as there are too many or they have been away for too long.
    fn forget(&mut self, room: usize, window: Duration) -> Vec<Arc<str>> {
        let mut forgotten = Vec::new();
        while let Some((left, pid)) = self.gone.front() {
            let place = self.by_pid.get(pid);
            let away = place.is_some_and(|place| place.left == Some(*left));
            if away && self.bytes <= room && left.elapsed() <= window {
                break;
            }
            let gone = self.gone.pop_front();
            if let Some((_, pid)) = gone.filter(|_| away) {
                self.remove(&pid);
                forgotten.push(pid);
            }
        }
        if self.gone.len() > 2 * self.away + 1024 {
            let by_pid = &self.by_pid;
            let still =
                |left: Instant, pid: &str| by_pid.get(pid).is_some_and(|place| place.left == Some(left));
            self.gone.retain(|(left, pid)| still(*left, pid));
            self.gone.shrink_to_fit();
        }
        forgotten
    }

    fn shrink(&mut self) {
        if self.by_pid.capacity() > 1024 && self.by_pid.capacity() > 4 * self.by_pid.len() {
            self.by_pid.shrink_to_fit();
        }
    }
}

impl Sessions {
    /// `window` is how long a session may be away, `room` how many bytes of them are kept.
    pub(crate) fn new(window: Duration, room: usize) -> Self {
        Self {
            window,
            room,
            places: Arc::default(),
            saver: None,
        }
    }

    /// Sessions that outlive the process. Those that were connected when it ended are away since now.
    pub(crate) fn stored(
        window: Duration,
        room: usize,
        store: Store,
        unsaved: Gauge,
    ) -> anyhow::Result<Self> {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut found = store.load()?;
        found.sort_by_key(|found| found.left.unwrap_or(clock));
        let mut places = Places::default();
        for found in found {
            let away = found.left.and_then(|left| clock.duration_since(left).ok());
            let left = now.checked_sub(away.unwrap_or_default()).unwrap_or(now);
            let place = Place {
                kept: found.kept,
                owner: NOBODY,
                left: Some(left),
            };
            places.insert(&found.pid, place);
        }
        let places = Arc::new(Mutex::new(places));
        let saver = Arc::new(Saver::new(unsaved));
        let looked = Arc::clone(&places);
        saver.start(store, move |changed| changes(&looked.lock(), changed))?;
        let sessions = Self {
            window,
            room,
            places,
            saver: Some(saver),
        };
        // The room may be smaller than it was.
        sessions.prune();
        Ok(sessions)
    }

    /// Keeps a session as it is now.
    pub(crate) fn keep(&self, pid: &Arc<str>, kept: Kept, owner: Owner) {
        let left = None;
        let place = Place { kept, owner, left };
        self.places.lock().insert(pid, place);
        self.changed(pid);
    }

    /// Its connection is gone: from now on the time counts, unless another connection has it by now.
    pub(crate) fn left(&self, pid: &Arc<str>, owner: Owner) {
        let mut places = self.places.lock();
        if places.by_pid.get(pid).is_none_or(|place| place.owner != owner) {
            return;
        }
        places.leave(pid);
        let forgotten = places.forget(self.room, self.window);
        drop(places);
        self.changed(pid);
        forgotten.iter().for_each(|pid| self.changed(pid));
    }

    /// It said farewell, or may not come back; said by a connection that has it no more, it means nothing.
    pub(crate) fn forget(&self, pid: &Arc<str>, owner: Owner) {
        let mut places = self.places.lock();
        if places.by_pid.get(pid).is_none_or(|place| place.owner != owner) {
            return;
        }
        places.remove(pid);
        drop(places);
        self.changed(pid);
    }

    /// The session of a secret, unless it has been away for too long.
    pub(crate) fn recall(&self, pid: &str) -> Option<(Arc<str>, Kept)> {
        let places = self.places.lock();
        let (pid, place) = places.by_pid.get_key_value(pid)?;
        let here = place.left.is_none_or(|left| left.elapsed() <= self.window);
        here.then(|| (Arc::clone(pid), place.kept.clone()))
    }

    /// Forgets who has been away for too long; called every few seconds.
    pub(crate) fn prune(&self) {
        let mut places = self.places.lock();
        let forgotten = places.forget(self.room, self.window);
        places.shrink();
        drop(places);
        forgotten.iter().for_each(|pid| self.changed(pid));
    }

    /// Bytes of sessions that left and may come back.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.places.lock().bytes
    }

    /// Stores what is not stored yet; blocks. Nothing is kept any more.
    pub(crate) fn close(&self) {
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
            let session = places.by_pid.get(&pid).map(session);
            (pid, session)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ONE: Owner = (0, 1);
    const ROOM: usize = 1 << 20;

    fn kept(room: &str) -> Kept {
        Kept {
            sid: Arc::from("s"),
            namespace: 0,
            channels: vec![Arc::from(room)],
            follows: None,
        }
    }

    #[test]
    fn a_session_is_recalled_by_its_secret_until_its_time_is_over() {
        let sessions = Sessions::new(Duration::from_secs(60), ROOM);
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
        let sessions = Sessions::new(Duration::ZERO, ROOM);
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
        let sessions = Sessions::new(Duration::ZERO, ROOM);
        for pid in ["here", "away"] {
            sessions.keep(&Arc::from(pid), kept("a"), ONE);
        }
        sessions.left(&Arc::from("away"), ONE);
        std::thread::yield_now();
        while sessions.recall("away").is_some() {}
        sessions.prune();
        assert_eq!(sessions.places.lock().by_pid.len(), 1);
        assert!(sessions.recall("here").is_some());
    }

    #[test]
    fn who_left_first_is_forgotten_when_sessions_weigh_too_much() {
        let sessions = Sessions::new(Duration::from_secs(60), ROOM);
        let rooms: Vec<Arc<str>> = (0..100).map(|n| Arc::from(format!("room_{n:0>100}"))).collect();
        for n in 0..1000 {
            let pid: Arc<str> = Arc::from(format!("pid{n}"));
            let channels = rooms.clone();
            sessions.keep(
                &pid,
                Kept {
                    channels,
                    ..kept("a")
                },
                ONE,
            );
            sessions.left(&pid, ONE);
            assert!(sessions.bytes() <= ROOM);
        }
        assert!(sessions.recall("pid0").is_none());
        assert!(sessions.recall("pid999").is_some());
        let places = sessions.places.lock();
        assert_eq!(places.by_pid.len(), places.away);
        assert!(places.gone.len() < 2000);
    }

    #[test]
    fn who_comes_and_goes_is_away_once() {
        let sessions = Sessions::new(Duration::from_secs(60), ROOM);
        let pid: Arc<str> = Arc::from("secret");
        for _ in 0..10_000 {
            sessions.keep(&pid, kept("a"), ONE);
            sessions.left(&pid, ONE);
        }
        let places = sessions.places.lock();
        assert_eq!((places.away, places.bytes), (1, kept("a").weight()));
        assert!(places.gone.len() <= 1028, "{}", places.gone.len());
    }

    #[test]
    fn stored_sessions_come_back_in_a_later_process_and_forgotten_ones_do_not() {
        let temp = tempfile::tempdir().unwrap();
        let namespaces = ["/".to_owned()];
        let open = |namespaces: &[String]| {
            let store = Store::open(&temp.path().join("sessions.redb"), namespaces).unwrap();
            Sessions::stored(Duration::from_secs(60), ROOM, store, Gauge::default()).unwrap()
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

    #[test]
    fn a_client_without_a_position_is_stored_with_how_far_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let open = || {
            let store = Store::open(&temp.path().join("resume.redb"), &[]).unwrap();
            Sessions::stored(Duration::from_secs(60), ROOM, store, Gauge::default()).unwrap()
        };
        let at = |offset| Position {
            epoch: Epoch(7),
            offset,
        };
        let acked = Arc::new(AtomicU64::new(3));
        let follows = Follows {
            epoch: Epoch(7),
            acked: Arc::clone(&acked),
            after: vec![1, 9],
            rest: vec![(Arc::from("c"), at(2))],
        };
        let kept = Kept {
            channels: vec![Arc::from("a"), Arc::from("b")],
            follows: Some(follows),
            ..kept("")
        };
        let sessions = open();
        sessions.keep(&Arc::from("who"), kept, ONE);
        acked.store(5, Ordering::Relaxed);
        sessions.left(&Arc::from("who"), ONE);
        sessions.close();
        drop(sessions);
        let sessions = open();
        let places = sessions.recall("who").unwrap().1.places();
        let expected = [("a", at(5)), ("b", at(9)), ("c", at(2))].map(|(name, at)| (Arc::from(name), at));
        assert_eq!(places, expected);
        sessions.close();
    }
}

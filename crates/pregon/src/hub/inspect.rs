//! What operators ask shards: which sessions there are, what they follow, how far an entry has come to them; and the order to end some.
//!
//! A shard answers between its rounds and looks at one page of its places at a time, so that no question keeps clients from their entries
//! for longer than a batch does. Whoever asks goes on from page to page and bounds what it keeps.

use std::sync::Arc;
use std::time::SystemTime;

use pregon_wire::codes::Code;
use tokio::sync::oneshot;

use super::conn::{Conn, ConnectionState};
use super::fanout::follows_any;
use super::shard::Shard;
use super::{Hub, Key, Message};
use crate::auth::Claims;
use crate::log::{Body, Entry};
use crate::metrics::Transport;
use crate::session::Session;

/// Places that a shard looks at for one question: about what a batch to as many sessions costs at most.
const PAGE: usize = 1024;

/// Channels that are named of one session.
const CHANNELS: usize = 20;

/// A question about one page of a shard.
pub(crate) struct Look {
    /// The first place of the page.
    pub from: usize,
    pub at: What,
}

/// What is looked at.
#[derive(Clone)]
pub(crate) enum What {
    Sessions(Arc<Asked>),
    Channels,
    /// Only numbers.
    Numbers,
}

/// Which sessions are meant, and what else has to be known about them.
#[derive(Default)]
pub(crate) struct Asked {
    pub user: Option<String>,
    pub session: Option<String>,
    /// Only those that are behind.
    pub behind: bool,
    /// Only those that follow this channel.
    pub channel: Option<String>,
    /// How far this entry has come.
    pub entry: Option<Arc<Entry>>,
}

/// The answer.
#[derive(Default)]
pub(crate) struct Seen {
    pub sessions: Vec<Facts>,
    /// Channels with their followers.
    pub channels: Vec<(Arc<str>, usize)>,
    pub numbers: Numbers,
    /// Where the next page begins.
    pub next: Option<usize>,
}

/// How much there is on a page.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbers {
    pub connections: usize,
    pub behind: usize,
    pub waiting_bytes: usize,
    pub subscriptions: usize,
}

impl std::ops::AddAssign for Numbers {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.behind += other.behind;
        self.waiting_bytes += other.waiting_bytes;
        self.subscriptions += other.subscriptions;
    }
}

/// One session.
pub(crate) struct Facts {
    pub place: (u16, Key),
    pub session: String,
    pub claims: Claims,
    pub transport: Transport,
    pub address: Option<std::net::IpAddr>,
    pub opened: SystemTime,
    pub state: ConnectionState,
    /// Some of its channels.
    pub channels: Vec<Arc<str>>,
    pub followed: usize,
    pub behind: Option<Behind>,
    /// How far the entry that was asked about has come.
    pub delivery: Option<Delivery>,
}

/// What a connection that is not live has before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// Bytes that wait in the connection.
    pub queued: usize,
    /// Bytes of live entries that wait in the window.
    pub lag: usize,
    pub replays: usize,
    /// Its link takes no more at the moment.
    pub blocked: bool,
    /// When its link took something last.
    pub progress: SystemTime,
}

/// How far an entry has come to a session.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Its channels that the session follows, each with the offset after which.
    pub follows: Vec<(Arc<str>, u64)>,
    /// The publication names a channel whose followers shall not have it.
    pub excepted: bool,
    pub state: State,
}

/// See [`Delivery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It follows no channel of the entry.
    NotFollowed,
    /// It follows them since a later place of the log; a replay may have brought the entry.
    Before,
    /// It waits in the window.
    Waiting,
    /// It was taken for the connection, whose bytes have not all been written.
    Queued,
    /// It was given to the socket; the time where it is known.
    Written(Option<SystemTime>),
}

impl Hub {
    /// Asks every shard, page after page, as long as `take` wants more.
    pub(crate) async fn look(&self, at: What, mut take: impl FnMut(Seen) -> bool) {
        for shard in &self.shards {
            let mut from = Some(0);
            while let Some(place) = from {
                let (reply, answer) = oneshot::channel();
                let look = Look {
                    from: place,
                    at: at.clone(),
                };
                shard.tell(Message::Look(look, reply));
                // A shard that is gone has no sessions.
                let Ok(seen) = answer.await else { break };
                from = seen.next;
                if !take(seen) {
                    return;
                }
            }
        }
    }

    /// Ends the connections of these sessions.
    pub(crate) fn end(&self, places: &[(u16, Key)], code: &'static Code) {
        for (number, shard) in self.shards.iter().enumerate() {
            let own = places
                .iter()
                .filter(|(shard, _)| usize::from(*shard) == number)
                .map(|(_, key)| *key);
            let keys: Vec<Key> = own.collect();
            if !keys.is_empty() {
                shard.tell(Message::End(keys, code));
            }
        }
    }
}

impl Shard {
    pub(super) fn look(&self, look: &Look, reply: oneshot::Sender<Seen>) {
        let mut seen = Seen::default();
        let places = look.from..look.from.saturating_add(PAGE);
        let end = match &look.at {
            What::Channels => {
                seen.channels
                    .extend(self.subscriptions.channels.page(places.clone()));
                self.subscriptions.channels.places()
            }
            at => {
                for conn in self.conns.page(places.clone()) {
                    self.look_at(conn, at, &mut seen);
                }
                self.conns.places()
            }
        };
        seen.next = (places.end < end).then_some(places.end);
        // Whoever asked may have gone.
        let _ = reply.send(seen);
    }

    fn look_at(&self, conn: &Conn, at: &What, seen: &mut Seen) {
        match at {
            What::Sessions(asked) => {
                let sessions = conn
                    .sessions
                    .iter()
                    .filter(|session| self.is_meant(conn, session, asked));
                seen.sessions
                    .extend(sessions.map(|session| self.facts(conn, session, asked)));
            }
            What::Numbers => seen.numbers += numbers(conn),
            What::Channels => {}
        }
    }

    fn is_meant(&self, conn: &Conn, session: &Session, asked: &Asked) -> bool {
        let user = |user: &String| session.claims.subject().as_deref() == Some(user);
        let channel = |name: &String| {
            let channel = self.subscriptions.channels.find(name);
            channel.is_some_and(|channel| session.subscription(channel).is_some())
        };
        asked.user.as_ref().is_none_or(user)
            && (!asked.behind || conn.backlog.is_some())
            && asked.session.as_ref().is_none_or(|name| *name == session.name())
            && asked.channel.as_ref().is_none_or(channel)
    }

    fn facts(&self, conn: &Conn, session: &Session, asked: &Asked) -> Facts {
        let subscriptions = session.subscriptions.iter().take(CHANNELS);
        let entry = asked.entry.as_ref();
        Facts {
            place: (self.number, conn.key),
            session: session.name(),
            claims: session.claims.clone(),
            transport: conn.transport(),
            address: conn.permit.address(),
            opened: conn.opened_at(),
            state: conn.state,
            channels: subscriptions
                .map(|s| self.subscriptions.channels.name(s.channel))
                .collect(),
            followed: session.subscriptions.len(),
            behind: behind(conn),
            delivery: entry.map(|entry| self.delivery(conn, session, entry)),
        }
    }

    fn delivery(&self, conn: &Conn, session: &Session, entry: &Entry) -> Delivery {
        let concerns = |name: &Arc<str>| match &entry.body {
            Body::Gap(gap) => gap.concerns(name),
            _ => entry.channels().contains(name),
        };
        let followed = self.subscriptions.followed(session.subscriptions.iter());
        let follows: Vec<(Arc<str>, u64)> = followed.filter(|(name, _)| concerns(name)).collect();
        let live = follows.iter().any(|(_, after)| *after < entry.offset);
        let state = match live {
            _ if follows.is_empty() => State::NotFollowed,
            false => State::Before,
            true => self.state(conn, entry.offset),
        };
        Delivery {
            excepted: follows_any(&self.subscriptions.channels, conn, entry.except()),
            follows,
            state,
        }
    }

    /// Where a live entry is on its way to a connection.
    fn state(&self, conn: &Conn, offset: u64) -> State {
        let (taken, empty) = match &conn.backlog {
            Some(backlog) => (backlog.cursor, backlog.chunks.is_empty()),
            None => (self.fanout.head, true),
        };
        if taken < offset {
            return State::Waiting;
        }
        if !empty {
            return State::Queued;
        }
        // One that was behind meanwhile got it later than its batch was written.
        let with_batch = conn.backlog.is_none() && conn.live_since < offset;
        State::Written(with_batch.then(|| self.written.at(offset)).flatten())
    }

    /// An operator ends these.
    pub(super) fn end(&mut self, keys: &[Key], code: &'static Code) {
        for &key in keys {
            self.close(key, code, "");
        }
    }
}

fn numbers(conn: &Conn) -> Numbers {
    let behind = behind(conn);
    Numbers {
        connections: 1,
        behind: usize::from(behind.is_some_and(|behind| behind.blocked)),
        waiting_bytes: behind.map_or(0, |behind| behind.queued + behind.lag),
        subscriptions: conn.subscriptions().count(),
    }
}

fn behind(conn: &Conn) -> Option<Behind> {
    let backlog = conn.backlog.as_ref()?;
    let now = SystemTime::now();
    Some(Behind {
        queued: backlog.queued(),
        lag: backlog.lag,
        replays: backlog.replays.len(),
        blocked: backlog.blocked,
        progress: now.checked_sub(backlog.progress.elapsed()).unwrap_or(now),
    })
}

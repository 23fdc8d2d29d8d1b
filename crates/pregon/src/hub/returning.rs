//! Resume without a position: the gateway remembers how far a client is, for clients that cannot say so.
//!
//! A ping with the position follows what is written, and the pong of the WebSocket acknowledges it: every client answers, in order,
//! without knowing why. What was not acknowledged is sent again to whoever comes back with the same `session` and the same `sub`,
//! so that it comes at least once. A position is kept, never a right: channels are granted anew before anything is replayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use pregon_wire::ws::frame::{self, Opcode};

use super::Key;
use super::shard::Shard;
use crate::auth::Claims;
use crate::log::{Position, Since};
use crate::session::recovery::{Follows, Kept};
use crate::session::replay::StartAt;

/// Pause between two pings of a connection, microseconds: what comes twice stays little, and so does the work for pongs where a round
/// trip takes no time.
const PAUSE: u64 = 100_000;

/// How old the stored position of a busy connection may be, microseconds: the disk writes so often for each.
const STORED: u64 = 5_000_000;

/// A client that comes back follows its channels again within this time. Later the rest of them is forgotten.
const AGAIN: Duration = Duration::from_secs(60);

/// A connection whose client may come back without a position.
#[derive(Debug)]
pub(crate) struct Returning {
    /// The path and the text of the request.
    asked: Box<str>,
    /// Under which name it is kept, once its claims are known.
    who: Option<Arc<str>>,
    acked: Arc<AtomicU64>,
    /// The offset of the ping under way.
    pinged: Option<u64>,
    /// When the next ping may be sent, by the clock of the node.
    next: u64,
    /// When the position was last given to the disk.
    stored: u64,
    /// What it followed when it left, and has not followed again.
    before: Vec<(Arc<str>, Position)>,
}

impl Returning {
    pub(crate) fn new(asked: &str) -> Box<Self> {
        Box::new(Self {
            asked: asked.into(),
            who: None,
            acked: Arc::default(),
            pinged: None,
            next: 0,
            stored: 0,
            before: Vec::new(),
        })
    }

    /// Whether a ping with this offset should be sent now; it is under way from then on.
    pub(crate) fn asks(&mut self, offset: u64, now: u64) -> bool {
        let due = self.pinged.is_none() && now >= self.next && offset > self.acked.load(Ordering::Relaxed);
        if due {
            self.pinged = Some(offset);
            self.next = now.saturating_add(PAUSE);
        }
        due
    }

    /// The heartbeat carries this offset, whatever else is under way.
    pub(super) fn beats(&mut self, offset: u64) {
        self.pinged = Some(offset);
    }

    /// A pong names an offset: only the ping under way counts. Whether the disk should hear of it.
    fn answered(&mut self, offset: u64, now: u64) -> bool {
        if self.pinged != Some(offset) {
            return false;
        }
        self.pinged = None;
        self.acked.store(offset, Ordering::Relaxed);
        let due = now.saturating_sub(self.stored) >= STORED;
        if due {
            self.stored = now;
        }
        due
    }

    /// Nothing after this offset counts as acknowledged: it is sent again.
    fn falls_back(&mut self, offset: u64) {
        self.acked.fetch_min(offset, Ordering::Relaxed);
        self.pinged = None;
    }
}

/// The name under which a client is kept: nobody with another `sub` has the same, and a lost file tells no user.
fn name(asked: &str, claims: &Claims) -> Arc<str> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(asked.as_bytes());
    if let Some(subject) = claims.subject() {
        context.update(b"\n");
        context.update(subject.as_bytes());
    }
    hex::encode(context.finish()).into()
}

/// A ping that names a position.
pub(super) fn ping(position: Position, out: &mut Vec<u8>) {
    frame::frame(Opcode::Ping, position.to_string().as_bytes(), out);
}

/// The position that a pong names, if it is the answer to such a ping.
pub(super) fn answer(payload: &[u8]) -> Option<Position> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

impl Shard {
    /// The claims are known: finds where the client was.
    pub(super) fn begin_returning(&mut self, key: Key) {
        let head = self.fanout.head;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Some(returning) = &mut conn.returning else {
            return;
        };
        let Some(session) = conn.sessions.first() else {
            return;
        };
        let who = name(&returning.asked, &session.claims);
        returning.acked.store(head, Ordering::Relaxed);
        if let Some((_, kept)) = self.shared.returns.recall(&who) {
            returning.before = kept.places();
            self.shared.metrics.resumed.inc();
        }
        returning.who = Some(who);
    }

    /// Where a channel begins that was asked for without a position: where the client was, if it followed the channel before.
    pub(super) fn resumed(&mut self, key: Key, channel: &str, from: StartAt) -> StartAt {
        let Some(conn) = self.conns.get_mut(key) else {
            return from;
        };
        let Some(returning) = &mut conn.returning else {
            return from;
        };
        let found = returning.before.iter().position(|(name, _)| **name == *channel);
        let Some((_, position)) = found.map(|place| returning.before.swap_remove(place)) else {
            return from;
        };
        if from != StartAt::Now || conn.opened.elapsed() > AGAIN {
            return from;
        }
        if position.epoch == self.shared.window.epoch() {
            returning.falls_back(position.offset);
        }
        StartAt::Since(Since::Position(position))
    }

    /// Keeps what the connection follows and how far its client is.
    pub(super) fn keep_returning(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let Some(returning) = &conn.returning else { return };
        let Some(who) = &returning.who else { return };
        let (mut channels, mut after) = (Vec::new(), Vec::new());
        for subscription in conn.subscriptions() {
            channels.push(self.subscriptions.channels.name(subscription.channel));
            after.push(subscription.after);
        }
        let rest = match conn.opened.elapsed() > AGAIN {
            true => Vec::new(),
            false => returning.before.clone(),
        };
        let kept = Kept {
            sid: Arc::default(),
            namespace: 0,
            channels,
            follows: Some(Follows {
                epoch: self.shared.window.epoch(),
                acked: Arc::clone(&returning.acked),
                after,
                rest,
            }),
        };
        self.shared.returns.keep(who, kept, self.owner(key));
    }

    /// A connection ends, in whatever way, while it still follows its channels. One that is closing was kept when that began.
    pub(super) fn end_returning(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key).filter(|conn| !conn.state.is_closing()) else {
            return;
        };
        let who = conn
            .returning
            .as_ref()
            .and_then(|returning| returning.who.clone());
        if let Some(who) = who {
            self.keep_returning(key);
            self.shared.returns.left(&who, self.owner(key));
        }
    }

    /// A connection has everything that waited for it: asks for an acknowledgement at once, so that a replay comes twice at most.
    pub(super) fn ask_for_pong(&mut self, key: Key) {
        let (head, now) = (self.fanout.head, self.now);
        if self.conn(key).is_some_and(|conn| conn.asks(head, now)) {
            let mut out = Vec::new();
            ping(self.shared.window.position(head), &mut out);
            self.send(key, out.into());
        }
    }

    /// A pong: how far the client is.
    pub(super) fn acknowledged(&mut self, key: Key, position: Position) {
        let now = self.now;
        let Some(conn) = self.conn(key) else { return };
        let Some(returning) = &mut conn.returning else {
            return;
        };
        if returning.answered(position.offset, now) {
            self.keep_returning(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_ping_is_under_way_and_only_its_own_answer_counts() {
        let mut returning = Returning::new("/ws\ns");
        assert!(returning.asks(5, 0));
        assert!(!returning.asks(6, 10 * PAUSE), "one is under way");
        returning.answered(4, 0);
        returning.answered(1 << 60, 0);
        assert_eq!(returning.acked.load(Ordering::Relaxed), 0);
        returning.answered(5, 0);
        assert_eq!(returning.acked.load(Ordering::Relaxed), 5);
        assert!(!returning.asks(6, PAUSE - 1), "too soon");
        assert!(!returning.asks(5, PAUSE), "nothing new");
        assert!(returning.asks(6, PAUSE));
    }

    #[test]
    fn a_replay_makes_what_is_behind_it_unacknowledged() {
        let mut returning = Returning::new("/ws\ns");
        assert!(returning.asks(9, 0));
        returning.falls_back(0);
        returning.answered(9, 0);
        assert_eq!(
            returning.acked.load(Ordering::Relaxed),
            0,
            "sent before the replay"
        );
    }

    #[test]
    fn another_sub_or_another_text_is_another_client() {
        let claims = |json: &str| Claims::new(serde_json::from_str(json).unwrap(), None);
        let (ana, luis) = (claims(r#"{"sub": "ana"}"#), claims(r#"{"sub": "luis"}"#));
        assert_eq!(name("/ws\ns", &ana), name("/ws\ns", &ana));
        assert_ne!(name("/ws\ns", &ana), name("/ws\ns", &luis));
        assert_ne!(name("/ws\ns", &ana), name("/ws\ns", &Claims::default()));
        assert_ne!(name("/ws\ns", &ana), name("/ws\nt", &ana));
    }
}

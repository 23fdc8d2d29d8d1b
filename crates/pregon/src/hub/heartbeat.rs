//! What comes with time: heartbeats, the end of a token, and clients that take too long.

use std::time::{Instant, SystemTime};

use pregon_wire::codes;

use super::Key;
use super::shard::Shard;
use super::timers::Due;
use crate::metrics::Reason;
use crate::session::Session;
use crate::session::command::{Asked, Reply};

impl Shard {
    /// Sets the timer that ends the connection with the first of its tokens.
    pub(super) fn watch_expiry(&mut self, key: Key) {
        let Some(at) = self.expires_at(key) else { return };
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        // Every heartbeat looks again, so that a token of hours leaves no timer behind when its session goes.
        if left <= self.shared.limits.ping {
            self.timers.set(Instant::now() + left, key, Due::Expiry);
        }
    }

    fn expires_at(&mut self, key: Key) -> Option<SystemTime> {
        let sessions = &self.conns.get(key)?.sessions;
        if self.is_revoked(sessions) {
            return Some(SystemTime::UNIX_EPOCH);
        }
        sessions
            .iter()
            .filter_map(|session| session.claims.expires_at())
            .min()
    }

    fn is_revoked(&self, sessions: &[Session]) -> bool {
        let revoked = &self.shared.revoked;
        sessions.iter().any(|session| revoked.refuses(&session.claims))
    }

    pub(super) fn fire(&mut self, key: Key, due: Due, now: Instant) {
        let Some(conn) = self.conn(key) else { return };
        match due {
            Due::Ping | Due::Pong if conn.state.is_closing() => {}
            Due::Ping => self.heartbeat(key, now),
            Due::Pong => self.check_heard(key, now),
            Due::Turn => self.release(key),
            Due::Expiry => self.expire(key),
            Due::Auth => self.check_authenticated(key),
            Due::Upgrade | Due::Linger => self.remove(key),
            Due::Greeting => self.greet_suite(key),
            Due::Drain if self.draining => self.close(key, &codes::CLOSE_SHUTDOWN, ""),
            Due::Drain if self.shared.standby.get() => self.close(key, &codes::CLOSE_STANDBY, ""),
            // It is this node's turn again.
            Due::Drain => {}
        }
    }

    /// Closes who has neither sent a token nor entered a namespace in time.
    fn check_authenticated(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        let idle = conn.engine.is_some() && conn.sessions.is_empty() && conn.waiting.is_none();
        if !idle && !conn.state.is_awaiting_token() {
            return;
        }
        self.shared.metrics.dropped(Reason::Handshake);
        let refused = Reply::refused(&codes::UNAUTHORIZED, "no token came in time");
        self.reply(key, Asked::default(), &refused);
        self.close(key, &codes::CLOSE_AUTH_TIMEOUT, "");
    }

    /// Closes if a token has ended; a refreshed one has a timer of its own.
    pub(super) fn expire(&mut self, key: Key) {
        let revoked = self
            .conns
            .get(key)
            .is_some_and(|conn| self.is_revoked(&conn.sessions));
        if revoked {
            self.shared.metrics.dropped(Reason::Token);
            return self.close(key, &codes::CLOSE_REVOKED, "");
        }
        if self.expires_at(key).is_some_and(|at| at <= SystemTime::now()) {
            self.shared.metrics.dropped(Reason::Token);
            self.close(key, &codes::CLOSE_TOKEN_EXPIRED, "");
        }
    }

    /// Pings, and comes back to see whether something was heard (a stream of events cannot answer).
    fn heartbeat(&mut self, key: Key, now: Instant) {
        self.watch_expiry(key);
        let Some(position) = self.now_of(key) else { return };
        let limits = &self.shared.limits;
        let (next, due) = (now + limits.pong.min(limits.ping), Due::Pong);
        let at = self.shared.window.position(position);
        let position = at.to_string();
        let Some(conn) = self.conn(key) else { return };
        // A connection that is behind has bytes under way that tell as much; some clients count heartbeats alone.
        let behind = conn.backlog.is_some();
        let variant = conn.variant;
        conn.heard = behind || variant.one_way();
        let mut out = Vec::new();
        let mut asked = "";
        if !behind && let Some(returning) = &mut conn.returning {
            returning.beats(at.offset);
            asked = &position;
        }
        if !behind || variant.codec.counts_heartbeats() {
            self.encoder.heartbeat(variant, &position, asked, &mut out);
        }
        self.send(key, out.into());
        self.timers.set(next, key, due);
    }

    /// Closes a client that answered nothing, or whose link has taken nothing since the last heartbeat.
    fn check_heard(&mut self, key: Key, now: Instant) {
        let (ping, pong) = (self.shared.limits.ping, self.shared.limits.pong);
        let Some(conn) = self.conn(key) else { return };
        let stalled = conn
            .backlog
            .as_ref()
            .is_some_and(|b| b.blocked && now.duration_since(b.progress) > ping);
        // What is not taken from a client that is held may be its answer.
        if !(conn.heard || conn.pace.held) || stalled {
            return self.close(key, &codes::CLOSE_PING_TIMEOUT, "");
        }
        self.timers.set(now + ping.saturating_sub(pong), key, Due::Ping);
    }
}

//! How a session begins, lives and ends on its shard: adoption, heartbeats, expiry, closing, draining.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mio::Token;
use pregon_wire::codes::{self, Code};
use pregon_wire::ws::frame::{self, Decoder, Opcode};
use pregon_wire::{plain, sse};

use super::conn::{Conn, Phase};
use super::encoded::Codec;
use super::shard::Shard;
use super::timers::Due;
use super::{Key, Newcomer};
use crate::metrics::{Reason, TransportLabel};
use crate::route::grant::Decision;
use crate::session::Session;
use crate::session::replay::{From, Plan, plan};

/// How long a client may take to finish the closing handshake.
const LINGER: Duration = Duration::from_secs(2);

/// Tells an `EventSource` how long to wait before it connects again, milliseconds.
const SSE_RETRY: u64 = 1000;

impl Shard {
    pub(super) fn adopt(&mut self, newcomer: Newcomer) {
        let Newcomer {
            socket,
            variant,
            claims,
            channels,
            from,
            must_authenticate,
            greeting,
            mut leftover,
            permit,
        } = newcomer;
        let entry = self.conns.vacant_entry();
        self.generation = self.generation.wrapping_add(1);
        let key = Key {
            index: entry.key() as u32,
            generation: self.generation,
        };
        if let Err(error) = socket.register(self.poll.registry(), Token(entry.key())) {
            tracing::warn!(%error, "a socket cannot be polled");
            self.handle
                .sessions
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            return;
        }
        let phase = if must_authenticate {
            Phase::Waiting(from)
        } else {
            Phase::Open
        };
        let session = Session::new(claims);
        entry.insert(Conn {
            key,
            socket,
            variant,
            session,
            decoder: Decoder::new(),
            backlog: None,
            waiting: None,
            phase,
            heard: true,
            touched: (0, 0),
            permit,
        });
        self.count_opened(key);
        self.begin(key, &channels, from, greeting);
        if !leftover.is_empty() {
            self.bytes(key, &mut leftover);
        }
        if self.draining {
            self.timers.set(Instant::now(), key, Due::Drain);
        }
    }

    fn begin(&mut self, key: Key, channels: &[Arc<str>], from: From, greeting: Vec<u8>) {
        let now = Instant::now();
        // The first heartbeat at a random moment, so that those of a storm of newcomers spread.
        let first = self.shared.limits.ping.mul_f64(rand::random_range(0.5..1.0));
        self.timers.set(now + first, key, Due::Ping);
        if self
            .conn(key)
            .is_some_and(|conn| matches!(conn.phase, Phase::Waiting(_)))
        {
            self.timers.set(now + self.shared.limits.auth, key, Due::Auth);
            self.send(key, greeting.into());
        } else {
            self.open(key, channels, from, greeting);
        }
    }

    /// The session may follow its channels: one replay over all of them in log order, a gap for each that cannot be
    /// complete, then what is live. Subscriptions come before the first write, which may find the client gone.
    pub(super) fn open(&mut self, key: Key, channels: &[Arc<str>], from: From, greeting: Vec<u8>) {
        self.fan_out();
        self.watch_expiry(key);
        let head = self.head;
        for channel in channels {
            self.subscribe(key, channel, head);
        }
        let mut start = head;
        let mut replays = Vec::new();
        let mut gaps = Vec::new();
        for channel in channels {
            match plan(&self.shared.window, channel, from) {
                Plan::Live => {}
                Plan::Replay { after } => {
                    start = start.min(after);
                    replays.push((Arc::clone(channel), after));
                }
                Plan::Gap { from, reason } => gaps.extend(self.gap(key, channel, from, head, reason)),
            }
        }
        self.send(key, greeting.into());
        self.greet(key, start);
        self.replay(key, replays, head, gaps);
    }

    /// The first words of a session. The position is where what follows begins.
    fn greet(&mut self, key: Key, start: u64) {
        match self.conn(key).map(|conn| conn.variant.codec) {
            Some(Codec::Sse) => {
                let mut out = Vec::new();
                sse::retry(SSE_RETRY, &mut out);
                self.send(key, out.into());
            }
            Some(Codec::Plain) => self.welcome(key, start),
            Some(Codec::Bare | Codec::Echo) | None => {}
        }
    }

    fn welcome(&mut self, key: Key, start: u64) {
        let Some(conn) = self.conns.get(key.index as usize) else {
            return;
        };
        let names: Vec<_> = conn
            .session
            .subscriptions
            .iter()
            .map(|s| self.channels.name(s.channel))
            .collect();
        let mut json = Vec::new();
        let position = self.shared.window.position(start).to_string();
        plain::welcome(
            &conn.session.name(),
            &position,
            names.iter().map(|name| &**name),
            &mut json,
        );
        self.reply(key, &json);
    }

    /// Sets the timer that ends the session with its token.
    pub(super) fn watch_expiry(&mut self, key: Key) {
        let Some(at) = self.conn(key).and_then(|conn| conn.session.claims.expires_at()) else {
            return;
        };
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        // Every heartbeat looks again, so that a token of hours leaves no timer behind when its session goes.
        if left <= self.shared.limits.ping {
            self.timers.set(Instant::now() + left, key, Due::Expiry);
        }
    }

    pub(super) fn fire(&mut self, key: Key, due: Due, now: Instant) {
        let Some(conn) = self.conn(key) else { return };
        match due {
            Due::Ping | Due::Pong if conn.phase == Phase::Closing => {}
            Due::Ping => self.heartbeat(key, now),
            Due::Pong => self.check_heard(key, now),
            Due::Expiry => self.expire(key),
            Due::Auth if matches!(conn.phase, Phase::Waiting(_)) => {
                self.shared.metrics.dropped(Reason::Handshake);
                let mut json = Vec::new();
                plain::error(None, &codes::UNAUTHORIZED, "no token came in time", &mut json);
                self.reply(key, &json);
                self.close(key, &codes::CLOSE_AUTH_TIMEOUT, "");
            }
            Due::Auth => {}
            Due::Linger => self.remove(key),
            Due::Drain => self.close(key, &codes::CLOSE_SHUTDOWN, ""),
        }
    }

    /// Closes if the token has ended; a refreshed one has a timer of its own.
    fn expire(&mut self, key: Key) {
        let expires = self.conn(key).and_then(|conn| conn.session.claims.expires_at());
        if expires.is_some_and(|at| at <= SystemTime::now()) {
            self.shared.metrics.dropped(Reason::Token);
            self.close(key, &codes::CLOSE_TOKEN_EXPIRED, "");
        }
    }

    /// Pings, and comes back to see whether something was heard (a stream of events cannot answer).
    fn heartbeat(&mut self, key: Key, now: Instant) {
        self.watch_expiry(key);
        let Some(position) = self.now_of(key) else { return };
        let position = self.shared.window.position(position).to_string();
        let limits = &self.shared.limits;
        let (next, due) = (now + limits.pong.min(limits.ping), Due::Pong);
        let Some(conn) = self.conn(key) else { return };
        conn.heard = conn.variant.codec == Codec::Sse;
        // A session that is behind has bytes under way that tell as much.
        let behind = conn.backlog.is_some();
        let mut out = Vec::new();
        match conn.variant.codec {
            Codec::Sse => sse::keep_alive(&position, &mut out),
            Codec::Bare | Codec::Echo => frame::frame(Opcode::Ping, b"", &mut out),
            Codec::Plain => {
                frame::frame(Opcode::Ping, b"", &mut out);
                let mut json = Vec::new();
                plain::ping(&position, &mut json);
                frame::frame(Opcode::Text, &json, &mut out);
            }
        }
        if behind {
            conn.heard = true;
        } else {
            self.send(key, out.into());
        }
        self.timers.set(next, key, due);
    }

    /// Closes a client that answered nothing, or whose socket has taken nothing since the last heartbeat.
    fn check_heard(&mut self, key: Key, now: Instant) {
        let (ping, pong) = (self.shared.limits.ping, self.shared.limits.pong);
        let Some(conn) = self.conn(key) else { return };
        let stalled = conn
            .backlog
            .as_ref()
            .is_some_and(|b| b.blocked && now.duration_since(b.progress) > ping);
        if !conn.heard || stalled {
            return self.close(key, &codes::CLOSE_PING_TIMEOUT, "");
        }
        self.timers.set(now + ping.saturating_sub(pong), key, Due::Ping);
    }

    /// Sends a JSON message of the session's own.
    pub(super) fn reply(&mut self, key: Key, json: &[u8]) {
        let Some(conn) = self.conns.get(key.index as usize).filter(|conn| conn.key == key) else {
            return;
        };
        let bytes = self.encoder.message(conn.variant, json);
        self.send(key, bytes);
    }

    pub(super) fn send(&mut self, key: Key, bytes: Bytes) {
        let head = self.head;
        let Some(conn) = self.conn(key) else { return };
        if bytes.is_empty() || conn.phase == Phase::Closing {
            return;
        }
        if conn.write(&bytes, head).is_err() {
            self.remove(key);
        }
    }

    /// Ends a session with a code of the table.
    pub(super) fn close(&mut self, key: Key, code: &'static Code, message: &str) {
        let Some(conn) = self.conn(key) else { return };
        if conn.phase == Phase::Closing {
            return;
        }
        tracing::debug!(
            session = conn.session.name(),
            code = code.number,
            name = code.name,
            "session closed"
        );
        if conn.variant.codec != Codec::Sse {
            return self.close_with(
                key,
                code.number,
                if message.is_empty() { code.name } else { message },
            );
        }
        let mut out = Vec::new();
        if !code.retry {
            // A reconnect with this id is answered with 204, which ends an `EventSource` for good.
            out.extend_from_slice(b"id: stop\n");
        }
        sse::error(
            code,
            if message.is_empty() { code.help } else { message },
            &mut out,
        );
        self.last_words(key, out.into());
    }

    /// Ends a WebSocket session with any close code.
    pub(super) fn close_with(&mut self, key: Key, code: u16, reason: &str) {
        let mut out = Vec::new();
        frame::close_frame(code, reason, &mut out);
        self.last_words(key, out.into());
    }

    fn last_words(&mut self, key: Key, bytes: Bytes) {
        self.send(key, bytes);
        self.unfollow(key);
        let Some(conn) = self.conn(key) else { return };
        conn.phase = Phase::Closing;
        conn.waiting = None;
        if let Some(backlog) = &mut conn.backlog {
            backlog.replays.clear();
        }
        let blocked = conn.backlog.is_some();
        self.timers.set(Instant::now() + LINGER, key, Due::Linger);
        if blocked {
            self.ready.push_back(key);
        } else {
            self.finish(key);
        }
    }

    /// All is written: no more from us.
    pub(super) fn finish(&mut self, key: Key) {
        if let Some(conn) = self.conn(key) {
            conn.socket.finish();
        }
    }

    /// Takes a session out of a channel; `false` if it did not follow it.
    pub(super) fn unsubscribe(&mut self, key: Key, channel: &str) -> bool {
        let Some(channel) = self.channels.find(channel) else {
            return false;
        };
        let Some(conn) = self
            .conns
            .get_mut(key.index as usize)
            .filter(|conn| conn.key == key)
        else {
            return false;
        };
        let Some(place) = conn
            .session
            .subscriptions
            .iter()
            .position(|s| s.channel == channel)
        else {
            return false;
        };
        let subscription = conn.session.subscriptions.swap_remove(place);
        if let Some(backlog) = &mut conn.backlog {
            let name = self.channels.name(subscription.channel);
            backlog.replays.iter_mut().for_each(|replay| replay.forget(&name));
        }
        self.leave_channel(subscription);
        true
    }

    fn leave_channel(&mut self, subscription: super::channels::Subscription) {
        let Some(moved) = self.channels.leave(subscription) else {
            return;
        };
        if let Some(other) = self.conns.get_mut(moved as usize)
            && let Some(theirs) = other
                .session
                .subscriptions
                .iter_mut()
                .find(|s| s.channel == subscription.channel)
        {
            theirs.slot = subscription.slot;
        }
    }

    fn unfollow(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        for subscription in std::mem::take(&mut conn.session.subscriptions) {
            self.leave_channel(subscription);
        }
    }

    /// Forgets a connection; the socket closes.
    pub(super) fn remove(&mut self, key: Key) {
        if self.conn(key).is_none() {
            return;
        }
        self.unfollow(key);
        let conn = self.conns.remove(key.index as usize);
        // It closes with the drop below in any case.
        let _ = conn.socket.deregister(self.poll.registry());
        let label = TransportLabel {
            transport: conn.transport(),
        };
        self.shared.metrics.sessions.get_or_create(&label).dec();
        self.handle
            .sessions
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if self.conns.is_empty() {
            self.conns.shrink_to_fit();
        }
        self.timers.shrink();
    }

    fn count_opened(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        let label = TransportLabel {
            transport: conn.transport(),
        };
        self.shared.metrics.sessions.get_or_create(&label).inc();
        self.shared.metrics.sessions_opened.get_or_create(&label).inc();
    }

    /// Rights have changed: sessions lose what they may no longer follow. Endpoints grant their own channels, and what the
    /// database was asked for is asked again with the next connection.
    pub(super) fn recheck(&mut self) {
        let rights = self.shared.rights.load_full();
        let mut lost = Vec::new();
        for (_, conn) in &self.conns {
            if !matches!(conn.variant.codec, Codec::Plain | Codec::Sse) {
                continue;
            }
            for subscription in &conn.session.subscriptions {
                let name = self.channels.name(subscription.channel);
                if matches!(rights.subscribe(&conn.session.claims, &name), Decision::Deny(_)) {
                    lost.push((conn.key, name));
                }
            }
        }
        for (key, channel) in lost {
            self.lose(key, &channel);
        }
    }

    pub(super) fn lose(&mut self, key: Key, channel: &str) {
        self.shared.metrics.dropped(Reason::Forbidden);
        if self
            .conn(key)
            .is_some_and(|conn| conn.variant.codec == Codec::Sse)
        {
            return self.close(key, &codes::CLOSE_FORBIDDEN, "");
        }
        self.unsubscribe(key, channel);
        let mut json = Vec::new();
        plain::error(
            None,
            &codes::FORBIDDEN,
            &format!("channel {channel} is no longer granted"),
            &mut json,
        );
        self.reply(key, &json);
    }

    /// Every session gets a moment within `over` at which it is closed.
    pub(super) fn drain(&mut self, over: Duration) {
        self.draining = true;
        let now = Instant::now();
        for (_, conn) in &self.conns {
            self.timers.set(
                now + over.mul_f64(rand::random_range(0.0..1.0)),
                conn.key,
                Due::Drain,
            );
        }
    }
}

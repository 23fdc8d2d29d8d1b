//! How a connection begins and ends on its shard: adoption, opening, closing, draining.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::Token;
use pregon_wire::codes::Code;
use pregon_wire::engineio;
use pregon_wire::socketio::Assembler;
use pregon_wire::words::GapReason;
use pregon_wire::ws::frame::{self, Decoder};
use smallvec::smallvec;

use super::codec::socketio::engine::{App, Engine};
use super::codec::socketio::sid::Sid;
use super::conn::{Conn, ConnectionState, Pace};
use super::link::Link;
use super::returning::Returning;
use super::shard::Shard;
use super::timers::Due;
use super::turns::reason_of;
use super::{Key, Newcomer};
use crate::metrics::{Transport, TransportLabel};
use crate::session::Session;
use crate::session::replay::{Plan, StartAt, plan_by};

/// How long a client may take to finish the closing handshake.
const LINGER: Duration = Duration::from_secs(2);

impl Shard {
    pub(super) fn adopt(&mut self, mut newcomer: Newcomer) {
        let mut channels = std::mem::take(&mut newcomer.opening.channels);
        let rooms = std::mem::take(&mut newcomer.opening.joins);
        let greeting = std::mem::take(&mut newcomer.greeting);
        let mut leftover = std::mem::take(&mut newcomer.leftover);
        let from = newcomer.opening.from;
        let mut ambiguous = Vec::new();
        if newcomer.opening.joined {
            let joined = self.shared.rights.load().join(&newcomer.opening.claims);
            channels.extend(joined.channels);
            ambiguous = joined.ambiguous;
        }
        let Some(key) = self.place(newcomer) else { return };
        self.begin(key, &channels, from, greeting);
        self.refuse_names(key, 0, &ambiguous);
        self.join_rooms(key, rooms);
        if !leftover.is_empty() {
            // What is left over beyond its first turn is queued.
            self.bytes(key, &mut leftover);
        }
        if self.draining || self.shared.standby.get() {
            self.timers.set(Instant::now(), key, Due::Drain);
        }
    }

    /// Gives a connection its place. Nothing is said yet.
    pub(super) fn place(&mut self, newcomer: Newcomer) -> Option<Key> {
        let key = self.conns.next_key();
        if let Err(error) = newcomer.link.register(&self.registry, Token(key.index as usize)) {
            tracing::warn!(%error, "a socket cannot be polled");
            self.handle.sessions.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let opening = newcomer.opening;
        let state = match opening.must_authenticate {
            true => ConnectionState::AwaitingToken(opening.from),
            false => ConnectionState::Open,
        };
        let number = self.number;
        let engine = opening.engine.map(|(app, handshake)| {
            Box::new(Engine {
                sid: Sid::new(number, key),
                app,
                assembler: Assembler::default(),
                handshake,
                posting: false,
                post: None,
                probe: None,
                upgrading: false,
                refused: 0,
                greetings: Vec::new(),
            })
        });
        let sessions = match opening.variant.codec.enters_later() {
            true => smallvec![],
            false => smallvec![Session::new(opening.claims)],
        };
        self.conns.insert(Conn {
            key,
            link: newcomer.link,
            variant: opening.variant,
            sessions,
            engine,
            connecting: None,
            returning: opening.returning.map(|asked| Returning::new(&asked)),
            probes: None,
            rooms: opening.rooms,
            decoder: Decoder::new(),
            backlog: None,
            waiting: None,
            gathered: None,
            state,
            heard: true,
            touched: (0, 0),
            opened: Instant::now(),
            live_since: self.fanout.head,
            permit: newcomer.permit,
            pace: Pace::default(),
        });
        self.count_opened(key);
        Some(key)
    }

    fn begin(&mut self, key: Key, channels: &[Arc<str>], from: StartAt, greeting: Vec<u8>) {
        let now = Instant::now();
        let ping = self.shared.limits.ping;
        let Some(conn) = self.conn(key) else { return };
        // The first heartbeat at a random moment, so that those of a storm of newcomers spread; some clients count on the
        // whole time.
        let first = match conn.variant.codec.counts_heartbeats() {
            true => ping,
            false => ping.mul_f64(rand::random_range(0.5..1.0)),
        };
        let waits = conn.state.is_awaiting_token();
        let echoes = conn.variant.codec.is_suite();
        let speaks_later = conn
            .engine
            .as_ref()
            .is_some_and(|engine| engine.app == App::SocketIo);
        // A suite counts the frames that it gets.
        if !echoes {
            self.timers.set(now + first, key, Due::Ping);
        }
        if speaks_later || waits {
            self.timers.set(now + self.shared.limits.auth, key, Due::Auth);
        }
        let Some(conn) = self.conn(key) else { return };
        if let Some(sid) = conn.engine.as_ref().map(|engine| engine.sid) {
            let polls = matches!(conn.link, Link::Polling(_));
            let open = self.open_packet(sid, polls);
            self.send(key, greeting.into());
            self.say(key, &open);
        } else if waits {
            self.send(key, greeting.into());
        } else {
            self.open(key, channels, from, greeting);
        }
    }

    /// The session may follow its channels: one replay over all of them in log order, a gap for each that cannot be
    /// complete, then what is live. Subscriptions come before the first write, which may find the client gone.
    pub(super) fn open(&mut self, key: Key, channels: &[Arc<str>], from: StartAt, greeting: Vec<u8>) {
        self.fan_out();
        self.watch_expiry(key);
        self.begin_returning(key);
        let head = self.fanout.head;
        for channel in channels {
            self.subscribe(key, 0, channel, head);
        }
        let rights = self.shared.rights.load_full();
        let (mut start, mut last, mut newest) = (head, None, Vec::new());
        let (mut replays, mut younger) = (Vec::new(), Vec::new());
        let mut gaps = Vec::new();
        for channel in channels {
            let from = self.resumed(key, channel, from);
            match plan_by(&rights, &self.shared.past, channel, from) {
                Plan::Live => {}
                Plan::Last { n } => {
                    last = Some(n);
                    newest.push(Arc::clone(channel));
                }
                Plan::Replay { after } => {
                    start = start.min(after);
                    replays.push((Arc::clone(channel), after));
                }
                Plan::Younger { after } => {
                    start = start.min(after);
                    replays.push((Arc::clone(channel), after));
                    younger.push(channel);
                }
                Plan::Gap { from, reason } => gaps.extend(self.gap(key, channel, from, head, reason)),
            }
        }
        self.send(key, greeting.into());
        if let Some(codec) = self.conn(key).map(|conn| conn.variant.codec) {
            self.first_words(key, codec, start);
        }
        for channel in younger {
            // It lies before everything that is replayed.
            let gap = self.gap(key, channel, None, start, GapReason::Restart);
            self.send(key, gap.into());
        }
        match last {
            // Where one begins is not known yet, so that all are looked for together.
            Some(n) => {
                newest.extend(replays.into_iter().map(|(channel, _)| channel));
                self.replay_last(key, &newest, n, head, gaps);
            }
            None => self.replay(key, replays, head, gaps),
        }
        self.keep_returning(key);
    }

    pub(super) fn send(&mut self, key: Key, bytes: Bytes) {
        let head = self.fanout.head;
        let Some(conn) = self.conn(key) else { return };
        if bytes.is_empty() || conn.state.is_closing() {
            return;
        }
        if conn.write(&bytes, head).is_err() {
            self.remove(key);
        }
    }

    /// Ends a connection with a code of the table.
    pub(super) fn close(&mut self, key: Key, code: &'static Code, message: &str) {
        let Some(conn) = self.conn(key) else { return };
        if conn.state.is_closing() {
            return;
        }
        if let Some(reason) = reason_of(code) {
            conn.permit.refused(reason);
        }
        let session = conn.sessions.first().map(Session::name);
        tracing::debug!(session, code = code.number, name = code.name, "session closed");
        let variant = conn.variant;
        self.farewell(key, variant, code, message);
    }

    /// Ends a connection, over a WebSocket with any close code.
    pub(super) fn close_with(&mut self, key: Key, code: u16, reason: &str) {
        let polls = matches!(self.conn(key).map(|conn| &conn.link), Some(Link::Polling(_)));
        if polls {
            // Nothing can wait here for a poll that may never come: without one, the next learns that the session is gone.
            self.say(key, engineio::CLOSE);
            return self.take_out(key, code);
        }
        let mut out = Vec::new();
        frame::close_frame(code, reason, &mut out);
        self.last_words(key, code, out.into());
    }

    pub(super) fn last_words(&mut self, key: Key, code: u16, bytes: Bytes) {
        let head = self.fanout.head;
        let Some(conn) = self.conn(key) else { return };
        if !conn.state.is_closing() && conn.write(&bytes, head).is_err() {
            return self.take_out(key, code);
        }
        self.note_end(key, code);
        self.end_returning(key);
        self.unfollow(key);
        let Some(conn) = self.conn(key) else { return };
        conn.state = ConnectionState::Closing { code };
        conn.waiting = None;
        // Only its own farewell counts any more; nothing is inflated for it.
        conn.decoder.mute();
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
            conn.link.finish();
        }
    }

    /// Forgets a connection; its socket closes, and so does the one that wanted to take over.
    pub(super) fn remove(&mut self, key: Key) {
        self.take_out(key, 0);
    }

    /// As [`Shard::remove`]; if no code has been told so far, the end is remembered with this one.
    fn take_out(&mut self, key: Key, code: u16) {
        self.note_end(key, code);
        self.end_returning(key);
        self.unfollow(key);
        let Some(mut conn) = self.conns.remove(key) else {
            return;
        };
        if let Some(gathered) = conn.gathered.take() {
            self.publish_of_gone(*gathered);
        }
        // It closes with the drop below in any case.
        let _ = conn.link.deregister(&self.registry);
        self.uncount(&conn);
        for pid in conn
            .sessions
            .iter()
            .filter_map(|session| session.named.as_ref()?.pid.as_ref())
        {
            self.shared.kept.left(pid, self.owner(key));
        }
        if let Some(main) = conn.probes.and_then(|main| self.conn(main))
            && let Some(engine) = &mut main.engine
        {
            (engine.probe, engine.upgrading) = (None, false);
        }
        let probe = conn.engine.as_ref().and_then(|engine| engine.probe);
        drop(conn);
        if let Some(probe) = probe {
            self.remove(probe);
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

    pub(super) fn uncount(&self, conn: &Conn) {
        let label = TransportLabel {
            transport: conn.transport(),
        };
        self.shared.metrics.sessions.get_or_create(&label).dec();
        self.handle.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// A session moved from one transport to another.
    pub(super) fn recount(&mut self, key: Key, before: Transport) {
        let Some(conn) = self.conn(key) else { return };
        let after = TransportLabel {
            transport: conn.transport(),
        };
        let before = TransportLabel { transport: before };
        self.shared.metrics.sessions.get_or_create(&before).dec();
        self.shared.metrics.sessions.get_or_create(&after).inc();
    }

    /// Every connection gets a moment within `over` at which it is closed.
    pub(super) fn drain(&mut self, over: Duration) {
        self.draining = true;
        self.send_away(over);
    }

    /// The same, as long as the node stands by; the shard goes on.
    pub(super) fn send_away(&mut self, over: Duration) {
        let now = Instant::now();
        for conn in self.conns.iter() {
            self.timers.set(
                now + over.mul_f64(rand::random_range(0.0..1.0)),
                conn.key,
                Due::Drain,
            );
        }
    }
}

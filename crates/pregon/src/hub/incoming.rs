//! What comes from clients: bytes to messages, messages to commands, commands to effects.
//!
//! Commands of one session take effect in their order: while one waits for an answer from outside the shard, or while its
//! replies are not read, the next ones wait and the socket is not read.

use std::sync::Arc;

use pregon_wire::plain;
use pregon_wire::ws::frame::{self, Message as WsMessage, Opcode, WsError};
use pregon_wire::{codes, words::GapReason};

use super::Key;
use super::conn::{Backlog, Phase};
use super::encoded::Codec;
use super::shard::Shard;
use crate::auth::Claims;
use crate::log::Position;
use crate::metrics::Reason;
use crate::session::command::{self, Answer, Effect, Env, Incoming, Question, Then, Waiting};
use crate::session::replay::{From, Plan, Replay, plan};

/// Replies that a client may leave unread before its further commands wait, bytes.
const UNREAD: usize = 64 * 1024;

/// Reads of one socket per round, so that a flood of one client leaves the others their turn.
const READS: usize = 4;

impl Shard {
    pub(super) fn readable(&mut self, key: Key) {
        for _ in 0..READS {
            let mut buffer = std::mem::take(&mut self.buffer);
            let outcome = match self.conn(key) {
                // The waiting commands first; their end reads on.
                Some(conn) if conn.waiting.is_some() => Ok(None),
                Some(conn) => conn.socket.read(&mut buffer),
                None => Ok(None),
            };
            if let Ok(Some(n)) = outcome
                && n > 0
            {
                self.bytes(key, buffer.get_mut(..n).unwrap_or_default());
            }
            self.buffer = buffer;
            match outcome {
                Ok(Some(0)) | Err(_) => return self.remove(key),
                Ok(None) => return,
                Ok(Some(_)) => {}
            }
        }
        self.reread.push_back(key);
    }

    /// Bytes of a client, from the socket or from behind its request.
    pub(super) fn bytes(&mut self, key: Key, bytes: &mut [u8]) {
        let (most, draining) = (self.shared.limits.message, self.draining);
        let Some(conn) = self.conn(key) else { return };
        conn.heard = true;
        if conn.variant.codec == Codec::Sse || (draining && conn.phase == Phase::Closing) {
            return;
        }
        let mut messages = Vec::new();
        let deflate = conn.variant.deflate;
        let outcome = conn.decoder.feed(bytes, most, deflate, &mut |message| {
            messages.push(owned(&message));
            true
        });
        for message in messages {
            self.incoming(key, message);
        }
        if let Err(error) = outcome {
            self.broken(key, error);
        }
    }

    fn broken(&mut self, key: Key, error: WsError) {
        let reason = if error.close == codes::CLOSE_MESSAGE_TOO_BIG.number {
            Reason::TooLarge
        } else {
            Reason::Protocol
        };
        self.shared.metrics.dropped(reason);
        self.close_with(key, error.close, &error.to_string());
    }

    fn incoming(&mut self, key: Key, message: Incoming) {
        let Some(conn) = self.conn(key) else { return };
        if let Some(waiting) = &mut conn.waiting {
            waiting.inbox.push_back(message);
            return;
        }
        if conn.phase == Phase::Closing {
            if let Incoming::Close(_) = message {
                self.remove(key);
            }
            return;
        }
        match message {
            Incoming::Text(text) if conn.variant.codec == Codec::Plain => self.command(key, &text),
            Incoming::Text(text) if conn.variant.codec == Codec::Echo => {
                self.echo(key, Opcode::Text, text.as_bytes())
            }
            Incoming::Binary(bytes) if conn.variant.codec == Codec::Echo => {
                self.echo(key, Opcode::Binary, &bytes)
            }
            // A bare endpoint listens to nobody; binary has no meaning here.
            Incoming::Text(_) | Incoming::Binary(_) | Incoming::Pong => {}
            Incoming::Ping(payload) => {
                let mut pong = Vec::new();
                frame::frame(Opcode::Pong, &payload, &mut pong);
                self.send(key, pong.into());
            }
            Incoming::Close(code) => self.close_with(key, code.unwrap_or(1000), ""),
        }
        self.hold_if_unread(key);
    }

    fn echo(&mut self, key: Key, opcode: Opcode, payload: &[u8]) {
        let Some(conn) = self.conns.get(key.index as usize) else {
            return;
        };
        let bytes = self.encoder.echo(conn.variant, opcode, payload);
        self.send(key, bytes);
    }

    fn hold_if_unread(&mut self, key: Key) {
        if let Some(conn) = self.conn(key)
            && conn.waiting.is_none()
            && conn
                .backlog
                .as_ref()
                .is_some_and(|backlog| backlog.queued() > UNREAD)
        {
            conn.waiting = Some(Box::new(Waiting {
                then: None,
                inbox: Default::default(),
            }));
        }
    }

    fn command(&mut self, key: Key, text: &str) {
        let rights = self.shared.rights.load();
        let env = Env {
            rights: &rights,
            limits: &self.shared.limits,
            metrics: &self.shared.metrics,
            head: self.shared.window.position(self.head),
        };
        let Some(conn) = self.conns.get_mut(key.index as usize) else {
            return;
        };
        let effect = command::handle(&mut conn.session, conn.phase == Phase::Open, text, &env);
        self.effect(key, effect);
    }

    /// An answer from outside: the command goes on, then the messages behind it.
    pub(super) fn answered(&mut self, key: Key, answer: Answer) {
        let rights = self.shared.rights.load();
        let env = Env {
            rights: &rights,
            limits: &self.shared.limits,
            metrics: &self.shared.metrics,
            head: self.shared.window.position(self.head),
        };
        let Some(conn) = self
            .conns
            .get_mut(key.index as usize)
            .filter(|conn| conn.key == key)
        else {
            return;
        };
        let Some(then) = conn.waiting.as_mut().and_then(|waiting| waiting.then.take()) else {
            return;
        };
        let effect = command::resume(then, answer, &env);
        self.effect(key, effect);
        self.take_inbox(key);
    }

    /// Goes on with the messages that waited, unless the session still waits.
    pub(super) fn take_inbox(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        if conn.waiting.as_ref().is_none_or(|waiting| waiting.then.is_some()) {
            return;
        }
        let inbox = conn
            .waiting
            .take()
            .map(|waiting| waiting.inbox)
            .unwrap_or_default();
        for message in inbox {
            self.incoming(key, message);
        }
        if self.conn(key).is_some_and(|conn| conn.waiting.is_none()) {
            // The socket was not read meanwhile, and says so only once.
            self.reread.push_back(key);
        }
    }

    fn effect(&mut self, key: Key, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Reply(json) => self.reply(key, &json),
            Effect::Join { id, channel, from } => self.join(key, id, &channel, from),
            Effect::Leave { id, channel } => self.leave(key, id, &channel),
            Effect::Ask(asked) => self.ask(key, asked.0, asked.1),
            Effect::Authenticate { id, claims } => self.authenticate(key, id, claims),
            Effect::Close { id, code, message } => {
                let mut json = Vec::new();
                plain::error(id, code, &message, &mut json);
                self.reply(key, &json);
                let close = if *code == codes::INVALID_TOKEN {
                    &codes::CLOSE_INVALID_TOKEN
                } else {
                    &codes::CLOSE_BAD_PROTOCOL
                };
                self.close(key, None, close, &message);
            }
        }
    }

    fn ask(&mut self, key: Key, question: Question, then: Then) {
        let Some(conn) = self.conn(key) else { return };
        match &mut conn.waiting {
            Some(waiting) => waiting.then = Some(then),
            None => {
                conn.waiting = Some(Box::new(Waiting {
                    then: Some(then),
                    inbox: Default::default(),
                }))
            }
        }
        self.shared.desk.ask(question, self.handle.clone(), key);
    }

    /// A token came as a message: the session opens, or goes on with fresh claims.
    fn authenticate(&mut self, key: Key, id: Option<u64>, claims: Claims) {
        let channels = self.shared.rights.load().join(&claims);
        let Some(conn) = self.conn(key) else { return };
        let first = conn.phase == Phase::Waiting;
        conn.phase = Phase::Open;
        conn.session.claims = claims;
        self.watch_expiry(key);
        for channel in channels {
            self.follow(key, &channel, From::Now);
        }
        if first {
            self.welcome(key);
        }
        let mut json = Vec::new();
        plain::ok(id, &mut json);
        self.reply(key, &json);
    }

    fn join(&mut self, key: Key, id: Option<u64>, channel: &str, from: From) {
        let Some(now) = self.now_of(key) else { return };
        let plan = plan(&self.shared.window, channel, from);
        let (position, recovered) = match plan {
            Plan::Live | Plan::Gap { .. } => (now, false),
            Plan::Replay { after } => (after.min(now), matches!(from, From::Since(_))),
        };
        let mut json = Vec::new();
        let position = self.shared.window.position(position).to_string();
        plain::ok_subscribed(id, &position, recovered, &mut json);
        self.reply(key, &json);
        self.follow(key, channel, from);
    }

    /// Subscribes and begins the replay, if one is asked for.
    pub(super) fn follow(&mut self, key: Key, channel: &str, from: From) {
        let Some(now) = self.now_of(key) else { return };
        let upto = self.subscribe(key, channel, now);
        match plan(&self.shared.window, channel, from) {
            Plan::Live => {}
            Plan::Replay { after } if after < upto => self.replay(key, &[Arc::from(channel)], after, upto),
            Plan::Replay { .. } => {}
            Plan::Gap { from, reason } => self.gap(key, Some(channel), from, now, reason),
        }
    }

    /// Makes the subscription; returns the offset up to which a replay may go: the join, or what an earlier subscription
    /// to the channel already covers.
    pub(super) fn subscribe(&mut self, key: Key, channel: &str, now: u64) -> u64 {
        let known = self.channels.find(channel).and_then(|channel| {
            let conn = self.conns.get(key.index as usize)?;
            conn.session
                .subscription(channel)
                .map(|subscription| subscription.after)
        });
        if let Some(after) = known {
            return after;
        }
        let subscription = self.channels.join(channel, key.index, now);
        if let Some(conn) = self.conn(key) {
            conn.session.subscriptions.push(subscription);
        }
        now
    }

    /// Puts a replay before what is live.
    pub(super) fn replay(&mut self, key: Key, channels: &[Arc<str>], after: u64, upto: u64) {
        let Some(now) = self.now_of(key) else { return };
        let Some(conn) = self.conns.get_mut(key.index as usize) else {
            return;
        };
        let mut known = Vec::new();
        for subscription in &mut conn.session.subscriptions {
            let name = self.channels.name(subscription.channel);
            if channels.contains(&name) {
                // From here on the session has this channel from `after`.
                subscription.after = subscription.after.min(after);
            } else {
                known.push((name, subscription.after));
            }
        }
        let channels = channels
            .iter()
            .map(|channel| (Arc::clone(channel), after))
            .collect();
        let backlog = conn.backlog.get_or_insert_with(|| Backlog::new(now));
        backlog.replays.push_back(Replay {
            channels,
            known,
            cursor: after,
            upto,
        });
        self.ready.push_back(key);
    }

    pub(super) fn gap(
        &mut self,
        key: Key,
        channel: Option<&str>,
        from: Option<Position>,
        to: u64,
        reason: GapReason,
    ) {
        self.shared.metrics.gaps.inc();
        let from = from.map(|position| position.to_string());
        let to = self.shared.window.position(to).to_string();
        let Some(conn) = self.conn(key) else { return };
        let mut out = Vec::new();
        match conn.variant.codec {
            Codec::Bare | Codec::Echo => {}
            Codec::Plain => {
                plain::gap(channel, from.as_deref(), &to, reason, &mut out);
                self.reply(key, &out);
            }
            Codec::Sse => {
                pregon_wire::sse::gap(channel, from.as_deref(), &to, reason, &mut out);
                self.send(key, out.into());
            }
        }
    }

    fn leave(&mut self, key: Key, id: Option<u64>, channel: &str) {
        let mut json = Vec::new();
        if self.unsubscribe(key, channel) {
            plain::ok(id, &mut json);
        } else {
            plain::error(
                id,
                &codes::NOT_SUBSCRIBED,
                "this session does not follow that channel",
                &mut json,
            );
        }
        self.reply(key, &json);
    }

    /// The offset that a session has everything up to: the shard's head, or its own cursor while it is behind.
    pub(super) fn now_of(&mut self, key: Key) -> Option<u64> {
        let head = self.head;
        self.conn(key)
            .map(|conn| conn.backlog.as_ref().map_or(head, |backlog| backlog.cursor))
    }
}

fn owned(message: &WsMessage<'_>) -> Incoming {
    match message {
        WsMessage::Text(text) => Incoming::Text((*text).into()),
        WsMessage::Binary(bytes) => Incoming::Binary((*bytes).into()),
        WsMessage::Ping(payload) => Incoming::Ping((*payload).into()),
        WsMessage::Pong(_) => Incoming::Pong,
        WsMessage::Close(code, _) => Incoming::Close(*code),
    }
}

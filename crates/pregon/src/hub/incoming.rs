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
use super::encoded::{Codec, OwnGap, Variant};
use super::shard::Shard;
use crate::auth::Claims;
use crate::log::Position;
use crate::metrics::Reason;
use crate::route::grant::Decision;
use crate::session::command::{self, Answer, Effect, Env, Incoming, Question, Then, Waiting};
use crate::session::replay::{From, Plan, Replay, plan};

/// Replies that a client may leave unread before its further commands wait, bytes.
const UNREAD: usize = 64 * 1024;

/// Messages, and bytes of them, that are taken before they are acted on.
const PORTION: usize = 32;
const PORTION_BYTES: usize = 64 * 1024;

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

    /// Bytes of a client: from the socket, from behind its request, or (none) those that the decoder kept when it paused.
    pub(super) fn bytes(&mut self, key: Key, bytes: &mut [u8]) {
        let most = self.shared.limits.message;
        let mut bytes = bytes;
        loop {
            let Some(conn) = self.conn(key) else { return };
            conn.heard = true;
            let Variant { codec, deflate } = conn.variant;
            if codec == Codec::Sse {
                return;
            }
            let mut taken = Taken::default();
            let outcome = conn
                .decoder
                .feed(bytes, most, deflate, &mut |message| taken.take(&message, codec));
            for message in taken.messages {
                self.incoming(key, message);
            }
            if let Err(error) = outcome {
                return self.broken(key, error);
            }
            let waits = self.conn(key).is_none_or(|conn| conn.waiting.is_some());
            if !taken.full || waits {
                return;
            }
            bytes = &mut [];
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
            Incoming::Binary(_) if conn.variant.codec == Codec::Plain => {
                let mut json = Vec::new();
                plain::error(
                    None,
                    &codes::BAD_REQUEST,
                    "send commands as text frames",
                    &mut json,
                );
                self.reply(key, &json);
            }
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
            // What the decoder kept, then what the socket holds: neither says so again.
            self.bytes(key, &mut []);
            self.reread.push_back(key);
        }
    }

    fn effect(&mut self, key: Key, effect: Effect) {
        match effect {
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
                self.close(key, close, &message);
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
        let channels: Vec<Arc<str>> = self
            .shared
            .rights
            .load()
            .join(&claims)
            .into_iter()
            .map(Arc::from)
            .collect();
        let Some(conn) = self.conn(key) else { return };
        let before = std::mem::replace(&mut conn.session.claims, claims);
        if let Phase::Waiting(from) = conn.phase {
            conn.phase = Phase::Open;
            self.open(key, &channels, from, Vec::new());
        } else {
            self.refreshed(key, &before);
            for channel in &channels {
                self.follow(key, channel, From::Now);
            }
        }
        let mut json = Vec::new();
        plain::ok(id, &mut json);
        self.reply(key, &json);
    }

    /// What the fresh claims do not grant is lost. What the database granted stays if it would be asked the same.
    fn refreshed(&mut self, key: Key, before: &Claims) {
        let rights = self.shared.rights.load_full();
        self.watch_expiry(key);
        let Some(conn) = self.conns.get(key.index as usize) else {
            return;
        };
        let mut lost = Vec::new();
        for subscription in &conn.session.subscriptions {
            let name = self.channels.name(subscription.channel);
            let kept = match rights.subscribe(&conn.session.claims, &name) {
                Decision::Allow => true,
                Decision::Deny(_) => false,
                question @ Decision::Ask(_) => rights.subscribe(before, &name) == question,
            };
            if !kept {
                lost.push(name);
            }
        }
        for channel in lost {
            self.lose(key, &channel);
        }
    }

    fn join(&mut self, key: Key, id: Option<u64>, channel: &str, from: From) {
        // Up to the log's head, so that no position that a client can name is still to come.
        self.fan_out();
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
        let Some(upto) = self.subscribe(key, channel, now) else {
            return;
        };
        match plan(&self.shared.window, channel, from) {
            Plan::Live => {}
            Plan::Replay { after } => self.replay(key, vec![(Arc::from(channel), after)], upto, Vec::new()),
            Plan::Gap { from, reason } => {
                let gap = self.gap(key, channel, from, now, reason);
                self.send(key, gap.into());
            }
        }
    }

    /// Makes the subscription; returns the offset up to which a replay may go: the join, or what an earlier subscription
    /// to the channel already covers. `None` if the session is gone: nobody may follow in its place.
    pub(super) fn subscribe(&mut self, key: Key, channel: &str, now: u64) -> Option<u64> {
        let conn = self
            .conns
            .get_mut(key.index as usize)
            .filter(|conn| conn.key == key)?;
        let known = self
            .channels
            .find(channel)
            .and_then(|channel| conn.session.subscription(channel));
        if let Some(known) = known {
            return Some(known.after);
        }
        let subscription = self.channels.join(channel, key.index, now);
        conn.session.subscriptions.push(subscription);
        Some(now)
    }

    /// Puts a replay of channels, each after its own offset, before what is live; `then` is said when it is complete.
    pub(super) fn replay(&mut self, key: Key, channels: Vec<(Arc<str>, u64)>, upto: u64, then: Vec<u8>) {
        let Some(now) = self.now_of(key) else { return };
        let Some(conn) = self.conns.get_mut(key.index as usize) else {
            return;
        };
        let mut known = Vec::new();
        for subscription in &mut conn.session.subscriptions {
            let name = self.channels.name(subscription.channel);
            match channels.iter().find(|(channel, _)| *channel == name) {
                // The client had everything up to `after`: from there on the session has this channel.
                Some((_, after)) if *after >= upto => subscription.after = subscription.after.max(*after),
                Some((_, after)) => subscription.after = subscription.after.min(*after),
                None => known.push((name, subscription.after)),
            }
        }
        let cursor = channels.iter().map(|(_, after)| *after).min().unwrap_or(upto);
        if cursor >= upto {
            return self.send(key, then.into());
        }
        let backlog = conn.backlog.get_or_insert_with(|| Backlog::new(now));
        backlog.replays.push_back(Replay {
            channels,
            known,
            cursor,
            upto,
            then,
        });
        self.ready.push_back(key);
    }

    /// The words for what a session could not be given; counted.
    pub(super) fn gap(
        &mut self,
        key: Key,
        channel: &str,
        from: Option<Position>,
        to: u64,
        reason: GapReason,
    ) -> Vec<u8> {
        self.shared.metrics.gaps.inc();
        let mut out = Vec::new();
        if let Some(conn) = self.conns.get(key.index as usize) {
            let gap = OwnGap {
                channel,
                from,
                to: self.shared.window.position(to),
                reason,
            };
            self.encoder.gap(conn.variant, &gap, &mut out);
        }
        out
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

/// Messages of one portion.
#[derive(Default)]
struct Taken {
    messages: Vec<Incoming>,
    bytes: usize,
    full: bool,
}

impl Taken {
    /// Takes a message; `false` pauses the decoder, so that a small compressed flood is never inflated all at once.
    fn take(&mut self, message: &WsMessage<'_>, codec: Codec) -> bool {
        let message = match message {
            // A bare endpoint listens to nobody; what is binary has no meaning in the full protocol.
            WsMessage::Text(_) if codec == Codec::Bare => return true,
            WsMessage::Binary(_) if codec == Codec::Bare => return true,
            WsMessage::Binary(_) if codec != Codec::Echo => Incoming::Binary([].into()),
            WsMessage::Text(text) => Incoming::Text((*text).into()),
            WsMessage::Binary(bytes) => Incoming::Binary((*bytes).into()),
            WsMessage::Ping(payload) => Incoming::Ping((*payload).into()),
            WsMessage::Pong(_) => Incoming::Pong,
            WsMessage::Close(code, _) => Incoming::Close(*code),
        };
        self.bytes += message.len();
        self.messages.push(message);
        self.full = self.messages.len() >= PORTION || self.bytes >= PORTION_BYTES;
        !self.full
    }
}

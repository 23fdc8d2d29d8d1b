//! What comes from clients: bytes to messages, and messages to whoever speaks their protocol.
//!
//! Messages of one connection take effect in their order: while one waits for an answer from outside the shard, or while its
//! replies are not read, the next ones wait and the link is not read.

use pregon_wire::codes;
use pregon_wire::ws::frame::{self, Message as WsMessage, Opcode, WsError};

use super::Key;
use super::codec::Variant;
use super::shard::Shard;
use super::turns::is_stranger;
use crate::metrics::Reason;
use crate::session::command::{Incoming, Waiting};

/// Messages, and bytes of them after inflating, that are taken of one connection before others have their turn.
pub(super) const PORTION: usize = 32;
const PORTION_BYTES: usize = 64 * 1024;

/// Reads of one socket in a turn.
const READS: usize = 4;

impl Shard {
    /// A connection's turn: what waits of it, then what its socket has.
    pub(super) fn readable(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        if conn.pace.queued || conn.pace.held {
            return;
        }
        if conn.waiting.is_some() {
            // The waiting commands first; their end reads on.
            if !conn.is_unread() {
                self.take_inbox(key);
            }
            return;
        }
        if conn.decoder.buffered() > 0 && self.bytes(key, &mut []) {
            return;
        }
        for _ in 0..READS {
            let mut buffer = std::mem::take(&mut self.buffer);
            let outcome = match self.conn(key) {
                Some(conn) if conn.waiting.is_some() || conn.pace.held => Ok(None),
                Some(conn) => conn.link.read(&mut buffer),
                None => Ok(None),
            };
            let mut over = false;
            if let Ok(Some(n)) = outcome
                && n > 0
            {
                over = self.bytes(key, buffer.get_mut(..n).unwrap_or_default());
                over |= n == buffer.len();
            }
            self.buffer = buffer;
            match outcome {
                Ok(Some(0)) | Err(_) => return self.remove(key),
                Ok(None) => return,
                Ok(Some(_)) if over => break,
                Ok(Some(_)) => {}
            }
        }
        self.queue_turn(key);
    }

    /// Bytes of a client: from the socket, from behind its request, or (none) those that the decoder kept when it paused. `true` if
    /// its turn is over, because it has had its portion; it is queued for the next then.
    pub(super) fn bytes(&mut self, key: Key, bytes: &mut [u8]) -> bool {
        let limits = &self.shared.limits;
        let Some(conn) = self.conns.get_mut(key) else {
            return true;
        };
        conn.heard = true;
        let variant = conn.variant;
        let most = variant.codec.max_message(limits);
        if variant.one_way() {
            self.charge(key, 0, bytes.len());
            return false;
        }
        let mut taken = Taken {
            listens: conn.rooms.as_ref().is_some_and(|rooms| rooms.channel.is_some()),
            most: if is_stranger(conn) { 1 } else { PORTION },
            ..Taken::default()
        };
        let came = conn.decoder.buffered() + bytes.len();
        let outcome = conn.decoder.feed(bytes, most, variant.deflate(), &mut |message| {
            taken.take(&message, variant)
        });
        let used = came.saturating_sub(conn.decoder.buffered());
        if !self.charge(key, taken.count, taken.bytes.max(used)) {
            return true;
        }
        let mut key = key;
        for message in taken.messages {
            self.incoming(key, message);
            // An upgrade makes the socket that of another connection, and so what comes behind it.
            key = self.promoted.take().unwrap_or(key);
        }
        self.publish_gathered(key);
        if let Err(error) = outcome {
            self.broken(key, error);
            return true;
        }
        if taken.full {
            self.queue_turn(key);
        }
        taken.full
    }

    fn broken(&mut self, key: Key, error: WsError) {
        let reason = if error.close == codes::CLOSE_MESSAGE_TOO_BIG.number {
            Reason::TooLarge
        } else {
            Reason::Protocol
        };
        self.shared.metrics.dropped(reason);
        if let Some(conn) = self.conn(key) {
            conn.permit.refused(reason);
        }
        self.close_with(key, error.close, &error.to_string());
    }

    pub(super) fn incoming(&mut self, key: Key, message: Incoming) {
        let Some(conn) = self.conn(key) else { return };
        if conn.gathered.is_some() && !conn.variant.codec.may_publish(&message) {
            self.publish_gathered(key);
        }
        let Some(conn) = self.conn(key) else { return };
        if let Some(waiting) = &mut conn.waiting {
            waiting.inbox.push_back(message);
            return;
        }
        if conn.state.is_closing() {
            if let Incoming::Close(_) = message {
                self.remove(key);
            }
            return;
        }
        let codec = conn.variant.codec;
        match message {
            Incoming::Text(text) => {
                self.text_in(key, codec, &text);
                if std::mem::take(&mut self.postponed) {
                    self.publish_gathered(key);
                    return self.incoming(key, Incoming::Text(text));
                }
            }
            Incoming::Binary(bytes) => self.binary_in(key, codec, bytes),
            Incoming::Pong(None) => {}
            Incoming::Pong(Some(position)) => self.acknowledged(key, position),
            Incoming::Ping(payload) => {
                let mut pong = Vec::new();
                frame::frame(Opcode::Pong, &payload, &mut pong);
                self.send(key, pong.into());
            }
            Incoming::Close(code) => self.close_with(key, code.unwrap_or(1000), ""),
        }
        if !self.has_gathered(key) {
            self.hold_if_unread(key);
        }
    }

    fn hold_if_unread(&mut self, key: Key) {
        if let Some(conn) = self.conn(key)
            && conn.waiting.is_none()
            && conn.is_unread()
        {
            conn.waiting = Some(Box::new(Waiting {
                then: None,
                inbox: Default::default(),
            }));
        }
    }

    /// Goes on with the messages that waited, unless the connection still waits.
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
        self.take_messages(key, inbox);
        if self.conn(key).is_some_and(|conn| conn.waiting.is_none()) {
            // What the decoder kept, then what the socket holds: neither says so again.
            self.queue_turn(key);
            self.posted(key);
        }
    }
}

/// Messages of one portion.
#[derive(Default)]
struct Taken {
    messages: Vec<Incoming>,
    /// Those without a meaning count too.
    count: usize,
    bytes: usize,
    full: bool,
    most: usize,
    /// Whether a bare endpoint has rooms, and so an ear.
    listens: bool,
}

impl Taken {
    /// Takes a message; `false` pauses the decoder, so that a small compressed flood is never inflated all at once.
    fn take(&mut self, message: &WsMessage<'_>, variant: Variant) -> bool {
        let before = self.messages.len();
        variant.codec.incoming(message, self.listens, &mut self.messages);
        self.count += (self.messages.len() - before).max(1);
        self.bytes += weight(message);
        self.full = self.count >= self.most || self.bytes >= PORTION_BYTES;
        !self.full
    }
}

/// Bytes of a message, after inflating.
fn weight(message: &WsMessage<'_>) -> usize {
    match message {
        WsMessage::Text(text) => text.len(),
        WsMessage::Binary(bytes) | WsMessage::Ping(bytes) | WsMessage::Pong(bytes) => bytes.len(),
        WsMessage::Close(..) => 0,
    }
}

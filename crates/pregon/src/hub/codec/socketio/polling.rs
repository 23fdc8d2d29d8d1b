//! Engine.IO sessions whose clients poll: requests that wait and post, and the move to a WebSocket.
//!
//! A request reaches the shard as a message with a place for its answer. A WebSocket that wants to take over is a connection of its
//! own until the client has left polling; then its socket becomes the link of the session.

use std::time::Instant;

use bytes::Bytes;
use pregon_wire::engineio::{self, Open, PROBE, Packet, ParseError, Payload, Refusal};
use pregon_wire::ws::frame::{self, Opcode};
use tokio::sync::oneshot;

use super::sid::Sid;
use crate::hub::link::{Link, Polled};
use crate::hub::shard::Shard;
use crate::hub::timers::Due;
use crate::hub::{Key, Newcomer};
use crate::session::command::Incoming;

impl Shard {
    /// A poll: answered at once if something waits, otherwise with the next packet. Gives the request's number.
    pub(in crate::hub) fn poll_request(&mut self, sid: Sid, request: oneshot::Sender<Polled>) {
        let Some(key) = self.known(sid) else {
            return refuse(request, Refusal::UnknownSid);
        };
        let Some(conn) = self.conn(key) else { return };
        let upgrading = conn.engine.as_ref().is_some_and(|engine| engine.upgrading);
        let Link::Polling(polling) = &mut conn.link else {
            return refuse(request, Refusal::BadRequest);
        };
        if polling.waits() {
            // Two at a time: the client has lost count, and nobody could tell which of them it reads.
            polling.answer(engineio::CLOSE.to_vec());
            refuse(request, Refusal::BadRequest);
            return self.remove(key);
        }
        polling.wait(request);
        self.pump_if_behind(key);
        if upgrading && let Some(Link::Polling(polling)) = self.conn(key).map(|conn| &mut conn.link) {
            polling.answer(engineio::NOOP.to_vec());
        }
    }

    fn pump_if_behind(&mut self, key: Key) {
        if self.conn(key).is_some_and(|conn| conn.backlog.is_some()) {
            self.pump(key);
        }
    }

    /// A poll was given up: its client is gone.
    pub(in crate::hub) fn poll_given_up(&mut self, sid: Sid) {
        let Some(key) = self.known(sid) else { return };
        let given_up = match self.conn(key).map(|conn| &conn.link) {
            Some(Link::Polling(polling)) => polling.is_given_up(),
            _ => false,
        };
        if given_up {
            self.remove(key);
        }
    }

    /// A client begins to post. Two at a time end the session: their order would be lost.
    pub(in crate::hub) fn post_begins(&mut self, sid: Sid, reply: oneshot::Sender<Result<(), Refusal>>) {
        let known = self.known(sid);
        let conn = known.and_then(|key| self.conn(key));
        let answer = match conn {
            None => Err(Refusal::UnknownSid),
            Some(conn) if !matches!(conn.link, Link::Polling(_)) => Err(Refusal::BadRequest),
            Some(conn) => match &mut conn.engine {
                Some(engine) if !engine.posting => {
                    engine.posting = true;
                    Ok(())
                }
                _ => {
                    self.remove(sid.key);
                    Err(Refusal::BadRequest)
                }
            },
        };
        // Whoever asked may be gone; then nobody needs to be told.
        let _ = reply.send(answer);
    }

    /// A post was given up half-way: what it would have said is lost, and so is the session.
    pub(in crate::hub) fn post_given_up(&mut self, sid: Sid) {
        if let Some(key) = self.known(sid) {
            self.remove(key);
        }
    }

    /// Packets that a client posted; answered when all of them are taken.
    pub(in crate::hub) fn post_request(
        &mut self,
        sid: Sid,
        messages: Option<Vec<Incoming>>,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let Some(key) = self.known(sid) else {
            let _ = reply.send(Err(Refusal::UnknownSid));
            return;
        };
        let Some(conn) = self.conn(key) else { return };
        conn.heard = true;
        let Some(messages) = messages else {
            let _ = reply.send(Err(Refusal::BadRequest));
            return self.protocol_error(key);
        };
        if let Some(engine) = &mut conn.engine {
            engine.post = Some(reply);
        }
        let bytes = messages.iter().map(Incoming::len).sum();
        if !self.charge(key, messages.len(), bytes) {
            return;
        }
        self.take_messages(key, messages);
        self.posted(key);
    }

    /// Answers a post whose messages are all taken.
    pub(in crate::hub) fn posted(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        // What a client leaves unread holds up its next post, not this one.
        let waits = conn
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.then.is_some() || !waiting.inbox.is_empty());
        let Some(engine) = conn.engine.as_mut().filter(|_| !waits) else {
            return;
        };
        if let Some(reply) = engine.post.take() {
            engine.posting = false;
            let _ = reply.send(Ok(()));
        }
    }

    /// What a new session of Engine.IO is told.
    pub(in crate::hub) fn open_packet(&self, sid: Sid, can_upgrade: bool) -> Vec<u8> {
        let limits = &self.shared.limits;
        let sid = sid.to_string();
        let open = Open {
            sid: &sid,
            can_upgrade,
            ping_interval: millis(limits.ping),
            ping_timeout: millis(limits.pong),
            max_payload: limits.payload,
        };
        let mut packet = Vec::new();
        open.encode(&mut packet);
        packet
    }

    /// A WebSocket for a session that polls, or for one that has it already.
    pub(in crate::hub) fn probe(&mut self, sid: Sid, newcomer: Newcomer) {
        let known = self.known(sid);
        let mut newcomer = newcomer;
        let mut greeting = std::mem::take(&mut newcomer.greeting);
        let mut leftover = std::mem::take(&mut newcomer.leftover);
        if known.is_none() && !greeting.is_empty() {
            greeting = unknown();
        }
        let Some(probe) = self.place(newcomer) else {
            return;
        };
        self.send(probe, greeting.into());
        let Some(main) = known else {
            return self.close_with(probe, 1000, "");
        };
        let polls = matches!(self.conn(main).map(|conn| &conn.link), Some(Link::Polling(_)));
        let Some(engine) = self.conn(main).and_then(|conn| conn.engine.as_mut()) else {
            return;
        };
        if !polls || engine.probe.is_some() {
            // A surplus one: accepted and closed, as the reference does.
            return self.close_with(probe, 1000, "");
        }
        engine.probe = Some(probe);
        if let Some(conn) = self.conn(probe) {
            conn.probes = Some(main);
        }
        self.timers
            .set(Instant::now() + self.shared.limits.upgrade, probe, Due::Upgrade);
        if !leftover.is_empty() {
            self.bytes(probe, &mut leftover);
        }
    }

    /// A text message on a WebSocket that wants to take over.
    pub(in crate::hub) fn probe_text(&mut self, key: Key, text: &str) {
        match engineio::parse(text) {
            Ok(Packet::Ping(data)) if data == PROBE => self.probed(key),
            Ok(Packet::Upgrade) => self.upgrade(key),
            _ => self.remove(key),
        }
    }

    /// The WebSocket works: polls end from now on, so that the client can leave them.
    fn probed(&mut self, key: Key) {
        self.say(key, engineio::PONG_PROBE);
        let Some(main) = self.conn(key).and_then(|conn| conn.probes) else {
            return;
        };
        let Some(conn) = self.conn(main) else {
            return self.remove(key);
        };
        if let Some(engine) = &mut conn.engine {
            engine.upgrading = true;
        }
        if let Link::Polling(polling) = &mut conn.link {
            polling.answer(engineio::NOOP.to_vec());
        }
    }

    /// The client has left polling: the socket becomes the session's, and what waits is framed for it.
    fn upgrade(&mut self, key: Key) {
        let Some(main) = self.conn(key).and_then(|conn| conn.probes) else {
            return self.remove(key);
        };
        let upgrading = self
            .conn(main)
            .and_then(|conn| conn.engine.as_ref())
            .is_some_and(|engine| engine.upgrading && engine.probe == Some(key));
        if !upgrading {
            return self.remove(key);
        }
        let Some(probe) = self.conns.remove(key) else {
            return;
        };
        self.uncount(&probe);
        let token = mio::Token(main.index as usize);
        let Some(conn) = self.conn(main) else { return };
        if let Link::Polling(polling) = &mut conn.link {
            polling.answer(engineio::NOOP.to_vec());
        }
        let label = conn.transport();
        conn.link = probe.link;
        conn.decoder = probe.decoder;
        conn.permit = probe.permit;
        conn.variant.framing = probe.variant.framing;
        conn.heard = true;
        if let Some(engine) = &mut conn.engine {
            (engine.upgrading, engine.probe) = (false, None);
        }
        if let Some(backlog) = &mut conn.backlog {
            backlog.chunks.iter_mut().for_each(|chunk| *chunk = framed(chunk));
            for replay in &mut backlog.replays {
                replay.then = framed(&Bytes::copy_from_slice(&replay.then)).to_vec();
            }
        }
        let registry = &self.registry;
        let moved = self
            .conns
            .get(main)
            .is_some_and(|conn| conn.link.reregister(registry, token).is_ok());
        self.recount(main, label);
        if !moved {
            return self.remove(main);
        }
        self.promoted = Some(main);
        self.pump_if_behind(main);
        self.queue_turn(main);
    }

    /// The connection of an id, unless it is gone or on its way.
    fn known(&mut self, sid: Sid) -> Option<Key> {
        let conn = self.conn(sid.key)?;
        let own = conn.engine.as_ref().is_some_and(|engine| engine.sid == sid);
        (own && !conn.state.is_closing()).then_some(sid.key)
    }
}

/// The answer to a WebSocket request for a session that is not there.
fn unknown() -> Vec<u8> {
    let mut body = Vec::new();
    Refusal::UnknownSid.write_body(&mut body);
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// The packets of a polling body, as messages; an error ends the session.
pub(crate) fn messages(body: &[u8]) -> Result<Vec<Incoming>, ParseError> {
    let mut messages = Vec::new();
    for packet in Payload::new(body)? {
        let message = match packet? {
            Packet::Binary(bytes) => Incoming::Binary(bytes.into_owned().into()),
            other => {
                let mut text = Vec::new();
                engineio::encode(&other, &mut text);
                Incoming::Text(String::from_utf8(text).map_err(|_| ParseError::NotText)?.into())
            }
        };
        messages.push(message);
    }
    Ok(messages)
}

/// The packets of a polling body as WebSocket frames.
fn framed(packets: &Bytes) -> Bytes {
    let packets = packets
        .strip_suffix(&[crate::hub::link::SEPARATOR])
        .unwrap_or(packets);
    let mut out = Vec::with_capacity(packets.len() + 16);
    for message in messages(packets).unwrap_or_default() {
        match message {
            Incoming::Binary(bytes) => frame::frame(Opcode::Binary, &bytes, &mut out),
            Incoming::Text(text) => frame::frame(Opcode::Text, text.as_bytes(), &mut out),
            Incoming::Ping(_) | Incoming::Pong(_) | Incoming::Close(_) => {}
        }
    }
    out.into()
}

fn refuse(request: oneshot::Sender<Polled>, refusal: Refusal) {
    let _ = request.send(Err(refusal));
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_waited_for_a_poll_is_framed_for_a_websocket() {
        let packets = Bytes::from_static(b"2\x1e42[\"a\"]\x1ebAQID\x1e");
        let mut wanted = Vec::new();
        frame::frame(Opcode::Text, b"2", &mut wanted);
        frame::frame(Opcode::Text, b"42[\"a\"]", &mut wanted);
        frame::frame(Opcode::Binary, &[1, 2, 3], &mut wanted);
        assert_eq!(framed(&packets), wanted);
        assert!(framed(&Bytes::new()).is_empty());
    }

    #[test]
    fn a_body_with_an_error_is_none() {
        assert_eq!(messages(b"4a\x1e2").unwrap().len(), 2);
        assert!(messages(b"4a\x1e9").is_err());
        assert!(messages(b"").is_err());
    }
}

//! The protocols of clients. Each has a file (or a folder); the questions that the hub asks of a protocol stand here, one `match` each.
//!
//! [`Encoder`] answers the questions that need no connection (an entry, a reply, a gap, a heartbeat as bytes). Entries are encoded once
//! for each variant and shared by all connections of a shard. The methods of [`Shard`] answer those that do something on a connection: a
//! message in, first words, a lost right, last words. The methods of [`Codec`] (`variant`) are its properties. Outside of this folder no code
//! branches on a codec; `transport/admit.rs` chooses it.
//!
//! To add one: a variant of [`Codec`], an arm where the compiler asks for it (no `match` here has an arm for the rest), a file for
//! the words of the protocol.

mod variant;
mod plain;
pub(crate) mod bare;
mod sse;
pub(crate) mod socketio;
pub(crate) mod centrifuge;

use bytes::Bytes;
use pregon_wire::codes::{self, Code};
use pregon_wire::ws::frame::{self, Deflater, Opcode};
use pregon_wire::{GapReason, engineio};

pub(crate) use variant::{Codec, Framing, VARIANTS, Variant};

use super::Key;
use super::rights::LostRight;
use super::shard::Shard;
use crate::log::{Entry, Position};
use crate::session::command::{Asked, Reply};

/// What one session could not be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnGap<'a> {
    pub channel: &'a str,
    pub from: Option<Position>,
    pub to: Position,
    pub reason: GapReason,
}

/// Turns entries and replies into bytes. One per shard, with its buffers.
pub(crate) struct Encoder {
    deflater: Deflater,
    scratch: Vec<u8>,
    /// Names of the namespaces by their numbers; the first is the root.
    namespaces: Vec<String>,
    /// Whether events of Socket.IO carry their position, for connection state recovery.
    offsets: bool,
    /// It was said that an event has a name that clients of Socket.IO cannot get.
    reserved_said: bool,
}

impl Encoder {
    pub(crate) fn new(namespaces: Vec<String>, offsets: bool) -> Self {
        Self {
            deflater: Deflater::new(),
            scratch: Vec::new(),
            namespaces,
            offsets,
            reserved_said: false,
        }
    }

    /// Appends `entry` as a follower of `channel` gets it; nothing where the codec has no word for it.
    pub(crate) fn entry(
        &mut self,
        variant: Variant,
        channel: &str,
        entry: &Entry,
        replayed: bool,
        out: &mut Vec<u8>,
    ) {
        match variant.codec {
            Codec::Bare => self.bare(variant, entry, out),
            Codec::Plain => self.plain(variant, channel, entry, replayed, out),
            Codec::Sse => Self::sse(channel, entry, out),
            Codec::Engine => self.socketio(variant, channel, entry, out),
            Codec::Centrifuge => self.centrifuge(variant, channel, entry, out),
            Codec::Echo | Codec::Probe => {}
        }
    }

    /// What a client is told about its command; nothing where it does not want to know.
    pub(crate) fn reply(&mut self, variant: Variant, asked: Asked, reply: &Reply) -> Bytes {
        let mut out = Vec::new();
        match variant.codec {
            Codec::Plain => self.plain_reply(variant, asked, reply, &mut out),
            Codec::Engine => self.socketio_reply(variant, asked, reply, &mut out),
            Codec::Centrifuge => self.centrifuge_reply(variant, asked, reply, &mut out),
            Codec::Bare | Codec::Sse | Codec::Echo | Codec::Probe => {}
        }
        out.into()
    }

    /// A text message that is the connection's alone: JSON of the full protocol, or a packet of Engine.IO.
    pub(crate) fn message(&mut self, variant: Variant, text: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(text.len() + 10);
        self.text(variant, text, &mut out);
        out.into()
    }

    /// Bytes that are the connection's alone.
    pub(crate) fn binary(&mut self, variant: Variant, bytes: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len() + 10);
        self.attachment(variant, bytes, &mut out);
        out.into()
    }

    /// A gap that is the session's alone; nothing where the codec has no word for it.
    pub(crate) fn gap(&mut self, variant: Variant, gap: &OwnGap<'_>, out: &mut Vec<u8>) {
        match variant.codec {
            // What cannot be had is told by the reply to a subscribe, or nowhere.
            Codec::Bare | Codec::Centrifuge | Codec::Echo | Codec::Probe => {}
            Codec::Plain => self.plain_gap(variant, gap, out),
            Codec::Sse => Self::sse_gap(gap, out),
            Codec::Engine => {
                let from = gap.from.map(|position| position.to_string());
                let to = gap.to.to_string();
                self.socketio_gap(variant, gap.channel, from.as_deref(), &to, gap.reason, out);
            }
        }
    }

    /// Appends a heartbeat. `position`: the position up to which the client has everything.
    pub(super) fn heartbeat(&mut self, variant: Variant, position: &str, asked: &str, out: &mut Vec<u8>) {
        match variant.codec {
            Codec::Bare | Codec::Probe | Codec::Echo => frame::frame(Opcode::Ping, asked.as_bytes(), out),
            Codec::Plain => self.plain_heartbeat(variant, position, asked, out),
            Codec::Sse => pregon_wire::sse::keep_alive(position, out),
            Codec::Engine => self.text(variant, engineio::PING, out),
            Codec::Centrifuge => self.text(variant, pregon_wire::centrifuge::PING, out),
        }
    }

    fn text(&mut self, variant: Variant, payload: &[u8], out: &mut Vec<u8>) {
        match variant.framing {
            Framing::Deflate if frame::worth_deflating(payload.len()) => {
                frame::deflated_text_frame(payload, &mut self.deflater, out)
            }
            Framing::Plain | Framing::Deflate => frame::frame(Opcode::Text, payload, out),
            Framing::Polling => {
                out.extend_from_slice(payload);
                out.push(crate::hub::link::SEPARATOR);
            }
            Framing::Events => pregon_wire::sse::message(payload, out),
            Framing::Lines => {
                // A payload may have line breaks between its values; within strings JSON has none.
                out.extend(
                    payload
                        .iter()
                        .map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }),
                );
                out.push(b'\n');
            }
        }
    }
}

/// What a connection does in its client's protocol.
impl Shard {
    /// A text message of the client.
    pub(super) fn text_in(&mut self, key: Key, codec: Codec, text: &str) {
        match codec {
            Codec::Plain => self.plain_text(key, text),
            Codec::Bare => self.room_text(key, text),
            Codec::Engine => self.engine_text(key, text),
            Codec::Centrifuge => self.centrifuge_text(key, text),
            Codec::Probe => self.probe_text(key, text),
            Codec::Echo => self.say(key, text.as_bytes()),
            Codec::Sse => {}
        }
    }

    /// A binary message of the client.
    pub(super) fn binary_in(&mut self, key: Key, codec: Codec, bytes: Bytes) {
        match codec {
            Codec::Plain => self.plain_binary(key),
            Codec::Engine => self.engine_binary(key, bytes),
            Codec::Echo => self.say_binary(key, &bytes),
            Codec::Probe => self.remove(key),
            Codec::Centrifuge => self.close(key, &codes::CLOSE_BAD_PROTOCOL, "send JSON as text frames"),
            Codec::Bare | Codec::Sse => {}
        }
    }

    /// The first words of a connection that follows its channels. `start`: the offset where what follows begins.
    pub(super) fn first_words(&mut self, key: Key, codec: Codec, start: u64) {
        match codec {
            Codec::Plain => self.welcome(key, start),
            Codec::Sse => self.send(key, sse::first_words()),
            Codec::Centrifuge => self.centrifuge_welcome(key),
            Codec::Bare | Codec::Engine | Codec::Probe | Codec::Echo => {}
        }
    }

    /// Tells a client the result of its command. A bare endpoint has no words for it: a refusal ends it.
    pub(super) fn send_reply(&mut self, key: Key, variant: Variant, asked: Asked, reply: &Reply) {
        if let (Codec::Bare, Reply::Refused { code, message }) = (variant.codec, reply) {
            return self.refuse_room(key, code, message);
        }
        if variant.codec == Codec::Centrifuge && Self::is_refreshed(asked, reply) {
            return self.centrifuge_refreshed(key, asked.id.unwrap_or_default());
        }
        let bytes = self.encoder.reply(variant, asked, reply);
        self.send(key, bytes);
    }

    /// Tells a client of a refusal that answers no command of its own.
    pub(super) fn refuse_unasked(&mut self, key: Key, namespace: u8, code: &'static Code, message: String) {
        match self.conn(key).map(|conn| conn.variant.codec) {
            None => {}
            Some(Codec::Engine) => self.emit_error(key, namespace, code, &message),
            Some(
                Codec::Bare | Codec::Plain | Codec::Sse | Codec::Probe | Codec::Centrifuge | Codec::Echo,
            ) => {
                let asked = Asked {
                    namespace,
                    ..Asked::default()
                };
                self.reply(key, asked, &Reply::refused(code, message));
            }
        }
    }

    /// Ends a subscription whose right ended.
    pub(super) fn lost_right(&mut self, key: Key, namespace: u8, channel: &str, lost: &LostRight) {
        match self.conn(key).map(|conn| conn.variant.codec) {
            None => {}
            Some(Codec::Sse | Codec::Bare) => self.close(key, lost.close, ""),
            Some(Codec::Engine) => {
                self.unsubscribe(key, channel);
                self.emit_error(key, namespace, lost.code, &lost.message);
            }
            Some(Codec::Centrifuge) => self.centrifuge_lost(key, channel, lost),
            Some(Codec::Plain | Codec::Probe | Codec::Echo) => {
                self.plain_lost(key, channel, lost.code, &lost.message)
            }
        }
    }

    /// A gap ends a subscription of a client whose protocol has no other word for it, see [`Codec::gap_ends_subscription`].
    pub(super) fn ended_by_gap(&mut self, key: Key, channel: &str) {
        match self.conn(key).map(|conn| conn.variant.codec) {
            Some(Codec::Centrifuge) => self.centrifuge_gap(key, channel),
            None
            | Some(Codec::Bare | Codec::Plain | Codec::Sse | Codec::Engine | Codec::Probe | Codec::Echo) => {}
        }
    }

    /// The last words of a connection, which is closed with a code of the table.
    pub(super) fn farewell(&mut self, key: Key, variant: Variant, code: &'static Code, message: &str) {
        match variant.codec {
            Codec::Sse => self.last_words(key, code.number, sse::farewell(code, message)),
            Codec::Plain if variant.one_way() => {
                let last = self.encoder.plain_farewell(variant, code, message);
                self.last_words(key, code.number, last);
            }
            Codec::Centrifuge => {
                let code = centrifuge::close_code(code, message);
                let reason = if message.is_empty() { code.name } else { message };
                self.close_with(key, code.number, reason);
            }
            Codec::Bare | Codec::Plain | Codec::Engine | Codec::Probe | Codec::Echo => {
                // Who broke the protocol may try again as soon as it likes.
                let for_good = !code.retry && *code != codes::CLOSE_BAD_PROTOCOL;
                if variant.codec == Codec::Engine && for_good {
                    self.disconnect_all(key);
                }
                let reason = if message.is_empty() { code.name } else { message };
                self.close_with(key, code.number, reason);
            }
        }
    }
}

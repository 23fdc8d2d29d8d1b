//! The protocols of clients. Each has a file (or a folder); the questions that the hub asks of a protocol stand here, one `match` each.
//!
//! [`Encoder`] answers the questions that need no connection (an entry, a reply, a gap, a heartbeat as bytes). Entries are encoded once
//! for each variant and shared by all connections of a shard. The methods of [`Shard`] answer those that do something on a connection: a
//! message in, first words, a lost right, last words. The methods of [`Codec`] are its properties. Outside of this folder no code
//! branches on a codec; `transport/admit.rs` chooses it.
//!
//! To add one: a variant of [`Codec`], an arm where the compiler asks for it (no `match` here has an arm for the rest), a file for
//! the words of the protocol.

mod plain;
pub(crate) mod bare;
mod sse;
pub(crate) mod socketio;

use bytes::Bytes;
use pregon_wire::codes::{self, Code};
use pregon_wire::ws::frame::{self, Deflater, Message as WsMessage, Opcode};
use pregon_wire::{GapReason, engineio};
use strum::{EnumCount, VariantArray};

use super::Key;
use super::link::Link;
use super::rights::LostRight;
use super::shard::Shard;
use crate::log::{Entry, Position};
use crate::metrics::Transport;
use crate::session::command::{Asked, Incoming, Reply};
use crate::session::limits::Limits;

/// A client's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray)]
pub(crate) enum Codec {
    /// WebSocket text messages that are the payloads, nothing else.
    Bare,
    /// The full protocol over WebSocket.
    Plain,
    /// Server-sent events.
    Sse,
    /// Engine.IO with Socket.IO above, over a WebSocket or polls.
    Engine,
    /// A WebSocket that wants to take over from an Engine.IO session that polls.
    Probe,
    /// WebSocket messages come back as they went: for conformance suites.
    Echo,
}

/// A codec and how its messages are put on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub codec: Codec,
    pub framing: Framing,
}

/// How messages are put on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount)]
pub(crate) enum Framing {
    /// WebSocket frames, or what the codec has itself.
    Plain,
    /// WebSocket frames, large ones compressed.
    Deflate,
    /// Packets of a polling body.
    Polling,
    /// Blocks of an event stream.
    Events,
    /// Lines of a response: newline-delimited JSON.
    Lines,
}

impl Framing {
    /// Whether messages are parts of a response to a request, so that the client cannot send any.
    const fn is_response(self) -> bool {
        match self {
            Self::Events | Self::Lines => true,
            Self::Plain | Self::Deflate | Self::Polling => false,
        }
    }
}

impl Codec {
    /// The ways in which what a channel brings is put on the link; none if such connections follow no channel.
    const fn framings(self) -> &'static [Framing] {
        match self {
            Self::Bare => &[Framing::Plain, Framing::Deflate],
            Self::Plain => &[Framing::Plain, Framing::Deflate, Framing::Events, Framing::Lines],
            Self::Sse => &[Framing::Plain],
            Self::Engine => &[Framing::Plain, Framing::Deflate, Framing::Polling],
            Self::Probe | Self::Echo => &[],
        }
    }

    /// Largest message of a client, bytes, after inflating.
    pub(super) fn max_message(self, limits: &Limits) -> usize {
        match self {
            Self::Engine | Self::Probe => limits.payload,
            Self::Bare | Self::Plain | Self::Sse | Self::Echo => limits.message,
        }
    }

    /// Whether sessions begin with a message of the client, not with the connection.
    pub(super) fn enters_later(self) -> bool {
        match self {
            Self::Engine | Self::Probe => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Echo => false,
        }
    }

    /// Whether clients count on a heartbeat in every interval, whatever else comes.
    pub(super) fn counts_heartbeats(self) -> bool {
        match self {
            Self::Engine => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Probe | Self::Echo => false,
        }
    }

    /// Whether the past of a channel travels inside of the reply to a subscribe.
    pub(super) fn replies_with_history(self) -> bool {
        match self {
            Self::Engine => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Probe | Self::Echo => false,
        }
    }

    /// Whether a conformance suite is at the other end: it counts frames, and sends what no client would.
    pub(super) fn is_suite(self) -> bool {
        match self {
            Self::Echo => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Engine | Self::Probe => false,
        }
    }

    /// Whether the endpoint itself grants channels, which a change of rights does not take away.
    pub(super) fn endpoint_grants(self) -> bool {
        match self {
            Self::Bare => true,
            Self::Plain | Self::Sse | Self::Engine | Self::Probe | Self::Echo => false,
        }
    }

    /// Whether a message may be a publish, which goes on with the publishes before it. Every other takes effect behind them.
    pub(super) fn may_publish(self, message: &Incoming) -> bool {
        let Incoming::Text(text) = message else {
            return false;
        };
        match self {
            Self::Bare | Self::Plain => true,
            // An event without attachments: nothing of it is kept until its next part comes.
            Self::Engine => text.starts_with("42"),
            Self::Sse | Self::Probe | Self::Echo => false,
        }
    }

    /// A message as the session gets it; `None` if it has no meaning. `rooms`: a bare endpoint has rooms, and so listens.
    pub(super) fn incoming(self, message: &WsMessage<'_>, rooms: bool) -> Option<Incoming> {
        Some(match message {
            WsMessage::Text(text) => match self {
                Self::Bare if !rooms => return None,
                Self::Bare | Self::Plain | Self::Sse | Self::Engine | Self::Probe | Self::Echo => {
                    Incoming::Text((*text).into())
                }
            },
            WsMessage::Binary(bytes) => match self {
                Self::Bare | Self::Sse => return None,
                // It is refused whatever is in it.
                Self::Plain => Incoming::Binary(Bytes::new()),
                Self::Engine | Self::Probe | Self::Echo => Incoming::Binary(Bytes::copy_from_slice(bytes)),
            },
            WsMessage::Ping(payload) => Incoming::Ping((*payload).into()),
            WsMessage::Pong(_) => Incoming::Pong,
            WsMessage::Close(code, _) => Incoming::Close(*code),
        })
    }
}

/// Places of the pairs of codec and framing that follow channels, counted through all codecs. `usize::MAX` stands where there is none.
const PLACES: [[usize; Framing::COUNT]; Codec::COUNT] = places().0;

/// How many variants follow channels; their [`Variant::index`] is below it.
pub(crate) const VARIANTS: usize = places().1;

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: an index out of bounds does not compile"
)]
const fn places() -> ([[usize; Framing::COUNT]; Codec::COUNT], usize) {
    let mut places = [[usize::MAX; Framing::COUNT]; Codec::COUNT];
    let (mut codec, mut next) = (0, 0);
    while codec < Codec::COUNT {
        let framings = Codec::VARIANTS[codec].framings();
        let mut framing = 0;
        while framing < framings.len() {
            places[codec][framings[framing] as usize] = next;
            next += 1;
            framing += 1;
        }
        codec += 1;
    }
    (places, next)
}

impl Variant {
    pub(crate) fn new(codec: Codec, deflate: bool) -> Self {
        let framing = if deflate { Framing::Deflate } else { Framing::Plain };
        Self { codec, framing }
    }

    /// The full protocol as the data of server-sent events, for clients that get no WebSocket.
    pub(crate) fn events() -> Self {
        Self {
            codec: Codec::Plain,
            framing: Framing::Events,
        }
    }

    /// The full protocol as lines of JSON, for scripts.
    pub(crate) fn lines() -> Self {
        Self {
            codec: Codec::Plain,
            framing: Framing::Lines,
        }
    }

    /// The `Content-Type` of a response that goes on as a stream (WHATWG HTML §9.2 for events).
    pub(crate) fn content_type(self) -> &'static str {
        match self.framing {
            Framing::Lines => "application/x-ndjson",
            Framing::Plain | Framing::Deflate | Framing::Polling | Framing::Events => {
                "text/event-stream; charset=utf-8"
            }
        }
    }

    /// Whether the client only listens: nothing that it sends counts, and it answers no ping.
    pub(crate) fn one_way(self) -> bool {
        match self.codec {
            Codec::Sse => true,
            Codec::Plain => self.framing.is_response(),
            Codec::Bare | Codec::Engine | Codec::Probe | Codec::Echo => false,
        }
    }

    /// Whether what the client sends may be compressed.
    pub(crate) fn deflate(self) -> bool {
        self.framing == Framing::Deflate
    }

    /// Place among the variants that follow channels, below [`VARIANTS`]; above it for others.
    pub(crate) fn index(self) -> usize {
        let places = PLACES.get(self.codec as usize);
        let place = places.and_then(|framings| framings.get(self.framing as usize));
        place.copied().unwrap_or(usize::MAX)
    }

    /// The transport as metrics and the dashboard name it.
    pub(super) fn transport(self, link: &Link) -> Transport {
        match self.codec {
            Codec::Sse => Transport::Sse,
            Codec::Plain if self.one_way() => Transport::Sse,
            Codec::Engine => match link {
                Link::Polling(_) => Transport::Polling,
                Link::Socket(_) => Transport::SocketIo,
            },
            Codec::Bare | Codec::Plain | Codec::Probe | Codec::Echo => Transport::WebSocket,
        }
    }
}

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
            Codec::Echo | Codec::Probe => {}
        }
    }

    /// What a client is told about its command; nothing where it does not want to know.
    pub(crate) fn reply(&mut self, variant: Variant, asked: Asked, reply: &Reply) -> Bytes {
        let mut out = Vec::new();
        match variant.codec {
            Codec::Plain => self.plain_reply(variant, asked, reply, &mut out),
            Codec::Engine => self.socketio_reply(variant, asked, reply, &mut out),
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
            Codec::Bare | Codec::Echo | Codec::Probe => {}
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
    pub(super) fn heartbeat(&mut self, variant: Variant, position: &str, out: &mut Vec<u8>) {
        match variant.codec {
            Codec::Bare | Codec::Probe | Codec::Echo => frame::frame(Opcode::Ping, b"", out),
            Codec::Plain => self.plain_heartbeat(variant, position, out),
            Codec::Sse => pregon_wire::sse::keep_alive(position, out),
            Codec::Engine => self.text(variant, engineio::PING, out),
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
            Codec::Bare | Codec::Sse => {}
        }
    }

    /// The first words of a connection that follows its channels. `start`: the offset where what follows begins.
    pub(super) fn first_words(&mut self, key: Key, codec: Codec, start: u64) {
        match codec {
            Codec::Plain => self.welcome(key, start),
            Codec::Sse => self.send(key, sse::first_words()),
            Codec::Bare | Codec::Engine | Codec::Probe | Codec::Echo => {}
        }
    }

    /// Tells a client the result of its command. A bare endpoint has no words for it: a refusal ends it.
    pub(super) fn send_reply(&mut self, key: Key, variant: Variant, asked: Asked, reply: &Reply) {
        if let (Codec::Bare, Reply::Refused { code, message }) = (variant.codec, reply) {
            return self.refuse_room(key, code, message);
        }
        let bytes = self.encoder.reply(variant, asked, reply);
        self.send(key, bytes);
    }

    /// Tells a client of a refusal that answers no command of its own.
    pub(super) fn refuse_unasked(&mut self, key: Key, namespace: u8, code: &'static Code, message: String) {
        match self.conn(key).map(|conn| conn.variant.codec) {
            None => {}
            Some(Codec::Engine) => self.emit_error(key, namespace, code, &message),
            Some(Codec::Bare | Codec::Plain | Codec::Sse | Codec::Probe | Codec::Echo) => {
                let asked = Asked { id: None, namespace };
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
            Some(Codec::Plain | Codec::Probe | Codec::Echo) => {
                self.plain_lost(key, channel, lost.code, &lost.message)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_that_follows_channels_has_a_place_of_its_own() {
        let variants = Codec::VARIANTS.iter().flat_map(|&codec| {
            let framings = codec.framings().iter();
            framings.map(move |&framing| Variant { codec, framing })
        });
        let places: Vec<usize> = variants.map(Variant::index).collect();
        assert_eq!(places, (0..VARIANTS).collect::<Vec<_>>());
    }

    #[test]
    fn what_follows_no_channel_has_no_place() {
        for codec in [Codec::Probe, Codec::Echo] {
            assert!(Variant::new(codec, false).index() >= VARIANTS);
        }
    }
}

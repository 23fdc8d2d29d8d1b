//! Entries and replies in a client's own protocol; entries are encoded once per variant and shared by all sessions of a shard.

pub(crate) mod bare;
pub(crate) mod socketio;

use bytes::Bytes;
use pregon_wire::ws::frame::{self, Deflater, Opcode};
use pregon_wire::{GapReason, plain, sse};

use crate::log::{Body, Entry, Position};
use crate::session::command::{Asked, Reply};
use crate::session::shown;

/// A client's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// WebSocket frames, or what the codec has itself.
    Plain,
    /// WebSocket frames, large ones compressed.
    Deflate,
    /// Packets of a polling body.
    Polling,
    /// Blocks of an event stream.
    Events,
}

/// How many variants there are; [`Variant::index`] is below it.
pub(crate) const VARIANTS: usize = 9;

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

    /// Whether the client only listens: nothing that it sends counts, and it answers no ping.
    pub(crate) fn one_way(self) -> bool {
        self.codec == Codec::Sse || self.framing == Framing::Events
    }

    /// Whether what the client sends may be compressed.
    pub(crate) fn deflate(self) -> bool {
        self.framing == Framing::Deflate
    }

    /// Place among the variants.
    pub(crate) fn index(self) -> usize {
        match (self.codec, self.framing) {
            (Codec::Bare, Framing::Deflate) => 1,
            (Codec::Bare, _) => 0,
            (Codec::Plain, Framing::Deflate) => 3,
            (Codec::Plain, Framing::Events) => 8,
            (Codec::Plain, _) => 2,
            // Engine.IO has no event streams.
            (Codec::Engine, Framing::Plain | Framing::Events) => 5,
            (Codec::Engine, Framing::Deflate) => 6,
            (Codec::Engine, Framing::Polling) => 7,
            // Echoes and probes follow no channel, so they share the place.
            (Codec::Sse | Codec::Echo | Codec::Probe, _) => 4,
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
            Codec::Plain => {
                let mut json = Vec::new();
                plain_reply(asked.id, reply, &mut json);
                self.text(variant, &json, &mut out);
            }
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
        let from = gap.from.map(|position| position.to_string());
        let to = gap.to.to_string();
        match variant.codec {
            Codec::Bare | Codec::Echo | Codec::Probe => {}
            Codec::Plain => {
                let mut json = Vec::new();
                plain::gap(Some(gap.channel), from.as_deref(), &to, gap.reason, &mut json);
                self.text(variant, &json, out);
            }
            Codec::Sse => sse::gap(Some(gap.channel), from.as_deref(), &to, gap.reason, out),
            Codec::Engine => self.socketio_gap(variant, gap.channel, from.as_deref(), &to, gap.reason, out),
        }
    }

    fn bare(&mut self, variant: Variant, entry: &Entry, out: &mut Vec<u8>) {
        if let Body::Publication { data, .. } = &entry.body {
            self.text(variant, data.raw(), out);
        }
    }

    fn plain(&mut self, variant: Variant, channel: &str, entry: &Entry, replayed: bool, out: &mut Vec<u8>) {
        let mut json = std::mem::take(&mut self.scratch);
        json.clear();
        match &entry.body {
            Body::Publication { .. } => shown::write_event(entry, channel, replayed, &mut json),
            Body::Gap(gap) => {
                let from = gap.from.to_string();
                plain::gap(Some(channel), Some(&from), &entry.position, gap.reason, &mut json);
            }
            Body::Member { client, joined, .. } if *joined => plain::join(channel, client, &mut json),
            Body::Member { client, .. } => plain::leave(channel, client, &mut json),
        }
        self.text(variant, &json, out);
        self.scratch = json;
    }

    fn sse(channel: &str, entry: &Entry, out: &mut Vec<u8>) {
        match &entry.body {
            Body::Publication { event, data, .. } => {
                sse::event(&entry.position, Some(event), data.raw(), out)
            }
            Body::Gap(gap) => {
                sse::gap(
                    Some(channel),
                    Some(&gap.from.to_string()),
                    &entry.position,
                    gap.reason,
                    out,
                );
            }
            Body::Member { client, joined, .. } => {
                let mut json = Vec::new();
                plain::member(channel, client, &mut json);
                let name = if *joined { "join" } else { "leave" };
                sse::event(&entry.position, Some(name), &json, out);
            }
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
            Framing::Events => sse::message(payload, out),
        }
    }
}

fn plain_reply(id: Option<u64>, reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Done => plain::ok(id, out),
        Reply::Subscribed {
            position,
            recovered,
            stands_for,
            ..
        } => {
            let names = stands_for.as_ref().map(|names| names.iter().map(|name| &**name));
            plain::ok_subscribed(id, &position.to_string(), *recovered, names, out);
        }
        Reply::Published(position) => plain::ok_published(id, &position.to_string(), out),
        Reply::Members(page) => {
            let clients = page.clients.iter().map(|client| &**client);
            plain::ok_presence(id, clients, page.next(), out);
        }
        Reply::Refused { code, message } => plain::error(id, code, message, out),
    }
}

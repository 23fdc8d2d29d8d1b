//! Codecs and framings, and the properties that follow from them alone.

use bytes::Bytes;
use pregon_wire::ws::frame::Message as WsMessage;
use strum::{EnumCount, VariantArray};

use super::centrifuge;
use crate::hub::link::Link;
use crate::hub::returning;
use crate::metrics::Transport;
use crate::session::command::Incoming;
use crate::session::history::WriteEntry;
use crate::session::limits::Limits;
use crate::session::shown;

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
    /// Centrifuge's protocol, JSON over WebSocket.
    Centrifuge,
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
            Self::Bare | Self::Centrifuge => &[Framing::Plain, Framing::Deflate],
            Self::Plain => &[Framing::Plain, Framing::Deflate, Framing::Events, Framing::Lines],
            Self::Sse => &[Framing::Plain],
            Self::Engine => &[Framing::Plain, Framing::Deflate, Framing::Polling],
            Self::Probe | Self::Echo => &[],
        }
    }

    /// Largest message of a client, bytes, after inflating.
    pub(in crate::hub) fn max_message(self, limits: &Limits) -> usize {
        match self {
            Self::Engine | Self::Probe => limits.payload,
            Self::Bare | Self::Plain | Self::Sse | Self::Centrifuge | Self::Echo => limits.message,
        }
    }

    /// Whether sessions begin with a message of the client, not with the connection.
    pub(in crate::hub) fn enters_later(self) -> bool {
        match self {
            Self::Engine | Self::Probe => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Centrifuge | Self::Echo => false,
        }
    }

    /// Whether clients count on a heartbeat in every interval, whatever else comes.
    pub(in crate::hub) fn counts_heartbeats(self) -> bool {
        match self {
            Self::Engine | Self::Centrifuge => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Probe | Self::Echo => false,
        }
    }

    /// How the past of a channel is written into the reply to a subscribe, where it travels there.
    pub(in crate::hub) fn writes_past(self) -> Option<WriteEntry> {
        match self {
            Self::Engine => Some(shown::write_past),
            Self::Centrifuge => Some(centrifuge::write_past),
            Self::Bare | Self::Plain | Self::Sse | Self::Probe | Self::Echo => None,
        }
    }

    /// Whether a gap ends a subscription, for want of another word.
    pub(in crate::hub) fn gap_ends_subscription(self) -> bool {
        match self {
            Self::Centrifuge => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Engine | Self::Probe | Self::Echo => false,
        }
    }

    /// Whether a conformance suite is at the other end: it counts frames, and sends what no client would.
    pub(in crate::hub) fn is_suite(self) -> bool {
        match self {
            Self::Echo => true,
            Self::Bare | Self::Plain | Self::Sse | Self::Engine | Self::Probe | Self::Centrifuge => false,
        }
    }

    /// Whether the endpoint itself grants channels, which a change of rights does not take away.
    pub(in crate::hub) fn endpoint_grants(self) -> bool {
        match self {
            Self::Bare => true,
            Self::Plain | Self::Sse | Self::Engine | Self::Probe | Self::Centrifuge | Self::Echo => false,
        }
    }

    /// Whether a message may be a publish, which goes on with the publishes before it. Every other takes effect behind them.
    pub(in crate::hub) fn may_publish(self, message: &Incoming) -> bool {
        let Incoming::Text(text) = message else {
            return false;
        };
        match self {
            Self::Bare | Self::Plain | Self::Centrifuge => true,
            // An event without attachments: nothing of it is kept until its next part comes.
            Self::Engine => text.starts_with("42"),
            Self::Sse | Self::Probe | Self::Echo => false,
        }
    }

    /// Adds a message as the session gets it, if it has a meaning: several where the client joins them. `rooms`: a bare endpoint has
    /// rooms, and so listens.
    pub(in crate::hub) fn incoming(self, message: &WsMessage<'_>, rooms: bool, out: &mut Vec<Incoming>) {
        out.push(match message {
            WsMessage::Text(text) => match self {
                Self::Bare if !rooms => return,
                Self::Centrifuge => return out.extend(centrifuge::lines(text).map(Incoming::Text)),
                Self::Bare | Self::Plain | Self::Sse | Self::Engine | Self::Probe | Self::Echo => {
                    Incoming::Text((*text).into())
                }
            },
            WsMessage::Binary(bytes) => match self {
                Self::Bare | Self::Sse => return,
                // It is refused whatever is in it.
                Self::Plain | Self::Centrifuge => Incoming::Binary(Bytes::new()),
                Self::Engine | Self::Probe | Self::Echo => Incoming::Binary(Bytes::copy_from_slice(bytes)),
            },
            WsMessage::Ping(payload) => Incoming::Ping((*payload).into()),
            WsMessage::Pong(payload) => Incoming::Pong(returning::answer(payload)),
            WsMessage::Close(code, _) => Incoming::Close(*code),
        });
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
            Codec::Bare | Codec::Engine | Codec::Probe | Codec::Centrifuge | Codec::Echo => false,
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
    pub(in crate::hub) fn transport(self, link: &Link) -> Transport {
        match self.codec {
            Codec::Sse => Transport::Sse,
            Codec::Plain if self.one_way() => Transport::Sse,
            Codec::Engine => match link {
                Link::Polling(_) => Transport::Polling,
                Link::Socket(_) => Transport::SocketIo,
            },
            Codec::Bare | Codec::Plain | Codec::Probe | Codec::Centrifuge | Codec::Echo => {
                Transport::WebSocket
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

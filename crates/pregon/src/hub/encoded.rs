//! Entries in a client's own protocol, encoded once per (codec, variant) and shared by all sessions of a shard.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use pregon_wire::ws::frame::{self, Deflater, Opcode};
use pregon_wire::{GapReason, plain, sse};
use smallvec::SmallVec;

use super::channels::ChannelKey;
use crate::log::{Body, Entry, Position};

/// A client's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// WebSocket text messages that are the payloads, nothing else.
    Bare,
    /// The full protocol over WebSocket.
    Plain,
    /// Server-sent events.
    Sse,
    /// WebSocket messages come back as they went: for conformance suites.
    Echo,
}

/// A codec and whether large messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    pub codec: Codec,
    pub deflate: bool,
}

/// How many variants there are; [`Variant::index`] is below it.
const VARIANTS: usize = 5;

impl Variant {
    fn index(self) -> usize {
        match (self.codec, self.deflate) {
            (Codec::Bare, false) => 0,
            (Codec::Bare, true) => 1,
            (Codec::Plain, false) => 2,
            (Codec::Plain, true) => 3,
            // An echo follows no channel, so it shares the place.
            (Codec::Sse | Codec::Echo, _) => 4,
        }
    }
}

/// What one session could not be given.
#[derive(Debug, Clone, Copy)]
pub struct OwnGap<'a> {
    pub channel: &'a str,
    pub from: Option<Position>,
    pub to: Position,
    pub reason: GapReason,
}

/// Turns entries and replies into bytes. One per shard, with its buffers.
pub struct Encoder {
    deflater: Deflater,
    scratch: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            deflater: Deflater::new(),
            scratch: Vec::new(),
        }
    }
}

impl Encoder {
    /// Appends `entry` as a follower of `channel` gets it; nothing where the codec has no word for it.
    pub fn entry(
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
            Codec::Echo => {}
        }
    }

    /// A reply or other message that is the session's alone.
    pub fn message(&mut self, variant: Variant, json: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(json.len() + 10);
        self.text(variant, json, &mut out);
        out.into()
    }

    /// A client's own message, sent back.
    pub fn echo(&mut self, variant: Variant, opcode: Opcode, payload: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(payload.len() + 10);
        if opcode == Opcode::Text {
            self.text(variant, payload, &mut out);
        } else {
            frame::frame(opcode, payload, &mut out);
        }
        out.into()
    }

    /// A gap that is the session's alone; nothing where the codec has no word for it.
    pub fn gap(&mut self, variant: Variant, gap: &OwnGap<'_>, out: &mut Vec<u8>) {
        let from = gap.from.map(|position| position.to_string());
        let to = gap.to.to_string();
        match variant.codec {
            Codec::Bare | Codec::Echo => {}
            Codec::Plain => {
                let mut json = Vec::new();
                plain::gap(Some(gap.channel), from.as_deref(), &to, gap.reason, &mut json);
                self.text(variant, &json, out);
            }
            Codec::Sse => sse::gap(Some(gap.channel), from.as_deref(), &to, gap.reason, out),
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
            Body::Publication { event, data, .. } => {
                plain::event(
                    channel,
                    event,
                    &data.json(),
                    &entry.position,
                    &entry.time,
                    replayed,
                    &mut json,
                );
            }
            Body::Gap(gap) => {
                let from = gap.from.to_string();
                plain::gap(Some(channel), Some(&from), &entry.position, gap.reason, &mut json);
            }
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
        }
    }

    fn text(&mut self, variant: Variant, payload: &[u8], out: &mut Vec<u8>) {
        if variant.deflate && frame::worth_deflating(payload.len()) {
            frame::deflated_text_frame(payload, &mut self.deflater, out);
        } else {
            frame::frame(Opcode::Text, payload, out);
        }
    }
}

/// One channel's part of a batch.
pub struct Touched {
    pub channel: ChannelKey,
    pub name: Arc<str>,
    /// Indexes into the batch's entries, rising.
    pub entries: SmallVec<[u16; 8]>,
    joined: [Option<Bytes>; VARIANTS],
}

/// A batch of entries sorted by channel, with what was encoded of it so far.
#[derive(Default)]
pub struct Batch {
    pub entries: Vec<Arc<Entry>>,
    pub touched: Vec<Touched>,
    by_channel: HashMap<ChannelKey, usize, foldhash::fast::RandomState>,
    singles: HashMap<(u16, ChannelKey, usize), Bytes, foldhash::fast::RandomState>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.entries.clear();
        self.touched.clear();
        self.by_channel.clear();
        self.singles.clear();
    }

    /// Notes that the entry at `index` concerns `channel`.
    pub fn touch(&mut self, channel: ChannelKey, name: &Arc<str>, index: u16) {
        let place = *self.by_channel.entry(channel).or_insert(self.touched.len());
        if place == self.touched.len() {
            let entries = SmallVec::new();
            self.touched.push(Touched {
                channel,
                name: Arc::clone(name),
                entries,
                joined: Default::default(),
            });
        }
        if let Some(touched) = self.touched.get_mut(place)
            && touched.entries.last() != Some(&index)
        {
            touched.entries.push(index);
        }
    }

    pub fn touched(&self, channel: ChannelKey) -> Option<(usize, &Touched)> {
        let place = *self.by_channel.get(&channel)?;
        Some((place, self.touched.get(place)?))
    }

    /// Which of its entry's channels this one is: the first that a session follows is the one that it hears of.
    pub fn place(&self, index: u16, channel: &Arc<str>) -> usize {
        let entry = self.entries.get(usize::from(index));
        entry
            .and_then(|entry| entry.channels().iter().position(|named| named == channel))
            .unwrap_or(0)
    }

    /// All of a channel's entries as one piece of bytes.
    pub fn joined(&mut self, place: usize, variant: Variant, encoder: &mut Encoder) -> Bytes {
        let Self { entries, touched, .. } = self;
        let Some(part) = touched.get_mut(place) else {
            return Bytes::new();
        };
        let Some(slot) = part.joined.get_mut(variant.index()) else {
            return Bytes::new();
        };
        if let Some(bytes) = slot {
            return bytes.clone();
        }
        let mut out = Vec::new();
        for entry in part
            .entries
            .iter()
            .filter_map(|&index| entries.get(usize::from(index)))
        {
            encoder.entry(variant, &part.name, entry, false, &mut out);
        }
        let bytes = Bytes::from(out);
        *slot = Some(bytes.clone());
        bytes
    }

    /// One entry as a follower of `channel` gets it.
    pub fn single(
        &mut self,
        index: u16,
        channel: ChannelKey,
        name: &str,
        variant: Variant,
        encoder: &mut Encoder,
    ) -> Bytes {
        let Self { entries, singles, .. } = self;
        let Some(entry) = entries.get(usize::from(index)) else {
            return Bytes::new();
        };
        let encode = || {
            let mut out = Vec::new();
            encoder.entry(variant, name, entry, false, &mut out);
            Bytes::from(out)
        };
        singles
            .entry((index, channel, variant.index()))
            .or_insert_with(encode)
            .clone()
    }
}

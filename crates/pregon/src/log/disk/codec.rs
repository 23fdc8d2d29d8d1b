//! Publications, gaps and the places of sources as bytes, and back.
//!
//! Every entry begins with its channels, so that a reader finds those of a channel without decoding the others. Decoding
//! gives `None` for what this version never writes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pregon_wire::words::GapReason;

use super::bytes::{Reader, put, put_len};
use crate::event::{Args, Data, EventId, Publication, Sealed};
use crate::log::position::{Epoch, Position};
use crate::log::{Append, Gap, Taken};
use crate::route::template::Pattern;

const PUBLICATION: u8 = 1;
const GAP: u8 = 2;

const JSON: u8 = 0;
const TEXT: u8 = 1;
const ARGS: u8 = 2;

/// Largest entry, bytes: far beyond what any source gives, far below what a length can say.
pub(in crate::log) const MOST: usize = 1 << 30;

/// Microseconds since 1970, for records; the years before are 0.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time of so many microseconds since 1970.
pub(super) fn time_of(micros: u64) -> SystemTime {
    let since = Duration::from_micros(micros);
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Puts one entry.
pub(in crate::log) fn encode(item: &Append, out: &mut Vec<u8>) {
    match item {
        Append::Publication(publication) => encode_publication(publication, out),
        Append::Gap(gap) => encode_gap(gap, out),
    }
}

fn encode_publication(publication: &Publication, out: &mut Vec<u8>) {
    out.push(PUBLICATION);
    put_texts(out, &publication.channels);
    put_texts(out, &publication.except);
    out.extend_from_slice(&micros(publication.at).to_le_bytes());
    put(out, publication.event.as_bytes());
    match &publication.data {
        Data::Json(bytes) => {
            out.push(JSON);
            put(out, bytes);
        }
        Data::Text(bytes) => {
            out.push(TEXT);
            put(out, bytes);
        }
        Data::Args(args) => {
            out.push(ARGS);
            put(out, args.list());
            put(out, args.json());
            put_len(out, args.attachments().len());
            args.attachments().iter().for_each(|bytes| put(out, bytes));
        }
    }
    put_len(out, publication.sealed.len());
    for sealed in &publication.sealed {
        put(out, sealed.field.as_bytes());
        put(out, sealed.with.as_bytes());
        put_option(out, sealed.aad.as_deref());
    }
    put_option(out, publication.id.0.as_ref().map(|id| id.as_bytes()));
}

fn encode_gap(gap: &Gap, out: &mut Vec<u8>) {
    out.push(GAP);
    out.extend_from_slice(&gap.from.epoch.0.to_le_bytes());
    out.extend_from_slice(&gap.from.offset.to_le_bytes());
    out.push(match gap.reason {
        GapReason::Source => 0,
        GapReason::Pruned => 1,
        GapReason::Restart => 2,
    });
    out.push(u8::from(gap.everything));
    put(out, &serde_json::to_vec(&*gap.patterns).unwrap_or_default());
}

fn put_texts(out: &mut Vec<u8>, texts: &[Arc<str>]) {
    put_len(out, texts.len());
    texts.iter().for_each(|text| put(out, text.as_bytes()));
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    put(out, bytes.unwrap_or_default());
}

/// One entry; `None` if it is none.
pub(in crate::log) fn decode(bytes: &[u8]) -> Option<Append> {
    let mut reader = Reader::new(bytes);
    let item = match reader.u8()? {
        PUBLICATION => Append::Publication(decode_publication(&mut reader)?),
        GAP => Append::Gap(decode_gap(&mut reader)?),
        _ => return None,
    };
    reader.is_empty().then_some(item)
}

fn decode_publication(reader: &mut Reader<'_>) -> Option<Publication> {
    let channels = texts(reader)?;
    let except = texts(reader)?;
    let at = time_of(reader.u64()?);
    let event = reader.text()?;
    let data = match reader.u8()? {
        JSON => Data::Json(owned(reader)?),
        TEXT => Data::Text(owned(reader)?),
        ARGS => decode_args(reader)?,
        _ => return None,
    };
    let mut sealed = Vec::new();
    for _ in 0..reader.len()? {
        sealed.push(Sealed {
            field: reader.text()?,
            with: reader.text()?,
            aad: option(reader)?.map(Bytes::copy_from_slice),
        });
    }
    let id = match option(reader)? {
        Some(bytes) => EventId::named(std::str::from_utf8(bytes).ok()?),
        None => EventId::unique(),
    };
    Some(Publication {
        channels: channels.into(),
        except: except.into(),
        event,
        data,
        sealed: sealed.into(),
        opened: Box::default(),
        id,
        at,
    })
}

fn decode_args(reader: &mut Reader<'_>) -> Option<Data> {
    let (list, json) = (owned(reader)?, owned(reader)?);
    let mut attachments = Vec::new();
    for _ in 0..reader.len()? {
        attachments.push(owned(reader)?);
    }
    Some(Data::Args(Arc::new(Args::of_parts(list, attachments, json))))
}

fn decode_gap(reader: &mut Reader<'_>) -> Option<Gap> {
    let from = Position {
        epoch: Epoch(reader.u32()?),
        offset: reader.u64()?,
    };
    let reason = match reader.u8()? {
        0 => GapReason::Source,
        1 => GapReason::Pruned,
        2 => GapReason::Restart,
        _ => return None,
    };
    let everything = reader.u8()? != 0;
    let patterns: Vec<Pattern> = serde_json::from_slice(reader.bytes()?).ok()?;
    Some(Gap {
        from,
        reason,
        patterns: patterns.into(),
        everything,
    })
}

/// Copied: a piece of a buffer would keep the whole of it.
fn owned(reader: &mut Reader<'_>) -> Option<Bytes> {
    reader.bytes().map(Bytes::copy_from_slice)
}

fn texts(reader: &mut Reader<'_>) -> Option<Vec<Arc<str>>> {
    let mut texts = Vec::new();
    for _ in 0..reader.len()? {
        texts.push(reader.text()?);
    }
    Some(texts)
}

fn option<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    let there = reader.u8()? != 0;
    let bytes = reader.bytes()?;
    Some(there.then_some(bytes))
}

/// What a reader needs to know of an entry before it decodes it.
pub(super) enum Kind<'a> {
    Publication(Channels<'a>),
    Gap,
}

/// The channels of a publication.
pub(super) struct Channels<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for Channels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.reader.str()
    }
}

/// Whom an entry concerns; `None` if it is none.
pub(super) fn kind(bytes: &[u8]) -> Option<Kind<'_>> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        PUBLICATION => {
            let left = reader.len()?;
            Some(Kind::Publication(Channels { reader, left }))
        }
        GAP => Some(Kind::Gap),
        _ => None,
    }
}

/// Puts the place of a source.
pub(in crate::log) fn encode_taken(taken: &Taken, out: &mut Vec<u8>) {
    put(out, taken.source.as_bytes());
    for number in [taken.epoch, taken.upto.0, taken.upto.1] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(in crate::log) fn decode_taken(reader: &mut Reader<'_>) -> Option<Taken> {
    Some(Taken {
        source: reader.text()?,
        epoch: reader.u64()?,
        upto: (reader.u64()?, reader.u64()?),
    })
}

/// A number for a channel's name that is the same in every process and version: FNV-1a, 64 bits. Two names with one number are taken
/// for one channel by the indexes, which costs a search or a gap and never an entry.
pub(super) fn channel_number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |number, byte| {
        (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

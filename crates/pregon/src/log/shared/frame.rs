//! The body of a frame: batches that were appended together, as one.
//!
//! ```text
//! version u8 | count u32 | items: length u32, bytes
//! item     entry, see `disk::codec` | word: 255, topic u8, node: length u32, text | bytes
//! ```
//!
//! The offset of an entry is made of the frame's number and its place in the frame, so that all nodes give it the same.

use std::sync::Arc;

use bytes::Bytes;

use super::engine::Seq;
use crate::event::Publication;
use crate::log::disk::bytes::{Reader, put, put_len};
use crate::log::disk::codec;
use crate::log::{Append, Taken};

/// Version of the format. A node reads this and every earlier one.
const VERSION: u8 = 1;

/// Bits of an offset for the place in the frame.
const BITS: u32 = 16;

/// Most entries of one frame.
pub(super) const MOST: usize = 1 << BITS;

/// What a word begins with; no entry does.
const WORD: u8 = 255;

/// What a frame carries.
#[derive(Debug)]
pub(super) enum Item {
    Entry(Append),
    Word(Word),
}

/// What a node tells all nodes, in the order of the log; no client sees it, and it is not kept in the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Which process said it, see [`Options`](super::Options).
    pub node: Arc<str>,
    pub topic: u8,
    pub bytes: Vec<u8>,
}

/// A word as an item.
pub(super) fn word(node: &str, topic: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![WORD, topic];
    put(&mut out, node.as_bytes());
    out.extend_from_slice(bytes);
    out
}

/// A publication that is passed on and not kept, as the bytes of a word.
pub fn encode_passed(publication: &Publication) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(&Append::Publication(publication.clone()), &mut out);
    out
}

/// The same back; `None` if this version does not know it.
pub fn decode_passed(bytes: &[u8]) -> Option<Publication> {
    match codec::decode(bytes)? {
        Append::Publication(publication) => Some(publication),
        Append::Gap(_) => None,
    }
}

fn item(bytes: &[u8]) -> Option<Item> {
    let Some((&WORD, rest)) = bytes.split_first() else {
        return codec::decode(bytes).map(Item::Entry);
    };
    let mut reader = Reader::new(rest);
    Some(Item::Word(Word {
        topic: reader.u8()?,
        node: reader.text()?,
        bytes: reader.rest().to_vec(),
    }))
}

/// The offset of an entry.
pub(super) fn offset(seq: Seq, place: usize) -> u64 {
    (seq << BITS) | place as u64
}

/// The frame of an offset.
pub(super) fn seq(offset: u64) -> Seq {
    offset >> BITS
}

/// The offset behind everything of a frame and before the next one.
pub(super) fn behind(seq: Seq) -> u64 {
    offset(seq + 1, 0) - 1
}

/// A body of entries that are encoded already.
pub(super) fn body<'a>(entries: impl ExactSizeIterator<Item = &'a [u8]>) -> Bytes {
    let mut out = vec![VERSION];
    put_len(&mut out, entries.len());
    entries.for_each(|entry| put(&mut out, entry));
    out.into()
}

/// The items of a body; `None` if this version does not know it.
pub(super) fn items(body: &[u8]) -> Option<Vec<Item>> {
    let mut reader = Reader::new(body);
    if reader.u8()? != VERSION {
        return None;
    }
    let mut items = Vec::new();
    for _ in 0..reader.len()? {
        items.push(item(reader.bytes()?)?);
    }
    reader.is_empty().then_some(items)
}

/// A place of a source as bytes.
pub(super) fn place(taken: &Taken) -> Bytes {
    let mut out = Vec::new();
    codec::encode_taken(taken, &mut out);
    out.into()
}

/// The place; `None` if this version does not know it.
pub(super) fn taken(place: &[u8]) -> Option<Taken> {
    codec::decode_taken(&mut Reader::new(place))
}

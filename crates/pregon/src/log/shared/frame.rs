//! The body of a frame: batches that were appended together, as one.
//!
//! ```text
//! version u8 | count u32 | entries: length u32, bytes (see `disk::codec`)
//! ```
//!
//! The offset of an entry is made of the frame's number and its place in the frame, so that all nodes give it the same.

use bytes::Bytes;

use super::engine::Seq;
use crate::log::disk::bytes::{Reader, put, put_len};
use crate::log::disk::codec;
use crate::log::{Append, Taken};

/// Version of the format. A node reads this and every earlier one.
const VERSION: u8 = 1;

/// Bits of an offset for the place in the frame.
const BITS: u32 = 16;

/// Most entries of one frame.
pub(super) const MOST: usize = 1 << BITS;

/// The offset of an entry.
pub(super) fn offset(seq: Seq, place: usize) -> u64 {
    (seq << BITS) | place as u64
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

/// The entries of a body; `None` if this version does not know it.
pub(super) fn entries(body: &[u8]) -> Option<Vec<Append>> {
    let mut reader = Reader::new(body);
    if reader.u8()? != VERSION {
        return None;
    }
    let mut entries = Vec::new();
    for _ in 0..reader.len()? {
        entries.push(codec::decode(reader.bytes()?)?);
    }
    reader.is_empty().then_some(entries)
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

//! The bytes of a segment's file: a header, then records, each of which is proven by a checksum.
//!
//! ```text
//! header   "PREGONLG" | version u32 | crc u32 | length u32 | epoch u32, first u64, created u64, places of sources
//! record   crc u32 | length u32 | flags u8, first u64, time u64, count u32, entries, [place of a source]
//! entry    length u32 | bytes, see `codec`
//! ```
//!
//! A batch is one record, or several with [`MORE`] in all but the last: what a crash left of one is not in the log. Numbers are
//! little-endian, times microseconds since 1970; checksums (CRC-32) are over everything behind them in their header or record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::bytes::{Reader, put_len};
use super::codec;
use crate::log::Taken;
use crate::log::position::Epoch;

const MAGIC: &[u8; 8] = b"PREGONLG";
/// Version of the format. A node reads this and every earlier one.
pub(super) const VERSION: u32 = 1;
/// Bytes before a header's body.
const HEADER: usize = 20;
/// Bytes before a record's body.
pub(super) const RECORD: usize = 8;
/// Fixed bytes of a record's body.
pub(super) const BODY: usize = 21;

/// The batch goes on in the next record.
pub(super) const MORE: u8 = 1;
/// The record says where a source is.
const PLACE: u8 = 2;

/// Bytes of entries after which a record ends, so that a reader needs no more memory than this and one entry.
const FULL: usize = 256 * 1024;

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: Epoch,
    /// Offset of the first entry.
    pub(super) first: u64,
    pub(super) created: u64,
    /// Where the sources were then.
    pub(super) taken: Vec<Taken>,
}

/// Why a file has no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It ends within the header: it was just being made.
    Short,
    Version(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.epoch.0.to_le_bytes());
        body.extend_from_slice(&self.first.to_le_bytes());
        body.extend_from_slice(&self.created.to_le_bytes());
        put_len(&mut body, self.taken.len());
        self.taken
            .iter()
            .for_each(|taken| codec::encode_taken(taken, &mut body));
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let mut proven = Vec::with_capacity(4 + body.len());
        put_len(&mut proven, body.len());
        proven.extend_from_slice(&body);
        out.extend_from_slice(&crc32fast::hash(&proven).to_le_bytes());
        out.extend_from_slice(&proven);
        out
    }

    /// The header and its length in the file.
    pub(super) fn read(file: &File, len: u64) -> io::Result<Result<(Self, u64), BadHeader>> {
        let mut fixed = [0; HEADER];
        if len < HEADER as u64 {
            return Ok(Err(BadHeader::Short));
        }
        file.read_exact_at(&mut fixed, 0)?;
        let mut reader = Reader::new(&fixed);
        let magic = reader.take(MAGIC.len());
        let (Some(version), Some(crc), Some(body)) = (reader.u32(), reader.u32(), reader.len()) else {
            return Ok(Err(BadHeader::Short));
        };
        if magic != Some(MAGIC) || version == 0 {
            return Ok(Err(BadHeader::Damaged));
        }
        if version > VERSION {
            return Ok(Err(BadHeader::Version(version)));
        }
        let end = HEADER as u64 + body as u64;
        if end > len {
            return Ok(Err(BadHeader::Short));
        }
        let mut proven = vec![0; body + 4];
        file.read_exact_at(&mut proven, HEADER as u64 - 4)?;
        if crc32fast::hash(&proven) != crc {
            return Ok(Err(BadHeader::Damaged));
        }
        let body = proven.get(4..).unwrap_or_default();
        let header = Self::decode(&mut Reader::new(body));
        Ok(header.map(|header| (header, end)).ok_or(BadHeader::Damaged))
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let epoch = Epoch(reader.u32()?);
        let (first, created) = (reader.u64()?, reader.u64()?);
        let mut taken = Vec::new();
        for _ in 0..reader.len()? {
            taken.push(codec::decode_taken(reader)?);
        }
        Some(Self {
            epoch,
            first,
            created,
            taken,
        })
    }
}

/// Puts the records of one batch behind each other.
pub(super) struct Records<'a> {
    out: &'a mut Vec<u8>,
    /// Where the open record begins.
    start: usize,
    first: u64,
    time: u64,
    count: u32,
}

impl<'a> Records<'a> {
    /// A batch whose first entry has the offset `first`.
    pub(super) fn begin(out: &'a mut Vec<u8>, first: u64, time: u64) -> Self {
        let start = out.len();
        let mut records = Self {
            out,
            start,
            first,
            time,
            count: 0,
        };
        records.open();
        records
    }

    fn open(&mut self) {
        self.start = self.out.len();
        // Filled in when the record ends.
        self.out.resize(self.start + RECORD + BODY, 0);
    }

    /// Puts the next entry; says where the record of that entry begins.
    pub(super) fn entry(&mut self, bytes: &[u8]) -> usize {
        if self.out.len() - self.start > FULL {
            self.end(MORE);
            self.first += u64::from(self.count);
            self.count = 0;
            self.open();
        }
        put_len(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
        self.count += 1;
        self.start
    }

    /// Ends the batch, with the place of its source.
    pub(super) fn finish(mut self, taken: Option<&Taken>) {
        let flags = match taken {
            Some(taken) => {
                codec::encode_taken(taken, self.out);
                PLACE
            }
            None => 0,
        };
        self.end(flags);
    }

    fn end(&mut self, flags: u8) {
        let body = self.out.len() - self.start - RECORD;
        let mut head = Vec::with_capacity(RECORD + BODY);
        put_len(&mut head, body);
        head.push(flags);
        head.extend_from_slice(&self.first.to_le_bytes());
        head.extend_from_slice(&self.time.to_le_bytes());
        head.extend_from_slice(&self.count.to_le_bytes());
        let (Some(to), from) = (
            self.out.get_mut(self.start + 4..self.start + 4 + head.len()),
            head.as_slice(),
        ) else {
            return;
        };
        to.copy_from_slice(from);
        let crc = crc32fast::hash(self.out.get(self.start + 4..).unwrap_or_default());
        if let Some(to) = self.out.get_mut(self.start..self.start + 4) {
            to.copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// A record whose checksum holds.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// Where it begins in the file.
    pub(super) position: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    pub(super) more: bool,
    pub(super) first: u64,
    pub(super) time: u64,
    pub(super) count: u32,
    has_place: bool,
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    fn parse(position: u64, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let (first, time, count) = (reader.u64()?, reader.u64()?, reader.u32()?);
        Some(Self {
            position,
            end: position + (RECORD + body.len()) as u64,
            more: flags & MORE != 0,
            first,
            time,
            count,
            has_place: flags & PLACE != 0,
            rest: reader.rest(),
        })
    }

    /// Offset of its last entry; the one before its first if it has none.
    pub(super) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// The entries with their offsets.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.rest);
        let first = self.first;
        (0..u64::from(self.count)).map_while(move |n| Some((first + n, reader.bytes()?)))
    }

    /// The place of a source that the record brings.
    pub(super) fn taken(&self) -> Option<Taken> {
        if !self.has_place {
            return None;
        }
        let mut reader = Reader::new(self.rest);
        for _ in 0..self.count {
            reader.bytes()?;
        }
        codec::decode_taken(&mut reader)
    }
}

/// What stands at a place of a file where a record should.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Record(Record<'a>),
    End,
    /// No record: incomplete, or its checksum does not hold.
    Bad,
}

/// Reads the records of a file one after the other.
pub(super) struct Frames<'f> {
    file: &'f File,
    /// Bytes from here on are read.
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    /// What of the buffer was used.
    used: usize,
    read: u64,
}

impl<'f> Frames<'f> {
    /// Records from `position` on; what is at `end` and behind it is not looked at.
    pub(super) fn new(file: &'f File, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            buffer: Vec::new(),
            used: 0,
            read: 0,
        }
    }

    /// Bytes that were read from the file.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        let position = self.position;
        if position >= self.end {
            return Ok(Next::End);
        }
        if !self.fill(RECORD)? {
            return Ok(Next::Bad);
        }
        let mut head = Reader::new(self.buffer.get(self.used..).unwrap_or_default());
        let (Some(crc), Some(len)) = (head.u32(), head.len()) else {
            return Ok(Next::Bad);
        };
        if len < BODY || !self.fill(RECORD + len)? {
            return Ok(Next::Bad);
        }
        let start = self.used;
        let whole = self.buffer.get(start..start + RECORD + len).unwrap_or_default();
        if crc32fast::hash(whole.get(4..).unwrap_or_default()) != crc {
            return Ok(Next::Bad);
        }
        self.used += RECORD + len;
        self.position += (RECORD + len) as u64;
        let body = whole.get(RECORD..).unwrap_or_default();
        Ok(Record::parse(position, body).map_or(Next::Bad, Next::Record))
    }

    /// Makes so many unused bytes available; `false` if the file has fewer.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        let there = self.buffer.len() - self.used;
        if there >= wanted {
            return Ok(true);
        }
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        if left < wanted {
            return Ok(false);
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        let size = wanted.max(CHUNK).min(left);
        self.buffer.resize(size, 0);
        let fresh = self.buffer.get_mut(there..).unwrap_or_default();
        self.file.read_exact_at(fresh, self.position + there as u64)?;
        self.read += fresh.len() as u64;
        Ok(true)
    }
}

/// Whether a record that follows `expected` stands anywhere behind `from`: then what is there was damaged, not cut off.
pub(super) fn any_record_after(file: &File, from: u64, end: u64, expected: u64) -> io::Result<bool> {
    /// Offsets that a lost record may have had: further on it is chance.
    const NEAR: u64 = 1 << 32;
    let mut rest = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
    file.read_exact_at(&mut rest, from)?;
    for at in 1..rest.len() {
        let mut reader = Reader::new(rest.get(at..).unwrap_or_default());
        let (Some(crc), Some(len)) = (reader.u32(), reader.len()) else {
            break;
        };
        if !(BODY..=MOST_RECORD).contains(&len) {
            continue;
        }
        let Some(body) = reader.take(len) else { continue };
        let Some(record) = Record::parse(0, body) else {
            continue;
        };
        let near = (expected..expected.saturating_add(NEAR)).contains(&record.first);
        if near && crc32fast::hash(rest.get(at + 4..at + RECORD + len).unwrap_or_default()) == crc {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Largest record, bytes.
const MOST_RECORD: usize = codec::MOST + 2 * FULL;

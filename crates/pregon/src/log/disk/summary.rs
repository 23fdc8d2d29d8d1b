//! The summary of a full segment, a small file beside it, so that a start reads summaries instead of segments.
//!
//! Two blocks, each with its checksum: what is kept in memory (bounds and marks), and the channels, which are read only where somebody
//! looks for one. A summary that is missing or damaged is made again from its segment.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::bytes::{Reader, put_len};
use super::segment::{Extent, Mark, Table};

const MAGIC: &[u8; 8] = b"PREGONIX";
const VERSION: u32 = 1;

/// Where the summary of a segment lies.
pub(super) fn path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

pub(super) fn encode(extent: &Extent) -> Vec<u8> {
    let mut head = Vec::new();
    for number in [
        extent.first,
        extent.last,
        extent.len,
        extent.first_time,
        extent.last_time,
        extent.newest_gap,
    ] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    put_len(&mut head, extent.marks.len());
    for mark in &extent.marks {
        for number in [mark.first, mark.position, mark.time] {
            head.extend_from_slice(&number.to_le_bytes());
        }
    }
    let mut channels = Vec::new();
    for (channel, newest) in extent.table.iter().flatten() {
        channels.extend_from_slice(&channel.to_le_bytes());
        channels.extend_from_slice(&newest.to_le_bytes());
    }
    let mut out = Vec::with_capacity(head.len() + channels.len() + 28);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    for block in [&head, &channels] {
        out.extend_from_slice(&crc32fast::hash(block).to_le_bytes());
        put_len(&mut out, block.len());
        out.extend_from_slice(block);
    }
    out
}

/// The bounds and marks of a segment.
pub(super) fn read(path: &Path) -> io::Result<Extent> {
    let mut file = begin(path)?;
    let head = block(&mut file)?;
    extent(&mut Reader::new(&head)).ok_or_else(damaged)
}

/// The newest offset of each channel.
pub(super) fn read_table(path: &Path) -> io::Result<Table> {
    let mut file = begin(path)?;
    let _head = block(&mut file)?;
    let channels = block(&mut file)?;
    let mut reader = Reader::new(&channels);
    let mut table = Table::default();
    while let (Some(channel), Some(newest)) = (reader.u64(), reader.u64()) {
        table.insert(channel, newest);
    }
    Ok(table)
}

fn begin(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    let mut fixed = [0; 12];
    file.read_exact(&mut fixed)?;
    let mut reader = Reader::new(&fixed);
    let magic = reader.take(MAGIC.len());
    if magic != Some(MAGIC) || reader.u32() != Some(VERSION) {
        return Err(damaged());
    }
    Ok(file)
}

fn block(file: &mut File) -> io::Result<Vec<u8>> {
    let mut fixed = [0; 8];
    file.read_exact(&mut fixed)?;
    let mut reader = Reader::new(&fixed);
    let (Some(crc), Some(len)) = (reader.u32(), reader.u32()) else {
        return Err(damaged());
    };
    let mut block = Vec::new();
    file.take(u64::from(len)).read_to_end(&mut block)?;
    if crc32fast::hash(&block) != crc {
        return Err(damaged());
    }
    Ok(block)
}

fn extent(reader: &mut Reader<'_>) -> Option<Extent> {
    let mut extent = Extent {
        first: reader.u64()?,
        last: reader.u64()?,
        len: reader.u64()?,
        first_time: reader.u64()?,
        last_time: reader.u64()?,
        newest_gap: reader.u64()?,
        marks: Vec::new(),
        table: None,
    };
    for _ in 0..reader.len()? {
        extent.marks.push(Mark {
            first: reader.u64()?,
            position: reader.u64()?,
            time: reader.u64()?,
        });
    }
    (extent.first > 0).then_some(extent)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the summary is damaged")
}

//! What retention has removed, by channel: a resume is a gap only if something of its own channels is gone.
//!
//! Bounded: of channels beyond the limit only the newest offset of all is remembered, which may make a gap of what is none.

use std::io;
use std::path::Path;

use super::bytes::{Reader, put_len};
use super::codec::channel_number;
use super::folder::replace;
use super::segment::Table;

/// Channels that are remembered, 16 bytes each.
const REMEMBERED: usize = 100_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Pruned {
    channels: Table,
    /// Newest pruned offset of the channels that are not remembered.
    floor: u64,
    /// Newest pruned gap entry, or end of a hole: it may have concerned any channel.
    gap: u64,
    /// When the newest pruned entry was made.
    pub(super) newest: u64,
}

impl Pruned {
    /// The newest pruned offset of a channel.
    pub(super) fn of(&self, channel: &str) -> u64 {
        let known = self.channels.get(&channel_number(channel)).copied();
        known.unwrap_or(self.floor).max(self.gap)
    }

    /// A segment goes away.
    pub(super) fn add(&mut self, table: Table, newest_gap: u64, newest: u64) {
        for (channel, offset) in table {
            let known = self.channels.entry(channel).or_insert(self.floor);
            *known = offset.max(*known);
        }
        self.gap = self.gap.max(newest_gap);
        self.newest = self.newest.max(newest);
        if self.channels.len() > REMEMBERED {
            self.forget();
        }
    }

    /// Everything up to `offset` may be missing, on any channel.
    pub(super) fn lose(&mut self, offset: u64) {
        self.gap = self.gap.max(offset);
    }

    /// Takes over what was lost meanwhile.
    pub(super) fn join(&mut self, other: &Self) {
        self.lose(other.gap);
    }

    /// Lets the quarter of the channels go whose last entry is longest ago.
    fn forget(&mut self) {
        let mut offsets: Vec<u64> = self.channels.values().copied().collect();
        let quarter = offsets.len() / 4;
        let (_, limit, _) = offsets.select_nth_unstable(quarter);
        let limit = *limit;
        self.channels.retain(|_, offset| *offset > limit);
        self.floor = self.floor.max(limit);
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let mut body = Vec::with_capacity(28 + 16 * self.channels.len());
        for number in [self.floor, self.gap, self.newest] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        put_len(&mut body, self.channels.len());
        for (channel, offset) in &self.channels {
            body.extend_from_slice(&channel.to_le_bytes());
            body.extend_from_slice(&offset.to_le_bytes());
        }
        let mut out = crc32fast::hash(&body).to_le_bytes().to_vec();
        out.extend_from_slice(&body);
        replace(path, &out)
    }

    /// What was saved; `None` if there is nothing or it is damaged.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let mut reader = Reader::new(&bytes);
        let crc = reader.u32()?;
        if crc32fast::hash(reader.rest()) != crc {
            return None;
        }
        let (floor, gap, newest) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let mut channels = Table::default();
        for _ in 0..reader.len()? {
            channels.insert(reader.u64()?, reader.u64()?);
        }
        Some(Self {
            channels,
            floor,
            gap,
            newest,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_channels_of_a_pruned_segment_are_pruned_and_it_is_remembered() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pruned");
        let mut pruned = Pruned::default();
        pruned.add([(channel_number("a"), 5)].into_iter().collect(), 0, 1);
        pruned.save(&path).unwrap();
        let loaded = Pruned::load(&path).unwrap();
        assert_eq!((loaded.of("a"), loaded.of("b")), (5, 0));
    }

    #[test]
    fn beyond_the_limit_forgotten_channels_are_never_taken_for_complete() {
        let mut pruned = Pruned::default();
        let many = u64::try_from(REMEMBERED).unwrap() + 8;
        pruned.add((1..=many).map(|n| (n, n)).collect(), 0, 1);
        assert!(pruned.channels.len() <= REMEMBERED);
        for n in 1..=many {
            let known = pruned.channels.get(&n).copied().unwrap_or(pruned.floor);
            assert!(known >= n, "{n} is pruned up to {known}");
        }
    }
}

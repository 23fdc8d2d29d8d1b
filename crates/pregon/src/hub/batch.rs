//! A batch of entries sorted by channel, with what was encoded of it so far.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::codec::{Encoder, VARIANTS, Variant};
use crate::log::Entry;
use crate::session::channels::ChannelKey;

/// One channel's part of a batch.
pub(crate) struct Touched {
    pub channel: ChannelKey,
    pub name: Arc<str>,
    /// Indexes into the batch's entries, rising.
    pub entries: SmallVec<[u16; 8]>,
    joined: [Option<Bytes>; VARIANTS],
}

/// A batch of entries sorted by channel, with what was encoded of it so far.
#[derive(Default)]
pub(crate) struct Batch {
    pub entries: Vec<Arc<Entry>>,
    pub touched: Vec<Touched>,
    by_channel: HashMap<ChannelKey, usize, foldhash::fast::RandomState>,
    singles: HashMap<(u16, ChannelKey, usize), Bytes, foldhash::fast::RandomState>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.touched.clear();
        self.by_channel.clear();
        self.singles.clear();
    }

    /// Notes that the entry at `index` concerns `channel`.
    pub(crate) fn touch(&mut self, channel: ChannelKey, name: &Arc<str>, index: u16) {
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

    /// Whether some entry is not for all followers of its channels.
    pub(crate) fn has_except(&self) -> bool {
        self.entries.iter().any(|entry| !entry.except().is_empty())
    }

    pub(crate) fn touched(&self, channel: ChannelKey) -> Option<(usize, &Touched)> {
        let place = *self.by_channel.get(&channel)?;
        Some((place, self.touched.get(place)?))
    }

    /// Which of its entry's channels this one is: the first that a session follows is the one that it hears of.
    pub(crate) fn place(&self, index: u16, channel: &Arc<str>) -> usize {
        let entry = self.entries.get(usize::from(index));
        entry
            .and_then(|entry| entry.channels().iter().position(|named| named == channel))
            .unwrap_or(0)
    }

    /// All of a channel's entries as one piece of bytes.
    pub(crate) fn joined(&mut self, place: usize, variant: Variant, encoder: &mut Encoder) -> Bytes {
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
    pub(crate) fn single(
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

//! One batch on its way into a frame.

use std::sync::Arc;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::engine::Seq;
use super::frame;
use crate::log::disk::codec;
use crate::log::position::Position;
use crate::log::window::Window;
use crate::log::{Append, LogError, Taken};

/// What an item costs beside its bytes.
const OVERHEAD: usize = 64;

/// Longest identity that stands in a frame's id as it is; indexes hold no longer ones.
const LONGEST: usize = 200;

/// See the module.
pub(super) struct Job {
    /// The encoded entries, each identity once.
    pub(super) entries: Vec<Vec<u8>>,
    /// For each item where its entry is.
    places: Vec<Place>,
    pub(super) taken: Option<Taken>,
    /// The id of its frame, where its items have identities: it is a frame by itself then.
    pub(super) key: Option<Arc<str>>,
    told: oneshot::Sender<Result<Vec<Position>, LogError>>,
}

/// Where the entry of an item is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At this offset, since earlier.
    There(u64),
    /// Among the entries of the job.
    Here(usize),
}

impl Job {
    /// Encodes a batch, sealed as it is, without the items whose offsets are `known`.
    pub(super) fn new(
        batch: &[Append],
        known: &[Option<u64>],
        taken: Option<Taken>,
        told: oneshot::Sender<Result<Vec<Position>, LogError>>,
    ) -> Result<Self, LogError> {
        let mut entries = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        let mut ids: HashMap<&str, usize> = HashMap::new();
        let mut key = None;
        for (item, known) in batch.iter().zip(known) {
            if let Some(offset) = known {
                places.push(Place::There(*offset));
                continue;
            }
            if let Some(id) = item.id() {
                if let Some(&place) = ids.get(&**id) {
                    places.push(Place::Here(place));
                    continue;
                }
                ids.insert(id, entries.len());
                let first = key.take().map_or(&**id, |(first, _)| first);
                key = Some((first, &**id));
            }
            let mut bytes = Vec::new();
            codec::encode(item, &mut bytes);
            if bytes.len() > codec::MOST {
                return Err(LogError::TooLarge);
            }
            places.push(Place::Here(entries.len()));
            entries.push(bytes);
        }
        if entries.len() > frame::MOST {
            return Err(LogError::TooLarge);
        }
        // A source's place says what was appended already.
        let key = key
            .filter(|_| taken.is_none())
            .map(|(first, last)| frame_id(first, last));
        Ok(Self {
            entries,
            places,
            taken,
            key,
            told,
        })
    }

    /// A word to all nodes, as an item.
    pub(super) fn word(item: Vec<u8>, told: oneshot::Sender<Result<Vec<Position>, LogError>>) -> Self {
        Self {
            entries: vec![item],
            places: vec![Place::Here(0)],
            taken: None,
            key: None,
            told,
        }
    }

    pub(super) fn weight(&self) -> usize {
        OVERHEAD
            + self
                .entries
                .iter()
                .map(|bytes| bytes.len() + OVERHEAD)
                .sum::<usize>()
    }

    /// Nothing of it is kept.
    pub(super) fn refuse(self, error: LogError) {
        // Whoever dropped the receipt does not want to know.
        let _ = self.told.send(Err(error));
    }

    /// What is left of it once its entries are in a frame, behind so many others.
    pub(super) fn waiter(self, base: usize) -> Waiter {
        Waiter {
            base,
            places: self.places,
            told: self.told,
        }
    }
}

/// The id of a frame whose items have identities: the same batch has the same.
fn frame_id(first: &str, last: &str) -> Arc<str> {
    let key = format!("k {first} {last}");
    if key.len() <= LONGEST {
        return key.into();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    format!("h {}", hex::encode(digest)).into()
}

/// A batch that waits until its frame is delivered.
pub(super) struct Waiter {
    base: usize,
    places: Vec<Place>,
    told: oneshot::Sender<Result<Vec<Position>, LogError>>,
}

impl Waiter {
    /// Its frame has this number.
    pub(super) fn tell(self, window: &Window, seq: Seq) {
        let position = |place: &Place| match place {
            Place::There(offset) => window.position(*offset),
            Place::Here(place) => window.position(frame::offset(seq, self.base + place)),
        };
        let _ = self.told.send(Ok(self.places.iter().map(position).collect()));
    }

    /// The history in which its frame was is lost.
    pub(super) fn lose(self) {
        let _ = self.told.send(Err(LogError::Unanswered));
    }
}

//! The last events that no rule published, so that an operator can ask why. Kept only where somebody may ask.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::event::{Data, Event, What};

/// Stands for a text that is too large to be kept.
const NULL: Bytes = Bytes::from_static(b"null");

/// Events that are remembered.
const MOST: usize = 128;

/// Largest row or message that is kept with one; with the others they hold a megabyte at most.
const LARGEST: usize = 4096;

/// An event that nobody was sent.
#[derive(Debug, Clone)]
pub(crate) struct Unrouted {
    /// Counts from one.
    pub number: u64,
    /// A copy, as it came from its source: what is encrypted is encrypted.
    pub event: Event,
    /// Something of it was too large to be kept, so that rules cannot be asked again.
    pub cut: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct UnroutedRing {
    inner: Mutex<(u64, VecDeque<Arc<Unrouted>>)>,
}

impl UnroutedRing {
    pub(super) fn note(&self, event: &Event) {
        let mut copy = event.clone();
        let mut cut = false;
        // Copied, because a slice would hold the whole batch that it was read with.
        let mut kept = |bytes: &Bytes| {
            cut |= bytes.len() > LARGEST;
            (bytes.len() <= LARGEST).then(|| Bytes::copy_from_slice(bytes))
        };
        match &mut copy.what {
            What::Row { new, old, .. } => {
                *new = new.as_ref().and_then(&mut kept);
                *old = old.as_ref().and_then(&mut kept);
            }
            What::Message { text, .. } | What::Delivery { text, .. } | What::Published { text, .. } => {
                *text = kept(text).unwrap_or(NULL);
            }
            What::Emitted { text, payload, .. } => {
                *text = kept(text).unwrap_or(NULL);
                *payload = Data::sniff(text.clone());
                cut = true;
            }
        }
        let mut inner = self.inner.lock();
        let (count, ring) = &mut *inner;
        *count += 1;
        if ring.len() == MOST {
            ring.pop_front();
        }
        ring.push_back(Arc::new(Unrouted {
            number: *count,
            event: copy,
            cut,
        }));
    }

    /// The newest first.
    pub(crate) fn list(&self) -> Vec<Arc<Unrouted>> {
        self.inner.lock().1.iter().rev().cloned().collect()
    }

    /// The one of this number, if it is still remembered.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Unrouted>> {
        let inner = self.inner.lock();
        inner.1.iter().find(|unrouted| unrouted.number == number).cloned()
    }
}

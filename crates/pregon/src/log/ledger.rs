//! What a log knows of its numbers: the next offset, the identities in the window, how far each source was taken.
//!
//! A batch is noted in a [`Draft`] first and becomes true by [`Ledger::commit`], so that a log whose write fails forgets all of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::entry::{Body, Entry};
use super::{LogError, Taken};

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    next: u64,
    /// Offsets of the identities that are still in the window.
    ids: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
    taken: HashMap<Arc<str>, Taken>,
    /// Batches of sources that were not kept: what comes after one waits until it comes again.
    held: HashMap<Arc<str>, Held>,
}

/// Places of one source whose batches were not kept. Bounded by what the source has under way.
#[derive(Debug)]
struct Held {
    epoch: u64,
    places: BTreeSet<(u64, u64)>,
}

/// What batches would change.
#[derive(Debug)]
pub struct Draft {
    next: u64,
    ids: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
    taken: HashMap<Arc<str>, Taken>,
}

impl Draft {
    /// The next offset.
    pub fn next(&self) -> u64 {
        self.next
    }
}

/// The number of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Fresh(u64),
    /// Its identity was appended before.
    Known(u64),
}

impl Ledger {
    /// A ledger whose first entry gets the offset `next`.
    pub fn new(next: u64, taken: HashMap<Arc<str>, Taken>) -> Self {
        Self {
            next,
            ids: HashMap::default(),
            taken,
            held: HashMap::new(),
        }
    }

    pub fn draft(&self) -> Draft {
        Draft {
            next: self.next,
            ids: HashMap::default(),
            taken: HashMap::new(),
        }
    }

    /// Notes where a source is after the batch, unless the log is further already, or misses what came before.
    pub fn take_over(&self, draft: &mut Draft, taken: &Taken) -> Result<(), LogError> {
        let source_name = || Arc::clone(&taken.source);
        let known = draft
            .taken
            .get(&taken.source)
            .or_else(|| self.taken.get(&taken.source));
        if known.is_some_and(|known| taken.is_repeated(known)) {
            return Err(LogError::Repeated {
                source_name: source_name(),
            });
        }
        if self.is_held(draft, taken) {
            return Err(LogError::Held {
                source_name: source_name(),
            });
        }
        draft.taken.insert(Arc::clone(&taken.source), taken.clone());
        Ok(())
    }

    /// Whether a batch before this one was not kept, and has not come again either.
    fn is_held(&self, draft: &Draft, taken: &Taken) -> bool {
        let Some(held) = self.held.get(&taken.source) else {
            return false;
        };
        let again = draft.taken.get(&taken.source).map(|again| again.upto);
        let missing = |place: &(u64, u64)| again.is_none_or(|again| *place > again);
        held.epoch == taken.epoch && held.places.range(..taken.upto).any(missing)
    }

    /// The offset of a publication with this identity; gaps have none.
    pub fn number(&self, draft: &mut Draft, id: Option<&Arc<str>>) -> Number {
        if let Some(id) = id {
            if let Some(&known) = draft.ids.get(id).or_else(|| self.ids.get(id)) {
                return Number::Known(known);
            }
            draft.ids.insert(Arc::clone(id), draft.next);
        }
        let offset = draft.next;
        draft.next += 1;
        Number::Fresh(offset)
    }

    /// The batches of a draft are in the log.
    pub fn commit(&mut self, draft: Draft) {
        self.next = draft.next;
        self.ids.extend(draft.ids);
        for (source, taken) in draft.taken {
            if let Some(held) = self.held.get_mut(&source) {
                held.places.retain(|place| *place > taken.upto);
                if held.places.is_empty() || held.epoch != taken.epoch {
                    self.held.remove(&source);
                }
            }
            self.taken.insert(source, taken);
        }
    }

    /// The log could not keep this batch of a source, or refused it because of an earlier one.
    pub fn hold(&mut self, taken: &Taken) {
        let fresh = || Held {
            epoch: taken.epoch,
            places: BTreeSet::new(),
        };
        let held = self.held.entry(Arc::clone(&taken.source)).or_insert_with(fresh);
        if held.epoch != taken.epoch {
            *held = fresh();
        }
        held.places.insert(taken.upto);
    }

    /// How far a source was taken. Who asks begins again from there, so that nothing is held any more.
    pub fn taken(&mut self, source: &str) -> Option<Taken> {
        self.held.remove(source);
        self.taken.get(source).cloned()
    }

    /// How far each source was taken.
    pub fn all_taken(&self) -> impl Iterator<Item = &Taken> {
        self.taken.values()
    }

    /// The next offset.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// An entry with this identity entered the window without having been numbered here.
    pub fn remember(&mut self, id: &Arc<str>, offset: u64) {
        self.ids.insert(Arc::clone(id), offset);
    }

    /// Entries have left the window; so do their identities.
    pub fn forget(&mut self, pruned: &[Arc<Entry>]) {
        for entry in pruned {
            if let Body::Publication { id: Some(id), .. } = &entry.body
                && self.ids.get(id) == Some(&entry.offset)
            {
                self.ids.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn taken(upto: u64) -> Taken {
        Taken {
            source: "outbox".into(),
            epoch: 1,
            upto: (upto, 0),
        }
    }

    fn take(ledger: &mut Ledger, upto: u64) -> Result<(), LogError> {
        let mut draft = ledger.draft();
        ledger.take_over(&mut draft, &taken(upto))?;
        ledger.commit(draft);
        Ok(())
    }

    #[test]
    fn what_came_after_a_lost_batch_waits_for_it() {
        let mut ledger = Ledger::new(1, HashMap::new());
        take(&mut ledger, 1).unwrap();
        ledger.hold(&taken(2));
        ledger.hold(&taken(3));
        assert!(matches!(take(&mut ledger, 3), Err(LogError::Held { .. })));
        take(&mut ledger, 2).unwrap();
        assert!(
            matches!(take(&mut ledger, 4), Err(LogError::Held { .. })),
            "the third was not kept either"
        );
        take(&mut ledger, 3).unwrap();
        take(&mut ledger, 4).unwrap();
    }

    #[test]
    fn batches_that_come_again_together_are_taken_together() {
        let mut ledger = Ledger::new(1, HashMap::new());
        ledger.hold(&taken(2));
        ledger.hold(&taken(3));
        let mut draft = ledger.draft();
        for upto in [2, 3, 4] {
            ledger.take_over(&mut draft, &taken(upto)).unwrap();
        }
        ledger.commit(draft);
        take(&mut ledger, 5).unwrap();
    }

    #[test]
    fn who_asks_where_it_was_may_begin_again_with_other_batches() {
        let mut ledger = Ledger::new(1, HashMap::new());
        ledger.hold(&taken(2));
        assert_eq!(ledger.taken("outbox"), None);
        take(&mut ledger, 9).unwrap();
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing() {
        let ledger = Ledger::new(5, HashMap::new());
        let mut draft = ledger.draft();
        let id: Arc<str> = "x".into();
        assert_eq!(ledger.number(&mut draft, Some(&id)), Number::Fresh(5));
        assert_eq!(ledger.number(&mut draft, Some(&id)), Number::Known(5));
        let mut draft = ledger.draft();
        assert_eq!(ledger.number(&mut draft, Some(&id)), Number::Fresh(5));
    }
}

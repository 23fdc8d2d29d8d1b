//! The log that forgets at exit: for tests and for data that may be lost with the process.
//!
//! Its history is the window itself. Appending is immediate, so receipts resolve at once.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::entry::{Body, Entry, Gap};
use super::position::{Epoch, Position};
use super::window::{Retention, Window};
use super::{Append, Log, LogError, Open, Receipt, Taken};
use crate::event::Publication;

/// See the module.
pub struct MemoryLog {
    window: Arc<Window>,
    opener: Arc<dyn Open>,
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// Offsets of the identities that are still in the window.
    ids: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
    taken: HashMap<Arc<str>, Taken>,
}

impl MemoryLog {
    pub fn new(retention: Retention, opener: Arc<dyn Open>) -> Self {
        let window = Arc::new(Window::new(Epoch::random(), 0, retention));
        Self {
            window,
            opener,
            state: Mutex::new(State {
                next: 1,
                ids: HashMap::default(),
                taken: HashMap::new(),
            }),
        }
    }

    fn append_now(&self, mut batch: Vec<Append>, taken: Option<Taken>) -> Result<Vec<Position>, LogError> {
        for item in &mut batch {
            if let Append::Publication(publication) = item
                && !publication.sealed.is_empty()
            {
                self.opener.open(publication);
            }
        }
        let epoch = self.window.epoch();
        // The lock is held over the push, so that offsets reach the window in their order.
        let mut state = self.state.lock();
        if let Some(taken) = taken {
            state.take_over(taken)?;
        }
        let mut fresh = Vec::with_capacity(batch.len());
        let mut positions = Vec::with_capacity(batch.len());
        for item in batch {
            let offset = match item {
                Append::Publication(publication) => state.number(publication, epoch, &mut fresh),
                Append::Gap(gap) => state.number_gap(gap, epoch, &mut fresh),
            };
            positions.push(Position { epoch, offset });
        }
        let pruned = self.window.push(fresh);
        state.forget(&pruned);
        Ok(positions)
    }
}

impl State {
    fn take_over(&mut self, taken: Taken) -> Result<(), LogError> {
        let known = self.taken.get(&taken.source);
        if known.is_some_and(|known| taken.is_repeated(known)) {
            let source_name = taken.source;
            return Err(LogError::Repeated { source_name });
        }
        self.taken.insert(Arc::clone(&taken.source), taken);
        Ok(())
    }

    fn number(&mut self, publication: Publication, epoch: Epoch, fresh: &mut Vec<Arc<Entry>>) -> u64 {
        if let Some(id) = &publication.id.0 {
            if let Some(&known) = self.ids.get(id) {
                return known;
            }
            self.ids.insert(Arc::clone(id), self.next);
        }
        let offset = self.take();
        fresh.push(Arc::new(Entry::publication(offset, epoch, publication)));
        offset
    }

    fn number_gap(&mut self, gap: Gap, epoch: Epoch, fresh: &mut Vec<Arc<Entry>>) -> u64 {
        let offset = self.take();
        fresh.push(Arc::new(Entry::gap(offset, epoch, gap)));
        offset
    }

    fn take(&mut self) -> u64 {
        let offset = self.next;
        self.next += 1;
        offset
    }

    fn forget(&mut self, pruned: &[Arc<Entry>]) {
        for entry in pruned {
            if let Body::Publication { id: Some(id), .. } = &entry.body
                && self.ids.get(id) == Some(&entry.offset)
            {
                self.ids.remove(id);
            }
        }
    }
}

impl Log for MemoryLog {
    fn append(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt {
        Receipt::ready(self.append_now(batch, taken))
    }

    fn taken(&self, source: &str) -> Option<Taken> {
        self.state.lock().taken.get(source).cloned()
    }

    fn window(&self) -> &Arc<Window> {
        &self.window
    }

    fn prune(&self) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let pruned = self.window.prune();
        state.forget(&pruned);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[test]
    fn keeps_the_contract_of_logs() {
        contract::check(|retention, opener| Box::new(MemoryLog::new(retention, opener)));
    }
}

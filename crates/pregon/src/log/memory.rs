//! The log that forgets at exit: for tests and for data that may be lost with the process.
//!
//! Its history is the window itself. Appending is immediate, so receipts resolve at once.

use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::entry::Entry;
use super::ledger::{Ledger, Number};
use super::position::{Epoch, Position};
use super::window::{Retention, Window};
use super::{Append, Log, LogError, Open, Receipt, Taken};

/// See the module.
pub struct MemoryLog {
    window: Arc<Window>,
    opener: Arc<dyn Open>,
    ledger: Mutex<Ledger>,
}

impl MemoryLog {
    pub fn new(retention: Retention, opener: Arc<dyn Open>) -> Self {
        let window = Window::new(Epoch::random(), 0, retention).since(Some(SystemTime::now()));
        let window = Arc::new(window);
        Self {
            window,
            opener,
            ledger: Mutex::new(Ledger::new(1, HashMap::new())),
        }
    }

    fn append_now(&self, mut batch: Vec<Append>, taken: Option<Taken>) -> Result<Vec<Position>, LogError> {
        for item in &mut batch {
            item.open(&*self.opener);
        }
        let epoch = self.window.epoch();
        // The lock is held over the push, so that offsets reach the window in their order.
        let mut ledger = self.ledger.lock();
        let mut draft = ledger.draft();
        if let Some(taken) = taken {
            ledger.take_over(&mut draft, &taken)?;
        }
        let mut fresh = Vec::with_capacity(batch.len());
        let mut positions = Vec::with_capacity(batch.len());
        for item in batch {
            let offset = match ledger.number(&mut draft, item.id()) {
                Number::Known(offset) => offset,
                Number::Fresh(offset) => {
                    fresh.push(Arc::new(Entry::of(offset, epoch, item)));
                    offset
                }
            };
            positions.push(Position { epoch, offset });
        }
        ledger.commit(draft);
        let news = !fresh.is_empty();
        let pruned = self.window.push(fresh);
        ledger.forget(&pruned);
        drop(ledger);
        if news {
            self.window.tell();
        }
        Ok(positions)
    }
}

impl Log for MemoryLog {
    fn append(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt {
        Receipt::ready(self.append_now(batch, taken))
    }

    fn taken(&self, source: &str) -> Option<Taken> {
        self.ledger.lock().taken(source)
    }

    fn window(&self) -> &Arc<Window> {
        &self.window
    }

    fn prune(&self) -> Result<(), LogError> {
        let mut ledger = self.ledger.lock();
        let pruned = self.window.prune();
        ledger.forget(&pruned);
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

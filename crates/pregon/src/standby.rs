//! Whether this node stands by: another gateway reads the database, and this one takes over when that one is gone.
//!
//! The source whose turn it is not sets it, and takes it back when it reads. Meanwhile the door refuses everybody and the shards close
//! whom they have, because a client that stays here would hear nothing. A source that has merely lost its database does not set it: then
//! nobody reads, and clients keep what they have.

use std::sync::Arc;

use tokio::sync::watch;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standby(Arc<watch::Sender<bool>>);

impl Standby {
    pub(crate) fn set(&self, stands_by: bool) {
        self.0
            .send_if_modified(|known| std::mem::replace(known, stands_by) != stands_by);
    }

    pub(crate) fn get(&self) -> bool {
        *self.0.borrow()
    }

    /// For waiting until it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

//! What yields events. A source runs as one task that the node owns: it captures, hands events to the pipeline in order,
//! and stops when its token is cancelled. How it treats receipts is its guarantee.

pub mod pending;
pub mod emitter;
pub mod postgres;
pub mod outbox;
pub mod wal;
mod wal_health;
pub mod triggers;
pub mod degraded;
mod tables;
pub mod redis;
pub mod webhook;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Whether a source is attached, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Attached(Arc<watch::Sender<bool>>, Arc<Mutex<String>>);

impl Attached {
    pub fn set(&self, attached: bool) {
        self.0.send_replace(attached);
        self.explain(String::new());
    }

    pub fn get(&self) -> bool {
        *self.0.borrow()
    }

    /// Why it is not attached; empty where nothing is known.
    pub fn why(&self) -> String {
        self.1.lock().clone()
    }

    /// Says why it is not attached, until it is.
    pub fn explain(&self, why: String) {
        *self.1.lock() = why;
    }

    /// For waiting until it is set again; what it is now counts as seen.
    pub fn follow(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// A name that no other gateway has, by which connections are told apart at the server.
pub fn node_name() -> String {
    format!("pregon-{:08x}", rand::random::<u32>())
}

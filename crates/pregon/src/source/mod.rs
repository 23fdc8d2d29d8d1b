//! What yields events. A source runs as one task that the node owns: it captures, hands events to the pipeline in order,
//! and stops when its token is cancelled. How it treats receipts is its guarantee.

pub mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a source is attached, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Attached(Arc<AtomicBool>);

impl Attached {
    pub fn set(&self, attached: bool) {
        self.0.store(attached, Ordering::Release);
    }

    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

//! What yields events. A source runs as one task that the node owns: it captures, hands events to the pipeline in order,
//! and stops when its token is cancelled. How it treats receipts is its guarantee.

pub(crate) mod pending;
pub(crate) mod emitter;
pub(crate) mod notify;
pub(crate) mod outbox;
pub(crate) mod wal;
mod wal_health;
pub(crate) mod triggers;
pub(crate) mod degraded;
mod tables;
pub(crate) mod redis;
pub(crate) mod webhook;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::degraded::Degraded;

use crate::metrics::{Metrics, SourceLabel};

/// Whether a source is attached, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attached(Arc<watch::Sender<bool>>, Arc<Mutex<String>>);

impl Attached {
    pub(crate) fn set(&self, attached: bool) {
        self.0.send_replace(attached);
        self.explain(String::new());
    }

    /// As [`Attached::set`], and as the metric `source_up` of this source.
    pub(crate) fn report(&self, metrics: &Metrics, source: &str, attached: bool) {
        self.set(attached);
        let label = SourceLabel {
            source: source.into(),
        };
        metrics.source_up.get_or_create(&label).set(i64::from(attached));
    }

    pub(crate) fn get(&self) -> bool {
        *self.0.borrow()
    }

    /// Why it is not attached; empty where nothing is known.
    pub(crate) fn why(&self) -> String {
        self.1.lock().clone()
    }

    /// Says why it is not attached, until it is.
    pub(crate) fn explain(&self, why: String) {
        *self.1.lock() = why;
    }

    /// For waiting until it is set again; what it is now counts as seen.
    pub(crate) fn follow(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// What `/readyz` waits for, and what is wrong all the same. Where nodes share a log it changes with whoever reads the sources.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) attached: Vec<(&'static str, Attached)>,
    pub(crate) degraded: Degraded,
}

/// The reading of now.
pub(crate) type Standing = Arc<ArcSwap<Reading>>;

/// A name that no other gateway has, by which connections are told apart at the server.
pub(crate) fn node_name() -> String {
    format!("pregon-{:08x}", rand::random::<u32>())
}

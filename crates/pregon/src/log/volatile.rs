//! What is not kept: typing, and who comes and goes. Beside the log, because nobody may ask for it again.
//!
//! A ring that all shards read, each at its own pace. A shard that is slower than the ring misses what was in it; who is
//! connected to it misses a word that would be stale by then.
//!
//! Where nodes share a log, what is passed here is also told to the others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};

use super::entry::Body;
use crate::event::Publication;

/// Entries that a shard may be behind.
const LENGTH: usize = 1024;

/// An entry that has no position of its own.
#[derive(Debug, Clone)]
pub struct Passing {
    pub at: SystemTime,
    pub body: Body,
}

/// What other nodes have to hear of.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    Passed(&'a Publication),
    /// The client has its first session in the channel on this node, or no longer one.
    Member {
        channel: &'a Arc<str>,
        client: &'a Arc<str>,
        joined: bool,
    },
}

/// Tells other nodes; it does not block.
pub type Tell = Box<dyn Fn(Told<'_>) + Send + Sync>;

/// See the module.
#[derive(Default)]
pub struct Volatile {
    ring: Mutex<VecDeque<Passing>>,
    /// How many there have ever been.
    count: AtomicU64,
    readers: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
    others: OnceLock<Tell>,
}

impl Volatile {
    /// From now on other nodes are told.
    pub fn share(&self, tell: Tell) {
        // A node has one log, and its others are told by that.
        let _ = self.others.set(tell);
    }

    /// Tells other nodes, if there are some.
    pub fn tell_others(&self, told: Told<'_>) {
        if let Some(tell) = self.others.get() {
            tell(told);
        }
    }

    /// Passes a publication on to everybody who is connected, at whatever node.
    pub fn pass(&self, publication: Publication) {
        self.tell_others(Told::Passed(&publication));
        let at = publication.at;
        self.push(Body::from(publication), at);
    }

    /// Calls `tell` when there is something new; it must not block.
    pub fn on_news(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.readers.write().push(Box::new(tell));
    }

    /// For whoever is connected to this node.
    pub fn push(&self, body: Body, at: SystemTime) {
        {
            let mut ring = self.ring.lock();
            if ring.len() == LENGTH {
                ring.pop_front();
            }
            ring.push_back(Passing { at, body });
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        for tell in self.readers.read().iter() {
            tell();
        }
    }

    /// How many there have been: where a reader begins.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is something for a reader who has taken so many.
    pub fn has(&self, taken: u64) -> bool {
        self.count() > taken
    }

    /// What a reader who has taken so many has not seen, as far as it is still here, and how many it has taken then.
    pub fn after(&self, taken: u64) -> (u64, Vec<Passing>) {
        let ring = self.ring.lock();
        let count = self.count();
        let fresh = usize::try_from(count.saturating_sub(taken)).unwrap_or(usize::MAX);
        let skip = ring.len().saturating_sub(fresh);
        (count, ring.iter().skip(skip).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn push(volatile: &Volatile, client: usize) {
        let body = Body::Member {
            channel: Arc::from("c"),
            client: client.to_string().into(),
            joined: true,
        };
        volatile.push(body, SystemTime::now());
    }

    fn clients(passing: &[Passing]) -> Vec<String> {
        let client = |passing: &Passing| match &passing.body {
            Body::Member { client, .. } => client.to_string(),
            _ => String::new(),
        };
        passing.iter().map(client).collect()
    }

    #[test]
    fn readers_take_each_once_and_what_is_too_old_is_gone() {
        let volatile = Volatile::default();
        push(&volatile, 0);
        let (taken, first) = volatile.after(0);
        assert_eq!((taken, clients(&first)), (1, vec!["0".to_owned()]));
        assert!(!volatile.has(taken));
        for client in 1..=LENGTH + 1 {
            push(&volatile, client);
        }
        let (taken, rest) = volatile.after(taken);
        assert_eq!(taken, LENGTH as u64 + 2);
        assert_eq!(clients(&rest).first().map(String::as_str), Some("2"));
        assert_eq!(rest.len(), LENGTH);
        assert!(volatile.after(taken).1.is_empty());
    }
}

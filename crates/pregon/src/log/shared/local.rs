//! An engine in the memory of a test: the suite of all engines says that it is one, and a test may take it away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::engine::{Answer, Appended, Bounds, Engine, EngineError, Fresh, Last, Reader, Seq, Stored};
use crate::log::position::Epoch;

/// Clones share it.
#[derive(Clone, Default)]
pub struct LocalEngine(Arc<Shared>);

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    news: Notify,
    /// Nothing is answered; what is appended meanwhile is kept all the same, once.
    away: AtomicBool,
}

#[derive(Clone)]
struct Kept {
    epoch: Epoch,
    began: Seq,
    last: Seq,
    frames: Vec<Stored>,
    lanes: HashMap<Arc<str>, Last>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            epoch: Epoch::random(),
            began: 0,
            last: 0,
            frames: Vec::new(),
            lanes: HashMap::new(),
        }
    }
}

/// A copy of everything, to be restored.
pub struct Copy(Kept);

impl LocalEngine {
    pub fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
        self.0.news.notify_waiters();
    }

    pub fn copy(&self) -> Copy {
        Copy(self.0.kept.lock().clone())
    }

    pub fn restore(&self, copy: Copy) {
        *self.0.kept.lock() = copy.0;
    }

    /// As if nothing had ever been appended.
    pub fn recreate(&self) {
        *self.0.kept.lock() = Kept::default();
    }

    fn answer<T>(&self, answer: T) -> Result<T, EngineError> {
        if self.0.away.load(Ordering::SeqCst) {
            return Err(EngineError::Away("taken away by the test".into()));
        }
        Ok(answer)
    }
}

impl Engine for LocalEngine {
    fn reader(&self) -> Answer<'_, Box<dyn Reader>> {
        Box::pin(async { self.answer(Box::new(self.clone()) as Box<dyn Reader>) })
    }

    fn append<'a>(&'a self, epoch: Epoch, fresh: &'a Fresh) -> Answer<'a, Appended> {
        Box::pin(async move {
            let mut kept = self.0.kept.lock();
            if let Some(before) = kept.frames.iter().find(|frame| frame.id == *fresh.id) {
                return self.answer(Appended::Before(before.seq));
            }
            if kept.epoch != epoch {
                return Err(EngineError::History);
            }
            let seq = kept.last + 1;
            if let Some(lane) = &fresh.lane {
                let last = kept.lanes.get(&lane.source).map_or(0, |last| last.seq);
                if last != lane.behind {
                    return Err(EngineError::Fenced);
                }
                let place = lane.place.to_vec();
                kept.lanes.insert(Arc::clone(&lane.source), Last { seq, place });
            }
            kept.last = seq;
            kept.frames.push(Stored {
                seq,
                id: fresh.id.to_string(),
                at: SystemTime::now(),
                body: fresh.body.to_vec(),
            });
            drop(kept);
            self.0.news.notify_waiters();
            self.answer(Appended::Now(seq))
        })
    }

    fn last_of<'a>(&'a self, source: &'a str) -> Answer<'a, Option<Last>> {
        Box::pin(async move { self.answer(self.0.kept.lock().lanes.get(source).cloned()) })
    }

    fn renew(&self, epoch: Epoch, given: Seq) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut kept = self.0.kept.lock();
            if kept.epoch == epoch {
                kept.epoch = Epoch(epoch.0.wrapping_add(1));
                kept.last = kept.last.max(given) + 1_000_000;
                kept.began = kept.last;
            }
            self.answer(())
        })
    }

    fn prune(&self, older: SystemTime, most: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut kept = self.0.kept.lock();
            let mut bytes: u64 = kept.frames.iter().map(|frame| frame.body.len() as u64).sum();
            let last = kept.last;
            kept.frames.retain(|frame| {
                let goes = frame.seq < last && (frame.at < older || bytes > most);
                bytes -= if goes { frame.body.len() as u64 } else { 0 };
                !goes
            });
            self.answer(())
        })
    }
}

impl Reader for LocalEngine {
    fn bounds(&self) -> Answer<'_, Bounds> {
        Box::pin(async {
            let kept = self.0.kept.lock();
            let first = kept.frames.iter().find(|frame| frame.seq > kept.began);
            self.answer(Bounds {
                epoch: kept.epoch,
                began: kept.began,
                first: first.map_or(kept.last + 1, |frame| frame.seq),
                last: kept.last,
            })
        })
    }

    fn recent(&self, bytes: u64) -> Answer<'_, Seq> {
        Box::pin(async move {
            let kept = self.0.kept.lock();
            let mut sum = 0;
            let newest = kept.frames.iter().rev().take_while(|frame| {
                sum += frame.body.len() as u64;
                sum <= bytes
            });
            let first = newest.last().map_or(kept.last, |frame| frame.seq - 1);
            self.answer(first.max(kept.began))
        })
    }

    fn read(&self, after: Seq, bytes: u64) -> Answer<'_, Vec<Stored>> {
        Box::pin(async move {
            let kept = self.0.kept.lock();
            let mut sum = 0;
            let mut found = Vec::new();
            for frame in kept.frames.iter().filter(|frame| frame.seq > after) {
                sum += frame.body.len() as u64;
                if sum > bytes && !found.is_empty() {
                    break;
                }
                found.push(frame.clone());
            }
            self.answer(found)
        })
    }

    fn id_of(&self, seq: Seq) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let kept = self.0.kept.lock();
            let frame = kept.frames.iter().find(|frame| frame.seq == seq);
            self.answer(frame.map(|frame| frame.id.clone()))
        })
    }

    fn news(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.news.notified())
    }
}

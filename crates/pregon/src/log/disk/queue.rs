//! What waits to be written: batches, encoded already where they came from.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::codec;
use crate::log::position::Position;
use crate::log::{Append, LogError, Open, Receipt, Taken};

/// Bytes that may wait. A source that has more is told to come again: the disk is what is slow then.
const MOST: usize = 64 << 20;

/// Bytes that are written at once, if there are so many.
const GROUP: usize = 4 << 20;

/// What an item costs beside its bytes.
const OVERHEAD: usize = 320;

/// One batch.
pub(super) struct Job {
    pub(super) items: Vec<Item>,
    /// The entries of all items.
    pub(super) bytes: Vec<u8>,
    pub(super) taken: Option<Taken>,
    pub(super) written: oneshot::Sender<Result<Vec<Position>, LogError>>,
    pub(super) durable: oneshot::Sender<Result<(), LogError>>,
}

/// One thing of a batch.
pub(super) struct Item {
    /// As it is delivered: opened.
    pub(super) content: Append,
    /// As it is written: sealed.
    pub(super) range: Range<usize>,
}

impl Job {
    /// Encodes a batch and opens what it has sealed, on the thread of its source.
    pub(super) fn new(
        batch: Vec<Append>,
        taken: Option<Taken>,
        opener: &dyn Open,
    ) -> Result<(Self, Receipt), LogError> {
        let mut bytes = Vec::new();
        let mut items = Vec::with_capacity(batch.len());
        for mut content in batch {
            let start = bytes.len();
            codec::encode(&content, &mut bytes);
            if bytes.len() - start > codec::MOST {
                return Err(LogError::TooLarge);
            }
            content.open(opener);
            let range = start..bytes.len();
            items.push(Item { content, range });
        }
        let (written, positions) = oneshot::channel();
        let (durable, done) = oneshot::channel();
        let job = Self {
            items,
            bytes,
            taken,
            written,
            durable,
        };
        Ok((job, Receipt::later(positions, done)))
    }

    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + OVERHEAD * self.items.len()
    }

    /// Tells its source that nothing of it was kept.
    pub(super) fn refuse(self, error: LogError) {
        // Whoever dropped the receipt does not want to know.
        let _ = self.written.send(Err(error));
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// The disk takes nothing: who waits here looks after it.
    failing: bool,
    closed: bool,
}

/// What [`Queue::wait`] came back with.
pub(super) enum Waited {
    /// There is something to write.
    Jobs,
    /// Nothing was tried for a while although the disk fails.
    Idle,
    /// Nothing comes any more.
    Closed,
}

impl Queue {
    /// Adds a batch; one that there is no room for comes back. It wakes nobody: see [`Queue::stir`].
    pub(super) fn push(&self, job: Job) -> Result<(), Box<(Job, LogError)>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Box::new((job, LogError::Closed)));
        }
        if !inner.jobs.is_empty() && inner.bytes + job.weight() > MOST {
            return Err(Box::new((job, LogError::Full)));
        }
        inner.bytes += job.weight();
        inner.jobs.push_back(job);
        Ok(())
    }

    /// Wakes the thread that waits, if there is something for it.
    pub(super) fn stir(&self) {
        if !self.inner.lock().jobs.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Notes whether the disk takes nothing; whether that is news.
    pub(super) fn set_failing(&self, failing: bool) -> bool {
        let before = std::mem::replace(&mut self.inner.lock().failing, failing);
        self.wake.notify_one();
        before != failing
    }

    pub(super) fn is_failing(&self) -> bool {
        self.inner.lock().failing
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits until there is something to do; nothing is taken.
    pub(super) fn wait(&self, patience: Duration) -> Waited {
        let mut inner = self.inner.lock();
        loop {
            if !inner.jobs.is_empty() {
                return Waited::Jobs;
            }
            if inner.closed {
                return Waited::Closed;
            }
            if !inner.failing {
                self.wake.wait(&mut inner);
            } else if self.wake.wait_for(&mut inner, patience).timed_out() && inner.jobs.is_empty() {
                return Waited::Idle;
            }
        }
    }

    /// The next batches, if there are some.
    pub(super) fn take(&self) -> Vec<Job> {
        let mut inner = self.inner.lock();
        let (mut jobs, mut sum) = (Vec::new(), 0);
        while sum < GROUP
            && let Some(job) = inner.jobs.pop_front()
        {
            sum += job.weight();
            jobs.push(job);
        }
        inner.bytes -= sum;
        jobs
    }
}

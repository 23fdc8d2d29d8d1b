//! Where the reader puts what it read: into the sink, or into the slow lane while that holds anything. Never waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Captured;
use super::lane::Work;

/// Announcements that may wait for room. More means that the connection came and went many times while nobody took
/// anything; then the newest is what matters.
const MAX_ANNOUNCEMENTS: usize = 16;

/// The reader's end of sink and lane.
pub(super) struct Outlet {
    sink: mpsc::Sender<Captured>,
    lane: mpsc::Sender<Work>,
    /// Items in the lane that are not yet in the sink. Raised here before sending, lowered by the lane after delivery: when
    /// it is zero, whatever went through the lane is ahead in the sink.
    waiting: Arc<AtomicUsize>,
    announcements: VecDeque<Captured>,
    dropped: u64,
}

impl Outlet {
    pub(super) fn new(
        sink: mpsc::Sender<Captured>,
        lane: mpsc::Sender<Work>,
        waiting: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            sink,
            lane,
            waiting,
            announcements: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Nobody receives any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sink.is_closed()
    }

    /// Something has to be announced as soon as there is room.
    pub(super) fn owes(&self) -> bool {
        self.dropped > 0 || !self.announcements.is_empty()
    }

    /// Passes an item on, or counts it as dropped if there is no room.
    pub(super) fn offer(&mut self, work: Work) {
        if (self.owes() && !self.settle()) || !self.push(work) {
            self.dropped += 1;
        }
    }

    /// Announces a change of state; never dropped, and in order with the items.
    pub(super) fn announce(&mut self, captured: Captured) {
        if self.announcements.len() >= MAX_ANNOUNCEMENTS {
            self.announcements.clear();
        }
        if self.dropped > 0 {
            self.announcements.push_back(Captured::Overflow {
                dropped: self.dropped,
            });
            self.dropped = 0;
        }
        self.announcements.push_back(captured);
        self.settle();
    }

    /// Returns when there is room, or nobody receives any more.
    pub(super) async fn room(&self) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            drop(self.sink.reserve().await);
        } else {
            drop(self.lane.reserve().await);
        }
    }

    /// Sends what is owed; true if nothing is left.
    pub(super) fn settle(&mut self) -> bool {
        while let Some(first) = self.announcements.front().cloned() {
            if !self.push(Work::Ready(first)) {
                return false;
            }
            self.announcements.pop_front();
        }
        if self.dropped > 0
            && self.push(Work::Ready(Captured::Overflow {
                dropped: self.dropped,
            }))
        {
            tracing::warn!(
                dropped = self.dropped,
                "notifications dropped because the gateway was too slow"
            );
            self.dropped = 0;
        }
        self.dropped == 0
    }

    fn push(&self, work: Work) -> bool {
        match work {
            Work::Ready(captured) if self.waiting.load(Ordering::Acquire) == 0 => {
                match self.sink.try_send(captured) {
                    Ok(()) | Err(TrySendError::Closed(_)) => true,
                    Err(TrySendError::Full(_)) => false,
                }
            }
            work => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                let sent = self.lane.try_send(work);
                if sent.is_err() {
                    self.waiting.fetch_sub(1, Ordering::AcqRel);
                }
                !matches!(sent, Err(TrySendError::Full(_)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn item(n: u8) -> Work {
        Work::Ready(Captured::RenderError {
            watch: Arc::from("w"),
            fault: n.to_string().into(),
        })
    }

    fn outlet(room: usize) -> (Outlet, mpsc::Receiver<Captured>, mpsc::Receiver<Work>) {
        let (sink, taken) = mpsc::channel(room);
        let (lane, slow) = mpsc::channel(room);
        (Outlet::new(sink, lane, Arc::default()), taken, slow)
    }

    #[test]
    fn what_does_not_fit_is_counted_and_said_once() {
        let (mut outlet, mut taken, _slow) = outlet(2);
        for n in 0..5 {
            outlet.offer(item(n));
        }
        assert!(outlet.owes());
        taken.try_recv().unwrap();
        taken.try_recv().unwrap();
        outlet.offer(item(9));
        assert_eq!(taken.try_recv().unwrap(), Captured::Overflow { dropped: 3 });
        assert!(
            matches!(taken.try_recv().unwrap(), Captured::RenderError { fault, .. } if fault.whole() == "9")
        );
    }

    #[test]
    fn a_loss_is_never_dropped_and_stays_in_order() {
        let (mut outlet, mut taken, _slow) = outlet(1);
        outlet.offer(item(0));
        outlet.offer(item(1));
        outlet.announce(Captured::Lost { reason: "x".into() });
        outlet.announce(Captured::Attached { pid: 1 });
        let mut seen = Vec::new();
        while let Ok(captured) = taken.try_recv() {
            seen.push(captured);
            outlet.settle();
        }
        assert_eq!(seen[1], Captured::Overflow { dropped: 1 });
        assert_eq!(seen[2], Captured::Lost { reason: "x".into() });
        assert_eq!(seen[3], Captured::Attached { pid: 1 });
    }

    #[test]
    fn while_the_lane_holds_anything_all_goes_through_it() {
        let (mut outlet, mut taken, mut slow) = outlet(4);
        outlet.offer(Work::Stored { id: 1 });
        outlet.offer(item(1));
        assert!(taken.try_recv().is_err());
        assert!(matches!(slow.try_recv().unwrap(), Work::Stored { id: 1 }));
        assert!(matches!(slow.try_recv().unwrap(), Work::Ready(_)));
    }
}

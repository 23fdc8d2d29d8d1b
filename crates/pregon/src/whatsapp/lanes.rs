//! Which lanes have work, and which are being worked on: two sets of bits.
//!
//! A lane that gets work while it is being worked on is taken once more afterwards. Nothing here can grow.

use parking_lot::Mutex;
use tokio::sync::Notify;

use pregon_capture::router::LANES;

/// A set of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set(u64);

const _: () = assert!(LANES == 64, "a set of lanes is one word");

impl Set {
    pub(super) const ALL: Self = Self(u64::MAX);

    pub(super) fn add(&mut self, lane: u16) {
        self.0 |= 1_u64.checked_shl(u32::from(lane)).unwrap_or(1);
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, lane: u16) -> bool {
        self.0.checked_shr(u32::from(lane)).unwrap_or(0) & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u16> {
        (0..LANES).filter(move |lane| self.contains(*lane))
    }

    /// At most so many of its lanes.
    fn first(self, most: u32) -> Self {
        let mut rest = self.0;
        for _ in 0..most {
            rest &= rest.wrapping_sub(1);
        }
        Self(self.0 & !rest)
    }
}

#[derive(Debug, Default)]
struct State {
    pending: Set,
    busy: Set,
}

/// The lanes of a process.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    bell: Notify,
    /// Most lanes for one worker at once, so that all have something to do.
    share: u32,
}

impl Lanes {
    pub(super) fn new(workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        Self {
            state: Mutex::default(),
            bell: Notify::new(),
            share: u32::from(LANES).div_ceil(workers),
        }
    }

    /// These lanes have work.
    pub(super) fn mark(&self, lanes: Set) {
        if lanes.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.pending = state.pending.union(lanes);
        drop(state);
        self.bell.notify_one();
    }

    /// Waits for lanes that have work and that nobody works on.
    pub(super) async fn take(&self) -> Set {
        loop {
            if let Some(taken) = self.try_take() {
                return taken;
            }
            self.bell.notified().await;
        }
    }

    pub(super) fn try_take(&self) -> Option<Set> {
        let mut state = self.state.lock();
        let ready = Set(state.pending.0 & !state.busy.0);
        if ready.is_empty() {
            return None;
        }
        let taken = ready.first(self.share);
        state.pending.0 &= !taken.0;
        state.busy.0 |= taken.0;
        if taken != ready {
            self.bell.notify_one(); // Another worker may have the rest.
        }
        Some(taken)
    }

    /// Gives lanes back.
    pub(super) fn give_back(&self, lanes: Set) {
        let mut state = self.state.lock();
        state.busy.0 &= !lanes.0;
        let more = state.pending.0 & lanes.0 != 0;
        drop(state);
        if more {
            self.bell.notify_one();
        }
    }

    /// Whether nothing is known to wait and nobody works.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.pending.is_empty() && state.busy.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_busy_lane_is_taken_again_afterwards_and_by_nobody_meanwhile() {
        let lanes = Lanes::new(1);
        let mut three = Set::default();
        three.add(3);
        lanes.mark(three);
        assert_eq!(lanes.try_take(), Some(three));
        lanes.mark(three);
        assert_eq!(lanes.try_take(), None);
        lanes.give_back(three);
        assert_eq!(lanes.try_take(), Some(three));
        lanes.give_back(three);
        assert!(lanes.is_idle());
    }

    proptest! {
        #[test]
        fn every_marked_lane_is_taken_once(marked in prop::collection::vec(0u16..LANES, 0..80), workers in 1usize..9) {
            let lanes = Lanes::new(workers);
            let mut wanted = Set::default();
            for lane in &marked {
                wanted.add(*lane);
            }
            lanes.mark(wanted);
            let mut seen = Set::default();
            while let Some(taken) = lanes.try_take() {
                prop_assert!(taken.0 & seen.0 == 0);
                prop_assert!(taken.iter().count() <= usize::from(LANES).div_ceil(workers));
                seen = seen.union(taken);
            }
            prop_assert_eq!(seen, wanted);
        }
    }
}

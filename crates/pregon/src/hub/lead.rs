//! A round by whoever appends.
//!
//! Waking a thread takes longer than handing an entry to a few sessions, on a machine that sleeps between two events longer than
//! everything else on its way. So whoever appends to a shard that rests does a round of it, where that is little; else it wakes the
//! thread, which takes together what comes meanwhile.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::ShardHandle;
use super::shard::Shard;

/// Sessions of a shard to which an entry is handed faster than to its thread.
const FEW: usize = 16;

/// After a round so recent more is under way, and the thread takes it together.
const RECENT: Duration = Duration::from_micros(500);

/// A shard as whoever appends sees it. The log outlives it, and belongs to it.
pub(super) struct Led {
    pub(super) shard: Weak<Mutex<Shard>>,
    pub(super) handle: ShardHandle,
}

/// Hands what is new to the sessions of all shards, or wakes the threads that do so. Where somebody may wait for it comes first.
pub(super) fn lead(shards: &[Led]) {
    let has_sessions = |led: &&Led| led.handle.sessions.load(Ordering::Relaxed) > 0;
    shards.iter().filter(has_sessions).for_each(Led::lead);
    shards.iter().filter(|led| !has_sessions(led)).for_each(Led::lead);
}

impl Led {
    fn lead(&self) {
        if !self.handle.must_wake() {
            return;
        }
        let Some(shard) = self.shard.upgrade() else { return };
        match shard.try_lock() {
            Some(mut shard) if shard.is_led() => {
                // Cleared before anything is read: what comes later wakes the thread.
                self.handle.looking();
                shard.round();
                if shard.needs_its_thread() {
                    self.handle.wake();
                }
            }
            _ => self.handle.wake_thread(),
        }
    }
}

impl Shard {
    /// Whether whoever appends does the round: the shard has none to hand it to, or few and rests.
    fn is_led(&self) -> bool {
        let rests = || self.rested.elapsed() >= RECENT;
        !self.draining && !self.has_more() && (self.conns.is_empty() || self.conns.len() <= FEW && rests())
    }

    /// Whether its thread, which sleeps, has something to do earlier than it thinks.
    fn needs_its_thread(&self) -> bool {
        let earlier = || {
            self.timers
                .next()
                .is_some_and(|next| self.until.is_none_or(|until| next < until))
        };
        self.is_over() || self.has_more() || earlier()
    }
}

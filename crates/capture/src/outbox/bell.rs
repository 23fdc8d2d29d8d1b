//! When to look into the outbox again: at once, a moment later, or when a writer rings. Pure; time is an argument.
//!
//! A notification in a transaction that writes makes the commits of the whole server take turns, so writers ring only while the gateway
//! says that it is asleep: with few transactions, where it costs nothing and the answer is immediate. With many it stays awake and looks
//! by itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More rings than [`MANY`] in this time: the writers would soon wait for each other.
const SPAN: Duration = Duration::from_millis(100);
/// About 120 notifying commits a second, a third of what a disk with 2.7 ms for each fsync can take one by one.
const MANY: usize = 12;
/// Awake for this long without a row: few enough write that they may ring.
const DROWSY: Duration = Duration::from_millis(30);
/// Between two looks while awake: half of it is what a change waits on average.
const AWAKE: Duration = Duration::from_millis(1);
/// For a writer that is known to be at work.
const EAGER: Duration = Duration::from_millis(3);
/// Longest pause where nobody can ring.
const UNRUNG: Duration = Duration::from_millis(50);
/// Longest pause while a transaction stays open: a part of the time that it takes anyway.
const STALLED: Duration = Duration::from_millis(250);
/// A ring may be missed: a writer in REPEATABLE READ still sees that the gateway was awake. Also what keeps the session alive.
const FALLBACK: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Look again after this time; asleep, or earlier when somebody rings.
    Look(Duration),
    /// Say that writers have to ring, then look again.
    Sleep,
    /// Say that they need not, then look again.
    Wake,
}

/// What the last look showed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Rows came.
    pub(super) rows: bool,
    /// There are more, or no room for more.
    pub(super) more: bool,
    /// A transaction that has written is open, and may not have heard that it should ring.
    pub(super) writers: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bell {
    can_ring: bool,
    asleep: bool,
    rings: VecDeque<Instant>,
    last_rows: Instant,
}

impl Bell {
    /// Awake; `can_ring` is false where writers must not notify.
    pub(super) fn new(can_ring: bool, now: Instant) -> Self {
        Self {
            can_ring,
            asleep: false,
            rings: VecDeque::new(),
            last_rows: now,
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// [`Next::Sleep`] or [`Next::Wake`] was done.
    pub(super) fn set_asleep(&mut self, asleep: bool, now: Instant) {
        self.asleep = asleep;
        self.rings.clear();
        self.last_rows = now;
    }

    pub(super) fn next(&mut self, seen: Seen, now: Instant) -> Next {
        if seen.rows {
            self.last_rows = now;
        }
        if self.asleep && seen.rows && self.rings_often(now) {
            return Next::Wake;
        }
        if seen.more {
            return Next::Look(Duration::ZERO);
        }
        let quiet = now.saturating_duration_since(self.last_rows);
        if self.asleep {
            let known = (quiet / 10).clamp(EAGER, STALLED);
            return Next::Look(if seen.writers { known } else { FALLBACK });
        }
        if quiet < DROWSY {
            return Next::Look(AWAKE);
        }
        if self.can_ring {
            return Next::Sleep;
        }
        Next::Look((quiet / 10).clamp(EAGER, if seen.writers { STALLED } else { UNRUNG }))
    }

    fn rings_often(&mut self, now: Instant) -> bool {
        self.rings.push_back(now);
        while self
            .rings
            .front()
            .is_some_and(|ring| now.saturating_duration_since(*ring) > SPAN)
        {
            self.rings.pop_front();
        }
        self.rings.len() > MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Seen = Seen {
        rows: true,
        more: false,
        writers: false,
    };
    const NOTHING: Seen = Seen {
        rows: false,
        more: false,
        writers: false,
    };

    fn asleep(now: Instant) -> Bell {
        let mut bell = Bell::new(true, now);
        bell.set_asleep(true, now);
        bell
    }

    #[test]
    fn it_sleeps_after_a_quiet_moment_and_then_waits_for_the_ring() {
        let start = Instant::now();
        let mut bell = Bell::new(true, start);
        assert_eq!(bell.next(ROWS, start), Next::Look(AWAKE));
        assert_eq!(bell.next(NOTHING, start + DROWSY / 2), Next::Look(AWAKE));
        let later = start + DROWSY;
        assert_eq!(bell.next(NOTHING, later), Next::Sleep);
        bell.set_asleep(true, later);
        assert_eq!(bell.next(NOTHING, later), Next::Look(FALLBACK));
    }

    #[test]
    fn few_rings_leave_it_asleep_and_many_wake_it() {
        let mut now = Instant::now();
        let mut bell = asleep(now);
        for _ in 0..100 {
            now += Duration::from_millis(20);
            assert_eq!(bell.next(ROWS, now), Next::Look(FALLBACK));
        }
        let mut woke = 0;
        for _ in 0..30 {
            now += Duration::from_millis(2);
            if bell.next(ROWS, now) == Next::Wake {
                bell.set_asleep(false, now);
                woke += 1;
            }
        }
        assert_eq!(woke, 1);
        assert!(!bell.is_asleep());
    }

    #[test]
    fn writers_that_may_not_ring_are_looked_for_ever_more_slowly() {
        let start = Instant::now();
        let mut bell = asleep(start);
        let writers = Seen {
            writers: true,
            ..NOTHING
        };
        assert_eq!(bell.next(writers, start), Next::Look(EAGER));
        assert_eq!(
            bell.next(writers, start + Duration::from_secs(1)),
            Next::Look(Duration::from_millis(100))
        );
        assert_eq!(
            bell.next(writers, start + Duration::from_secs(60)),
            Next::Look(STALLED)
        );
    }

    #[test]
    fn where_nobody_can_ring_it_looks_by_itself() {
        let start = Instant::now();
        let mut bell = Bell::new(false, start);
        assert_eq!(
            bell.next(NOTHING, start + Duration::from_secs(60)),
            Next::Look(UNRUNG)
        );
        let more = Seen { more: true, ..ROWS };
        assert_eq!(bell.next(more, start), Next::Look(Duration::ZERO));
    }
}

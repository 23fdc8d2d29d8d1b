//! Rates: so much a second, with a burst. A meter is one number, the time up to which what was taken is paid for.
//!
//! Whoever measures takes whole portions and brings the time along, so that nothing here asks a clock for each message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000;

/// The time of one node in microseconds since its start: what meters count in.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    pub fn at(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.0).as_micros();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

/// How much may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Zero means no limit.
    pub per_second: u64,
    /// What may be taken at once by who has taken nothing for a while.
    pub burst: u64,
}

impl Rate {
    /// No limit.
    pub const FREE: Self = Self {
        per_second: 0,
        burst: 0,
    };

    /// The time that stands for an amount.
    fn time(self, amount: u64) -> u64 {
        amount.saturating_mul(SECOND) / self.per_second
    }

    /// Where a meter stands after `amount` was taken at `now`, and by how much that is more than allowed.
    fn take(self, paid: u64, amount: u64, now: u64) -> (u64, Excess) {
        if self.per_second == 0 {
            return (0, Excess(0));
        }
        let paid = paid.max(now).saturating_add(self.time(amount));
        (
            paid,
            Excess(paid.saturating_sub(now).saturating_sub(self.time(self.burst))),
        )
    }
}

/// For how long nothing more may be taken, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Excess(u64);

impl Excess {
    pub fn is_over(self) -> bool {
        self.0 > 0
    }

    pub fn pause(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

/// A meter of one owner.
#[derive(Debug, Default, Clone, Copy)]
pub struct Meter(u64);

impl Meter {
    /// Takes an amount, and says whether that was more than the rate allows.
    pub fn take(&mut self, amount: u64, rate: Rate, now: u64) -> Excess {
        let (paid, excess) = rate.take(self.0, amount, now);
        self.0 = paid;
        excess
    }
}

/// A meter that several threads share.
#[derive(Debug, Default)]
pub struct SharedMeter(AtomicU64);

impl SharedMeter {
    /// As [`Meter::take`].
    pub fn take(&self, amount: u64, rate: Rate, now: u64) -> Excess {
        if rate.per_second == 0 {
            return Excess(0);
        }
        let mut excess = Excess(0);
        let taken = |paid| {
            let (paid, over) = rate.take(paid, amount, now);
            excess = over;
            Some(paid)
        };
        // The function never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        excess
    }

    /// Takes an amount only if that is within the rate.
    pub fn take_if_free(&self, amount: u64, rate: Rate, now: u64) -> Result<(), Excess> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let mut excess = Excess(0);
        let taken = |paid| {
            let (paid, over) = rate.take(paid, amount, now);
            excess = over;
            (!over.is_over()).then_some(paid)
        };
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        taken.map(|_| ()).map_err(|_| excess)
    }

    /// Whether everything that was taken is paid for.
    pub fn is_even(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Rate = Rate {
        per_second: 10,
        burst: 20,
    };

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut meter = Meter::default();
        let start = 5 * SECOND;
        assert!((0..20).all(|_| !meter.take(1, TEN, start).is_over()));
        assert_eq!(meter.take(1, TEN, start).pause(), Duration::from_millis(100));
        assert!(!meter.take(1, TEN, start + SECOND / 5).is_over());
        assert!(meter.take(1, TEN, start + SECOND / 5).is_over());
        assert!(!meter.take(20, TEN, start + 60 * SECOND).is_over());
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let meter = SharedMeter::default();
        assert!(meter.take_if_free(20, TEN, SECOND).is_ok());
        for _ in 0..100 {
            assert!(meter.take_if_free(1, TEN, SECOND).is_err());
        }
        assert!(meter.take_if_free(1, TEN, SECOND + SECOND / 10).is_ok());
        assert!(!meter.is_even(2 * SECOND) && meter.is_even(4 * SECOND));
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert!(!Meter::default().take(u64::MAX, Rate::FREE, 1).is_over());
        assert!(!SharedMeter::default().take(u64::MAX, Rate::FREE, 1).is_over());
    }
}

//! How long to wait before the next attempt. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// Clients get rows again within 5 s after PostgreSQL is back; 2 s leave room for the login.
const CAP: Duration = Duration::from_secs(2);
/// Somebody has to change a password or create a database first.
const PERMANENT: Duration = Duration::from_secs(5);

/// At once, then 100 ms × 2ⁿ up to 2 s, each time a random part of it, so that nodes do not come back in step.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt; `chance` is between 0 and 1.
    pub fn next(&mut self, permanent: bool, chance: f64) -> Duration {
        let attempt = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        if permanent {
            return PERMANENT;
        }
        match attempt {
            0 => Duration::ZERO,
            n => FIRST
                .saturating_mul(1 << (n - 1).min(16))
                .min(CAP)
                .mul_f64(chance.clamp(0.0, 1.0)),
        }
    }

    /// The connection worked.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(false, 1.0).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
        backoff.reset();
        assert_eq!(backoff.next(false, 1.0), Duration::ZERO);
        assert_eq!(backoff.next(true, 0.0), PERMANENT);
    }
}

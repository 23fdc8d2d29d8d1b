//! How long to wait before the next attempt.

use std::time::Duration;

/// Somebody has to change a password, a right or a name first.
const PERMANENT: Duration = Duration::from_secs(5);

/// At once, then `first` × 2ⁿ up to `longest`, each time a random part of it, so that nodes do not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Default for Backoff {
    /// Of connections: clients get rows again within 5 s after the server is back; 2 s leave room for the login.
    fn default() -> Self {
        Self::between(Duration::from_millis(100), Duration::from_secs(2))
    }
}

impl Backoff {
    /// Waits of `first` and longer, up to `longest`.
    pub const fn between(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempts: 0,
        }
    }

    /// The wait before the next attempt. `permanent`: the failure does not pass by itself. `chance` is between 0 and 1.
    pub fn next(&mut self, permanent: bool, chance: f64) -> Duration {
        let attempt = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        if permanent {
            return PERMANENT;
        }
        match attempt {
            0 => Duration::ZERO,
            n => self
                .first
                .saturating_mul(1 << (n - 1).min(16))
                .min(self.longest)
                .mul_f64(chance.clamp(0.0, 1.0)),
        }
    }

    /// Waits before the next attempt after a failure that may pass by itself.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next(false, rand::random())).await;
    }

    /// The attempt worked.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(false, 1.0).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 2000, 2000]);
        backoff.reset();
        assert_eq!(backoff.next(false, 1.0), Duration::ZERO);
        assert_eq!(backoff.next(true, 0.0), PERMANENT);
        assert_eq!(backoff.next(false, 0.5), Duration::from_millis(100));
    }
}

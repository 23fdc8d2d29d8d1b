//! A token bucket for client publishes: as many a second as configured, with a burst of the same size.

use std::time::Instant;

/// See the module. Empty of state until first used.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    last: Option<Instant>,
    spent: f32,
}

impl Bucket {
    /// Takes one token; `false` means too fast. `per_second` of zero refuses everything.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let rate = per_second as f32;
        if let Some(last) = self.last {
            let back = now.saturating_duration_since(last).as_secs_f32() * rate;
            self.spent = (self.spent - back).max(0.0);
        }
        self.last = Some(now);
        if self.spent + 1.0 > rate {
            return false;
        }
        self.spent += 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        assert!((0..10).all(|_| bucket.take(10, start)));
        assert!(!bucket.take(10, start));
        assert!(bucket.take(10, start + Duration::from_millis(101)));
        assert!(!bucket.take(10, start + Duration::from_millis(101)));
    }
}

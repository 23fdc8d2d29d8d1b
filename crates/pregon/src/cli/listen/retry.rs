//! Waiting longer and longer between attempts, with jitter, until told to stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Doubles from `first` to `most`.
#[derive(Debug)]
pub(super) struct Retry {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Retry {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next failure is a first one again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now: between half of the step and all of it, so that many tills do not knock together.
    pub(super) fn step(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// Waits; false when told to stop.
    pub(super) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        let wait = self.step();
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_to_the_limit_and_start_again() {
        let mut retry = Retry::new(Duration::from_millis(100), Duration::from_millis(300));
        let within = |wait: Duration, most: u64| (most / 2..=most).contains(&(wait.as_millis() as u64));
        assert!(
            within(retry.step(), 100)
                && within(retry.step(), 200)
                && within(retry.step(), 300)
                && within(retry.step(), 300)
        );
        retry.reset();
        assert!(within(retry.step(), 100));
    }
}

//! What is said now and then, however often it happens: one line for many, with their number.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// How often it has happened since it was said last, where it is time to say it again.
    pub(crate) fn due(&self) -> Option<u64> {
        let (said, since) = &mut *self.0.lock();
        *since += 1;
        if said.is_some_and(|said| said.elapsed() < PAUSE) {
            return None;
        }
        *said = Some(Instant::now());
        Some(std::mem::take(since))
    }
}

//! Whether work is done at once or queued, and when that changes.
//!
//! Work stands in the same table either way, so that a change moves nothing: `direct` tells the workers of each item as it comes,
//! `queued` lets them look for it, which makes larger transactions and leaves the machine to the deliveries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::metrics::Metrics;
use crate::config;

/// How long something may lie that no worker was told of: left by another process, or due again.
const LOOK: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a router works at the moment.
#[derive(Debug)]
pub(super) struct Mode {
    queued: AtomicBool,
    judge: Option<Mutex<Judge>>,
    poll: Duration,
    metrics: Arc<Metrics>,
}

impl Mode {
    pub(super) fn new(section: &config::Router, metrics: Arc<Metrics>) -> Self {
        let queued = section.mode == config::Mode::Queued;
        metrics.queued.set(i64::from(queued));
        let auto = section.mode == config::Mode::Auto;
        Self {
            queued: AtomicBool::new(queued),
            judge: auto.then(|| Mutex::new(Judge::new(section.queue.clone(), Instant::now()))),
            poll: section.queue.poll.0,
            metrics,
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        !self.queued.load(Ordering::Relaxed)
    }

    /// Between two looks for work.
    pub(super) fn pause(&self) -> Duration {
        self.change(|judge, now| judge.verdict(now));
        if self.is_direct() { LOOK } else { self.poll }
    }

    /// So many items came.
    pub(super) fn arrived(&self, items: usize) {
        self.change(|judge, now| judge.arrived(items as u64, now));
    }

    /// An item came to its end after so many milliseconds.
    pub(super) fn ended(&self, age: f64) {
        let age = Duration::from_secs_f64((age / 1000.0).clamp(0.0, 1e6));
        self.change(|judge, now| judge.ended(age, now));
    }

    fn change(&self, ask: impl FnOnce(&mut Judge, Instant) -> Option<Verdict>) {
        let Some(judge) = &self.judge else { return };
        let Some(verdict) = ask(&mut judge.lock(), Instant::now()) else {
            return;
        };
        self.queued.store(verdict.queued, Ordering::Relaxed);
        self.metrics.queued.set(i64::from(verdict.queued));
        let mode = if verdict.queued { "queued" } else { "direct" };
        tracing::info!(
            mode,
            reason = verdict.reason,
            "the mode of the router has changed"
        );
    }
}

/// A change, and why.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    queued: bool,
    reason: &'static str,
}

/// Items in a window of time: that of now and the one before, weighed by how much of it still counts.
#[derive(Debug)]
struct Rate {
    width: Duration,
    began: Instant,
    now: u64,
    before: u64,
}

impl Rate {
    fn new(width: Duration, now: Instant) -> Self {
        Self {
            width,
            began: now,
            now: 0,
            before: 0,
        }
    }

    fn add(&mut self, items: u64, now: Instant) {
        self.advance(now);
        self.now += items;
    }

    fn count(&mut self, now: Instant) -> u64 {
        self.advance(now);
        let left = self
            .width
            .saturating_sub(now.saturating_duration_since(self.began));
        self.now
            + self.before * u64::try_from(left.as_millis()).unwrap_or(0)
                / u64::try_from(self.width.as_millis()).unwrap_or(1).max(1)
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= self.width * 2 {
            (self.before, self.now, self.began) = (0, 0, now);
        } else if passed >= self.width {
            (self.before, self.now) = (self.now, 0);
            self.began += self.width;
        }
    }
}

/// Decides between the two. Pure: time is an argument.
#[derive(Debug)]
struct Judge {
    limits: config::Queue,
    queued: bool,
    minute: Rate,
    day: Rate,
    /// The last time that something was above half of its limit.
    stirred: Instant,
}

impl Judge {
    fn new(limits: config::Queue, now: Instant) -> Self {
        Self {
            limits,
            queued: false,
            minute: Rate::new(MINUTE, now),
            day: Rate::new(DAY, now),
            stirred: now,
        }
    }

    fn arrived(&mut self, items: u64, now: Instant) -> Option<Verdict> {
        self.minute.add(items, now);
        self.day.add(items, now);
        self.verdict(now)
    }

    fn ended(&mut self, age: Duration, now: Instant) -> Option<Verdict> {
        if age > self.limits.latency.0 / 2 {
            self.stirred = now;
        }
        (age > self.limits.latency.0)
            .then(|| self.queue("latency"))
            .flatten()
    }

    fn verdict(&mut self, now: Instant) -> Option<Verdict> {
        let (minute, day) = (self.minute.count(now), self.day.count(now));
        if minute > self.limits.per_minute / 2 || day > self.limits.per_day / 2 {
            self.stirred = now;
        }
        if minute > self.limits.per_minute {
            return self.queue("items per minute");
        }
        if day > self.limits.per_day {
            return self.queue("items per day");
        }
        if self.queued && now.saturating_duration_since(self.stirred) >= self.limits.calm.0 {
            self.queued = false;
            return Some(Verdict {
                queued: false,
                reason: "it has been calm",
            });
        }
        None
    }

    fn queue(&mut self, reason: &'static str) -> Option<Verdict> {
        let changed = !std::mem::replace(&mut self.queued, true);
        changed.then_some(Verdict { queued: true, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_queues_and_only_lasting_calm_ends_it() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut judge = Judge::new(config::Queue::default(), start);
        assert_eq!(judge.arrived(50, at(1)), None);
        assert_eq!(
            judge.arrived(1, at(2)).map(|verdict| verdict.reason),
            Some("items per minute")
        );
        assert_eq!(judge.arrived(100, at(3)), None, "it is queued already");
        assert_eq!(judge.verdict(at(300)), None);
        // Above half of the limit: not calm.
        assert_eq!(judge.arrived(30, at(500)), None);
        assert_eq!(judge.verdict(at(1000)), None);
        assert_eq!(judge.verdict(at(1101)).map(|verdict| verdict.queued), Some(false));
        assert_eq!(judge.verdict(at(1102)), None);
    }

    #[test]
    fn slowness_and_a_full_day_queue_too() {
        let start = Instant::now();
        let mut judge = Judge::new(config::Queue::default(), start);
        assert_eq!(judge.ended(Duration::from_secs(5), start), None);
        assert!(judge.ended(Duration::from_millis(5001), start).is_some());
        let mut judge = Judge::new(config::Queue::default(), start);
        let mut changes = Vec::new();
        for minute in 0..600 {
            changes.extend(judge.arrived(20, start + MINUTE * minute));
        }
        assert_eq!(changes.len(), 1);
        assert_eq!(
            changes.first().map(|verdict| verdict.reason),
            Some("items per day")
        );
    }
}

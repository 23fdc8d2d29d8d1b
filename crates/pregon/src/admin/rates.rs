//! How much happens per second: the difference of two looks at the counters.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::exposition::Exposition;

/// Looks that are nearer say little, and those that are further apart say nothing about now.
const NEAR: Duration = Duration::from_millis(500);
const FAR: Duration = Duration::from_secs(10);

/// What is counted, by its name in the answer.
const COUNTERS: [(&str, &str); 6] = [
    ("events", "events_total"),
    ("publications", "publications_total"),
    ("deliveries", "deliveries_total"),
    ("delivered_bytes", "delivered_bytes_total"),
    ("opened", "sessions_opened_total"),
    ("replayed", "replayed_total"),
];

/// The look before, and what came out of the last two.
#[derive(Default)]
pub(super) struct Rates {
    before: Option<(Instant, [f64; COUNTERS.len()])>,
    last: Option<[f64; COUNTERS.len()]>,
}

impl Rates {
    /// Takes a look: the rates, or null where the look before is too long ago.
    pub(super) fn look(&mut self, now: Instant, metrics: &Exposition) -> Value {
        let counts = COUNTERS.map(|(_, metric)| metrics.value(metric));
        match self.before {
            Some((then, _)) if now.duration_since(then) < NEAR => {}
            Some((then, before)) if now.duration_since(then) <= FAR => {
                let seconds = now.duration_since(then).as_secs_f64();
                let mut rates = counts;
                for (rate, before) in rates.iter_mut().zip(before) {
                    *rate = (*rate - before) / seconds;
                }
                self.last = Some(rates);
                self.before = Some((now, counts));
            }
            _ => {
                self.last = None;
                self.before = Some((now, counts));
            }
        }
        let Some(rates) = self.last else {
            return Value::Null;
        };
        let named = COUNTERS.iter().zip(rates);
        named
            .map(|((name, _), rate)| ((*name).to_owned(), json!(rate)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn rates_are_per_second_and_never_of_long_ago() {
        let (metrics, start) = (Metrics::new(), Instant::now());
        let mut rates = Rates::default();
        let mut look =
            |after: u64| rates.look(start + Duration::from_millis(after), &Exposition::of(&metrics));
        assert_eq!(look(0), Value::Null);
        metrics.deliveries.inc_by(10);
        assert_eq!(look(100), Value::Null, "too near");
        assert_eq!(look(2000)["deliveries"], json!(5.0));
        assert_eq!(look(2100)["deliveries"], json!(5.0), "the last one holds");
        assert_eq!(look(60_000), Value::Null);
    }
}

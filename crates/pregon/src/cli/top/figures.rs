//! Two readings become rates and quantiles. Pure. The fields are what `--json` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scrape::Reading;
use crate::exposition::{Samples, whole};

/// How a gateway is and what it did between two readings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) url: String,
    pub(super) ready: bool,
    /// What keeps it from being ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<String>,
    /// What the rates are of.
    pub(super) interval_seconds: f64,
    /// Sessions by transport.
    pub(super) connections: BTreeMap<String, u64>,
    pub(super) connections_total: u64,
    pub(super) events: Count,
    pub(super) publications: Count,
    pub(super) deliveries: Count,
    pub(super) delivered_bytes: Count,
    pub(super) commit_to_write: Quantiles,
    pub(super) sources: Vec<Source>,
    pub(super) outbox: Outbox,
    pub(super) slot: Slot,
    pub(super) log: Log,
    /// What was not delivered or not admitted, by reason.
    pub(super) drops: BTreeMap<String, Count>,
    /// What was refused to the addresses to which most was refused, by address and reason.
    pub(super) refused: BTreeMap<String, BTreeMap<String, u64>>,
    pub(super) replayed: Count,
    pub(super) gaps: Count,
}

/// A counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Count {
    pub(super) total: u64,
    pub(super) per_second: f64,
}

/// Of a histogram, in milliseconds; none where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// How many were measured.
    pub(super) count: u64,
    /// Whether they are of the interval; otherwise nothing happened in it, and they are of all time since the start.
    pub(super) recent: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) events: Count,
    /// Times that it may have lost something.
    pub(super) gaps: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Outbox {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) lag_seconds: f64,
    pub(super) stalled_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Slot {
    pub(super) retained_bytes: u64,
    pub(super) alarm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Log {
    pub(super) bytes: u64,
    pub(super) segments: u64,
    pub(super) oldest: u64,
    pub(super) newest: u64,
    pub(super) failures: u64,
    pub(super) sync: Quantiles,
    pub(super) window_bytes: u64,
    pub(super) window_entries: u64,
}

impl Figures {
    pub(super) fn between(before: &Reading, now: &Reading) -> Self {
        let pair = Pair {
            before: &before.samples,
            now: &now.samples,
            seconds: now.at.duration_since(before.at).as_secs_f64(),
        };
        let samples = &now.samples;
        let connections: BTreeMap<String, u64> = samples
            .by("pregon_sessions", "transport")
            .map(|(transport, count)| (transport.to_owned(), whole(count)))
            .collect();
        Self {
            url: now.url.clone(),
            ready: now.missing.is_none(),
            missing: now.missing.clone(),
            interval_seconds: pair.seconds,
            connections_total: connections.values().sum(),
            connections,
            events: pair.count("pregon_events_total"),
            publications: pair.count("pregon_publications_total"),
            deliveries: pair.count("pregon_deliveries_total"),
            delivered_bytes: pair.count("pregon_delivered_bytes_total"),
            commit_to_write: pair.quantiles("pregon_commit_to_write_seconds"),
            sources: pair.sources(),
            outbox: Outbox {
                rows: whole(samples.value("pregon_outbox_rows")),
                bytes: whole(samples.value("pregon_outbox_bytes")),
                lag_seconds: samples.value("pregon_outbox_lag_seconds"),
                stalled_seconds: samples.value("pregon_outbox_stalled_seconds"),
            },
            slot: Slot {
                retained_bytes: whole(samples.value("pregon_slot_retained_bytes")),
                alarm: samples.value("pregon_slot_alarm") > 0.0,
            },
            log: pair.log(),
            drops: pair.drops(),
            refused: samples.by_two("pregon_address_refused", "address", "reason"),
            replayed: pair.count("pregon_replayed_total"),
            gaps: pair.count("pregon_gaps_total"),
        }
    }
}

/// The same metrics at two times.
struct Pair<'r> {
    before: &'r Samples,
    now: &'r Samples,
    seconds: f64,
}

impl Pair<'_> {
    fn count(&self, name: &str) -> Count {
        self.rate(self.before.sum(name), self.now.sum(name))
    }

    fn count_at(&self, name: &str, label: &str, value: &str) -> Count {
        self.rate(
            self.before.at(name, label, value),
            self.now.at(name, label, value),
        )
    }

    /// A counter that is lower than before was begun anew by a restart.
    fn rate(&self, before: f64, now: f64) -> Count {
        let grown = if now < before { now } else { now - before };
        Count {
            total: whole(now),
            per_second: if self.seconds > 0.0 {
                grown / self.seconds
            } else {
                0.0
            },
        }
    }

    fn sources(&self) -> Vec<Source> {
        let up = self.now.by("pregon_source_up", "source");
        let mut sources: Vec<Source> = up.map(|(name, up)| self.source(name, Some(up > 0.0))).collect();
        // What comes by HTTP has events and is never attached to anything.
        for (name, _) in self.now.by("pregon_events_total", "source") {
            if !sources.iter().any(|source| source.name == name) {
                sources.push(self.source(name, None));
            }
        }
        sources.sort_by(|one, other| one.name.cmp(&other.name));
        sources
    }

    fn source(&self, name: &str, up: Option<bool>) -> Source {
        Source {
            name: name.to_owned(),
            up: up.unwrap_or(true),
            events: self.count_at("pregon_events_total", "source", name),
            gaps: whole(self.now.at("pregon_source_gaps_total", "source", name)),
        }
    }

    fn log(&self) -> Log {
        let value = |name: &str| whole(self.now.value(name));
        Log {
            bytes: value("pregon_log_bytes"),
            segments: value("pregon_log_segments"),
            oldest: value("pregon_log_oldest"),
            newest: value("pregon_log_newest"),
            failures: value("pregon_log_failures_total"),
            sync: self.quantiles("pregon_log_sync_seconds"),
            window_bytes: value("pregon_window_bytes"),
            window_entries: value("pregon_window_entries"),
        }
    }

    fn drops(&self) -> BTreeMap<String, Count> {
        let reasons = self.now.by("pregon_drops_total", "reason");
        reasons
            .map(|(reason, _)| {
                (
                    reason.to_owned(),
                    self.count_at("pregon_drops_total", "reason", reason),
                )
            })
            .collect()
    }

    fn quantiles(&self, name: &str) -> Quantiles {
        let bucket = format!("{name}_bucket");
        let now = buckets(self.now, &bucket);
        let before = buckets(self.before, &bucket);
        let grown: Vec<(f64, f64)> = now
            .iter()
            .zip(
                before
                    .iter()
                    .map(|(_, count)| *count)
                    .chain(std::iter::repeat(0.0)),
            )
            .map(|((bound, count), before)| (*bound, count - before))
            .collect();
        // After a restart the counts are lower.
        let restarted = grown.iter().any(|(_, count)| *count < 0.0);
        let recent = !restarted && grown.last().is_some_and(|(_, count)| *count > 0.0);
        let chosen = if recent { &grown } else { &now };
        Quantiles {
            p50_ms: quantile(chosen, 0.5).map(milliseconds),
            p99_ms: quantile(chosen, 0.99).map(milliseconds),
            count: chosen.last().map_or(0, |(_, count)| whole(*count)),
            recent,
        }
    }
}

/// Upper bounds and cumulated counts, rising.
fn buckets(samples: &Samples, name: &str) -> Vec<(f64, f64)> {
    let bound = |(bound, count): (&str, f64)| Some((bound.parse().ok()?, count));
    let mut buckets: Vec<(f64, f64)> = samples.by(name, "le").filter_map(bound).collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

/// As Prometheus does it: evenly spread within a bucket, and the last bound where it lies beyond.
fn quantile(buckets: &[(f64, f64)], q: f64) -> Option<f64> {
    let (_, total) = buckets.last().filter(|(_, total)| *total > 0.0)?;
    let rank = q * total;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            if bound.is_infinite() {
                return Some(below);
            }
            let share = if *count > counted {
                (rank - counted) / (count - counted)
            } else {
                1.0
            };
            return Some(below + (bound - below) * share);
        }
        (below, counted) = (*bound, *count);
    }
    Some(below)
}

fn milliseconds(seconds: f64) -> f64 {
    seconds * 1000.0
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, Instant};

    use super::*;

    const BEFORE: &str = "pregon_sessions{transport=\"websocket\"} 1
pregon_events_total{source=\"postgres\"} 100
pregon_deliveries_total 1000
pregon_drops_total{reason=\"slow\"} 3
pregon_commit_to_write_seconds_bucket{le=\"0.001\"} 10
pregon_commit_to_write_seconds_bucket{le=\"0.005\"} 10
pregon_commit_to_write_seconds_bucket{le=\"+Inf\"} 10
";

    const NOW: &str = "pregon_sessions{transport=\"websocket\"} 3
pregon_sessions{transport=\"sse\"} 2
pregon_source_up{source=\"postgres\"} 0
pregon_source_up{source=\"wal\"} 1
pregon_events_total{source=\"postgres\"} 300
pregon_events_total{source=\"http\"} 4
pregon_deliveries_total 5000
pregon_drops_total{reason=\"slow\"} 5
pregon_drops_total{reason=\"nobody\"} 7
pregon_address_refused{address=\"203.0.113.7\",reason=\"rate\"} 12
pregon_outbox_rows 42
pregon_outbox_lag_seconds 1.5
pregon_slot_retained_bytes 1048576
pregon_slot_alarm 1
pregon_log_bytes 2097152
pregon_log_segments 2
pregon_log_newest 900
pregon_commit_to_write_seconds_bucket{le=\"0.001\"} 60
pregon_commit_to_write_seconds_bucket{le=\"0.005\"} 100
pregon_commit_to_write_seconds_bucket{le=\"+Inf\"} 110
";

    fn reading(text: &str, at: Instant, missing: Option<&str>) -> Reading {
        Reading {
            url: "http://gateway".into(),
            at,
            missing: missing.map(str::to_owned),
            samples: Samples::parse(text),
        }
    }

    /// Two seconds of a gateway whose PostgreSQL is away.
    pub(in super::super) fn example() -> Figures {
        let start = Instant::now();
        let before = reading(BEFORE, start, None);
        let now = reading(NOW, start + Duration::from_secs(2), Some("postgres"));
        Figures::between(&before, &now)
    }

    #[test]
    fn counters_become_rates() {
        let figures = example();
        assert_eq!((figures.events.total, figures.events.per_second), (304, 102.0));
        assert_eq!(figures.deliveries.per_second, 2000.0);
        assert_eq!(figures.connections_total, 5);
        assert_eq!(figures.refused.get("203.0.113.7").unwrap().get("rate"), Some(&12));
        let slow = figures.drops.get("slow").unwrap();
        assert_eq!((slow.total, slow.per_second), (5, 1.0));
        assert!(!figures.ready && figures.slot.alarm);
        let sources: Vec<_> = figures
            .sources
            .iter()
            .map(|one| (one.name.as_str(), one.up))
            .collect();
        assert_eq!(sources, [("http", true), ("postgres", false), ("wal", true)]);
    }

    #[test]
    fn quantiles_are_of_the_interval() {
        let written = example().commit_to_write;
        assert_eq!((written.count, written.recent), (100, true));
        assert_eq!(written.p50_ms, Some(1.0));
        assert_eq!(written.p99_ms, Some(5.0), "beyond the last bound");
    }

    #[test]
    fn a_quiet_interval_shows_the_time_since_the_start() {
        let start = Instant::now();
        let quiet = reading(NOW, start, None);
        let figures = Figures::between(&quiet, &reading(NOW, start + Duration::from_secs(1), None));
        assert_eq!(
            (figures.commit_to_write.count, figures.commit_to_write.recent),
            (110, false)
        );
        assert_eq!(figures.deliveries.per_second, 0.0);
    }

    #[test]
    fn a_restart_is_no_negative_rate() {
        let start = Instant::now();
        let restarted = reading(BEFORE, start + Duration::from_secs(1), None);
        let figures = Figures::between(&reading(NOW, start, None), &restarted);
        assert_eq!(figures.deliveries.per_second, 1000.0);
        assert_eq!(
            (figures.commit_to_write.count, figures.commit_to_write.recent),
            (10, false)
        );
    }

    #[test]
    fn nothing_measured_has_no_quantile() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(
            quantile(&[(0.1, 0.0), (0.2, 4.0), (f64::INFINITY, 4.0)], 0.5),
            Some(0.15000000000000002)
        );
    }
}

//! The node's metrics as numbers: read from the text that `/metrics` serves, so that the dashboard and Prometheus never disagree.

use std::collections::BTreeMap;

use crate::exposition::Samples;
use crate::metrics::Metrics;

/// All metrics at one moment.
pub(super) struct Exposition(Samples);

impl Exposition {
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self(Samples::parse(&metrics.render()))
    }

    /// The metric of this name (without `pregon_`), zero if it has not been set.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.0.sum(&full(name))
    }

    /// The metric of this name with this label.
    pub(super) fn labelled(&self, name: &str, value: &str) -> Option<f64> {
        let found = self.by_label(name).find(|(own, _)| *own == value);
        found.map(|(_, value)| value)
    }

    /// The metric of this name by its only label.
    pub(super) fn by_label(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let all: Vec<_> = self.0.by_first_label(&full(name)).collect();
        all.into_iter()
    }

    /// The metric of this name by two labels.
    pub(super) fn by_two(
        &self,
        name: &str,
        outer: &str,
        inner: &str,
    ) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.0.by_two(&full(name), outer, inner)
    }

    /// A histogram: for each upper bound the values up to it, counted from the smallest, and the sum of all values.
    pub(super) fn histogram(&self, name: &str) -> serde_json::Value {
        let buckets: Vec<_> = self
            .by_label(&format!("{name}_bucket"))
            .map(|(bound, count)| {
                serde_json::json!([bound.parse::<f64>().ok().filter(|b| b.is_finite()), count])
            })
            .collect();
        let sum = self.value(&format!("{name}_sum"));
        serde_json::json!({ "buckets": buckets, "sum": sum, "count": self.value(&format!("{name}_count")) })
    }
}

fn full(name: &str) -> String {
    format!("pregon_{name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use crate::metrics::{SourceLabel, Transport, TransportLabel};

    #[test]
    fn what_prometheus_reads_is_what_the_dashboard_shows() {
        let metrics = Metrics::new();
        let source = "a \"b\" \\ c,d=\"".to_owned();
        metrics
            .events
            .get_or_create(&SourceLabel {
                source: source.clone(),
            })
            .inc_by(3);
        metrics.deliveries.inc_by(7);
        let transport = Transport::Sse;
        metrics
            .sessions
            .get_or_create(&TransportLabel { transport })
            .set(2);
        for seconds in [0.0002, 0.0002, 99.0] {
            metrics.delivery.observe(seconds);
        }
        let read = Exposition::of(&metrics);
        assert_eq!(read.labelled("events_total", &source), Some(3.0));
        assert_eq!(read.value("deliveries_total"), 7.0);
        assert_eq!(read.by_label("sessions").collect::<Vec<_>>(), [("sse", 2.0)]);
        let histogram = read.histogram("commit_to_write_seconds");
        let buckets = histogram["buckets"].as_array().map_or(0, Vec::len);
        assert_eq!((buckets, &histogram["count"]), (15, &serde_json::json!(3.0)));
        assert_eq!(histogram["buckets"][1], serde_json::json!([0.00025, 2.0]));
        assert_eq!(histogram["buckets"][14], serde_json::json!([null, 3.0]));
    }
}

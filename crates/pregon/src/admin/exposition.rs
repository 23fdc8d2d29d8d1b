//! The node's metrics as numbers: read from the text that `/metrics` serves, so that the dashboard and Prometheus never disagree.

use crate::metrics::Metrics;

/// One line of the exposition.
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// All metrics at one moment.
pub(super) struct Exposition(Vec<Sample>);

impl Exposition {
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self(metrics.render().lines().filter_map(parse).collect())
    }

    /// The metric of this name (without `pregon_`), zero if it has not been set.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.lines(name).map(|sample| sample.value).sum()
    }

    /// The metric of this name with this label.
    pub(super) fn labelled(&self, name: &str, value: &str) -> Option<f64> {
        let is = |sample: &&Sample| sample.labels.iter().any(|(_, own)| own == value);
        self.lines(name).find(is).map(|sample| sample.value)
    }

    /// The metric of this name by its only label.
    pub(super) fn by_label(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.lines(name)
            .filter_map(|sample| Some((sample.labels.first()?.1.as_str(), sample.value)))
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

    fn lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Sample> {
        let name = format!("pregon_{name}");
        self.0.iter().filter(move |sample| sample.name == name)
    }
}

fn parse(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)),
        None => (series, Vec::new()),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// `a="x",b="y"`, where `\"`, `\\` and `\n` stand for what they do.
fn parse_labels(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => break,
                },
                other => value.push(other),
            }
        }
        labels.push((name.trim_start_matches(',').to_owned(), value));
        rest = quoted.get(end..).unwrap_or_default();
    }
    labels
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

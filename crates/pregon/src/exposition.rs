//! The text of `/metrics`: lines of `name{label="value"} number`. What is no such line is passed over, so that a later gateway may say more.

use std::collections::BTreeMap;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// All lines of one reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a metric without labels; 0 where there is none.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.of(name)
            .map(|sample| sample.value)
            .next()
            .unwrap_or_default()
    }

    /// Sum over all labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|sample| sample.value).sum()
    }

    /// Values by one label, in the order of the text.
    pub(crate) fn by<'s>(&'s self, name: &'s str, label: &'s str) -> impl Iterator<Item = (&'s str, f64)> {
        self.of(name)
            .filter_map(move |sample| Some((sample.label(label)?, sample.value)))
    }

    /// Values by two labels.
    pub(crate) fn by_two(
        &self,
        name: &str,
        outer: &str,
        inner: &str,
    ) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut all: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for sample in self.of(name) {
            if let (Some(outer), Some(inner)) = (sample.label(outer), sample.label(inner)) {
                all.entry(outer.to_owned())
                    .or_default()
                    .insert(inner.to_owned(), whole(sample.value));
            }
        }
        all
    }

    /// The value with that label.
    pub(crate) fn at(&self, name: &str, label: &str, wanted: &str) -> f64 {
        let found = self.by(name, label).find(|(value, _)| *value == wanted);
        found.map_or(0.0, |(_, value)| value)
    }

    /// Values by their first label, which is the only one of most metrics.
    pub(crate) fn by_first_label<'s>(&'s self, name: &str) -> impl Iterator<Item = (&'s str, f64)> {
        self.of(name)
            .filter_map(|sample| Some((sample.labels.first()?.1.as_str(), sample.value)))
    }

    fn of<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }
}

/// What is no number of things is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts from floats saturate, and negative ones are 0"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A time or an exemplar may follow.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Labels up to the closing brace, and what is behind it.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = unquote(quoted)?;
        labels.push((name.to_owned(), value));
        rest = behind;
    }
}

/// A value up to its closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_what_is_none_is_passed_over() {
        let text = "# HELP a b\na_total{source=\"x\",other=\"1\"} 3\na_total{source=\"q\\\"u\\\\o,\\n}\"} 4.5\nlag +Inf\n\
            b{broken=\"} 1\nc{x=\"1\" 2\nnothing\n{} 1\nd 1 1700000000\n# EOF\n";
        let samples = Samples::parse(text);
        assert_eq!(samples.sum("a_total"), 7.5);
        assert_eq!(samples.at("a_total", "source", "q\"u\\o,\n}"), 4.5);
        let by: Vec<_> = samples.by("a_total", "source").map(|(_, value)| value).collect();
        assert_eq!(by, [3.0, 4.5]);
        assert_eq!(samples.value("lag"), f64::INFINITY);
        assert_eq!(samples.value("d"), 1.0);
        assert_eq!(
            samples.value("missing") + samples.sum("b") + samples.sum("c"),
            0.0
        );
    }

    #[test]
    fn nothing_that_a_server_says_is_a_panic() {
        for text in [
            "",
            "{",
            "a{",
            "a{b",
            "a{b=\"",
            "a{b=\"\\",
            "ñ{ñ=\"ñ\"} ñ",
            "a{b=\"c\"}",
        ] {
            assert!(Samples::parse(text).is_empty(), "{text}");
        }
    }
}

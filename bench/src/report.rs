//! What a scenario found: figures beside a floor or peer with their bars, and everything that was measured, as a table
//! for people (also kept as Markdown) and as JSON.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// One of our figures beside another's from the same run.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) ours: f64,
    pub(crate) unit: &'static str,
    /// Whose figure `theirs` is.
    pub(crate) against: &'static str,
    pub(crate) theirs: f64,
    pub(crate) bar: Bar,
}

/// What is promised.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// At most so many times the other's figure.
    Ratio(f64),
    /// At most so much.
    Value(f64),
    /// At least so much.
    Least(f64),
    /// Reported without a promise.
    None,
}

impl Figure {
    fn ratio(&self) -> f64 {
        if self.theirs > 0.0 {
            self.ours / self.theirs
        } else {
            f64::NAN
        }
    }

    /// Whether the promise is kept, where there is one.
    fn holds(&self) -> Option<bool> {
        match self.bar {
            Bar::Ratio(most) => Some(self.ratio() <= most),
            Bar::Value(most) => Some(self.ours <= most),
            Bar::Least(least) => Some(self.ours >= least),
            Bar::None => None,
        }
    }

    fn cells(&self) -> Vec<String> {
        let bar = match self.bar {
            Bar::Ratio(most) => format!("≤ {most} ×"),
            Bar::Value(most) => format!("≤ {} {}", short(most), self.unit),
            Bar::Least(least) => format!("≥ {} {}", short(least), self.unit),
            Bar::None => "–".into(),
        };
        let holds = match self.holds() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        vec![
            self.what.clone(),
            format!("{} {}", short(self.ours), self.unit),
            self.against.to_owned(),
            if self.theirs.is_nan() {
                "–".into()
            } else {
                short(self.theirs)
            },
            if self.ratio().is_nan() {
                "–".into()
            } else {
                format!("{:.2}", self.ratio())
            },
            bar,
            holds.into(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "ours": self.ours, "unit": self.unit, "against": self.against,
            "theirs": self.theirs, "ratio": self.ratio(), "holds": self.holds(),
        })
    }
}

/// A table with a heading row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Markdown whose columns also line up on a terminal.
    fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let all = std::iter::once(&self.head).chain(&self.rows);
                all.filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let line = |row: &[String]| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        let mut text = line(&self.head) + &line(&rule);
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }
}

/// All of one scenario.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// How it was measured and what to read out of it.
    pub(crate) notes: Vec<String>,
    pub(crate) figures: Vec<Figure>,
    /// Everything that was measured.
    pub(crate) table: Table,
    /// Whether it was a quick run, whose figures are not kept as results.
    pub(crate) quick: bool,
}

impl Report {
    /// Prints the report, and keeps it in `bench/results` unless it was a quick one.
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        let text = self.markdown();
        writeln!(std::io::stdout(), "{text}")?;
        if !self.quick {
            let folder = results();
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{}.md", self.scenario)), &text)?;
            let json = serde_json::to_string_pretty(&self.json())? + "\n";
            fs::write(folder.join(format!("{}.json", self.scenario)), json)?;
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n\n", self.scenario, machine());
        let mut figures = Table::new(&[
            "figure",
            "pregón",
            "beside",
            "its figure",
            "ratio",
            "bar",
            "holds",
        ]);
        figures.rows = self.figures.iter().map(Figure::cells).collect();
        if !figures.rows.is_empty() {
            let _ = writeln!(text, "{}", figures.render());
        }
        if !self.table.rows.is_empty() {
            let _ = writeln!(text, "{}", self.table.render());
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario, "machine": machine(), "notes": self.notes,
            "figures": self.figures.iter().map(Figure::json).collect::<Vec<_>>(),
            "columns": self.table.head, "rows": self.table.rows,
        })
    }
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// The day and the machine, because figures mean nothing without.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim())
        .to_owned();
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let day = now.split('T').next().unwrap_or_default().to_owned();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{day}, {} × {model}, Linux {}, load average at the end {load}",
        crate::usage::cores(),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// Three figures that count.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => thousands(value),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle one; of an even number the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len().is_multiple_of(2) {
        (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
    } else {
        at(middle)
    }
}

/// The least value that at least this part of all does not exceed.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(0.2149), "0.21");
        assert_eq!(short(3_179_403.2), "3,179,403");
        assert_eq!(short(12.34), "12.3");
    }
}

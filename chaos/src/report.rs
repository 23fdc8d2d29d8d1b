//! The report of a run, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::check::Verdict;
use crate::fault::Fault;
use crate::record::Record;

/// What a run was and what came of it.
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) capture: &'static str,
    /// Rows and updates that were committed.
    pub(crate) committed: usize,
    pub(crate) faults: BTreeMap<Fault, u32>,
    pub(crate) took: Duration,
    /// Whether every client had seen the closing mark in time.
    pub(crate) complete: bool,
    pub(crate) clients: Vec<(Record, Verdict)>,
    /// All verdicts together.
    pub(crate) verdict: Verdict,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.complete && self.verdict.is_clean()
    }

    /// The page.
    pub(crate) fn markdown(&self) -> String {
        let mut page = String::new();
        let v = &self.verdict;
        let faults: u32 = self.faults.values().sum();
        let _ = writeln!(
            page,
            "# Chaos: capture `{}`, seed {}\n\n{} changes committed, {} deliveries to {} clients, {faults} faults, {} s: **{}**.\n",
            self.capture,
            self.seed,
            self.committed,
            v.events,
            self.clients.len(),
            self.took.as_secs(),
            if self.is_clean() { "clean" } else { "NOT clean" },
        );
        let _ = writeln!(
            page,
            "| missing without a gap | twice | out of order | unauthorised | never committed | gaps told | rows that they stand for |\n|---|---|---|---|---|---|---|"
        );
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            v.missing, v.duplicated, v.out_of_order, v.unauthorised, v.invented, v.gaps, v.excused
        );
        if !self.complete {
            page.push_str("Not every client had caught up in time.\n\n");
        }
        for example in &v.examples {
            let _ = writeln!(page, "- {example}");
        }
        page.push_str("\n| fault | times |\n|---|---|\n");
        for (fault, times) in &self.faults {
            let _ = writeln!(page, "| {fault:?} | {times} |");
        }
        page.push_str("\n| client | connections | recovered | events | gaps |\n|---|---|---|---|---|\n");
        for (record, verdict) in &self.clients {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                record.name, record.connects, record.recovered, verdict.events, verdict.gaps
            );
        }
        page
    }
}

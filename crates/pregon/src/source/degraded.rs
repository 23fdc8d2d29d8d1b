//! What is wrong although every source is attached, for `/readyz` and the metrics: a watch whose trigger fails, an installation that
//! somebody has replaced.
//!
//! A watch fails from the first row that its trigger could not render until one of its changes comes as it should. The node stays
//! ready then: everything else is delivered, and followers of that watch are told gaps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::{Metrics, WatchLabel};

/// A late row without a key (see `install::late`): its change was told, only its order is open.
const ORDER: &str = "P0001 a trigger has written this table";

/// Findings by what they are about. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Degraded(Arc<Mutex<BTreeMap<String, String>>>);

impl Degraded {
    /// Sets or takes away the finding about one thing; whether that changed anything.
    pub fn set(&self, about: &str, finding: Option<&str>) -> bool {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match finding {
            Some(finding) => {
                findings.insert(about.to_owned(), finding.to_owned()).as_deref() != Some(finding)
            }
            None => findings.remove(about).is_some(),
        }
    }

    /// All findings, in words.
    pub fn words(&self) -> Vec<String> {
        let findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        findings
            .iter()
            .map(|(about, finding)| format!("{about}: {finding}"))
            .collect()
    }
}

/// The watches of one source that fail.
#[derive(Debug, Default)]
pub struct Failing {
    watches: Vec<Arc<str>>,
    degraded: Degraded,
    metrics: Option<Arc<Metrics>>,
}

impl Failing {
    pub fn new(degraded: &Degraded, metrics: &Arc<Metrics>) -> Self {
        Self {
            watches: Vec::new(),
            degraded: degraded.clone(),
            metrics: Some(Arc::clone(metrics)),
        }
    }

    /// Its trigger could not render a row.
    pub fn failed(&mut self, watch: &Arc<str>, message: &str) {
        if message.starts_with(ORDER) {
            return;
        }
        self.degraded
            .set(&about(watch), Some(&format!("its trigger fails ({message})")));
        if !self.watches.contains(watch) {
            tracing::error!(
                watch = &**watch,
                message,
                "the trigger of a watch fails, its changes become gaps: has its table changed? run `pregon db plan`"
            );
            self.watches.push(Arc::clone(watch));
            self.tell(watch, 1);
        }
    }

    /// One of its changes came as it should.
    pub fn worked(&mut self, watch: &str) {
        if self.watches.is_empty() {
            return; // Almost always.
        }
        if let Some(index) = self.watches.iter().position(|failing| &**failing == watch) {
            let watch = self.watches.swap_remove(index);
            self.degraded.set(&about(&watch), None);
            self.tell(&watch, 0);
            tracing::info!(watch = &*watch, "the trigger of a watch works again");
        }
    }

    fn tell(&self, watch: &str, failing: i64) {
        if let Some(metrics) = &self.metrics {
            let label = WatchLabel {
                watch: watch.to_owned(),
            };
            metrics.watch_failing.get_or_create(&label).set(failing);
        }
    }
}

fn about(watch: &str) -> String {
    format!("watch \"{watch}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_fails_until_one_of_its_changes_comes() {
        let degraded = Degraded::default();
        let mut failing = Failing {
            degraded: degraded.clone(),
            ..Failing::default()
        };
        let watch: Arc<str> = "orders".into();
        failing.failed(&watch, "42703 no such column");
        assert_eq!(
            degraded.words(),
            ["watch \"orders\": its trigger fails (42703 no such column)"]
        );
        failing.worked("other");
        assert_eq!(degraded.words().len(), 1);
        failing.worked("orders");
        assert!(degraded.words().is_empty());
        failing.failed(&watch, "P0001 a trigger has written this table, and which …");
        assert!(degraded.words().is_empty());
    }
}

//! What is wrong although every source is attached, for `/readyz` and the metrics: a watch whose trigger fails, an installation that
//! somebody has replaced.
//!
//! A watch fails from the first row that its trigger could not render until one of its changes comes as it should. The node stays
//! ready then: everything else is delivered, and followers of that watch are told gaps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pregon_capture::fault::Fault;
use pregon_capture::install::WatchSpec;

use crate::config::Config;
use crate::lines;
use crate::metrics::{Metrics, Reason, WatchLabel};

/// A late row without a key (see `install::late`): its change was told, only its order is open.
const ORDER: &str = "P0001 a trigger has written this table";

/// Findings by what they are about. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Degraded(Arc<Mutex<BTreeMap<String, String>>>);

impl Degraded {
    /// Sets or takes away the finding about one thing; whether that changed anything.
    pub(crate) fn set(&self, about: &str, finding: Option<&str>) -> bool {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match finding {
            Some(finding) => {
                findings.insert(about.to_owned(), finding.to_owned()).as_deref() != Some(finding)
            }
            None => findings.remove(about).is_some(),
        }
    }

    /// All findings, in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        findings
            .iter()
            .map(|(about, finding)| format!("{about}: {finding}"))
            .collect()
    }
}

/// A row of a watch could not be rendered: counts it and says why.
pub(super) fn not_rendered(metrics: &Metrics, watch: &str, fault: &Fault) {
    metrics.dropped(Reason::Render);
    tracing::warn!(name: lines::EACH_EVENT, watch, reason = %fault, "a changed row could not be rendered");
    tracing::debug!(
        watch,
        reason = fault.whole(),
        "why a changed row could not be rendered"
    );
}

/// The watches of one source that fail.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    watches: Vec<Arc<str>>,
    /// What the configuration says of each watch: names in it are no secrets.
    specs: Vec<WatchSpec>,
    degraded: Degraded,
    metrics: Option<Arc<Metrics>>,
}

impl Failing {
    pub(crate) fn new(degraded: &Degraded, metrics: &Arc<Metrics>, config: &Config) -> Self {
        Self {
            watches: Vec::new(),
            specs: crate::install::specs(config),
            degraded: degraded.clone(),
            metrics: Some(Arc::clone(metrics)),
        }
    }

    /// Its trigger could not render a row.
    pub(crate) fn failed(&mut self, watch: &Arc<str>, fault: &Fault) {
        if fault.whole().starts_with(ORDER) {
            return;
        }
        let reason = fault.naming(self.names(watch));
        self.degraded
            .set(&about(watch), Some(&format!("its trigger fails ({reason})")));
        if !self.watches.contains(watch) {
            tracing::error!(
                watch = &**watch,
                reason,
                "the trigger of a watch fails, its changes become gaps: has its table changed? run `pregon db plan`"
            );
            self.watches.push(Arc::clone(watch));
            self.tell(watch, 1);
        }
    }

    /// One of its changes came as it should.
    pub(crate) fn worked(&mut self, watch: &str) {
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

    /// Columns that the configuration of a watch names.
    fn names(&self, watch: &str) -> impl Iterator<Item = &str> {
        let spec = self.specs.iter().find(move |spec| *spec.name == *watch);
        let columns = spec.and_then(|spec| spec.columns.as_ref()).into_iter().flatten();
        let condition = spec
            .and_then(|spec| spec.condition.as_deref())
            .unwrap_or_default();
        let words = condition.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        columns
            .map(String::as_str)
            .chain(words.filter(|word| !word.is_empty()))
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
        failing.failed(&watch, &"no such column".into());
        assert_eq!(
            degraded.words(),
            ["watch \"orders\": its trigger fails (no such column)"]
        );
        failing.worked("other");
        assert_eq!(degraded.words().len(), 1);
        failing.worked("orders");
        assert!(degraded.words().is_empty());
        failing.failed(
            &watch,
            &"P0001 a trigger has written this table, and which …".into(),
        );
        assert!(degraded.words().is_empty());
    }
}

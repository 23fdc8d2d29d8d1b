//! What became of events: of one (`Routed`), and of all that a rule has seen since it was built (`Hits`), counted once per event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use smallvec::SmallVec;

use super::naming::Ambiguous;
use super::rule::{Made, Nobody, Routes, Rule};
use crate::event::Publication;

/// What became of one event.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    /// Ready to be appended to the log.
    pub publications: SmallVec<[Publication; 1]>,
    /// Rules that matched and whose query has to run first; then `Rule::publish` on the enriched event.
    pub waiting: SmallVec<[Arc<Rule>; 1]>,
    /// Rules that said no.
    pub passed: u32,
    /// What could not be evaluated: conditions, values of payloads, and names of columns that the row has not.
    pub failed: Vec<Failed>,
    /// Rules that matched but whose templates addressed nobody.
    pub nobody: u32,
    /// Values that a rule looked at and that could not be read: each was null for itself alone.
    pub unreadable: u32,
}

/// A part of a rule that failed on an event.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Place of the rule in the configuration.
    pub rule: Option<usize>,
    /// The part and its error: `when: No such key: otro`.
    pub error: String,
    /// A channel's name was not rendered, because it would have been taken apart wrongly.
    pub ambiguous: bool,
}

impl Routed {
    /// Takes what a rule made of an event.
    pub(crate) fn take(&mut self, rule: &Rule, made: Result<Made, Nobody>) {
        match made {
            Ok(made) => {
                rule.hits().published();
                made.missing.into_iter().for_each(|error| self.fail(rule, error));
                self.refuse(rule, &made.ambiguous);
                self.publications.push(made.publication);
            }
            Err(nobody) => {
                rule.hits().nobody();
                self.nobody += 1;
                match &nobody {
                    Nobody::Ambiguous(names) => self.refuse(rule, names),
                    nobody if nobody.is_failure() => self.fail(rule, nobody.to_string()),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn fail(&mut self, rule: &Rule, error: String) {
        self.failed.push(Failed {
            rule: rule.index,
            error,
            ambiguous: false,
        });
    }

    fn refuse(&mut self, rule: &Rule, names: &[Ambiguous]) {
        self.failed.extend(names.iter().map(|name| Failed {
            rule: rule.index,
            error: format!("to: {name}"),
            ambiguous: true,
        }));
    }
}

/// What a rule has done.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    published: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
    nobody: AtomicU64,
    /// When it published last, milliseconds since 1970; zero for never.
    last: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counted {
    /// Events that it published.
    pub published: u64,
    /// Events that its condition did not want.
    pub passed: u64,
    /// Events on which its condition failed.
    pub failed: u64,
    /// Events that it wanted, whose templates named no channel.
    pub nobody: u64,
    /// When it published last, milliseconds since 1970.
    pub last: Option<u64>,
}

impl Hits {
    pub(super) fn published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    pub(super) fn passed(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn nobody(&self) {
        self.nobody.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub(crate) fn counted(&self) -> Counted {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            published: of(&self.published),
            passed: of(&self.passed),
            failed: of(&self.failed),
            nobody: of(&self.nobody),
            last: Some(of(&self.last)).filter(|last| *last > 0),
        }
    }
}

impl Routes {
    /// Every rule with the names of its sources, in the order of the configuration; those of sources without routes last.
    pub(crate) fn rules(&self) -> Vec<(Vec<&str>, &Arc<Rule>)> {
        let mut rules: Vec<(Vec<&str>, &Arc<Rule>)> = Vec::new();
        for (source, own) in &self.sources {
            for rule in own {
                match rules.iter_mut().find(|(_, known)| Arc::ptr_eq(known, rule)) {
                    Some((sources, _)) => sources.push(source),
                    None => rules.push((vec![source], rule)),
                }
            }
        }
        rules.iter_mut().for_each(|(sources, _)| sources.sort_unstable());
        rules.sort_by_key(|(sources, rule)| (rule.index.unwrap_or(usize::MAX), sources.first().copied()));
        rules
    }
}

//! Which tables the watches consist of, from one look to the next, also beyond a restart: a partition that is attached brings rows and
//! one that is detached takes rows, and no trigger fires for either.
//!
//! The log keeps a fingerprint of each watch's tables, so that a change while no gateway ran is noticed by the next one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pregon_capture::catalog::names::fingerprint;
use pregon_capture::install::{self, Coverage};
use pregon_capture::query::Pool;

use crate::log::Taken;
use crate::pipeline::Pipeline;

/// The tables of each watch at the last look.
#[derive(Debug, Default)]
pub(super) struct Tables {
    known: HashMap<Arc<str>, HashSet<u32>>,
}

impl Tables {
    /// The watches that gained or lost rows with a table since the last look.
    pub(super) async fn changed(&self, seen: &Coverage, pool: &Pool, pipeline: &Pipeline) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        for (watch, now) in by_watch(seen) {
            let moved = match self.known.get(&watch) {
                Some(before) => {
                    before.iter().any(|oid| !now.contains(oid))
                        || came_with_rows(seen, &watch, before, pool).await
                }
                None => {
                    let known = pipeline.lead(&source(&watch)).await.ok().flatten();
                    known.is_some_and(|known| known.epoch != identity(&now))
                }
            };
            if moved {
                changed.push(watch);
            }
        }
        changed
    }

    /// Whether these are the tables of the last look.
    pub(super) fn are(&self, seen: &Coverage) -> bool {
        by_watch(seen) == self.known
    }

    /// Keeps what was seen, once all that it means was told.
    pub(super) async fn keep(&mut self, seen: &Coverage, pipeline: &Pipeline) {
        for (watch, now) in by_watch(seen) {
            let taken = Taken {
                source: source(&watch),
                epoch: identity(&now),
                upto: (0, 0),
            };
            let is_known = |known: Taken| known.epoch == taken.epoch;
            let known = pipeline.lead(&taken.source).await.ok().flatten();
            if !known.is_some_and(is_known) {
                // A log that does not take it now is asked again at the next look.
                let _ = pipeline.ingest_upto(Vec::new(), Some(taken)).await.wait().await;
            }
            self.known.insert(watch, now);
        }
    }
}

/// Whether a table that was not there before was attached with rows. One that cannot be looked at may have had some.
async fn came_with_rows(seen: &Coverage, watch: &str, before: &HashSet<u32>, pool: &Pool) -> bool {
    let came = seen
        .members
        .iter()
        .filter(|member| member.watch == watch && !member.is_born_there && !before.contains(&member.oid));
    let came: Vec<u32> = came.map(|member| member.oid).collect();
    !came.is_empty() && install::have_rows(pool, &came).await.unwrap_or(true)
}

fn by_watch(seen: &Coverage) -> HashMap<Arc<str>, HashSet<u32>> {
    let mut tables: HashMap<Arc<str>, HashSet<u32>> = HashMap::new();
    for member in &seen.members {
        tables
            .entry(Arc::from(member.watch.as_str()))
            .or_default()
            .insert(member.oid);
    }
    tables
}

/// The name under which the log remembers the tables of a watch.
fn source(watch: &str) -> Arc<str> {
    format!("tables of {watch}").into()
}

fn identity(tables: &HashSet<u32>) -> u64 {
    let mut sorted: Vec<u32> = tables.iter().copied().collect();
    sorted.sort_unstable();
    u64::from_str_radix(&fingerprint(&format!("{sorted:?}")), 16).unwrap_or_default()
}

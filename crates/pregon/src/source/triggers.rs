//! Watches over the triggers of the watches: without them PostgreSQL says nothing, and nothing looks like silence.
//!
//! One task beside the source: it asks when the listener has attached and then again and again, and holds `/readyz` down while a
//! trigger is missing or disabled, or a function is another configuration's. Where the gateway may run DDL itself it installs missing
//! triggers (a table that was attached or inherits since); a trigger that somebody disabled is left alone. What was written meanwhile
//! becomes a gap when the triggers are back, and so do the time between two questions where somebody has touched a trigger or a
//! function and all is well again, and rows that came or went with a whole table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pregon_capture::install::{self, Coverage, Expected, Standing, WatchSpec};
use pregon_capture::query::{Pool, QueryError};
use pregon_capture::wal::Repair;
use tokio_util::sync::CancellationToken;

use super::Attached;
use super::degraded::Degraded;
use super::outbox::Turn;
use super::tables::Tables;
use crate::config::Config;
use crate::log::Position;
use crate::metrics::{Metrics, SourceLabel};
use crate::pipeline::Pipeline;

/// After a question that got no answer, while nothing is known.
const RETRY: Duration = Duration::from_secs(1);

/// How often both questions are asked again while tables come and go between them.
const MOST_AGAIN: usize = 3;

/// What the finding of `/readyz` is about.
const ABOUT: &str = "triggers";

/// The task with what it needs.
pub(crate) struct Triggers {
    pub pool: Pool,
    pub watches: Vec<WatchSpec>,
    /// Whether changes travel by NOTIFY, which needs more than triggers.
    pub notifies: bool,
    /// Time between two questions.
    pub period: Duration,
    /// What mends, where the gateway may run DDL itself.
    pub repair: Option<Repair>,
    /// Whether the source listens: while it does not, nothing is known.
    pub listening: Attached,
    /// Whether all triggers are there.
    pub complete: Attached,
    /// The functions that the watches were installed with.
    pub expected: Vec<Expected>,
    /// Where the reasons are told.
    pub degraded: Degraded,
    /// The turn to read of the source, where one reads for all.
    pub turn: Option<Turn>,
    pub pipeline: Arc<Pipeline>,
    pub metrics: Arc<Metrics>,
}

/// What the last answers said.
struct Known {
    missing: Vec<String>,
    standing: BTreeMap<String, Standing>,
    /// Position at the last answer with nothing missing.
    complete_at: Position,
    tables: Tables,
    /// Why a repair failed, once it was logged.
    unmended: String,
    /// For which findings the turn was left.
    left_for: Vec<String>,
}

impl Triggers {
    /// The task of a configuration that has watches.
    pub(crate) fn build(
        config: &Config,
        pool: Option<&Pool>,
        repair: Option<Repair>,
        listening: Attached,
        pipeline: &Arc<Pipeline>,
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        let postgres = config.postgres.as_ref().filter(|_| !config.watch.is_empty())?;
        Some(Self {
            pool: pool?.clone(),
            watches: crate::install::specs(config),
            notifies: crate::install::mode(config) == install::Mode::Notify,
            // 5 s by default, a catalogue query costs little: noticed and mended within two heartbeats.
            period: postgres.heartbeat.0,
            repair,
            listening,
            complete: Attached::default(),
            expected: Vec::new(),
            degraded: Degraded::default(),
            turn: None,
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
        })
    }

    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut known = Known {
            missing: Vec::new(),
            standing: BTreeMap::new(),
            complete_at: self.pipeline.position(),
            tables: Tables::default(),
            unmended: String::new(),
            left_for: Vec::new(),
        };
        let mut listening = self.listening.follow();
        loop {
            let pause = if self.listening.get() {
                tokio::select! {
                    pause = self.ask(&mut known) => pause,
                    () = stop.cancelled() => return,
                }
            } else {
                self.report(false);
                self.period
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Its sender lives as long as this task.
                _ = listening.changed() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Asks once; the time until the next question.
    async fn ask(&self, known: &mut Known) -> Duration {
        // A change after this position is in the log after it.
        let asked_at = self.pipeline.position();
        match self.look(known).await {
            Ok((coverage, standing)) => {
                let complete = coverage.missing.is_empty();
                self.settle(known, coverage, standing, asked_at).await;
                self.report(complete);
                self.period
            }
            // A slow answer is no reason to turn clients away.
            Err(error) => {
                tracing::debug!(%error, "the triggers could not be looked at");
                if self.complete.get() {
                    self.period
                } else {
                    RETRY.min(self.period)
                }
            }
        }
    }

    /// What is missing or somebody else's, and how function and triggers of each watch stand. What is missing is mended first, where
    /// that is for the gateway to do.
    async fn look(&self, known: &mut Known) -> Result<(Coverage, BTreeMap<String, Standing>), QueryError> {
        let mut coverage = install::coverage(&self.pool, &self.watches).await?;
        if coverage.is_mendable && self.mend(known, &coverage).await {
            coverage = install::coverage(&self.pool, &self.watches).await?;
        }
        let mut standing = install::standing(&self.pool, &self.expected).await?;
        // What came between the two questions would be told twice: by one of them now, by the other at the next look.
        let moved = !known.tables.are(&coverage);
        if moved || !touched(&known.standing, &standing).is_empty() {
            for _ in 0..MOST_AGAIN {
                let again = install::coverage(&self.pool, &self.watches).await?;
                if again == coverage {
                    break;
                }
                coverage = again;
                standing = install::standing(&self.pool, &self.expected).await?;
            }
        }
        let wrong = standing.iter().filter_map(|(watch, found)| {
            let reason = found.wrong.as_ref()?;
            Some(format!("watch \"{watch}\": {reason}"))
        });
        let wrong: Vec<String> = wrong.collect();
        self.leave_turn(known, &wrong).await;
        coverage.missing.extend(wrong);
        if self.notifies {
            coverage.missing.extend(install::notify_flaw(&self.pool).await?);
        }
        Ok((coverage, standing))
    }

    /// Lets a gateway read that waits, where the installation is not ours any more: it may be the one that has made it. Once for the
    /// same findings, so that two of the same configuration do not send their clients to and fro.
    async fn leave_turn(&self, known: &mut Known, wrong: &[String]) {
        let fresh = !wrong.is_empty() && known.left_for != wrong;
        if let Some(turn) = self.turn.as_ref().filter(|_| fresh)
            && let Ok(true) = install::is_awaited(&self.pool, &turn.node).await
        {
            known.left_for = wrong.to_vec();
            turn.leave.notify_one();
        }
        if wrong.is_empty() {
            known.left_for.clear();
        }
    }

    /// Installs missing triggers where the gateway may; whether it did.
    async fn mend(&self, known: &mut Known, coverage: &Coverage) -> bool {
        let Some(repair) = &self.repair else {
            return false;
        };
        if known.missing != coverage.missing {
            say(&coverage.missing, true);
            known.missing.clone_from(&coverage.missing);
        }
        self.report(false);
        match repair.run(false).await {
            Ok(_) => {
                known.unmended.clear();
                true
            }
            Err(reason) => {
                if reason != known.unmended {
                    tracing::error!(
                        reason,
                        "the missing triggers cannot be installed yet, trying again"
                    );
                    known.unmended = reason;
                }
                false
            }
        }
    }

    /// Tells what was missed until now, and keeps what was seen.
    async fn settle(
        &self,
        known: &mut Known,
        coverage: Coverage,
        standing: BTreeMap<String, Standing>,
        asked_at: Position,
    ) {
        let complete = coverage.missing.is_empty();
        let touched = touched(&known.standing, &standing);
        if known.missing != coverage.missing {
            say(&coverage.missing, false);
        } else if !touched.is_empty() {
            tracing::warn!(
                watches = touched.join(", "),
                "functions or triggers of these watches were changed meanwhile: what was written then may be missing"
            );
        }
        let from = known.complete_at;
        let moved = known.tables.changed(&coverage, &self.pool, &self.pipeline).await;
        if complete && !known.missing.is_empty() {
            self.gap(&self.names(), from).await;
        } else {
            if !moved.is_empty() {
                tracing::warn!(
                    watches = moved.join(", "),
                    "tables with rows were attached or taken away: what that changed is a gap"
                );
            }
            let mut lossy = moved;
            lossy.extend(touched.into_iter().filter(|_| complete));
            lossy.sort_unstable();
            lossy.dedup();
            if !lossy.is_empty() {
                self.gap(&lossy, from).await;
            }
        }
        known.tables.keep(&coverage, &self.pipeline).await;
        if complete {
            known.complete_at = asked_at;
            known.standing = standing;
        }
        self.name_open_orders(&known.standing);
        self.degraded
            .set(ABOUT, (!complete).then(|| coverage.missing.join("; ")).as_deref());
        known.missing = coverage.missing;
    }

    /// What can become a gap is named before it does.
    fn name_open_orders(&self, standing: &BTreeMap<String, Standing>) {
        for (watch, found) in standing {
            let about = format!("order of the changes of watch \"{watch}\"");
            if self.degraded.set(&about, found.open.as_deref())
                && let Some(reason) = &found.open
            {
                tracing::warn!(
                    watch,
                    reason,
                    "where a trigger writes a row whose own change was not told yet, followers get a gap"
                );
            }
        }
    }

    fn names(&self) -> Vec<Arc<str>> {
        let watches = self.watches.iter();
        watches.map(|watch| Arc::from(watch.name.as_str())).collect()
    }

    async fn gap(&self, watches: &[Arc<str>], from: Position) {
        if let Err(error) = self.pipeline.gap(watches, false, from).await {
            tracing::warn!(%error, "a gap was not appended");
        }
    }

    fn report(&self, complete: bool) {
        self.complete.set(complete);
        let label = SourceLabel {
            source: "triggers".into(),
        };
        self.metrics
            .source_up
            .get_or_create(&label)
            .set(i64::from(complete));
    }
}

/// The watches whose function or triggers were changed between two looks.
fn touched(before: &BTreeMap<String, Standing>, now: &BTreeMap<String, Standing>) -> Vec<Arc<str>> {
    let touched = now.iter().filter(|(watch, now)| {
        before
            .get(*watch)
            .is_some_and(|before| now.is_touched_since(before))
    });
    touched.map(|(watch, _)| Arc::from(watch.as_str())).collect()
}

fn say(missing: &[String], mends: bool) {
    if missing.is_empty() {
        tracing::info!("the triggers of all watches are in place");
        return;
    }
    let missing = missing.join("; ");
    if mends {
        tracing::error!(
            missing,
            "triggers are missing or disabled, changes are not captured: missing ones are installed now"
        );
    } else {
        tracing::error!(
            missing,
            "triggers are missing, disabled or another configuration's: changes are not captured as they should be, run `pregon db apply`"
        );
    }
}

//! Watches over the triggers of the watches: without them PostgreSQL says nothing, and nothing looks like silence.
//!
//! One task beside the source: it asks when the listener has attached and then again and again, and holds `/readyz` down while a
//! trigger is missing or disabled, or a function is another configuration's. It changes nothing in the database. What was written
//! meanwhile becomes a gap when the triggers are back, and so does the time between two questions where somebody has touched a
//! trigger or a function and all is well again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pregon_capture::install::{self, Expected, Standing, WatchSpec};
use pregon_capture::query::{Pool, QueryError};
use tokio_util::sync::CancellationToken;

use super::Attached;
use super::degraded::Degraded;
use crate::config::Config;
use crate::log::Position;
use crate::metrics::{Metrics, SourceLabel};
use crate::pipeline::Pipeline;

/// After a question that got no answer, while nothing is known.
const RETRY: Duration = Duration::from_secs(1);

/// What the finding of `/readyz` is about.
const ABOUT: &str = "triggers";

/// The task with what it needs.
pub struct Triggers {
    pub pool: Pool,
    pub watches: Vec<WatchSpec>,
    /// Time between two questions.
    pub period: Duration,
    /// Whether the source listens: while it does not, nothing is known.
    pub listening: Attached,
    /// Whether all triggers are there.
    pub complete: Attached,
    /// The functions that the watches were installed with.
    pub expected: Vec<Expected>,
    /// Where the reasons are told.
    pub degraded: Degraded,
    pub pipeline: Arc<Pipeline>,
    pub metrics: Arc<Metrics>,
}

/// What the last answers said.
struct Known {
    missing: Vec<String>,
    standing: BTreeMap<String, Standing>,
    /// Position at the last answer with nothing missing.
    complete_at: Position,
}

impl Triggers {
    /// The task of a configuration that has watches.
    pub fn build(
        config: &Config,
        pool: Option<&Pool>,
        listening: Attached,
        pipeline: &Arc<Pipeline>,
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        let postgres = config.postgres.as_ref().filter(|_| !config.watch.is_empty())?;
        Some(Self {
            pool: pool?.clone(),
            watches: crate::install::specs(config),
            // 10 s by default: a catalogue query costs little, and a trigger is rarely disabled by accident.
            period: postgres.heartbeat.0 * 2,
            listening,
            complete: Attached::default(),
            expected: Vec::new(),
            degraded: Degraded::default(),
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
        })
    }

    /// Asks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut known = Known {
            missing: Vec::new(),
            standing: BTreeMap::new(),
            complete_at: self.pipeline.position(),
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
        match self.look().await {
            Ok((missing, standing)) => {
                let complete = missing.is_empty();
                let touched = standing.iter().filter(|(watch, now)| {
                    known
                        .standing
                        .get(*watch)
                        .is_some_and(|before| now.is_touched_since(before))
                });
                let touched: Vec<Arc<str>> = touched.map(|(watch, _)| Arc::from(watch.as_str())).collect();
                if known.missing != missing {
                    say(&missing);
                } else if !touched.is_empty() {
                    tracing::warn!(
                        watches = touched.join(", "),
                        "functions or triggers of these watches were changed meanwhile: what was written then may be missing"
                    );
                }
                if complete && !known.missing.is_empty() {
                    self.gap(&self.names(), known.complete_at).await;
                } else if complete && !touched.is_empty() {
                    self.gap(&touched, known.complete_at).await;
                }
                if complete {
                    known.complete_at = asked_at;
                    known.standing = standing;
                }
                self.name_open_orders(&known.standing);
                self.degraded
                    .set(ABOUT, (!complete).then(|| missing.join("; ")).as_deref());
                known.missing = missing;
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

    /// What is missing or somebody else's, and how function and triggers of each watch stand.
    async fn look(&self) -> Result<(Vec<String>, BTreeMap<String, Standing>), QueryError> {
        let mut missing = install::missing_triggers(&self.pool, &self.watches).await?;
        let standing = install::standing(&self.pool, &self.expected).await?;
        let wrong = standing.iter().filter_map(|(watch, found)| {
            let reason = found.wrong.as_ref()?;
            Some(format!("watch \"{watch}\": {reason}"))
        });
        missing.extend(wrong);
        Ok((missing, standing))
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

fn say(missing: &[String]) {
    if missing.is_empty() {
        tracing::info!("the triggers of all watches are in place");
    } else {
        tracing::error!(
            missing = missing.join("; "),
            "triggers are missing, disabled or another configuration's: changes are not captured as they should be, run `pregon db apply`"
        );
    }
}

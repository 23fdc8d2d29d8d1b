//! Watches over the triggers of the watches: without them PostgreSQL says nothing, and nothing looks like silence.
//!
//! One task beside the source: it asks when the listener has attached and then again and again, and holds `/readyz` down while a
//! trigger is missing or disabled. It changes nothing in the database. What was written meanwhile becomes a gap when the
//! triggers are back; a trigger that is off and on again between two questions goes unnoticed.

use std::sync::Arc;
use std::time::Duration;

use pregon_capture::install::{self, WatchSpec};
use pregon_capture::query::Pool;
use tokio_util::sync::CancellationToken;

use super::Attached;
use crate::config::Config;
use crate::log::Position;
use crate::metrics::{Metrics, SourceLabel};
use crate::pipeline::Pipeline;

/// After a question that got no answer, while nothing is known.
const RETRY: Duration = Duration::from_secs(1);

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
    pub pipeline: Arc<Pipeline>,
    pub metrics: Arc<Metrics>,
}

/// What the last answers said.
struct Known {
    missing: Vec<String>,
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
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
        })
    }

    /// Asks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut known = Known {
            missing: Vec::new(),
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
        match install::missing_triggers(&self.pool, &self.watches).await {
            Ok(missing) => {
                let complete = missing.is_empty();
                let was_incomplete = !known.missing.is_empty();
                if known.missing != missing {
                    say(&missing);
                    known.missing = missing;
                }
                if complete && was_incomplete {
                    self.gap(known.complete_at).await;
                }
                if complete {
                    known.complete_at = self.pipeline.position();
                }
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

    async fn gap(&self, from: Position) {
        let sources: Vec<Arc<str>> = self
            .watches
            .iter()
            .map(|watch| Arc::from(watch.name.as_str()))
            .collect();
        if let Err(error) = self.pipeline.gap(&sources, false, from).await {
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
            "triggers are missing or disabled, changes are not captured: run `pregon db apply`"
        );
    }
}

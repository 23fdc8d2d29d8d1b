//! A worker: takes lanes, has the database process their items in one statement, says what became of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pregon_capture::Backoff;
use pregon_capture::query::{Pool, QueryError};
use pregon_capture::router::{DRAIN, GIVE_UP};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;

/// Waits after a failure of the database.
pub(super) const BACKOFF: Backoff = Backoff::between(Duration::from_millis(50), Duration::from_secs(2));

/// A transaction costs as much as some items: a worker rests this long between two, so that under load they become larger.
const GATHER: Duration = Duration::from_millis(5);

/// Waits until a worker that ended its last transaction `before` may begin another; false if it has to stop.
pub(super) async fn gather(before: Option<Instant>, stop: &CancellationToken) -> bool {
    let rest = before.map_or(Duration::ZERO, |before| GATHER.saturating_sub(before.elapsed()));
    if rest.is_zero() {
        return !stop.is_cancelled();
    }
    tokio::select! {
        () = tokio::time::sleep(rest) => true,
        () = stop.cancelled() => false,
    }
}

/// What became of an item.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    pub(super) outcome: String,
    /// Its number, where it waits in the database.
    pub(super) work: Option<i64>,
    pub(super) delivery: Option<i64>,
    #[serde(default)]
    pub(super) kind: String,
    pub(super) wamid: Option<String>,
    pub(super) conversation: Option<Value>,
    pub(super) error: Option<String>,
    /// What the item breaks, where the database says so: the name alone, no value.
    pub(super) constraint: Option<String>,
    #[serde(default)]
    pub(super) attempts: u32,
    /// Milliseconds that it took, and since it came.
    pub(super) took: f64,
    pub(super) age: f64,
}

#[derive(Debug, Deserialize)]
struct Drained {
    done: Vec<Done>,
    more: bool,
}

/// What a worker needs.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) pool: Pool,
    pub(super) lanes: Arc<Lanes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) mode: Arc<Mode>,
    pub(super) batch: usize,
    pub(super) attempts: u32,
}

impl Worker {
    /// Works until `stop`; a batch that was begun is finished.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut backoff = BACKOFF;
        let mut batch = self.batch;
        let mut ended = None;
        while gather(ended, &stop).await {
            let lanes = tokio::select! {
                lanes = self.lanes.take() => lanes,
                () = stop.cancelled() => return,
            };
            let done = self.drain(lanes, batch).await;
            ended = Some(Instant::now());
            match done {
                Ok(more) => {
                    backoff.reset();
                    batch = self.batch.min(batch * 2);
                    self.finish(lanes, more);
                }
                // Less at once; what takes too long alone must not hold up the rest for ever.
                Err(QueryError::Timeout) if batch > 1 => {
                    tracing::warn!(batch, "a batch took too long, it is tried with less");
                    batch /= 4;
                    batch = batch.max(1);
                    self.finish(lanes, true);
                }
                Err(error) => {
                    if matches!(error, QueryError::Timeout) {
                        self.give_up(lanes).await;
                    }
                    tracing::warn!(%error, "work could not be done, it is tried again");
                    self.finish(lanes, true);
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    fn finish(&self, lanes: Set, again: bool) {
        if again {
            self.lanes.mark(lanes);
        }
        self.lanes.give_back(lanes);
    }

    /// One statement, one transaction; whether there is more to do in these lanes.
    async fn drain(&self, lanes: Set, batch: usize) -> Result<bool, QueryError> {
        let list = list(lanes);
        let (most, attempts) = (batch.to_string(), self.attempts.to_string());
        let answer = self
            .pool
            .query_text_value(DRAIN, &[Some(&list), Some(&most), Some(&attempts)])
            .await?;
        let drained: Drained = serde_json::from_str(&answer).map_err(|error| {
            QueryError::Value(format!("pregon_router.drain gave something else: {error}"))
        })?;
        for done in &drained.done {
            self.metrics.processed(done);
            if done.attempts == 0 {
                self.mode.ended(done.age);
            }
        }
        Ok(drained.more)
    }

    /// One item alone took too long: it fails.
    async fn give_up(&self, lanes: Set) {
        let attempts = self.attempts.to_string();
        let why = "it takes longer than [postgres] statement_timeout";
        let given = self
            .pool
            .query_texts(GIVE_UP, &[Some(&list(lanes)), Some(why), Some(&attempts)])
            .await;
        if let Err(error) = given {
            tracing::warn!(%error, "an item that takes too long could not be set aside");
        }
    }
}

/// As an array of PostgreSQL.
pub(super) fn list(lanes: Set) -> String {
    let lanes: Vec<String> = lanes.iter().map(|lane| lane.to_string()).collect();
    format!("{{{}}}", lanes.join(","))
}

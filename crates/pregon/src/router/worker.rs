//! A worker: takes lanes, has the database process their items in one statement, says what became of each.

use std::sync::Arc;
use std::time::Duration;

use pregon_capture::query::{Pool, QueryError};
use pregon_capture::router::DRAIN;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;

/// After a failure of the database; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What became of an item.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    pub(super) outcome: String,
    pub(super) work: i64,
    pub(super) delivery: i64,
    #[serde(default)]
    pub(super) kind: String,
    pub(super) wamid: Option<String>,
    pub(super) conversation: Option<Value>,
    pub(super) error: Option<String>,
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
        let mut pause = FIRST_PAUSE;
        loop {
            let lanes = tokio::select! {
                lanes = self.lanes.take() => lanes,
                () = stop.cancelled() => return,
            };
            match self.drain(lanes).await {
                Ok(more) => {
                    pause = FIRST_PAUSE;
                    self.finish(lanes, more);
                }
                Err(error) => {
                    tracing::warn!(%error, "work could not be done, it is tried again");
                    self.finish(lanes, true);
                    tokio::select! {
                        () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                        () = stop.cancelled() => return,
                    }
                    pause = LONGEST_PAUSE.min(pause * 2);
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
    async fn drain(&self, lanes: Set) -> Result<bool, QueryError> {
        let list: Vec<String> = lanes.iter().map(|lane| lane.to_string()).collect();
        let list = format!("{{{}}}", list.join(","));
        let (most, attempts) = (self.batch.to_string(), self.attempts.to_string());
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
}

//! Hands messages to a queue of BullMQ that workers in Node already read.
//!
//! The rule writes the job down in the transaction that stores the message; this task adds it to Redis and removes it. A kill in
//! between adds it again, which changes nothing while the job is there: its id is the message's. BullMQ's layout is no public
//! contract: it is tried against the npm package, version 6, in `tests/router/bullmq.rs`. (Version 5 kept a paused queue in another list.)

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pregon_capture::query::{Pool, QueryError};
use pregon_capture::router::{CLAIM, SENT_ALL};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::config;
use crate::source::redis::keys::Keys;

/// Between two looks where there was nothing, and how many jobs are taken at once.
const PAUSE: Duration = Duration::from_millis(100);
const AT_ONCE: usize = 200;
const SCRIPT: &str = include_str!("job.lua");

/// What the hand-over needs.
pub(super) struct Bullmq {
    pool: Pool,
    keys: Keys,
    prefix: String,
    metrics: Arc<Metrics>,
}

impl Bullmq {
    /// Nothing where no rule has a queue.
    pub(super) fn build(
        config: &config::Config,
        section: &config::Router,
        pool: Pool,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Option<Self>> {
        if section.rule.iter().all(|rule| rule.bullmq.is_none()) {
            return Ok(None);
        }
        let redis = config
            .redis
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("a rule has a queue of BullMQ: add [redis]"))?;
        Ok(Some(Self {
            pool,
            keys: Keys::new(redis)?,
            prefix: section.bullmq_prefix.clone(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Hands over until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut told = false;
        while !stop.is_cancelled() {
            let pause = match self.round().await {
                Ok(count) => {
                    told = false;
                    if count == AT_ONCE { Duration::ZERO } else { PAUSE }
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "jobs could not be handed over, they wait");
                    }
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes some, adds them, removes them; how many there were.
    async fn round(&mut self) -> anyhow::Result<usize> {
        let most = AT_ONCE.to_string();
        let rows = self
            .pool
            .query_texts(CLAIM, &[Some(&most), Some("{bullmq}")])
            .await?;
        let mut done = Vec::new();
        let mut outcome = Ok(());
        for row in &rows {
            let [Some(id), _, Some(queue), Some(key), Some(body), ..] = row.as_slice() else {
                continue;
            };
            if let Err(error) = self.add(queue, key, body).await {
                outcome = Err(error);
                break;
            }
            self.metrics.sent("bullmq", "sent");
            done.push(id.as_str());
        }
        self.note(&done, &rows).await?;
        outcome.map(|()| rows.len())
    }

    async fn add(&mut self, queue: &str, key: &str, body: &str) -> anyhow::Result<()> {
        // An id with `:` is refused by BullMQ, one that is a number is taken for its own.
        let id = format!("wa-{}", key.replace([':', '/'], "-"));
        let base = format!("{}:{queue}", self.prefix);
        let keys = [
            format!("{base}:{id}"),
            format!("{base}:wait"),
            format!("{base}:meta"),
            format!("{base}:marker"),
            format!("{base}:events"),
        ];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_millis()).to_string();
        self.keys.eval(SCRIPT, &keys, &[&id, "message", body, &now]).await
    }

    /// What was added goes; what was not is free again at once.
    async fn note(&self, done: &[&str], rows: &[Vec<Option<String>>]) -> Result<(), QueryError> {
        if rows.is_empty() {
            return Ok(());
        }
        let all: Vec<&str> = rows.iter().filter_map(|row| row.first()?.as_deref()).collect();
        let list = |ids: &[&str]| format!("{{{}}}", ids.join(","));
        self.pool
            .query_texts(SENT_ALL, &[Some(&list(done)), Some(&list(&all))])
            .await?;
        Ok(())
    }
}

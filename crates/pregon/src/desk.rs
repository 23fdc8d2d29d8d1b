//! Answers what shards may not do themselves: verify signatures, ask the database, append to the log.
//!
//! Work runs on the node's runtime; the answer goes back through the shard's inbox. A session has at most one question
//! under way, so the desk's load is bounded by the number of sessions, and the database's by the pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pregon_capture::query::{Pool, QueryError};
use tokio::runtime::Handle;

use crate::auth::{Claims, Verifier};
use crate::event::Publication;
use crate::hub::{Key, ShardHandle};
use crate::log::{Append, Entry, Log, Position};
use crate::metrics::Metrics;
use crate::route::grant::SqlQuestion;
use crate::session::command::{Answer, Question};

/// At most one warning in this time that an event found nobody.
const NOBODY_EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub struct Desk {
    runtime: Handle,
    verifier: Arc<Verifier>,
    pool: Option<Arc<Pool>>,
    log: Arc<dyn Log>,
    metrics: Arc<Metrics>,
    nobody: Mutex<Nobody>,
}

#[derive(Default)]
struct Nobody {
    said: Option<Instant>,
    since: u64,
}

impl Desk {
    pub fn new(
        runtime: Handle,
        verifier: Arc<Verifier>,
        pool: Option<Arc<Pool>>,
        log: Arc<dyn Log>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            verifier,
            pool,
            log,
            metrics,
            nobody: Mutex::default(),
        })
    }

    /// Answers `question` to the session `key` of a shard.
    pub fn ask(self: &Arc<Self>, question: Question, shard: ShardHandle, key: Key) {
        let desk = Arc::clone(self);
        self.runtime.spawn(async move {
            let answer = desk.answer(question).await;
            shard.answer(key, answer);
        });
    }

    async fn answer(&self, question: Question) -> Answer {
        match question {
            // Without a key there is nothing to hold a token against: its bearer is anonymous, as with `?token=`.
            Question::Verify { .. } if !self.verifier.configured() => Answer::Verified(Ok(Claims::default())),
            Question::Verify { token } => Answer::Verified(self.verifier.verify(&token).await),
            Question::May(question) => Answer::May(self.may(&question).await),
            Question::Append(publication) => Answer::Appended(self.append(publication).await),
        }
    }

    /// Asks the database whether something is allowed.
    pub async fn may(&self, question: &SqlQuestion) -> Result<bool, String> {
        let Some(pool) = &self.pool else {
            return Err("there is no database to ask".into());
        };
        let params: Vec<_> = question
            .params
            .iter()
            .map(|text| serde_json::Value::from(text.as_str()))
            .collect();
        let outcome = pool.query_json(&question.sql, &params).await;
        match outcome {
            Ok(rows) => Ok(rows.first().and_then(first_column) == Some(true)),
            // Class 22, a value that does not fit the column's type: there can be no such row.
            Err(QueryError::Sql { code, .. }) if code.starts_with("22") => Ok(false),
            Err(error) => {
                tracing::warn!(%error, "a rights query failed");
                Err("the rights could not be checked, try again later".into())
            }
        }
    }

    async fn append(&self, publication: Publication) -> Result<Position, String> {
        self.metrics.publications.inc();
        let outcome = self
            .log
            .append(vec![Append::Publication(publication)])
            .wait()
            .await;
        match outcome.map(|positions| positions.first().copied()) {
            Ok(Some(position)) => Ok(position),
            Ok(None) => Err("the log gave no position".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// An entry had no subscriber anywhere: said now and then, because it often means a misspelt channel.
    pub fn nobody(&self, entry: &Entry) {
        let mut nobody = self.nobody.lock();
        nobody.since += 1;
        if nobody.said.is_some_and(|said| said.elapsed() < NOBODY_EVERY) {
            return;
        }
        let channel = entry.channels().first().map(|channel| &**channel);
        tracing::warn!(channel, events = nobody.since, "an event found nobody connected");
        *nobody = Nobody {
            said: Some(Instant::now()),
            since: 0,
        };
    }
}

fn first_column(row: &serde_json::Value) -> Option<bool> {
    row.as_object()?.values().next()?.as_bool()
}

//! A taker: reads lanes of the queue in Redis, has the database store what it finds in one statement, removes it from Redis.
//!
//! Two takers of different processes may read the same lane. The database lets one of them have it and passes over what is stored
//! already, so that nobody needs to own a lane in Redis, and nothing has to be claimed from somebody who died.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pregon_capture::query::{Pool, QueryError};
use pregon_capture::router::TAKE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;
use super::stream::{Entry, Read, Stream, Waiting};
use super::worker::{BACKOFF, Done, gather, list};

/// How long lanes rest that another process has at the moment.
const REST: Duration = Duration::from_millis(10);

/// What a taker needs.
pub(super) struct Taker {
    pub(super) stream: Stream,
    pub(super) pool: Pool,
    /// Lanes of the queue in Redis.
    pub(super) lanes: Arc<Lanes>,
    /// Lanes of the work in the database, which gets what fails.
    pub(super) work: Arc<Lanes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) mode: Arc<Mode>,
    pub(super) batch: usize,
    pub(super) attempts: u32,
}

/// An item as `take.sql` takes it.
#[derive(Serialize)]
struct Row<'e> {
    l: u16,
    m: u64,
    s: u64,
    t: u64,
    w: Option<i64>,
    i: &'e RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Taken {
    done: Vec<Done>,
    busy: Vec<u16>,
    again: bool,
}

impl Taker {
    /// Works until `stop`; a batch that was begun is finished.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = BACKOFF;
        let mut batch = self.batch;
        let mut ended = None;
        while gather(ended, &stop).await {
            let lanes = tokio::select! {
                lanes = self.lanes.take() => lanes,
                () = stop.cancelled() => return,
            };
            let done = self.round(lanes, batch).await;
            ended = Some(Instant::now());
            let again = match done {
                Ok(again) => {
                    backoff.reset();
                    batch = self.batch.min(batch * 2);
                    again
                }
                Err(error) => {
                    tracing::warn!(%error, batch, "the queue could not be worked on, it is tried again with less");
                    batch = (batch / 4).max(1);
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = stop.cancelled() => return,
                    }
                    lanes
                }
            };
            self.lanes.mark(again);
            self.lanes.give_back(lanes);
        }
    }

    /// Reads, stores, removes; gives the lanes that have, or may have, more.
    async fn round(&mut self, lanes: Set, batch: usize) -> anyhow::Result<Set> {
        let read = self.stream.read(lanes, batch).await?;
        let Some(first) = read.entries.first() else {
            return Ok(Set::default());
        };
        tracing::trace!(
            lane = first.lane,
            entries = read.entries.len(),
            "read of the queue"
        );
        let taken = match self.store(&read, lanes, "quick").await {
            Ok(taken) if !taken.again => taken,
            Ok(_) => self.store_with_care(&read, lanes, "careful").await?,
            // One alone that takes too long becomes work, where it fails as any other would.
            Err(QueryError::Timeout) if read.entries.len() == 1 => {
                self.store_with_care(&read, lanes, "aside").await?
            }
            Err(error) => return Err(error.into()),
        };
        for done in &taken.done {
            self.metrics.processed(done);
            if done.attempts == 0 {
                self.mode.ended(done.age);
            }
        }
        let mut busy = Set::default();
        taken.busy.iter().for_each(|lane| busy.add(*lane));
        let upto: BTreeMap<u16, (u64, u64)> = read
            .entries
            .iter()
            .filter(|entry| !busy.contains(entry.lane))
            .map(|entry| (entry.lane, entry.id))
            .collect();
        if !upto.is_empty() {
            self.stream.trim(&upto).await?;
        }
        if !busy.is_empty() {
            tokio::time::sleep(REST).await;
        }
        Ok(read.more.union(busy))
    }

    /// With the bodies, which are kept beside what fails; that is then work of the database.
    async fn store_with_care(&self, read: &Read, lanes: Set, how: &str) -> Result<Taken, QueryError> {
        let taken = self.store(read, lanes, how).await?;
        self.work.mark(lanes);
        Ok(taken)
    }

    async fn store(&self, read: &Read, lanes: Set, how: &str) -> Result<Taken, QueryError> {
        let rows = rows(&read.entries, how != "quick")?;
        let attempts = self.attempts.to_string();
        let parameters = [
            Some(list(lanes)),
            Some(rows),
            Some(read.era.clone()),
            Some(how.to_owned()),
            Some(attempts),
        ];
        let parameters: Vec<Option<&str>> = parameters.iter().map(Option::as_deref).collect();
        let answer = self.pool.query_text_value(TAKE, &parameters).await?;
        serde_json::from_str(&answer)
            .map_err(|error| QueryError::Value(format!("pregon_router.take gave something else: {error}")))
    }
}

/// All items of entries, in order. An entry that nobody of us has added becomes a dead letter.
fn rows(entries: &[Entry], bodies: bool) -> Result<String, QueryError> {
    let unreadable =
        RawValue::from_string(r#"{"kind":"unreadable","why":"an entry of the queue is strange"}"#.into());
    let unreadable = unreadable.map_err(|error| QueryError::Value(error.to_string()))?;
    let mut rows = Vec::new();
    for entry in entries {
        let items: Vec<Waiting<'_>> = serde_json::from_str(&entry.items).unwrap_or_else(|_| {
            vec![Waiting {
                w: None,
                i: &unreadable,
            }]
        });
        for item in items {
            rows.push(Row {
                l: entry.lane,
                m: entry.id.0,
                s: entry.id.1,
                t: entry.received,
                w: item.w,
                i: item.i,
                b: entry
                    .body
                    .as_ref()
                    .filter(|_| bodies)
                    .map(|body| STANDARD.encode(body)),
            });
        }
    }
    serde_json::to_string(&rows).map_err(|error| QueryError::Value(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn items_are_passed_on_as_they_came_and_what_is_strange_becomes_a_dead_letter() {
        let entry = |items: &str| Entry {
            lane: 3,
            id: (17, 2),
            received: 16,
            items: items.into(),
            body: Some(b"b".to_vec()),
        };
        let entries = [
            entry(r#"[{"w":-7,"i":{"at":10.50}},{"w":null,"i":{}}]"#),
            entry("no"),
        ];
        assert_eq!(
            rows(&entries[..1], false).unwrap(),
            r#"[{"l":3,"m":17,"s":2,"t":16,"w":-7,"i":{"at":10.50}},{"l":3,"m":17,"s":2,"t":16,"w":null,"i":{}}]"#
        );
        let all: Vec<Value> = serde_json::from_str(&rows(&entries, true).unwrap()).unwrap();
        let strange = all.last().unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(
            (&strange["b"], &strange["i"]["kind"]),
            (&json!("Yg=="), &json!("unreadable"))
        );
    }
}

//! The inbox: deliveries that come side by side are kept by one transaction, and answered when it has committed.
//!
//! One task owns it. While a transaction commits, the next deliveries gather, so that batches grow under load by themselves and
//! a single delivery waits for nobody. The queue is bounded twice: by number here, by bytes at the door. A full one makes
//! senders wait, and try again later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pregon_capture::query::{Pool, QueryError};
use pregon_capture::router::ACCEPT;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;
use super::payload::Item;
use super::stream::Stream;

/// Deliveries that may wait for the transaction before theirs.
pub(super) const QUEUE: usize = 1024;
/// Most deliveries in a transaction, and the bytes after which no further one is added.
const MOST: usize = 256;
const BYTES: usize = 8 << 20;

/// A commit costs as much as some deliveries: after one of so many, this long passes for the next to gather.
const MANY: usize = 8;
const GATHER: Duration = Duration::from_millis(2);

/// A verified delivery.
pub(super) struct Delivery {
    pub(super) body: Bytes,
    pub(super) items: Vec<Item>,
    /// Told when it is kept; `false` when it could not be.
    pub(super) kept: oneshot::Sender<bool>,
    /// The room that its bytes take.
    pub(super) room: OwnedSemaphorePermit,
}

/// Where deliveries are kept.
pub(super) enum Keeper {
    Postgres(Pool),
    Redis(Box<Stream>),
}

/// Keeps deliveries until all senders are gone.
pub(super) async fn run(
    mut queue: mpsc::Receiver<Delivery>,
    mut keeper: Keeper,
    lanes: Arc<Lanes>,
    mode: Arc<Mode>,
    metrics: Arc<Metrics>,
) {
    let mut waiting = Vec::new();
    let mut last = 0;
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, MOST).await == 0 {
            return;
        }
        if last >= MANY && waiting.len() < MOST {
            tokio::time::sleep(GATHER).await;
            while waiting.len() < MOST
                && let Ok(delivery) = queue.try_recv()
            {
                waiting.push(delivery);
            }
        }
        let rest = waiting.split_off(fitting(&waiting));
        let batch = std::mem::replace(&mut waiting, rest);
        last = batch.len();
        let kept = match &mut keeper {
            Keeper::Postgres(pool) => keep(batch, pool, &metrics).await,
            Keeper::Redis(stream) => add(batch, stream, &metrics).await,
        };
        mode.arrived(kept.items);
        if mode.is_direct() {
            lanes.mark(kept.lanes);
        }
    }
}

/// How many of them go into one transaction: at least one.
fn fitting(waiting: &[Delivery]) -> usize {
    let mut bytes = 0;
    let within = waiting.iter().take_while(|delivery| {
        bytes += delivery.body.len();
        bytes <= BYTES
    });
    within.count().max(1)
}

/// What was kept.
#[derive(Default)]
struct Kept {
    lanes: Set,
    items: usize,
}

async fn keep(batch: Vec<Delivery>, pool: &Pool, metrics: &Metrics) -> Kept {
    let mut kept = Kept {
        items: batch.iter().map(|delivery| delivery.items.len()).sum(),
        ..Kept::default()
    };
    match insert(pool, &batch).await {
        Ok(touched) => {
            metrics.commits.inc();
            kept.lanes = touched;
            for delivery in batch {
                answer(delivery, true);
            }
        }
        // One of them holds what the database refuses: the others must not suffer, and it is kept as it is.
        Err(error) if error.is_permanent() && !matches!(error, QueryError::Connect(_)) => {
            tracing::error!(%error, deliveries = batch.len(), "deliveries were refused by the database, each is tried alone");
            for delivery in batch {
                let alone = keep_alone(pool, delivery.body.clone(), &delivery.items).await;
                answer(delivery, alone.is_some());
                kept.lanes = kept.lanes.union(alone.unwrap_or_default());
            }
        }
        Err(error) => {
            tracing::error!(%error, deliveries = batch.len(), "deliveries could not be kept, their sender will repeat them");
            for delivery in batch {
                answer(delivery, false);
            }
        }
    }
    kept
}

/// Adds deliveries to the streams of Redis, all or none.
async fn add(batch: Vec<Delivery>, stream: &mut Stream, metrics: &Metrics) -> Kept {
    let parts = parts(&batch);
    let touched = match stream.add(&parts).await {
        Ok(touched) => {
            metrics.commits.inc();
            Some(touched)
        }
        Err(error) => {
            tracing::error!(%error, deliveries = batch.len(), "deliveries could not be kept, their sender will repeat them");
            None
        }
    };
    let kept = Kept {
        lanes: touched.unwrap_or_default(),
        items: batch.iter().map(|delivery| delivery.items.len()).sum(),
    };
    for delivery in batch {
        answer(delivery, touched.is_some());
    }
    kept
}

/// Keeps one delivery, if need be as one that cannot be read.
async fn keep_alone(pool: &Pool, body: Bytes, items: &[Item]) -> Option<Set> {
    let why = match insert_parts(pool, &[(&body, items)]).await {
        Ok(touched) => return Some(touched),
        Err(error) => error.whole(),
    };
    let unreadable = [Item::Unreadable { why }];
    match insert_parts(pool, &[(&body, &unreadable)]).await {
        Ok(touched) => Some(touched),
        Err(error) => {
            tracing::error!(%error, "a delivery could not be kept, its sender will repeat it");
            None
        }
    }
}

fn answer(delivery: Delivery, kept: bool) {
    let _ = delivery.kept.send(kept); // The sender may have left; it will come again.
    drop(delivery.room);
}

/// Bodies and what is in them.
fn parts(batch: &[Delivery]) -> Vec<(&Bytes, &[Item])> {
    batch
        .iter()
        .map(|delivery| (&delivery.body, delivery.items.as_slice()))
        .collect()
}

async fn insert(pool: &Pool, batch: &[Delivery]) -> Result<Set, QueryError> {
    insert_parts(pool, &parts(batch)).await
}

/// An item as `accept.sql` takes it.
#[derive(Serialize)]
struct Row<'i> {
    d: usize,
    l: u16,
    w: Option<i64>,
    i: &'i Item,
}

async fn insert_parts(pool: &Pool, parts: &[(&Bytes, &[Item])]) -> Result<Set, QueryError> {
    let mut touched = Set::default();
    let mut bodies = String::from("{");
    let mut rows = Vec::new();
    for (number, (body, own)) in parts.iter().enumerate() {
        if number > 0 {
            bodies.push(',');
        }
        bodies.push_str("\"\\\\x");
        bodies.push_str(&faster_hex::hex_string(body));
        bodies.push('"');
        for item in *own {
            let lane = item.lane();
            touched.add(lane);
            rows.push(Row {
                d: number + 1,
                l: lane,
                w: item.who().map(u64::cast_signed),
                i: item,
            });
        }
    }
    bodies.push('}');
    let rows = serde_json::to_string(&rows).map_err(|error| QueryError::Value(error.to_string()))?;
    pool.query_texts(ACCEPT, &[Some(&bodies), Some(&rows)]).await?;
    Ok(touched)
}

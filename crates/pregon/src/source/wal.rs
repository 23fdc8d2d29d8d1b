//! PostgreSQL in `wal` mode: changes of watches and `pregon.publish` from the write-ahead log.
//!
//! The reader and this consumer share one task. The log keeps the place in the WAL with each batch, and the server is told to forget only what
//! a receipt says is kept: a kill at any moment loses and repeats nothing. Only a stream that cannot go on where it was left (a
//! lost slot, another server) becomes a gap.
//!
//! A commit is in the WAL before queries show it. Nothing is appended before, so that a client that hears of a change and reads the table
//! finds it there. What has come meanwhile is asked about with one question.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use pregon_capture::Backoff;
use pregon_capture::fault::Fault;
use pregon_capture::listen::Captured;
use pregon_capture::query::Pool;
use pregon_capture::wal::{
    Finisher, Health, Kept, Known, Lsn, Place, RawBatch, Reader, Step, WalOptions, wait_visible,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Attached;
use super::degraded::not_rendered;
use super::notify::{publish, row};
use super::wal_health::Told;
use crate::event::Event;
use crate::log::{LogError, Taken};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::standby::Standby;

/// Batches between the reader and the router, each of 1 MiB at most or one row.
const QUEUE: usize = 8;
/// Batches that the log has not yet made durable.
const UNKEPT: usize = 256;
/// Waits after a query that failed for a transient reason.
const BACKOFF: Backoff = Backoff::between(Duration::from_millis(20), Duration::from_secs(1));

/// The source with what it needs.
pub(crate) struct WalSource {
    pub options: WalOptions,
    /// With the search path of conditions.
    pub pool: Pool,
    pub pipeline: Arc<Pipeline>,
    pub metrics: Arc<Metrics>,
    pub attached: Attached,
    /// Every watched table is in the publication.
    pub complete: Attached,
    pub standby: Standby,
}

/// A batch on its way into the log, and what may be confirmed once it is there.
type Unkept = BoxFuture<'static, (Option<Kept>, Result<(), LogError>)>;

struct Running {
    /// The source's name in the log.
    name: Arc<str>,
    watches: Vec<Arc<str>>,
    finisher: Finisher,
    pool: Pool,
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    attached: Attached,
    complete: Attached,
    standby: Standby,
    /// Where the present stream began.
    begun: Option<Known>,
    unkept: FuturesOrdered<Unkept>,
    kept: watch::Sender<Kept>,
    again: watch::Sender<u64>,
    health: Option<Health>,
    told: Told,
    stop: CancellationToken,
    /// The gateway stops and has left changes to the next one: what comes behind them is left too.
    left: bool,
    /// The database cannot say what is visible, for good; said once.
    blind: bool,
}

impl WalSource {
    /// Captures until `stop`; the reader stops first, then what it read is appended.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (sink, steps) = mpsc::channel(QUEUE);
        let (kept, kept_by_log) = watch::channel(Kept::default());
        let (again, asked_again) = watch::channel(0);
        let name: Arc<str> = format!("wal:{}", self.options.slot).into();
        let watches = self.options.watches.clone();
        let mut running = Running {
            name,
            watches: watches
                .iter()
                .map(|watch| Arc::from(watch.name.as_str()))
                .collect(),
            finisher: Finisher::new(self.pool.clone(), watches),
            pool: self.pool,
            pipeline: self.pipeline,
            metrics: self.metrics,
            attached: self.attached,
            complete: self.complete,
            standby: self.standby,
            begun: None,
            unkept: FuturesOrdered::new(),
            kept,
            again,
            health: None,
            told: Told::default(),
            stop: stop.clone(),
            left: false,
            blind: false,
        };
        let reader = Reader::new(self.options, sink, kept_by_log, asked_again);
        tokio::join!(reader.run(stop), running.take_all(steps));
        running.attached.report(&running.metrics, "wal", false);
    }
}

fn known(taken: Taken) -> Known {
    let (lsn, index) = taken.upto;
    Known {
        epoch: taken.epoch,
        place: Place { lsn: Lsn(lsn), index },
    }
}

impl Running {
    async fn take_all(&mut self, mut steps: mpsc::Receiver<Step>) {
        loop {
            tokio::select! {
                biased;
                Some((upto, outcome)) = self.unkept.next(), if !self.unkept.is_empty() => {
                    if self.is_lost(upto, outcome) {
                        self.gap(&self.watches, true).await;
                    }
                }
                step = steps.recv(), if self.unkept.len() < UNKEPT => match step {
                    Some(step) => self.take_ready(step, &mut steps).await,
                    None => return,
                },
            }
        }
    }

    /// Takes a step, and with a batch those that have come behind it.
    async fn take_ready(&mut self, first: Step, steps: &mut mpsc::Receiver<Step>) {
        let (mut batches, mut next) = (Vec::new(), Some(first));
        while let Some(step) = next.take() {
            match step {
                Step::Batch(batch) => batches.push(batch),
                other => {
                    self.batches(std::mem::take(&mut batches)).await;
                    self.take(other).await;
                    return;
                }
            }
            if batches.len() < QUEUE {
                next = steps.try_recv().ok();
            }
        }
        self.batches(batches).await;
    }

    /// Appends batches once queries show what they tell of. A gateway that stops leaves them to the next one: the WAL has them.
    async fn batches(&mut self, batches: Vec<RawBatch>) {
        self.left |= !self.are_visible(&batches).await;
        if self.left {
            return;
        }
        for batch in batches {
            self.batch(batch).await;
        }
    }

    /// Waits until queries show the changes; `false` if the gateway stops before that.
    async fn are_visible(&mut self, batches: &[RawBatch]) -> bool {
        let changes = batches.iter().flat_map(|batch| &batch.changes);
        let mut xids: Vec<u32> = changes.map(|change| change.xid).collect();
        xids.dedup();
        if xids.is_empty() {
            return true;
        }
        let mut backoff = BACKOFF;
        while !self.blind {
            let outcome = tokio::select! {
                biased;
                outcome = wait_visible(&self.pool, &xids) => outcome,
                () = self.stop.cancelled() => return false,
            };
            match outcome {
                Ok(waited) => {
                    self.metrics.wal_invisible.inc_by(u64::from(waited));
                    return true;
                }
                Err(error) if error.is_permanent() => {
                    tracing::error!(%error, "whether changes are visible cannot be asked: clients may hear of them before queries show them");
                    self.blind = true;
                }
                Err(error) => {
                    tracing::warn!(%error, "captured changes wait for the database");
                    // A server that stops waits for whoever streams from it.
                    self.reconnect();
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = self.stop.cancelled() => return false,
                    }
                }
            }
        }
        true
    }

    /// Where to begin: behind what the log has, once it has decided about everything.
    async fn resume(&mut self) -> Option<Known> {
        while let Some((upto, outcome)) = self.unkept.next().await {
            if self.is_lost(upto, outcome) {
                self.gap(&self.watches, true).await;
            }
        }
        // A log that is closed gives no answer, and takes nothing more either.
        let kept = self.pipeline.lead(&self.name).await.ok().flatten().map(known);
        match (kept, self.begun) {
            (Some(kept), Some(begun)) if kept.epoch == begun.epoch => Some(Known {
                place: kept.place.max(begun.place),
                ..kept
            }),
            (kept, begun) => kept.or(begun),
        }
    }

    /// What became of a batch; true if it will never be in the log.
    fn is_lost(&self, upto: Option<Kept>, outcome: Result<(), LogError>) -> bool {
        let lost = match outcome {
            // Another gateway on the same log was faster: what matters is that it is there.
            Ok(()) | Err(LogError::Repeated { .. }) => false,
            Err(error @ LogError::TooLarge) => {
                tracing::error!(%error, "a change is left out: clients are told of a gap");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "captured changes were not kept, reading them again");
                self.reconnect();
                return false;
            }
        };
        if let Some(upto) = upto {
            self.kept.send_replace(upto);
        }
        lost
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Attached { known, gap } => self.attached_at(known, gap).await,
            Step::Batch(batch) => self.batches(vec![batch]).await,
            Step::Resume(answer) => {
                // A reader that does not wait for it is stopping.
                let _ = answer.send(self.resume().await);
            }
            Step::Health(health) => self.health(health).await,
            Step::Lost {
                reason,
                permanent,
                in_short,
                stands_by,
            } => {
                if permanent {
                    tracing::error!(reason, "the write-ahead log is not read, trying again");
                } else {
                    tracing::warn!(reason, "the write-ahead log is not read, trying again");
                }
                self.attached.report(&self.metrics, "wal", false);
                if let Some(why) = in_short {
                    self.attached.explain(why.to_owned());
                }
                if stands_by {
                    self.standby.set(true);
                }
            }
        }
    }

    async fn attached_at(&mut self, known: Known, gap: Option<&str>) {
        tracing::info!(slot = &*self.name, lsn = %known.place.lsn, "reading the write-ahead log");
        self.begun = Some(known);
        if let Some(reason) = gap {
            tracing::warn!(reason, "changes may have been lost: clients are told");
            self.gap(&self.watches, true).await;
        }
        let remembered = self.pipeline.lead(&self.name).await.ok().flatten();
        let remembered = remembered.map(|taken| taken.epoch);
        if remembered != Some(known.epoch) {
            // From here on this history counts, also if nothing comes before the next start.
            self.append(Vec::new(), known.place, None).await;
        }
        self.attached.report(&self.metrics, "wal", true);
        self.standby.set(false);
    }

    async fn batch(&mut self, mut batch: RawBatch) {
        let captured = self.finished(&mut batch).await;
        let mut events = Vec::with_capacity(captured.len());
        let mut failed = HashSet::new();
        for captured in captured {
            match captured {
                Captured::Change(change) => events.push(row(change)),
                Captured::Published {
                    channel,
                    event,
                    data,
                    at,
                    ..
                } => events.push(publish(&channel, &event, data, at)),
                // Said once and before the batch, which has to go in as one with its place.
                Captured::RenderError { watch, fault } if failed.insert(Arc::clone(&watch)) => {
                    self.not_rendered(watch, &fault).await;
                }
                _ => {}
            }
        }
        self.append(events, batch.upto, batch.confirm).await;
    }

    async fn append(&mut self, events: Vec<Event>, upto: Place, confirm: Option<Lsn>) {
        let epoch = self.begun.map_or(0, |known| known.epoch);
        let taken = Taken {
            source: Arc::clone(&self.name),
            epoch,
            upto: upto.pair(),
        };
        let confirm = confirm.map(|lsn| Kept { epoch, lsn });
        let receipt = self.pipeline.ingest_upto(events, Some(taken)).await;
        self.unkept
            .push_back(Box::pin(async move { (confirm, receipt.wait().await.map(drop)) }));
    }

    /// What the batch captured. Nothing is lost while the database does not answer: the WAL waits as well.
    async fn finished(&mut self, batch: &mut RawBatch) -> Vec<Captured> {
        let mut backoff = BACKOFF;
        let mut told = false;
        loop {
            let error = match self.finisher.finish(batch).await {
                Ok(captured) => return captured,
                Err(error) => error,
            };
            if error.is_permanent() {
                tracing::error!(%error, "captured changes could not be completed: clients are told of a gap");
                self.gap(&self.watches, false).await;
                return Vec::new();
            }
            if !told {
                tracing::warn!(%error, "captured changes wait for the database");
                told = true;
            }
            // A server that stops waits for whoever streams from it.
            self.reconnect();
            backoff.wait().await;
        }
    }

    async fn not_rendered(&mut self, watch: Arc<str>, fault: &Fault) {
        not_rendered(&self.metrics, &watch, fault);
        self.gap(&[watch], false).await;
    }

    async fn health(&mut self, health: Health) {
        let before = self.health.replace(health.clone());
        self.metrics.slot_retained.set(health.retained);
        self.metrics.slot_alarm.set(i64::from(health.is_alarming()));
        let standbys = i64::try_from(health.standbys.len()).unwrap_or(i64::MAX);
        self.metrics.slot_standbys.set(standbys);
        if self.told.tell(&health) {
            self.gap(&self.watches, false).await;
        } else if before.is_some_and(|before| before.seal != health.seal) {
            tracing::warn!(
                "the publication's tables were changed: what was written to them meanwhile may be missing, clients are told"
            );
            self.gap(&self.watches, false).await;
        }
        self.complete.set(health.is_complete());
        self.complete.explain(health.in_short());
    }

    /// Borrows nothing of this, because what is not kept yet is of no use to other threads.
    fn gap(&self, sources: &[Arc<str>], everything: bool) -> impl Future<Output = ()> + Send + use<> {
        let (pipeline, sources) = (Arc::clone(&self.pipeline), sources.to_vec());
        async move {
            let from = pipeline.position();
            if let Err(error) = pipeline.gap(&sources, everything, from).await {
                tracing::warn!(%error, "a gap was not appended");
            }
        }
    }

    fn reconnect(&self) {
        self.again.send_modify(|count| *count += 1);
    }
}

//! PostgreSQL in `outbox` mode: changes of watches and what `pregon.publish` says, complete and in order.
//!
//! ```text
//!  session: reader ──batches──▶ taker ──events, place──▶ pipeline ──▶ log
//!              clerk ◀──────────── receipts, in order ◀──────────────┘
//! ```
//!
//! One task runs one session after the other. The log keeps how far the outbox was taken with each batch, so that a new session begins
//! where the log says and nothing comes twice; a log that remembers nothing begins where the last gateway was. Batches are appended
//! before earlier ones are durable, up to `UNRESOLVED` of them; when the log refuses one, it refuses those behind it too, the session
//! ends, and the next one reads them again. So a lost connection, a full disk or a restart is no gap. What is one: rows that a
//! trigger could not render, that were dropped or deleted before they were read, and an outbox that is not the one that the log knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use pregon_capture::Backoff;
use pregon_capture::connect::Settings;
use pregon_capture::outbox::{self, Batch, Clerk, Item, OutboxError, OutboxOptions, Place, Reader, Report};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Attached;
use super::degraded::{Failing, not_rendered};
use super::node_name;
use super::notify::{publish, row};
use crate::config::Config;
use crate::event::Event;
use crate::log::{LogError, Position, Taken};
use crate::metrics::{Metrics, Reason};
use crate::pipeline::Pipeline;
use crate::standby::Standby;

/// Its name in the log and in the metrics.
const SOURCE: &str = "outbox";

/// How often changes went past the outbox, in the log.
const MISSED: &str = "outbox missed";

/// Batches between the reader and the taker: enough that neither waits for the other's next step.
const BATCHES: usize = 4;

/// Batches whose receipts are awaited, and their bytes: what a disk with slow fsyncs gets in a fifth of a second.
const UNRESOLVED: usize = 256;
const UNRESOLVED_BYTES: usize = 16 << 20;

/// See the module.
pub(crate) struct OutboxSource {
    pub options: Arc<OutboxOptions>,
    pub pipeline: Arc<Pipeline>,
    pub metrics: Arc<Metrics>,
    pub attached: Attached,
    pub failing: Failing,
    pub standby: Standby,
    pub turn: Turn,
}

/// Its turn to read, which it may be asked to leave to a gateway that waits.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// Of this gateway, at the server.
    pub node: String,
    pub leave: Arc<Notify>,
}

/// How long who has left its turn lets others go first: they ask three times a second.
const COURTESY: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Outbox(#[from] OutboxError),
    #[error("what was read could not be appended: {0}")]
    Log(#[from] LogError),
    #[error(
        "another configuration was installed here, and its gateway waits: it reads the outbox from now on"
    )]
    Left,
}

impl Ended {
    fn is_permanent(&self) -> bool {
        match self {
            Self::Outbox(error) => error.is_permanent(),
            Self::Log(_) | Self::Left => false,
        }
    }
}

impl OutboxSource {
    /// The source of a configuration whose watches go through the outbox.
    pub(crate) fn build(
        config: &Config,
        settings: Settings,
        pipeline: &Arc<Pipeline>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let outbox = config.postgres.clone().unwrap_or_default().outbox;
        let turn = Turn {
            node: node_name(),
            leave: Arc::default(),
        };
        let names = config.watch.iter().map(|watch| Arc::from(watch.name.as_str()));
        let options = OutboxOptions {
            settings,
            watches: names.collect(),
            retention: outbox.retention.0,
            kept: outbox.kept.0,
            most: outbox.max.0,
            durable: outbox.durable_delivery,
            doorbell: outbox.doorbell,
            node: turn.node.clone(),
        };
        Self {
            options: Arc::new(options),
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
            attached: Attached::default(),
            failing: Failing::default(),
            standby: Standby::default(),
            turn,
        }
    }

    /// Captures until `stop`; what was read is appended, and where that was is remembered.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut failing = std::mem::take(&mut self.failing);
        let mut backoff = Backoff::default();
        let mut place = None;
        let mut told = String::new();
        // While the outbox takes no rows nobody may have counted what it did not take.
        let mut flawed = false;
        while !stop.is_cancelled() {
            let session = self.session(&mut place, (&mut flawed, &mut failing), &mut backoff, &stop);
            let Err(ended) = Box::pin(session).await else {
                break;
            };
            self.attached.report(&self.metrics, SOURCE, false);
            let reason = ended.to_string();
            if matches!(
                ended,
                Ended::Outbox(OutboxError::Flawed(_) | OutboxError::Missing)
            ) {
                flawed = true;
                // Other reasons may name servers and users, which are nothing for everybody.
                self.attached.explain(reason.clone());
            }
            if reason != told {
                if ended.is_permanent() {
                    tracing::error!(reason, "the outbox cannot be read yet, trying again");
                } else {
                    tracing::warn!(reason, "the outbox is not read, trying again");
                }
                told = reason;
            }
            if matches!(ended, Ended::Log(LogError::Closed)) {
                break;
            }
            let pause = match ended {
                Ended::Left => COURTESY,
                _ => backoff.next(ended.is_permanent(), rand::random()),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.attached.report(&self.metrics, SOURCE, false);
    }

    /// From a connection to its end; `Ok` when stopped.
    async fn session(
        &self,
        place: &mut Option<Place>,
        (flawed, failing): (&mut bool, &mut Failing),
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<(), Ended> {
        let stands_by = || {
            self.standby.set(true);
            self.attached
                .explain("another gateway reads the outbox, this one stands by".to_owned());
        };
        let attached = tokio::select! {
            attached = outbox::attach(Arc::clone(&self.options), &stands_by) => attached?,
            () = stop.cancelled() => return Ok(()),
        };
        let (mut reader, clerk) = attached;
        let from = self.pipeline.position();
        let known = self.pipeline.lead(SOURCE).await?.map(|taken| Place {
            epoch: taken.epoch,
            upto: taken.upto.0,
            at: taken.upto.1,
        });
        let missed = self.pipeline.lead(MISSED).await?.map(|taken| taken.upto.0);
        let begun = reader.begin(known.or(*place), missed).await?;
        *place = Some(begun.place);
        if begun.lost || std::mem::take(flawed) {
            tracing::warn!("rows of the outbox are missing, or it is another one than before");
            self.gap_of_all(from).await?;
        }
        if missed != Some(reader.missed()) {
            self.note_missed(reader.missed()).await?;
        }
        tracing::info!(place = begun.place.upto, "reading the outbox");
        backoff.reset();
        self.attached.report(&self.metrics, SOURCE, true);
        self.standby.set(false);
        let mut taker = Taker::new(self, failing, begun.place);
        let ended = Box::pin(self.work(reader, clerk, &mut taker, stop)).await;
        *place = Some(taker.logged);
        ended
    }

    /// Reader, taker and clerk side by side; whichever ends first ends the others in the order of the data path.
    async fn work(
        &self,
        mut reader: Reader,
        mut clerk: Clerk,
        taker: &mut Taker<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Ended> {
        let halt = stop.child_token();
        let (out, batches) = mpsc::channel(BATCHES);
        let (logged, in_log) = watch::channel(taker.place.upto);
        let last = logged.subscribe();
        let report = reader.report();
        let reading = reader.run(out, halt.clone());
        let taking = async {
            let taken = taker.run(batches, logged).await;
            halt.cancel();
            taken
        };
        // Ends when the taker has dropped its end.
        let writing = async {
            let written = clerk.run(in_log, CancellationToken::new()).await;
            halt.cancel();
            written
        };
        let mut leaves = false;
        let (read, taken, written) = {
            let mut all = std::pin::pin!(async { tokio::join!(reading, taking, writing) });
            let mut telling = std::pin::pin!(self.tell(report));
            loop {
                tokio::select! {
                    all = all.as_mut() => break all,
                    never = telling.as_mut() => never,
                    () = self.turn.leave.notified(), if !leaves => {
                        leaves = true;
                        halt.cancel();
                    }
                }
            }
        };
        taken?;
        read?;
        written?;
        let place = *last.borrow();
        clerk.save(place).await?;
        if leaves { Err(Ended::Left) } else { Ok(()) }
    }

    /// Says what the session reports; ends never.
    async fn tell<T>(&self, mut report: watch::Receiver<Report>) -> T {
        let mut stalled = false;
        while report.changed().await.is_ok() {
            let report = report.borrow_and_update().clone();
            self.metrics.outbox(&report);
            match &report.stall {
                Some(stall) if !stalled => {
                    let blockers: Vec<String> = stall.blockers.iter().map(ToString::to_string).collect();
                    tracing::warn!(
                        blockers = blockers.join(", "),
                        "delivery waits for a transaction that has written and is still open"
                    );
                }
                None if stalled => tracing::info!("delivery goes on"),
                _ => {}
            }
            stalled = report.stall.is_some();
        }
        std::future::pending().await
    }

    /// From now on a gap has been told for what went past the outbox until then.
    async fn note_missed(&self, missed: u64) -> Result<(), LogError> {
        let known = self.pipeline.lead(MISSED).await?;
        let taken = Taken {
            source: MISSED.into(),
            // The database counts from the beginning where its counter was made anew.
            epoch: known
                .filter(|known| known.upto.0 < missed)
                .map_or_else(rand::random, |known| known.epoch),
            upto: (missed, 0),
        };
        match self
            .pipeline
            .ingest_upto(Vec::new(), Some(taken))
            .await
            .wait()
            .await
        {
            Ok(_) | Err(LogError::Repeated { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whatever the outbox carries may be missing: changes of all watches, and publishes on any channel.
    async fn gap_of_all(&self, from: Position) -> Result<(), LogError> {
        let sources: Vec<Arc<str>> = self.options.watches.iter().map(Arc::clone).collect();
        self.pipeline.gap(&sources, true, from).await
    }
}

/// Appends batches in their order and follows their receipts.
struct Taker<'a> {
    source: &'a OutboxSource,
    failing: &'a mut Failing,
    /// What was appended, and what of it is in the log.
    place: Place,
    logged: Place,
    receipts: FuturesOrdered<BoxFuture<'static, Result<Resolved, LogError>>>,
    /// Bytes behind the receipts.
    waiting: usize,
}

/// A batch that is in the log.
struct Resolved {
    upto: u64,
    at: u64,
    bytes: usize,
}

impl<'a> Taker<'a> {
    fn new(source: &'a OutboxSource, failing: &'a mut Failing, place: Place) -> Self {
        Self {
            source,
            failing,
            place,
            logged: place,
            receipts: FuturesOrdered::new(),
            waiting: 0,
        }
    }

    /// Until there are no more batches, or one is refused; tells `logged` up to where everything is in the log. Nothing is under way any
    /// more when it returns, so that whoever asks the log then gets the last word.
    async fn run(
        &mut self,
        batches: mpsc::Receiver<Batch>,
        logged: watch::Sender<u64>,
    ) -> Result<(), LogError> {
        let ended = self.work(batches, &logged).await;
        while self.receipts.next().await.is_some() {}
        ended
    }

    async fn work(
        &mut self,
        mut batches: mpsc::Receiver<Batch>,
        logged: &watch::Sender<u64>,
    ) -> Result<(), LogError> {
        let mut open = true;
        while open || !self.receipts.is_empty() {
            let room = self.receipts.len() < UNRESOLVED && self.waiting < UNRESOLVED_BYTES;
            tokio::select! {
                biased;
                Some(resolved) = self.receipts.next(), if !self.receipts.is_empty() => {
                    let Resolved { upto, at, bytes } = resolved?;
                    (self.logged.upto, self.logged.at) = (upto, at);
                    self.waiting = self.waiting.saturating_sub(bytes);
                    logged.send_replace(upto);
                }
                batch = batches.recv(), if open && room => match batch {
                    Some(batch) => self.take(batch).await?,
                    None => open = false,
                },
            }
        }
        Ok(())
    }

    async fn take(&mut self, batch: Batch) -> Result<(), LogError> {
        let mut events = Vec::with_capacity(batch.items.len());
        for (id, item) in batch.items {
            match item {
                Item::Change(change) => {
                    self.failing.worked(&change.watch);
                    events.push(row(change));
                }
                Item::Published {
                    channel,
                    event,
                    data,
                    at,
                } => events.push(publish(&channel, &event, data, Some(at))),
                Item::RenderError { watch, fault } => {
                    self.flush(&mut events, (id.saturating_sub(1), 0), 0).await;
                    self.failing.failed(&watch, &fault);
                    not_rendered(&self.source.metrics, &watch, &fault);
                    let from = self.source.pipeline.position();
                    self.source.pipeline.gap(&[watch], false, from).await?;
                }
                Item::Dropped { .. } => {
                    self.flush(&mut events, (id.saturating_sub(1), 0), 0).await;
                    self.source.metrics.dropped(Reason::Overflow);
                    self.source.gap_of_all(self.source.pipeline.position()).await?;
                }
                Item::Missed { counted } => {
                    self.source.metrics.dropped(Reason::Overflow);
                    self.source.gap_of_all(self.source.pipeline.position()).await?;
                    self.source.note_missed(counted).await?;
                }
            }
        }
        self.flush(&mut events, (batch.upto, batch.at), batch.bytes).await;
        Ok(())
    }

    /// Appends events, and with them that the outbox was taken up to this id.
    async fn flush(&mut self, events: &mut Vec<Event>, (upto, at): (u64, u64), bytes: usize) {
        if upto <= self.place.upto {
            return;
        }
        let taken = Taken {
            source: SOURCE.into(),
            epoch: self.place.epoch,
            upto: (upto, at),
        };
        let receipt = self
            .source
            .pipeline
            .ingest_upto(std::mem::take(events), Some(taken))
            .await;
        (self.place.upto, self.place.at) = (upto, at);
        self.waiting += bytes;
        self.receipts.push_back(Box::pin(async move {
            match receipt.wait().await {
                // Another gateway on the same log was faster: what matters is that it is there.
                Ok(_) | Err(LogError::Repeated { .. }) => Ok(Resolved { upto, at, bytes }),
                Err(error) => Err(error),
            }
        }));
    }
}

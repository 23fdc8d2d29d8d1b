//! What PostgreSQL notifies: existing channels in every mode, in `notify` mode also changes of watches and `pregon.publish`.
//!
//! The listener reads the socket and never waits; beside it, in the same task, events are routed and appended. NOTIFY has no history, so
//! receipts are not awaited and every lost connection becomes a gap for the channels that the routes can render.

use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashMap;
use pregon_capture::change::Change;
use pregon_capture::listen::{Captured, ListenError, ListenOptions, Listener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Attached;
use super::degraded::{Failing, not_rendered};
use super::emitter::{self, Emitters, Taken};
use super::pending::Pending;
use crate::config::{Config, Emitter};
use crate::event::{Event, EventId, What};
use crate::log::Position;
use crate::metrics::{Metrics, Reason};
use crate::pipeline::Pipeline;
use crate::route::rule::PUBLISH;

/// Items between the listener and the router: about a second at full speed. A fuller queue becomes a gap.
const QUEUE: usize = 65_536;

/// Items routed and appended together.
const BATCH: usize = 256;

/// The source with what it needs.
pub(crate) struct PostgresSource {
    pub options: ListenOptions,
    /// Name of the listen for each notify channel.
    pub names: HashMap<String, Arc<str>>,
    /// What takes notifications of Socket.IO emitters, if they are heard.
    pub emitters: Option<Arc<Emitters>>,
    pub pipeline: Arc<Pipeline>,
    pub metrics: Arc<Metrics>,
    pub attached: Attached,
    pub failing: Failing,
    /// Position up to which somebody else has listened.
    pub lost: Option<Position>,
}

/// The state of the running task.
struct Running {
    names: HashMap<String, Arc<str>>,
    emitters: Option<Arc<Emitters>>,
    sources: Vec<Arc<str>>,
    /// `pregon.publish` comes this way too.
    publishes: bool,
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    attached: Attached,
    /// Position at which the connection was lost.
    lost: Option<Position>,
    failing: Failing,
}

impl PostgresSource {
    /// The source of a configuration.
    pub(crate) fn build(
        config: &Config,
        options: ListenOptions,
        emitters: Option<&Arc<Emitters>>,
        pipeline: &Arc<Pipeline>,
        metrics: &Arc<Metrics>,
        attached: Attached,
    ) -> Self {
        let listens = config.listen.iter();
        let heard = config.socketio().hears(Emitter::Postgres);
        Self {
            options,
            names: listens
                .map(|listen| (listen.channel.clone(), Arc::from(listen.name.as_str())))
                .collect(),
            emitters: emitters.filter(|_| heard).cloned(),
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
            attached,
            failing: Failing::default(),
            lost: None,
        }
    }

    /// Captures until `stop`; the listener stops first, then what it captured is appended.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), ListenError> {
        let Self {
            options,
            names,
            emitters,
            pipeline,
            metrics,
            attached,
            failing,
            lost,
        } = self;
        let (sink, mut captured) = mpsc::channel(QUEUE);
        let mut sources: Vec<Arc<str>> = names.values().map(Arc::clone).collect();
        sources.extend(options.watches.keys().map(|name| Arc::from(name.as_str())));
        sources.extend(emitters.is_some().then(|| Arc::from(emitter::SOURCE)));
        let publishes = options.publish;
        let listener = Listener::new(options, sink)?;
        let mut running = Running {
            names,
            emitters,
            sources,
            publishes,
            pipeline,
            metrics,
            attached,
            lost,
            failing,
        };
        let take = async {
            let mut batch = Vec::with_capacity(BATCH);
            while captured.recv_many(&mut batch, BATCH).await > 0 {
                running.take(&mut batch).await;
            }
        };
        // One task for both: an event passes from the socket to the log without waking another thread.
        tokio::join!(listener.run(stop), take);
        running.attached.report(&running.metrics, "postgres", false);
        Ok(())
    }
}

impl Running {
    async fn take(&mut self, batch: &mut Vec<Captured>) {
        let mut pending = Pending::new(&self.pipeline);
        for captured in batch.drain(..) {
            match captured {
                Captured::Change(change) => {
                    self.failing.worked(&change.watch);
                    pending.event(row(change)).await;
                }
                Captured::Notification {
                    channel, payload, at, ..
                } => match self.emitters.clone().filter(|emitters| emitters.owns(&channel)) {
                    Some(emitters) => self.emitted(&mut pending, &emitters, &channel, &payload).await,
                    None => pending.event(self.message(channel, payload, at)).await,
                },
                Captured::Published {
                    channel,
                    event,
                    data,
                    at,
                    ..
                } => pending.event(publish(&channel, &event, data, at)).await,
                other => {
                    // What is said about the connection holds for what comes after: first the events before it.
                    pending.flush().await;
                    self.said(other).await;
                }
            }
        }
        pending.flush().await;
    }

    async fn emitted(&self, pending: &mut Pending, emitters: &Emitters, channel: &str, payload: &[u8]) {
        match emitters.take_postgres(channel, payload).await {
            Taken::Lost => {
                pending.flush().await;
                self.gap(&[Arc::from(emitter::SOURCE)], true, self.pipeline.position())
                    .await;
            }
            taken => emitters.deliver(taken, pending).await,
        }
    }

    async fn said(&mut self, captured: Captured) {
        match captured {
            Captured::Attached { pid } => {
                tracing::info!(pid, "listening to postgres");
                if let Some(from) = self.lost.take() {
                    self.gap_of_all(from).await;
                }
                self.attached.report(&self.metrics, "postgres", true);
            }
            Captured::Lost { reason } => {
                tracing::warn!(reason, "the connection to postgres was lost, reconnecting");
                self.lost = Some(self.pipeline.position());
                self.attached.report(&self.metrics, "postgres", false);
            }
            Captured::Overflow { dropped } => {
                self.metrics.dropped(Reason::Overflow);
                tracing::warn!(dropped, "postgres notified faster than routes could take it");
                self.gap_of_all(self.pipeline.position()).await;
            }
            Captured::RenderError { watch, fault } => {
                self.failing.failed(&watch, &fault);
                not_rendered(&self.metrics, &watch, &fault);
                self.gap(&[watch], false, self.pipeline.position()).await;
            }
            Captured::Change(_) | Captured::Notification { .. } | Captured::Published { .. } => {}
        }
    }

    /// Everything that comes over the connection may have been lost.
    async fn gap_of_all(&self, from: Position) {
        // An emitter names rooms of its own, as a publish of SQL does.
        let publishes = self.publishes && self.pipeline.sql_may_publish().await;
        let everything = self.emitters.is_some() || publishes;
        self.gap(&self.sources, everything, from).await;
    }

    async fn gap(&self, sources: &[Arc<str>], everything: bool, from: Position) {
        if let Err(error) = self.pipeline.gap(sources, everything, from).await {
            tracing::warn!(%error, "a gap was not appended");
        }
    }

    fn message(&self, channel: Arc<str>, payload: bytes::Bytes, at: SystemTime) -> Event {
        let source = self
            .names
            .get(&*channel)
            .map_or_else(|| Arc::clone(&channel), Arc::clone);
        Event {
            at,
            ..Event::new(
                source,
                What::Message {
                    channel,
                    text: payload,
                },
            )
        }
    }
}

/// The event of a changed row.
pub(super) fn row(change: Change) -> Event {
    Event {
        source: change.watch,
        what: What::Row {
            op: change.op,
            new: change.row,
            old: change.old,
        },
        id: EventId::unique(),
        at: change.at.unwrap_or_else(SystemTime::now),
    }
}

/// The event of a publish from SQL.
pub(super) fn publish(channel: &str, event: &str, data: bytes::Bytes, at: Option<SystemTime>) -> Event {
    let what = What::Published {
        channel: Arc::from(channel),
        name: Arc::from(event),
        text: data,
    };
    Event {
        at: at.unwrap_or_else(SystemTime::now),
        ..Event::new(Arc::from(PUBLISH), what)
    }
}

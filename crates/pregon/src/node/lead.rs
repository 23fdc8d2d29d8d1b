//! The sources where nodes share a log: one node reads them for all, the others are ready to.
//!
//! One task. It waits for its turn, which is a lock in the database, and then builds and runs the sources until the turn is over. A node that
//! has lost its turn without knowing it (it was frozen) appends nothing: whoever leads after it has appended for the sources, and the log
//! refuses what comes from anybody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pregon_capture::frames::{Frames, FramesError, Turn};
use pregon_capture::install::{Expected, Mode};
use pregon_capture::query::Pool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::mates;
use super::sources::{self, Parts};
use crate::config::Config;
use crate::hub::Hub;
use crate::log::shared::SharedLog;
use crate::log::{LogError, Position, Taken};
use crate::metrics::{Metrics, SourceLabel};
use crate::pipeline::Pipeline;
use crate::source::{Attached, Reading, Standing};
use crate::standby::Standby;

/// Under this name the log remembers who led last.
const LEADER: &str = "leader";

/// Between two looks at who else there is.
const LOOK: Duration = Duration::from_secs(1);

/// Pause after the database did not answer.
const AGAIN: Duration = Duration::from_millis(300);

/// How long the sources of a node that has lost its turn may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a node needs to know of the log that it shares.
pub(super) struct Shared {
    pub(super) frames: Frames,
    pub(super) log: Arc<SharedLog>,
    /// Name of this node, for the log of the process.
    pub(super) node: String,
}

/// The task with what it needs: what the sources are built of, again for each turn.
struct Leading {
    shared: Shared,
    config: Config,
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    hub: Arc<Hub>,
    pool: Option<Arc<Pool>>,
    expected: Vec<Expected>,
    stop: CancellationToken,
    up: (&'static str, Attached),
    /// Whether any node reads the sources.
    led: Attached,
    standing: Standing,
}

/// Runs the sources, where a log is `shared` whenever it is this node's turn; the tasks end with the parts' stop.
pub(super) async fn sources(
    parts: &Parts<'_>,
    shared: Option<Shared>,
    up: (&'static str, Attached),
) -> anyhow::Result<(JoinSet<()>, Standing)> {
    let Some(shared) = shared else {
        let (tasks, reading) = sources::start(parts)?.reading(up);
        return Ok((tasks, Arc::new(ArcSwap::from_pointee(reading))));
    };
    mates::meet(parts, &shared.log).await?;
    Ok(follow(parts, shared, up))
}

fn follow(parts: &Parts<'_>, shared: Shared, up: (&'static str, Attached)) -> (JoinSet<()>, Standing) {
    let leading = Leading {
        shared,
        config: parts.config.clone(),
        pipeline: Arc::clone(parts.pipeline),
        metrics: Arc::clone(parts.metrics),
        hub: Arc::clone(parts.hub),
        pool: parts.pool.cloned(),
        expected: parts.expected.to_vec(),
        stop: parts.stop.clone(),
        up,
        led: Attached::default(),
        standing: Arc::new(ArcSwap::from_pointee(Reading::default())),
    };
    leading.stand_by();
    let standing = Arc::clone(&leading.standing);
    let mut tasks = JoinSet::new();
    tasks.spawn(leading.run());
    (tasks, standing)
}

impl Leading {
    async fn run(self) {
        while !self.stop.is_cancelled() {
            let ended = self.turn().await;
            self.led.set(false);
            self.count(false);
            if let Err(error) = ended
                && !self.stop.is_cancelled()
            {
                self.led.explain("nobody is known to read the sources".into());
                tracing::warn!(%error, "this node does not read the sources, and does not know who does");
                let _ = self.stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
        }
    }

    /// From a connection to its end; `Ok` when stopped.
    async fn turn(&self) -> Result<(), FramesError> {
        let stopped = self.stop.cancelled();
        let turn = tokio::select! {
            turn = self.wait() => turn?,
            () = stopped => return Ok(()),
        };
        self.lead(&turn).await
    }

    /// Waits until it is this node's turn.
    async fn wait(&self) -> Result<Turn, FramesError> {
        let turn = self.shared.frames.turn().await?;
        let mut told = String::new();
        let mut looked = None::<Instant>;
        while !turn.take().await? {
            self.led.set(true);
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                self.metrics.cluster_nodes.set(turn.nodes().await?);
                let holder = turn.holder().await?;
                if holder != told && !holder.is_empty() {
                    tracing::info!(
                        leader = holder,
                        "another node reads the sources, this one serves and waits"
                    );
                    told = holder;
                }
            }
            Turn::pause().await;
        }
        self.metrics.cluster_nodes.set(turn.nodes().await?);
        Ok(turn)
    }

    /// Reads the sources until the turn is over.
    async fn lead(&self, turn: &Turn) -> Result<(), FramesError> {
        let halt = self.stop.child_token();
        let since = match self.begin().await {
            Ok(since) => since,
            Err(error) => return Err(FramesError::Lost(error.to_string())),
        };
        tracing::info!(node = self.shared.node, "this node reads the sources");
        let parts = Parts {
            config: &self.config,
            pipeline: &self.pipeline,
            metrics: &self.metrics,
            hub: &self.hub,
            pool: self.pool.as_ref(),
            expected: &self.expected,
            stop: &halt,
            // A node that waits for what a frozen one still holds serves all the same.
            standby: &Standby::default(),
            since,
        };
        let mut tasks = match sources::start(&parts) {
            Ok(sources) => {
                let (tasks, reading) = sources.reading(self.up.clone());
                self.standing.store(Arc::new(reading));
                tasks
            }
            Err(error) => {
                // They were built once when the configuration was checked.
                tracing::error!(%error, "the sources cannot be built");
                return Err(FramesError::Lost(error.to_string()));
            }
        };
        self.count(true);
        let ended = tokio::select! {
            error = self.pulse(turn) => Err(error),
            () = self.stop.cancelled() => Ok(()),
        };
        halt.cancel();
        self.count(false);
        let joined = async { while tasks.join_next().await.is_some() {} };
        if ended.is_ok() {
            // The node has its own patience with those.
            joined.await;
        } else if tokio::time::timeout(PATIENCE, joined).await.is_err() {
            tasks.shutdown().await;
        }
        self.stand_by();
        ended
    }

    /// Holds the turn and counts the nodes; ends with the reason for which the turn is over.
    async fn pulse(&self, turn: &Turn) -> FramesError {
        loop {
            match turn.hold().await {
                Ok(nodes) => self.metrics.cluster_nodes.set(nodes),
                Err(error) => return error,
            };
        }
    }

    /// Notes in the log that this node leads. The position up to which another one did, if there was one.
    async fn begin(&self) -> Result<Option<Position>, LogError> {
        let last = self.pipeline.lead(LEADER).await?;
        let since = last.is_some().then(|| self.pipeline.position());
        let taken = Taken {
            source: LEADER.into(),
            epoch: 0,
            upto: (last.map_or(0, |last| last.upto.0) + 1, 0),
        };
        self.pipeline
            .ingest_upto(Vec::new(), Some(taken))
            .await
            .wait()
            .await?;
        Ok(since)
    }

    fn stand_by(&self) {
        self.standing.store(Arc::new(Reading {
            attached: vec![
                ("a node that reads the sources", self.led.clone()),
                self.up.clone(),
            ],
            ..Reading::default()
        }));
    }

    fn count(&self, leads: bool) {
        for source in self.names() {
            let label = SourceLabel {
                source: source.into(),
            };
            let leader = self.metrics.cluster_leader.get_or_create(&label);
            leader.set(i64::from(leads));
        }
    }

    /// The sources as the metric `source_up` names them.
    fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.config.postgres.is_some() {
            match crate::install::mode(&self.config) {
                Mode::Notify => {}
                Mode::Outbox => names.push("outbox"),
                Mode::Wal => names.push("wal"),
            }
            names.push("postgres");
        }
        names.extend(self.config.redis.as_ref().map(|_| "redis"));
        names
    }
}

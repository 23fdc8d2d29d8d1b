//! Builds the sources that a configuration names and spawns their tasks.

use std::sync::Arc;

use pregon_capture::connect::{ConnectError, Settings};
use pregon_capture::fetch::SEARCH_PATH;
use pregon_capture::install::{Expected, Mode, Target};
use pregon_capture::listen::{ListenOptions, WatchTable};
use pregon_capture::query::{Pool, PoolOptions};
use pregon_capture::wal::{Repair, WalOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Apply, Config, Postgres};
use crate::hub::Hub;
use crate::log::Position;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::source::degraded::{Degraded, Failing};
use crate::source::emitter::Emitters;
use crate::source::notify::PostgresSource;
use crate::source::outbox::{OutboxSource, Turn};
use crate::source::redis::RedisSource;
use crate::source::triggers::Triggers;
use crate::source::wal::WalSource;
use crate::source::{Attached, Reading, node_name};
use crate::standby::Standby;

/// What every source is built of.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) pipeline: &'a Arc<Pipeline>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) hub: &'a Arc<Hub>,
    pub(super) pool: Option<&'a Arc<Pool>>,
    pub(super) expected: &'a [Expected],
    pub(super) stop: &'a CancellationToken,
    /// How the node stands by while another gateway reads.
    pub(super) standby: &'a Standby,
    /// Another node read the sources up to here: what no source remembers may be lost since.
    pub(super) since: Option<Position>,
}

/// The running sources, and what `/readyz` waits for.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) tasks: JoinSet<()>,
    pub(super) attached: Vec<(&'static str, Attached)>,
    /// Watches that fail, and what is wrong with the installation.
    pub(super) degraded: Degraded,
    /// Of the source that reads for all gateways.
    turn: Option<Turn>,
}

/// Starts all of them; they attach in the background.
pub(super) fn start(parts: &Parts<'_>) -> anyhow::Result<Sources> {
    let mut sources = Sources::default();
    let config = parts.config;
    let emitters = Emitters::build(config, parts.pool.cloned(), parts.metrics, parts.hub);
    if let Some(postgres) = &config.postgres
        && let Some(url) = &postgres.url
    {
        let settings = Settings::parse(url.reveal())?;
        let mode = crate::install::mode(config);
        let watched = match mode {
            Mode::Notify => None,
            Mode::Outbox => Some(sources.outbox(parts, settings.clone())),
            Mode::Wal => Some(sources.wal(parts, postgres, settings.clone())?),
        };
        let listening = sources.listen(parts, settings, emitters.as_ref());
        if mode != Mode::Wal {
            sources.triggers(parts, watched.unwrap_or(listening))?;
        }
    }
    if let Some(redis) = &config.redis {
        let mut source = RedisSource::build(redis, emitters.as_ref(), parts.pipeline, parts.metrics)?;
        source.lost_since(parts.since);
        sources.attached.extend(source.attached());
        source.spawn(&mut sources.tasks, parts.stop);
    }
    Ok(sources)
}

impl Sources {
    /// Their tasks, and what `/readyz` waits for.
    pub(super) fn reading(mut self, up: (&'static str, Attached)) -> (JoinSet<()>, Reading) {
        self.attached.push(up);
        let reading = Reading {
            attached: self.attached,
            degraded: self.degraded,
        };
        (self.tasks, reading)
    }

    fn outbox(&mut self, parts: &Parts<'_>, settings: Settings) -> Attached {
        let mut source = OutboxSource::build(parts.config, settings, parts.pipeline, parts.metrics);
        source.standby = parts.standby.clone();
        source.failing = Failing::new(&self.degraded, parts.metrics, parts.config);
        let up = source.attached.clone();
        self.turn = Some(source.turn.clone());
        self.attached.push(("postgres outbox", up.clone()));
        self.tasks.spawn(source.run(parts.stop.clone()));
        up
    }

    fn wal(
        &mut self,
        parts: &Parts<'_>,
        postgres: &Postgres,
        settings: Settings,
    ) -> anyhow::Result<Attached> {
        let source = wal_source(parts, postgres, settings)?;
        let up = source.attached.clone();
        self.attached.push(("postgres wal", up.clone()));
        self.attached
            .push(("postgres publication", source.complete.clone()));
        self.tasks.spawn(source.run(parts.stop.clone()));
        Ok(up)
    }

    /// What is notified; where something else captures the changes there may be nothing to listen to.
    fn listen(
        &mut self,
        parts: &Parts<'_>,
        settings: Settings,
        emitters: Option<&Arc<Emitters>>,
    ) -> Attached {
        let (config, up) = (parts.config, Attached::default());
        let options = listen_options(config, settings);
        if !options.publish && options.channels.is_empty() {
            return up;
        }
        self.attached.push(("postgres", up.clone()));
        let (pipeline, metrics) = (parts.pipeline, parts.metrics);
        let mut source = PostgresSource::build(config, options, emitters, pipeline, metrics, up.clone());
        source.lost = parts.since;
        source.failing = Failing::new(&self.degraded, metrics, config);
        let stopped = parts.stop.clone();
        self.tasks.spawn(async move {
            if let Err(error) = Box::pin(source.run(stopped)).await {
                tracing::error!(%error, "postgres cannot be listened to");
            }
        });
        up
    }

    /// What looks after triggers of watches that come `up`.
    fn triggers(&mut self, parts: &Parts<'_>, up: Attached) -> anyhow::Result<()> {
        let pool = parts.pool.map(|pool| pool.beside(SEARCH_PATH));
        let repair = repair(parts.config, &crate::install::target(parts.config)?)?;
        let built = Triggers::build(
            parts.config,
            pool.as_ref(),
            repair,
            up,
            parts.pipeline,
            parts.metrics,
        );
        if let Some(mut triggers) = built {
            triggers.expected = parts.expected.to_vec();
            triggers.degraded = self.degraded.clone();
            triggers.turn = self.turn.clone();
            self.attached
                .push(("postgres triggers", triggers.complete.clone()));
            self.tasks.spawn(triggers.run(parts.stop.clone()));
        }
        Ok(())
    }
}

/// What installs again, where the gateway may run DDL itself.
fn repair(config: &Config, target: &Target) -> Result<Option<Repair>, ConnectError> {
    let postgres = config
        .postgres
        .as_ref()
        .filter(|postgres| postgres.apply == Apply::Auto);
    let url = postgres.and_then(Postgres::admin);
    url.map(|url| {
        Ok(Repair {
            settings: Settings::parse(url.reveal())?.with_name("install"),
            target: target.clone(),
        })
    })
    .transpose()
}

fn wal_source(parts: &Parts<'_>, postgres: &Postgres, settings: Settings) -> anyhow::Result<WalSource> {
    let mut pool = PoolOptions::new(settings.clone().with_name("wal/query"));
    pool.size = 2; // One batch at a time asks, and the reader looks after the slot.
    pool.statement_timeout = postgres.statement_timeout.0;
    pool.search_path = Some(SEARCH_PATH);
    let pool = Pool::new(pool);
    let replication = postgres.replication().map(|url| Settings::parse(url.reveal()));
    let target = crate::install::target(parts.config)?;
    Ok(WalSource {
        options: WalOptions {
            settings: replication
                .transpose()?
                .unwrap_or(settings)
                .with_name(&format!("{}/wal", node_name())),
            pool: pool.clone(),
            slot: target.slot.clone(),
            watches: target.watches.clone(),
            repair: repair(parts.config, &target)?,
            check: postgres.heartbeat.0 * 2,
        },
        pool,
        pipeline: Arc::clone(parts.pipeline),
        metrics: Arc::clone(parts.metrics),
        attached: Attached::default(),
        complete: Attached::default(),
        standby: parts.standby.clone(),
    })
}

/// What the listener needs to know of the configuration.
fn listen_options(config: &Config, settings: Settings) -> ListenOptions {
    let mut options = ListenOptions::new(settings);
    options.channels = config
        .listen
        .iter()
        .map(|listen| listen.channel.clone())
        .collect();
    let emitters = config.socketio().postgres_channels();
    options.channels.extend(emitters.map(|(channel, _)| channel));
    options.publish = crate::install::mode(config) == Mode::Notify;
    options.node = node_name();
    if let Some(postgres) = &config.postgres {
        options.heartbeat = postgres.heartbeat.0;
    }
    let notified = crate::install::specs(config).into_iter();
    for spec in notified.filter(|_| options.publish) {
        let table = WatchTable {
            schema: spec.schema,
            table: spec.table,
            columns: spec.columns,
            condition: spec.condition,
        };
        options.watches.insert(spec.name, table);
    }
    options
}

//! One running gateway: builds the parts in path order, owns their tasks, stops them in order.
//!
//! Stopping: the door closes (nobody new), `/readyz` says so; sources stop, and what they captured is appended; shards close
//! their sessions spread over the drain time; requests that are still answered are cut; the log closes last. Two nodes can
//! live in one process: nothing here is global.

mod log;
mod lead;
mod mates;
mod sources;
mod admin;
mod rates;
mod standby;
mod recheck;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use pregon_capture::connect::Settings;
use pregon_capture::install::Expected;
use pregon_capture::query::{Pool, PoolOptions};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::log::folder as log_folder;
use crate::api::{self, Api, Health};
use crate::auth::{Revoked, Verifier};
use crate::config::Config;
use crate::decrypt::Decryptor;
use crate::desk::Desk;
use crate::hub::closed::Closed;
use crate::hub::presence::Presence;
use crate::hub::{self, Hub, Shared};
use crate::limits::{Clock, Connections};
use crate::lines::{self, Lines};
use crate::log::{Log, Past, Volatile};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::pipeline::decrypt::Opener;
use crate::route::grant::Rights;
use crate::route::rule::Routes;
use crate::session::limits::Limits;
use crate::session::recovery::Sessions;
use crate::source::webhook;
use crate::standby::Standby;
use crate::transport::accept::{self, Front};
use crate::transport::admit::Admission;
use crate::transport::forwarded::Proxies;
use crate::transport::origin::Origins;
use sources::Parts;

/// Time between lines about active connections, and between prunings of the log by age.
const TICK: Duration = Duration::from_secs(10);

/// Connections that wait to be accepted: a storm of reconnects must not be refused by the kernel.
const BACKLOG: u32 = 4096;

/// What a node is beyond its configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Serves `/echo` for conformance suites.
    pub echo: bool,
    /// The file to read again on [`Node::reload`].
    pub config_path: Option<PathBuf>,
    /// The functions that the watches were installed with, which have to stay what they are.
    pub expected: Vec<Expected>,
    /// What limits the log of the process, to count what is left out.
    pub lines: Option<Arc<Lines>>,
}

/// A running gateway.
pub(crate) struct Node {
    address: SocketAddr,
    config: Config,
    options: Options,
    opener: Arc<Opener>,
    router: Arc<ArcSwap<Routes>>,
    hub: Arc<Hub>,
    connections: Arc<Connections>,
    health: Arc<Health>,
    log: Arc<dyn Log>,
    /// Sessions and clients that may come back.
    kept: Vec<Arc<Sessions>>,
    /// Stops sources and the accept loop.
    stop: CancellationToken,
    /// Cuts requests that are still answered.
    cut: CancellationToken,
    sources: JoinSet<()>,
    front: JoinSet<()>,
}

impl Node {
    /// Builds and starts everything; returns when the port is open. Sources attach in the background (see `/readyz`).
    pub(crate) async fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        let metrics = build_metrics(&config, &options);
        let opener = Arc::new(Opener::new(Decryptor::build(&config)?, Arc::clone(&metrics)));
        let settings = settings(&config, &options);
        let opened = log::open(&config, &settings, &opener, &metrics).await?;
        let (log, kept) = (opened.log, opened.kept);
        let router = Arc::new(ArcSwap::from_pointee(Routes::build(&config)?));
        let rights = Arc::new(ArcSwap::from_pointee(Rights::build(&config)?));
        let revoked = Arc::new(Revoked::open(opened.folder.as_deref())?);
        let verifier = Arc::new(Verifier::build(&config.auth)?.without(&revoked));
        let pool = open_pool(&config)?;
        let volatile = Arc::new(Volatile::default());
        let pipeline = build_pipeline(&router, &rights, &log, &volatile, &pool, &metrics);
        let desk = build_desk(&verifier, &pool, &pipeline, &rights, &kept, &*log);
        let remembered = (admin::closed(&config), Arc::clone(&opened.returns));
        let connections = rates::connections(&config, &metrics);
        let clock = connections.clock();
        let hub = Arc::new(start_hub(
            settings, &log, &desk, volatile, revoked, remembered, clock,
        )?);
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let parts = Parts {
            config: &config,
            pipeline: &pipeline,
            metrics: &metrics,
            hub: &hub,
            pool: pool.as_ref(),
            expected: &options.expected,
            stop: &stop,
            standby: &hub.shared().standby,
            since: None,
        };
        let (sources, standing) = lead::sources(&parts, opened.shared, ("log", opened.up)).await?;
        let health = Health::new(standing);
        let admission = Arc::new(build_admission(&config, &options, verifier, desk, &hub)?);
        let listener = listen(&config.server.listen)?;
        let address = listener.local_addr()?;
        let dashboard = admin::routes(&parts, address, &health);
        let api = build_api(&config, &admission, pipeline, &log, &hub, &health, &metrics).merge(dashboard);
        let front = Arc::new(build_front(&config, admission, &hub, api, &connections, &metrics));
        let mut tasks = clocks(&hub, &log, &connections, config.server.drain.0, &stop);
        tasks.spawn(accept::serve(listener, front, stop.clone(), cut.clone()));
        Ok(Self {
            address,
            config,
            options,
            opener,
            router,
            hub,
            connections,
            health,
            log,
            kept: vec![kept, opened.returns],
            stop,
            cut,
            sources,
            front: tasks,
        })
    }

    /// The address that the node serves on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the node counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.hub.shared().metrics
    }

    /// Reads the configuration again and takes over its routes and rights; no socket is dropped.
    pub(crate) fn reload(&mut self) -> anyhow::Result<()> {
        let path = self
            .options
            .config_path
            .as_ref()
            .context("this node has no configuration file")?;
        let fresh = crate::check::load(path, &|name| std::env::var(name).ok())?;
        let (router, rights) = (Routes::build(&fresh)?, Rights::build(&fresh)?);
        let decryptor = Decryptor::build(&fresh)?;
        let unused = reload::needs_restart(&self.config, &fresh);
        if !unused.is_empty() {
            tracing::warn!(
                name: lines::RECORD,
                keys = unused.join(", "),
                "only routes, rights, channels, decryption and denied addresses were reloaded: restart for the other changes"
            );
        }
        // Keys before routes: nothing is sealed for a section that is not there yet.
        self.opener.replace(decryptor);
        self.router.store(Arc::new(router));
        self.hub.replace_rights(rights);
        self.connections.deny(&fresh.server.deny);
        self.hub.denied();
        self.metrics().begin(&fresh);
        self.metrics().reloaded(true);
        self.config = fresh;
        tracing::info!(
            name: lines::RECORD,
            routes = self.config.route.len(),
            channels = self.config.channel.len(),
            "configuration reloaded"
        );
        Ok(())
    }

    /// Stops in order; returns when everything has ended.
    pub(crate) async fn stop(mut self) {
        let drain = self.config.server.drain.0;
        self.health.drain();
        self.stop.cancel();
        self.stop_sources(drain).await;
        self.hub.drain(drain);
        let hub = Arc::clone(&self.hub);
        let shards = tokio::task::spawn_blocking(move || hub.join());
        if shards.await.is_err() {
            tracing::error!("the shards could not be joined");
        }
        self.hub.shared().desk.stop().await;
        self.cut.cancel();
        while self.front.join_next().await.is_some() {}
        log::close(&self.log, &self.kept).await;
        tracing::info!(newest = self.log.window().head(), "stopped");
    }

    /// Sources get as long as sessions do: one that waits for a database that hangs is given up.
    async fn stop_sources(&mut self, patience: Duration) {
        let joined = async { while self.sources.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, joined).await.is_err() {
            tracing::warn!("a source did not stop in time: what it had captured last is not delivered");
            self.sources.shutdown().await;
        }
    }
}

fn build_metrics(config: &Config, options: &Options) -> Arc<Metrics> {
    let metrics = Metrics::new();
    metrics.begin(config);
    metrics.reloaded(true);
    if let Some(lines) = &options.lines {
        lines.count_in(&metrics.log_suppressed);
    }
    metrics
}

fn open_pool(config: &Config) -> anyhow::Result<Option<Arc<Pool>>> {
    let Some(postgres) = &config.postgres else {
        return Ok(None);
    };
    let Some(url) = &postgres.url else { return Ok(None) };
    let settings = Settings::parse(url.reveal())?.with_name("query");
    let mut options = PoolOptions::new(settings);
    options.size = postgres.pool;
    options.statement_timeout = postgres.statement_timeout.0;
    Ok(Some(Arc::new(Pool::new(options))))
}

fn build_pipeline(
    router: &Arc<ArcSwap<Routes>>,
    rights: &Arc<ArcSwap<Rights>>,
    log: &Arc<dyn Log>,
    volatile: &Arc<Volatile>,
    pool: &Option<Arc<Pool>>,
    metrics: &Arc<Metrics>,
) -> Arc<Pipeline> {
    Pipeline::new(
        Arc::clone(router),
        Arc::clone(rights),
        Arc::clone(log),
        Arc::clone(volatile),
        pool.clone(),
        Arc::clone(metrics),
    )
}

fn build_desk(
    verifier: &Arc<Verifier>,
    pool: &Option<Arc<Pool>>,
    pipeline: &Arc<Pipeline>,
    rights: &Arc<ArcSwap<Rights>>,
    kept: &Arc<Sessions>,
    log: &dyn Log,
) -> Arc<Desk> {
    Desk::new(
        tokio::runtime::Handle::current(),
        Arc::clone(verifier),
        pool.clone(),
        Arc::clone(pipeline),
        Arc::clone(rights),
        Arc::clone(kept),
        Past::of(log),
    )
}

fn start_hub(
    settings: hub::Settings,
    log: &Arc<dyn Log>,
    desk: &Arc<Desk>,
    volatile: Arc<Volatile>,
    revoked: Arc<Revoked>,
    (closed, returns): (Option<Arc<Closed>>, Arc<Sessions>),
    clock: Clock,
) -> anyhow::Result<Hub> {
    let shared = Shared {
        window: Arc::clone(log.window()),
        past: Arc::clone(desk.past()),
        rights: Arc::clone(desk.rights()),
        metrics: Arc::clone(desk.metrics()),
        desk: Arc::clone(desk),
        presence: Presence::new(Arc::clone(&volatile)),
        volatile,
        kept: Arc::clone(desk.kept()),
        returns,
        revoked,
        closed,
        clock,
        standby: Standby::default(),
        others: OnceLock::new(),
        settings,
    };
    Hub::start(shared).context("the shards could not be started")
}

/// What shards need to know of the configuration.
fn settings(config: &Config, options: &Options) -> hub::Settings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = match config.server.shards {
        0 => cores,
        configured => configured,
    };
    let socketio = config.socketio();
    let limits = Limits {
        // Suites of WebSocket send what no client of ours would.
        message: if options.echo {
            16 << 20
        } else {
            config.limits.message.bytes()
        },
        payload: config.limits.message.bytes(),
        subscriptions: config.limits.subscriptions,
        queue: config.limits.queue.bytes(),
        publishes_per_second: config.limits.publishes_per_second,
        commands: rates::commands(&config.limits),
        inflow: rates::inflow(&config.limits),
        ping: config.server.ping.0,
        pong: config.server.pong_timeout.0,
        auth: config.limits.auth.0,
        upgrade: socketio.upgrade_timeout.0,
        history: config.limits.history,
    };
    let mut namespaces = vec!["/".to_owned()];
    namespaces.extend(socketio.namespaces.iter().cloned());
    hub::Settings {
        limits,
        recovery: socketio.recovery,
        namespaces,
        addressable: !socketio.emitters.is_empty(),
        auth_required: config.auth.required(),
        conformance: options.echo,
        shards: u16::try_from(shards).unwrap_or(1),
    }
}

fn build_admission(
    config: &Config,
    options: &Options,
    verifier: Arc<Verifier>,
    desk: Arc<Desk>,
    hub: &Hub,
) -> anyhow::Result<Admission> {
    Ok(Admission {
        auth: config.auth.clone(),
        verifier,
        rights: Arc::clone(desk.rights()),
        origins: Origins::new(&config.server.origins),
        endpoints: Admission::endpoints(config)?,
        path: config.server.path.clone(),
        sse: config.server.sse,
        centrifuge: config
            .centrifuge
            .as_ref()
            .map(|centrifuge| centrifuge.path.clone()),
        socketio: config
            .socketio
            .as_ref()
            .map(|socketio| socketio.path.trim_end_matches('/').to_owned()),
        echo: options.echo,
        metrics: Arc::clone(desk.metrics()),
        desk,
        limits: config.limits.clone(),
        standby: hub.shared().standby.clone(),
    })
}

fn build_api(
    config: &Config,
    admission: &Arc<Admission>,
    pipeline: Arc<Pipeline>,
    log: &Arc<dyn Log>,
    hub: &Arc<Hub>,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
) -> axum::Router {
    let webhooks = webhook::routes(config, &pipeline, metrics);
    api::router(Api {
        admission: Arc::clone(admission),
        pipeline,
        log: Arc::clone(log),
        hub: Arc::clone(hub),
        health: Arc::clone(health),
        metrics: Arc::clone(metrics),
        limits: config.limits.clone(),
        key: config.server.api_key.clone(),
        serve_metrics: config.metrics.enabled,
        webhooks,
    })
}

fn build_front(
    config: &Config,
    admission: Arc<Admission>,
    hub: &Arc<Hub>,
    api: axum::Router,
    connections: &Arc<Connections>,
    metrics: &Arc<Metrics>,
) -> Front {
    Front {
        admission,
        hub: Arc::clone(hub),
        api,
        connections: Arc::clone(connections),
        proxies: Proxies::new(&config.server.trusted_proxies),
        handshake: config.limits.handshake.0,
        metrics: Arc::clone(metrics),
        upgrades: TaskTracker::new(),
        probes: accept::probes(),
        waiting: accept::waiting(),
    }
}

fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let parsed: SocketAddr = address
        .parse()
        .with_context(|| format!("`{address}` is not a valid `address:port`"))?;
    let socket = if parsed.is_ipv4() {
        tokio::net::TcpSocket::new_v4()
    } else {
        tokio::net::TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(parsed)
        .with_context(|| format!("cannot listen on {address}: is another process using the port?"))?;
    Ok(socket.listen(BACKLOG)?)
}

/// Starts what happens from time to time.
fn clocks(
    hub: &Arc<Hub>,
    log: &Arc<dyn Log>,
    connections: &Arc<Connections>,
    drain: Duration,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tick(hub, log, connections, stop));
    tasks.spawn(recheck::run(Arc::clone(hub), stop.clone()));
    tasks.spawn(standby::clear(hub, drain, stop));
    tasks
}

/// Says how many are connected, and lets the log forget what is old.
fn tick(
    hub: &Arc<Hub>,
    log: &Arc<dyn Log>,
    connections: &Arc<Connections>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (hub, log, stop) = (hub.clone(), log.clone(), stop.clone());
    let connections = Arc::clone(connections);
    async move {
        let mut every = tokio::time::interval(TICK);
        every.tick().await;
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            tracing::info!(connections = hub.sessions(), "active connections");
            hub.shared().kept.prune();
            hub.shared().returns.prune();
            connections.prune();
            if let Err(error) = log.prune() {
                tracing::warn!(%error, "the log could not be pruned");
            }
        }
    }
}

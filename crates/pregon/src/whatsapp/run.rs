//! One running router: builds the parts in path order, prepares the database, stops in order.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pregon_capture::Backoff;
use pregon_capture::connect::{ConnectError, Session, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bullmq::Bullmq;
use super::http::{self, Webhook};
use super::inbox::{self, Keeper};
use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;
use super::rules::Rules;
use super::sender::Sender;
use super::stream::{Stream, Unfit};
use super::sweep::{self, Sweep};
use super::taker::Taker;
use super::worker::Worker;
use super::{database, listener};
use crate::config::{self, Config, QueueKind};
use crate::limits::bodies::Bodies;
use crate::lines::Lines;
use crate::route::naming::Naming;
use crate::source::webhook::signature::Signers;

/// Between two looks at whether the database was reached for the first time.
const LOOK: Duration = Duration::from_millis(100);

/// A router that takes deliveries.
pub struct Running {
    address: SocketAddr,
    config: Config,
    /// Lanes of the work in the database.
    lanes: Arc<Lanes>,
    /// Lanes of the queue in Redis, where there is one.
    streams: Option<Arc<Lanes>>,
    ready: Arc<AtomicBool>,
    rules: Arc<Rules>,
    /// Closes the door.
    stop: CancellationToken,
    /// Cuts requests that are still answered.
    cut: CancellationToken,
    /// Ends workers and sweep.
    rest: CancellationToken,
    requests: JoinSet<()>,
    inbox: JoinSet<()>,
    work: JoinSet<()>,
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    crate::limits::descriptors::raise();
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another process using the port?"))
}

impl Running {
    /// Opens the port. Deliveries are answered with 503 until [`Running::prepare`] has found the database.
    pub async fn start(config: Config, lines: &Lines) -> anyhow::Result<Self> {
        let section = database::section(&config)?.clone();
        let signers = signers(&section)?;
        let metrics = Metrics::new();
        lines.count_in(&metrics.log_suppressed);
        let lanes = Arc::new(Lanes::new(section.workers));
        let ready = Arc::new(AtomicBool::new(false));
        let (deliveries, queue) = mpsc::channel(inbox::QUEUE);
        let streams = (section.queue.kind == QueueKind::Redis).then(|| Arc::new(Lanes::new(section.workers)));
        let keeper = keeper(&config, &section)?;
        let mut inbox_task = JoinSet::new();
        let mode = Arc::new(Mode::new(&section, Arc::clone(&metrics)));
        let rules = Arc::new(Rules::build(&section, &Naming::build(&config)?, &metrics)?);
        inbox_task.spawn(inbox::run(
            queue,
            keeper,
            Arc::clone(streams.as_ref().unwrap_or(&lanes)),
            Arc::clone(&mode),
            Arc::clone(&metrics),
        ));
        let webhook = Webhook {
            signers,
            verify_token: section.verify_token.clone(),
            limit: section.body.bytes(),
            inbox: deliveries,
            room: http::room(),
            bodies: Bodies::new(config.limits.bodies.bytes()),
            rules: Arc::clone(&rules),
            ready: Arc::clone(&ready),
            metrics: Arc::clone(&metrics),
        };
        let listener = listen(&section.listen).await?;
        let address = listener.local_addr()?;
        let (stop, cut, rest) = Default::default();
        let routes = http::routes(&section.path, webhook);
        let senders = listener::Senders::of(&config);
        let mut running = Self {
            address,
            config,
            lanes,
            streams,
            ready,
            rules: Arc::clone(&rules),
            stop,
            cut,
            rest,
            requests: JoinSet::new(),
            inbox: inbox_task,
            work: JoinSet::new(),
        };
        let (stop, cut) = (running.stop.clone(), running.cut.clone());
        let most = section.connections;
        let serving = listener::serve(listener, routes, senders, most, stop, cut);
        running.requests.spawn(serving);
        running.start_work(&metrics, &mode, rules)?;
        running.start_takers(&metrics, &mode)?;
        Ok(running)
    }

    /// Who stores what waits in Redis, and who looks for it. They too wait for the first mark.
    fn start_takers(&mut self, metrics: &Arc<Metrics>, mode: &Arc<Mode>) -> anyhow::Result<()> {
        let Some(lanes) = &self.streams else {
            return Ok(());
        };
        let section = database::section(&self.config)?;
        let pool = database::pool(&self.config, "taker", section.workers)?;
        for _ in 0..section.workers {
            let taker = Taker {
                stream: Stream::build(&self.config, section)?,
                pool: pool.clone(),
                lanes: Arc::clone(lanes),
                work: Arc::clone(&self.lanes),
                metrics: Arc::clone(metrics),
                mode: Arc::clone(mode),
                batch: section.batch,
                attempts: section.attempts,
            };
            self.work.spawn(taker.run(self.rest.clone()));
        }
        let stream = Stream::build(&self.config, section)?;
        let (lanes, mode, metrics) = (Arc::clone(lanes), Arc::clone(mode), Arc::clone(metrics));
        let (ready, rest) = (Arc::clone(&self.ready), self.rest.clone());
        self.work.spawn(async move {
            if is_ready(&ready, &rest).await {
                sweep::streams(stream, &lanes, &mode, &metrics, rest).await;
            }
        });
        Ok(())
    }

    /// Workers and the sweep wait for the first mark, which comes when the database is prepared.
    fn start_work(
        &mut self,
        metrics: &Arc<Metrics>,
        mode: &Arc<Mode>,
        rules: Arc<Rules>,
    ) -> anyhow::Result<()> {
        let section = database::section(&self.config)?.clone();
        let pool = database::pool(&self.config, "worker", section.workers)?;
        for _ in 0..section.workers {
            let worker = Worker {
                pool: pool.clone(),
                lanes: Arc::clone(&self.lanes),
                metrics: Arc::clone(metrics),
                mode: Arc::clone(mode),
                batch: section.batch,
                attempts: section.attempts,
            };
            self.work.spawn(worker.run(self.rest.clone()));
        }
        let sweep = Sweep {
            pool: database::pool(&self.config, "sweep", 1)?,
            lanes: Arc::clone(&self.lanes),
            metrics: Arc::clone(metrics),
            keep: section.keep.0,
            mode: Arc::clone(mode),
            rules,
        };
        let bullmq = Bullmq::build(
            &self.config,
            &section,
            database::pool(&self.config, "bullmq", 1)?,
            metrics,
        )?;
        let sender = Sender::build(&section, database::pool(&self.config, "sender", 2)?, metrics)?;
        let (ready, rest) = (Arc::clone(&self.ready), self.rest.clone());
        self.work.spawn(async move {
            if !is_ready(&ready, &rest).await {
                return;
            }
            let sending = async {
                if let Some(sender) = sender {
                    sender.run(rest.clone()).await;
                }
            };
            let handing = async {
                if let Some(bullmq) = bullmq {
                    bullmq.run(rest.clone()).await;
                }
            };
            tokio::join!(sweep.run(rest.clone()), sending, handing);
        });
        Ok(())
    }

    /// The address that it serves on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Brings the database to what is needed; waits while it cannot be reached.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        let postgres = self.config.postgres.as_ref();
        let url = postgres.and_then(|postgres| postgres.admin());
        let url = url.context("no database is configured: add [postgres] with url, or set DATABASE_URL")?;
        let settings = Settings::parse(url.reveal())?.with_name("router/install");
        let mut backoff = Backoff::default();
        let mut told = false;
        loop {
            match self.attempt(&settings).await {
                Ok(()) => break,
                Err(error) if is_away(&error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "waiting for the database or the queue, deliveries are answered with 503");
                    }
                }
                Err(error) => {
                    return Err(error.context(format!("cannot prepare {}", settings.redacted())));
                }
            }
            backoff.wait().await;
        }
        self.ready.store(true, Ordering::Release);
        self.lanes.mark(Set::ALL); // What an earlier process left.
        Ok(())
    }

    async fn attempt(&self, settings: &Settings) -> anyhow::Result<()> {
        let session = settings.open().await?;
        match database::prepare(&self.config, &session).await {
            // The server stopped meanwhile, and what it was doing is rolled back: the next attempt says how it is.
            Err(_) if session.is_closed() => return Err(Gone.into()),
            done => done?,
        }
        self.take_time_zone(&session).await?;
        if self.streams.is_some() {
            let section = database::section(&self.config)?;
            for warning in Stream::build(&self.config, section)?.check().await? {
                tracing::warn!("{warning}");
            }
        }
        Ok(())
    }

    /// Before the first message is judged: rules that took another time zone for theirs would be wrong without a word.
    async fn take_time_zone(&self, session: &Session) -> anyhow::Result<()> {
        if let Some(wrong) = crate::columns::time_zone(session, &self.config).await? {
            anyhow::bail!("[router] timezone: {}; {}", wrong.message, wrong.remedy);
        }
        if let Some(zone) = self.rules.zone() {
            let row = session.query_one(sweep::OFFSET, &[&zone]).await?;
            self.rules.set_offset(row.try_get::<_, String>(0)?.parse()?);
        }
        Ok(())
    }

    /// Whether nothing is known to wait and nobody works.
    fn is_idle(&self) -> bool {
        self.lanes.is_idle() && self.streams.as_ref().is_none_or(|lanes| lanes.is_idle())
    }

    /// Stops in order; returns when everything has ended.
    pub async fn stop(mut self) {
        let drain = self
            .config
            .router
            .as_ref()
            .map_or(Duration::ZERO, |router| router.drain.0);
        let deadline = Instant::now() + drain;
        self.stop.cancel();
        let answered = async { while self.requests.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, answered).await.is_err() {
            self.cut.cancel();
            while self.requests.join_next().await.is_some() {}
        }
        // The handlers held the inbox's senders: it ends when it has kept what they brought.
        while self.inbox.join_next().await.is_some() {}
        while !self.is_idle() && Instant::now() < deadline && self.ready.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.rest.cancel();
        while self.work.join_next().await.is_some() {}
        tracing::info!("stopped");
    }
}

/// Where deliveries are kept before they are answered.
fn keeper(config: &Config, section: &config::Router) -> anyhow::Result<Keeper> {
    Ok(match section.queue.kind {
        QueueKind::Redis => Keeper::Redis(Box::new(Stream::build(config, section)?)),
        QueueKind::Postgres => Keeper::Postgres(database::pool(config, "inbox", 1)?),
    })
}

/// The secrets, without which nothing could be believed.
fn signers(section: &config::Router) -> anyhow::Result<Signers> {
    let secrets = section.secrets();
    anyhow::ensure!(
        !secrets.is_empty(),
        "[router] app_secret is missing: set it or WHATSAPP_APP_SECRET to the secret of the app that signs the webhooks"
    );
    if section.verify_token.is_none() {
        tracing::warn!(
            "no verify token is configured: a subscription cannot be confirmed, set WHATSAPP_VERIFY_TOKEN"
        );
    }
    Ok(Signers::new(&secrets))
}

/// The connection was lost while the database was prepared.
#[derive(Debug, thiserror::Error)]
#[error("the database connection was lost")]
struct Gone;

/// Whether waiting for the database helps.
fn is_away(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<ConnectError>();
    let away = matches!(error.downcast_ref::<Unfit>(), Some(Unfit::Away(_)));
    away || error.is::<Gone>() || refused.is_some_and(|error| !error.is_permanent())
}

/// Waits until the database is prepared; false if it ends before that.
async fn is_ready(ready: &AtomicBool, rest: &CancellationToken) -> bool {
    while !ready.load(Ordering::Acquire) {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = rest.cancelled() => return false,
        }
    }
    true
}

/// Runs until SIGTERM or SIGINT. A second SIGINT ends at once; what was not processed stands in the inbox.
pub async fn run(config: Config, lines: &Lines) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = Running::start(config, lines).await?;
    say_address(running.address());
    tracing::info!(address = %running.address(), "taking webhooks");
    let prepared = tokio::select! {
        prepared = running.prepare() => Some(prepared),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    match prepared {
        Some(Ok(())) => {
            tracing::info!("ready");
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        Some(Err(error)) => {
            running.stop().await;
            return Err(error);
        }
        None => {}
    }
    tracing::info!("draining, interrupt again to stop at once");
    tokio::select! {
        () = running.stop() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// The line that scripts wait for: the port is open. `/readyz` says when the router is ready.
#[expect(clippy::print_stdout, reason = "the address is the command's result")]
fn say_address(address: SocketAddr) {
    println!("listening on http://{address}");
}

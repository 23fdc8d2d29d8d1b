//! Proof that nothing is lost in silence: `make chaos`.
//!
//! ```text
//!   writers ──COMMIT──▶ PostgreSQL ──▶ proxy ──▶ the gateway ──▶ proxy ──▶ clients that flap
//!                           ▲                        ▲             ▲            │ what each saw
//!                           └──────── faults ────────┴─────────────┘            ▼
//!                           └─────────────── what was committed ───────▶ the checker
//! ```
//!
//! `run` owns everything. In order: servers, clients (until each has seen a first mark), writers, faults; then no more faults,
//! no more writes, a closing mark; clients end when they have seen it; the checker compares. Everything that is drawn is drawn
//! from the seed, so a failing seed can be run again (what happens when is up to the machine all the same).

mod record;
mod check;
mod writer;
mod client;
mod stage;
mod disk;
mod clock;
mod fault;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use client::{Me, Signals, TRANSPORTS};
use fault::Fault;
use record::{Record, room_channel};
use report::Report;
use stage::{Capture, SECRET, Stage};
use writer::{Budget, ROOMS, Writer};

/// Kill, cut, freeze and fill everything while rows are written, then compare what was committed with what each client saw
#[derive(Debug, Parser)]
#[command(
    name = "pregon-chaos",
    after_help = "\
Examples:
  make chaos                                           a million changes, 200 faults
  pregon-chaos --changes 20000 --faults 12 --seed 7    minutes
  pregon-chaos --capture wal"
)]
struct Options {
    /// The gateway to try
    #[arg(long, default_value = "target/release/pregon", env = "PREGON_BIN")]
    binary: PathBuf,
    /// How changes are captured
    #[arg(long, value_enum, default_value = "outbox")]
    capture: Capture,
    /// What everything random is drawn from; a random one by default, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Changes to commit
    #[arg(long, default_value_t = 1_000_000)]
    changes: i64,
    /// Faults to let happen, spread over the changes
    #[arg(long, default_value_t = 200)]
    faults: u32,
    #[arg(long, default_value_t = 12)]
    writers: u32,
    #[arg(long, default_value_t = 12)]
    clients: u32,
    /// Longest pause between two faults
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// How long clients may take to catch up in the end
    #[arg(long, default_value = "3m", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Where the report goes; standard output without it
    #[arg(long)]
    report: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let report = run(&options).await?;
    let page = report.markdown();
    match &options.report {
        Some(path) => std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?,
        None => say(&page),
    }
    say(&format!(
        "seed {}: {}",
        report.seed,
        if report.is_clean() { "clean" } else { "NOT clean" }
    ));
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn run(options: &Options) -> anyhow::Result<Report> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    say(&format!("seed {seed}: starting PostgreSQL and the gateway"));
    let started = Instant::now();
    // The gateway runs in a folder of its own.
    let binary = options.binary.canonicalize();
    let binary =
        binary.with_context(|| format!("no gateway at {}: `make build`", options.binary.display()))?;
    let mut stage = Stage::build(&binary, options.capture).await?;
    let signals = Arc::new(Signals::default());
    let mut clients = start_clients(options, &stage, &signals, &mut random);
    wait_ready(options, &stage, &signals).await?;
    signals.flap.store(true, Ordering::Relaxed);
    let budget = Arc::new(Budget::default());
    let mut writers = start_writers(options, &stage, &budget, &mut random);
    let faults = make_faults(options, &mut stage, &budget, &mut random).await?;
    while writers.join_next().await.is_some() {}
    signals.flap.store(false, Ordering::Relaxed);
    let complete = close(options, &stage, &signals).await?;
    let mut records = Vec::new();
    while let Some(record) = clients.join_next().await {
        records.push(record?);
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    let truth = stage.truth().await?;
    let judged = records.into_iter().map(|record| {
        let verdict = check::judge(&truth, &record);
        (record, verdict)
    });
    let clients: Vec<(Record, check::Verdict)> = judged.collect();
    let mut verdict = check::Verdict::default();
    clients.iter().for_each(|(_, one)| verdict.add(one));
    if !(complete && verdict.is_clean()) {
        keep_log(&stage, seed)?;
    }
    Ok(Report {
        seed,
        capture: options.capture.as_str(),
        committed: truth.len(),
        faults,
        took: started.elapsed(),
        complete,
        clients,
        verdict,
    })
}

fn start_clients(
    options: &Options,
    stage: &Stage,
    signals: &Arc<Signals>,
    random: &mut StdRng,
) -> JoinSet<Record> {
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let transport = TRANSPORTS.into_iter().cycle().nth(number as usize);
        let Some(transport) = transport else { continue };
        let first = random.random_range(0..ROOMS);
        let rooms = vec![first, (first + 3) % ROOMS];
        let rows = random.random_bool(0.5);
        let claims = serde_json::json!({"sub": number, "rooms": rooms, "rows": rows, "exp": expires()});
        let record = Record {
            name: format!("{number:02} {transport:?}"),
            rooms,
            rows,
            ..Record::default()
        };
        let me = Me::new(
            record,
            stage.to_node.address(),
            pregon_testkit::token(&claims, SECRET),
            room_channel((first + 1) % ROOMS),
            Arc::clone(signals),
            random.random(),
        );
        clients.spawn(me.run(transport));
    }
    clients
}

/// In half a day: later than a run ends by any clock of the gateway's.
fn expires() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs() + 12 * 3_600
}

/// Marks until every client has seen one on each of its channels: from then on it must miss nothing.
async fn wait_ready(options: &Options, stage: &Stage, signals: &Signals) -> anyhow::Result<()> {
    let clients = options.clients as usize;
    let deadline = Instant::now() + options.patience;
    for number in 1.. {
        if signals.ready.load(Ordering::Relaxed) == clients {
            break;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "only {} of {clients} clients are ready; the gateway's log:\n{}",
            signals.ready.load(Ordering::Relaxed),
            stage.node.log()
        );
        stage.mark(number).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

fn start_writers(options: &Options, stage: &Stage, budget: &Arc<Budget>, random: &mut StdRng) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for number in 1..=options.writers {
        let writer = Writer::new(number, stage.url.clone(), random.random(), Arc::clone(budget));
        writers.spawn(writer.run());
    }
    writers
}

async fn make_faults(
    options: &Options,
    stage: &mut Stage,
    budget: &Budget,
    random: &mut StdRng,
) -> anyhow::Result<BTreeMap<Fault, u32>> {
    let mut happened = BTreeMap::new();
    let portion = options.changes / i64::from(options.faults + 1);
    budget.add(portion);
    for number in 1..=options.faults {
        let pause = random.random_range(Duration::ZERO..=options.pause);
        tokio::time::sleep(pause).await;
        let fault = Fault::random(stage, random);
        say(&format!("{number:>4} {fault:?}"));
        fault
            .happen(stage, random)
            .await
            .with_context(|| format!("fault {number}, {fault:?}"))?;
        *happened.entry(fault).or_default() += 1;
        // Faults in a row are faults too, but what is to be committed must not lag far behind them.
        while budget.left() > 2 * portion {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        budget.add(portion);
    }
    budget.close();
    Ok(happened)
}

/// The closing mark, and whether every client saw it in time.
async fn close(options: &Options, stage: &Stage, signals: &Signals) -> anyhow::Result<bool> {
    // Above every mark of the beginning.
    let closing = 1_000_000;
    stage.mark(closing).await?;
    signals.closing.store(closing, Ordering::Relaxed);
    let all_done = pregon_testkit::eventually(options.patience, || async {
        signals.done.load(Ordering::Relaxed) == options.clients as usize
    });
    let complete = all_done.await.is_ok();
    signals.give_up.store(true, Ordering::Relaxed);
    Ok(complete)
}

fn keep_log(stage: &Stage, seed: u64) -> anyhow::Result<()> {
    let path = std::env::temp_dir().join(format!("pregon-chaos-{seed}.log"));
    std::fs::write(&path, stage.node.log())?;
    say(&format!("the gateway's log is in {}", path.display()));
    Ok(())
}

#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

//! The long run of the convergence test: many seeds in each capture, and a report.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use pregon_chaos::converge::{Capture, Feature, Options, Summary, prepare, run_seeds};
use pregon_testkit::postgres;

/// Random schemas, triggers, writes and changes of the schema; at each quiet point a client's collection is the table
#[derive(Debug, Parser)]
#[command(name = "pregon-converge")]
struct Arguments {
    /// The gateway to try
    #[arg(long, default_value = "target/release/pregon", env = "PREGON_BIN")]
    binary: PathBuf,
    /// notify, outbox or wal; all three by default
    #[arg(long)]
    capture: Vec<Capture>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Seeds for each capture
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Seeds at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Kinds of schemas and changes; all by default
    #[arg(long, value_delimiter = ',')]
    features: Vec<Feature>,
    /// Makes seeds that fail smaller
    #[arg(long)]
    shrink: bool,
    /// Where the report goes; standard output without it
    #[arg(long)]
    report: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let binary = arguments.binary.canonicalize();
    let binary =
        binary.with_context(|| format!("no gateway at {}: `make build`", arguments.binary.display()))?;
    let server = postgres::shared().await;
    prepare(server).await?;
    let captures = match arguments.capture.is_empty() {
        true => Capture::ALL.to_vec(),
        false => arguments.capture.clone(),
    };
    let mut summaries = Vec::new();
    for capture in captures {
        let options = Options {
            capture,
            first: arguments.first,
            count: arguments.seeds,
            features: match arguments.features.is_empty() {
                true => Feature::all(),
                false => arguments.features.clone(),
            },
            binary: binary.clone(),
            jobs: arguments.jobs,
            shrink: arguments.shrink,
            progress: true,
        };
        summaries.push((capture, run_seeds(&options, server).await));
    }
    let page = markdown(server.binaries().version(), arguments.first, &summaries);
    match &arguments.report {
        Some(path) => std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?,
        None => say(&page),
    }
    let clean = summaries.iter().all(|(_, summary)| summary.faults.is_empty());
    Ok(match clean {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn markdown(version: &str, first: u64, summaries: &[(Capture, Summary)]) -> String {
    let mut page = format!(
        "# Convergence: {version}, seeds from {first}\n\nA client keeps a collection by key from what it is told; at every quiet point it is the table, or a gap was told. \
         `cargo run -p pregon-chaos --bin pregon-converge` runs it again.\n\n\
         | capture | seeds | clean | statements | refused in both | quiet points | events | gaps | endless | s |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (capture, s) in summaries {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            capture.as_str(),
            s.seeds,
            s.seeds - s.faults.len(),
            s.statements,
            s.refused,
            s.quiet,
            s.events,
            s.gaps,
            s.endless,
            s.took.as_secs()
        );
    }
    for (_, fault) in summaries.iter().flat_map(|(_, summary)| &summary.faults) {
        let _ = write!(page, "\n```text\n{fault}```\n");
    }
    page
}

#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

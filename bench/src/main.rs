//! Runs the scenarios and prints our figures beside those of the same run's floors and peers. Started by `bench/run`,
//! which builds what is measured.
//!
//! ```text
//!   scenario ──▶ contestant (a server on its core) ◀── load (clients and publishers on the other) ──▶ report
//! ```

mod usage;
mod load;
mod postgres;
mod pgbench;
mod redis;
mod contestant;
mod receiver;
mod scenario;
mod report;

use clap::{Parser, ValueEnum};

use scenario::Effort;

/// Measures pregón beside floors and peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything by default.
    scenarios: Vec<Scenario>,
    /// One short pass of each; results are printed and not kept.
    #[arg(long)]
    quick: bool,
    /// Passes of which the median is taken.
    #[arg(long)]
    passes: Option<usize>,
    /// GiB of the log that a node starts on.
    #[arg(long, default_value_t = 10)]
    log_gib: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Fanout,
    Publish,
    Socketio,
    Latency,
    Redis,
    Memory,
    Writers,
    Wal,
    Slot,
    Decrypt,
    Drain,
    Log,
    Hostile,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let chosen = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        chosen => chosen,
    };
    for scenario in chosen {
        let usual = match scenario {
            Scenario::Latency | Scenario::Redis | Scenario::Decrypt | Scenario::Drain => 5,
            Scenario::Fanout
            | Scenario::Publish
            | Scenario::Socketio
            | Scenario::Writers
            | Scenario::Wal
            | Scenario::Slot
            | Scenario::Log
            | Scenario::Hostile => 3,
            Scenario::Memory => 1,
        };
        let passes = arguments
            .passes
            .unwrap_or(if arguments.quick { 1 } else { usual });
        let effort = Effort {
            quick: arguments.quick,
            passes,
        };
        let report = match scenario {
            Scenario::Fanout => scenario::fanout::run(effort),
            Scenario::Publish => scenario::publish::run(effort),
            Scenario::Socketio => scenario::socketio::run(effort),
            Scenario::Latency => scenario::latency::run(effort),
            Scenario::Redis => scenario::redis::run(effort),
            Scenario::Memory => scenario::memory::run(effort),
            Scenario::Writers => scenario::writers::run(effort),
            Scenario::Wal => scenario::wal::run(effort),
            Scenario::Slot => scenario::slot::run(effort),
            Scenario::Decrypt => scenario::decrypt::run(effort),
            Scenario::Drain => scenario::drain::run(effort),
            Scenario::Log => scenario::log::run(effort, arguments.log_gib),
            Scenario::Hostile => scenario::hostile::run(effort),
        };
        report?.publish()?;
    }
    Ok(())
}

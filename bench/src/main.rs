//! Runs the scenarios and prints our figures beside those of the same run's floors and peers. Started by `bench/run`,
//! which builds what is measured.
//!
//! ```text
//!   scenario ──▶ contestant (a server on its core) ◀── load (clients and publishers on the other) ──▶ report
//! ```

mod usage;
mod load;
mod postgres;
mod contestant;
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Fanout,
    Latency,
    Memory,
    Writers,
    Wal,
    Decrypt,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let chosen = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        chosen => chosen,
    };
    for scenario in chosen {
        let usual = match scenario {
            Scenario::Latency | Scenario::Decrypt => 5,
            Scenario::Fanout | Scenario::Writers | Scenario::Wal => 3,
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
            Scenario::Latency => scenario::latency::run(effort),
            Scenario::Memory => scenario::memory::run(effort),
            Scenario::Writers => scenario::writers::run(effort),
            Scenario::Wal => scenario::wal::run(effort),
            Scenario::Decrypt => scenario::decrypt::run(effort),
        };
        report?.publish()?;
    }
    Ok(())
}

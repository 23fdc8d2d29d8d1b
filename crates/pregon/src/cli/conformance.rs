//! `pregon conformance` (not in the help): an echo server for official protocol suites.

use std::process::ExitCode;

/// Answer protocol suites on a port of this machine
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The port
    #[arg(long, default_value_t = 9001)]
    port: u16,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(crate::conformance::run(args.port))
}

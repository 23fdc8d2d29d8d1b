//! `pregon demo`: everything in a temporary folder; what it does is in `crate::demo`.

use std::process::ExitCode;

/// Show it at work: a database of its own, the examples, traffic and a page that shows each feed live
///
/// Needs an installed PostgreSQL, touches none that runs, and removes everything on Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon demo
  pregon demo --port 0")]
pub(super) struct Args {
    #[command(flatten)]
    options: crate::demo::Options,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(crate::demo::run(args.options.clone()))
}

//! `pregon serve`: the gateway itself; what it does is in `crate::serve`.

use std::process::ExitCode;
use std::sync::Arc;

use super::settings::File;
use crate::lines::Lines;

/// Run the gateway
///
/// Ends on SIGTERM or Ctrl-C after telling its clients to reconnect elsewhere; SIGHUP reads routes and rights anew without
/// dropping a connection. `GET /readyz` answers 200 when everything is attached.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon serve
  PREGON_LISTEN=0.0.0.0:8080 DATABASE_URL=postgres://gateway@db/shop pregon serve --config shop.toml")]
pub(super) struct Args {
    /// Replace what another configuration has installed for its watches, even while its gateway runs ([postgres] apply = "auto")
    #[arg(long)]
    takeover: bool,
}

pub(super) fn run(args: &Args, file: &File, lines: &Arc<Lines>) -> anyhow::Result<ExitCode> {
    let config = file.load()?;
    lines.limit(config.limits.log_lines);
    let runtime = super::serving_runtime()?;
    runtime.block_on(crate::serve::run(
        config,
        Some(file.path().to_owned()),
        args.takeover,
        Arc::clone(lines),
    ))
}

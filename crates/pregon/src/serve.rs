//! `pregon serve`: installs what the configuration asks for, runs a node, and turns signals into its verbs.

mod waiting;
pub(crate) mod installation;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::limits::descriptors;
use crate::lines::{self, Lines};
use crate::node::{Node, Options};

/// How long the comparison with the database may take.
const COMPARE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT; SIGHUP reloads. A second SIGINT ends at once.
pub(crate) async fn run(
    mut config: Config,
    config_path: Option<PathBuf>,
    takeover: bool,
    lines: Arc<Lines>,
) -> anyhow::Result<ExitCode> {
    descriptors::raise();
    // Taken first, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A file that may not grow is an error of the log's write, as a full disk is, and not the end of the process.
    let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    let installation::Installed { waited_at, expected } = tokio::select! {
        installed = installation::install_triggers(&config, takeover) => installed?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    if let Some(address) = waited_at {
        config.server.listen = address.to_string(); // Port 0 would be another one now.
    }
    compare_names(&config, config_path.as_deref()).await;
    let path = config_path.clone();
    let mut node = Node::start(
        config,
        Options {
            config_path,
            expected,
            lines: Some(lines),
            ..Options::default()
        },
    )
    .await?;
    tracing::info!(address = %node.address(), "serving");
    if waited_at.is_none() {
        say_address(node.address());
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&mut node, path.as_deref()).await,
        }
    }
    tracing::info!("draining, interrupt again to stop at once");
    tokio::select! {
        () = node.stop() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

async fn reload(node: &mut Node, path: Option<&Path>) {
    if let Err(error) = node.reload() {
        node.metrics().reloaded(false);
        tracing::error!(name: lines::RECORD, "the configuration was not reloaded, the old one stays: {error:#}");
        return;
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(config) = path.and_then(|path| crate::check::load(path, &variable).ok()) {
        compare_names(&config, path).await;
    }
}

/// Says which columns of the routes the database has not; one that does not answer soon is not waited for.
async fn compare_names(config: &Config, path: Option<&Path>) {
    let compared = tokio::time::timeout(COMPARE, crate::columns::warn(config, path)).await;
    if compared.is_err() {
        tracing::warn!("the columns of the routes could not be compared with the database in time");
    }
}

/// Says where the node serves, in the log and in the line that scripts wait for.
pub(crate) fn announce(node: &Node) {
    tracing::info!(address = %node.address(), "serving");
    say_address(node.address());
}

/// The line that scripts wait for: the port is open. `/readyz` says when the node is ready.
#[expect(clippy::print_stdout, reason = "the address is the command's result")]
fn say_address(address: SocketAddr) {
    println!("listening on http://{address}");
}

//! `pregon serve`: installs what the configuration asks for, runs a node, and turns signals into its verbs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use pregon_capture::connect::Settings;
use pregon_capture::install;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Apply, Config};
use crate::node::{Node, Options};

/// Runs until SIGTERM or SIGINT; SIGHUP reloads. A second SIGINT ends at once.
pub async fn run(config: Config, config_path: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    // Taken first, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    install_triggers(&config).await?;
    let mut node = Node::start(
        config,
        Options {
            config_path,
            ..Options::default()
        },
    )
    .await?;
    announce(&node);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if let Err(error) = node.reload() {
                    tracing::error!("the configuration was not reloaded, the old one stays: {error:#}");
                }
            }
        }
    }
    tracing::info!("draining, interrupt again to stop at once");
    tokio::select! {
        () = node.stop() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// The line that scripts wait for.
#[expect(clippy::print_stdout, reason = "the address is the command's result")]
pub(crate) fn announce(node: &Node) {
    tracing::info!(address = %node.address(), "serving");
    println!("listening on http://{}", node.address());
}

/// Brings functions and triggers to what the configuration says, or refuses to start while they differ. A configuration
/// that only listens runs no DDL.
async fn install_triggers(config: &Config) -> anyhow::Result<()> {
    let Some(postgres) = config.postgres.as_ref().filter(|_| !config.watch.is_empty()) else {
        return Ok(());
    };
    let url = postgres
        .admin()
        .context("[postgres] url is missing: set it or DATABASE_URL")?;
    let session = Settings::parse(url.reveal())?
        .with_name("pregon/install")
        .open()
        .await?;
    let client = &session;
    let plan = install::plan(client, &crate::install::target(config)?).await?;
    if !plan.is_empty() {
        if postgres.apply == Apply::Manual {
            anyhow::bail!(
                "the database lacks {} object(s) of this configuration: run `pregon db plan` to see the SQL and `pregon db apply` \
                 to install them, or set [postgres] apply = \"auto\"",
                plan.steps.len()
            );
        }
        install::apply(client, &plan, &mut |step| {
            tracing::info!(object = step.object, reason = step.reason, "installed");
        })
        .await?;
    }
    let status = install::status(client).await?;
    for trigger in &status.triggers {
        tracing::info!(trigger = trigger.name, table = trigger.table, "active trigger");
    }
    Ok(())
}

//! `pregon conformance`: a node that answers what official protocol suites send.

use std::process::ExitCode;

use crate::config::Config;
use crate::node::{Node, Options};

/// Serves `/echo` on a port of this machine until interrupted.
pub async fn run(port: u16) -> anyhow::Result<ExitCode> {
    let mut config = Config::default();
    config.server.listen = format!("127.0.0.1:{port}");
    config.limits.per_address = 0;
    let node = Node::start(
        config,
        Options {
            echo: true,
            ..Options::default()
        },
    )
    .await?;
    crate::serve::announce(&node);
    tokio::signal::ctrl_c().await?;
    node.stop().await;
    Ok(ExitCode::SUCCESS)
}

//! `pregon conformance`: a node that answers what official protocol suites send.

use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, LogKind, Period, Size, Socketio};
use crate::node::{Node, Options};

/// Serves `/echo`, `/engine.io/` and `/socket.io/` on a port of this machine until interrupted.
pub(crate) async fn run(port: u16) -> anyhow::Result<ExitCode> {
    let options = Options {
        echo: true,
        ..Options::default()
    };
    let node = Node::start(config(port), options).await?;
    crate::serve::announce(&node);
    tokio::signal::ctrl_c().await?;
    node.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The times and sizes that the suites of engine.io-protocol and socket.io-protocol expect.
fn config(port: u16) -> Config {
    let mut config = Config::default();
    config.server.listen = format!("127.0.0.1:{port}");
    config.log.kind = LogKind::Memory;
    config.server.origins = vec!["*".into()];
    config.server.ping = Period(Duration::from_millis(300));
    config.server.pong_timeout = Period(Duration::from_millis(200));
    config.limits.message = Size(1_000_000);
    config.limits.auth = Period::seconds(1);
    config.limits.per_address = 0;
    config.socketio = Some(Socketio {
        namespaces: vec!["/custom".into()],
        ..Socketio::default()
    });
    config
}

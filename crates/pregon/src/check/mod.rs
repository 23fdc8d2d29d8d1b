//! What no schema can say: addresses, keys, names that must exist or be free, expressions, templates and queries that must compile.
//!
//! Every check reports and goes on. Empty values were reported as missing already and are passed over.

mod access;
mod cluster;
mod data;
pub mod names;
mod naming;
mod redis;
mod decrypt;
mod socketio;
mod router;
mod webhook;

use std::path::Path;

use crate::config::net::{Network, is_listen_address};
use crate::config::tree::Tree;
use crate::config::{Config, Problems, Secret, Server, admin};

/// Reads a file and the environment, and checks them; paths in the file are relative to its folder. All problems come back at once.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    checked(Config::load(path, env)?)
}

/// Like [`load`], from a text.
pub fn parse(
    text: &str,
    file: &str,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    checked(Config::parse(text, file, folder, env)?)
}

fn checked((config, mut tree): (Config, Tree)) -> Result<Config, Problems> {
    check(&config, &mut tree);
    if tree.has_problems() {
        Err(tree.into_problems())
    } else {
        Ok(config)
    }
}

/// Checks a configuration that fits the schema.
fn check(config: &Config, tree: &mut Tree) {
    server(&config.server, tree);
    dashboard(config, tree);
    limits(config, tree);
    access::auth(config, tree);
    access::endpoints(config, tree);
    access::channels(config, tree);
    data::postgres(config, tree);
    cluster::cluster(config, tree);
    data::watches(config, tree);
    data::listens(config, tree);
    redis::redis(config, tree);
    webhook::webhooks(config, tree);
    data::routes(config, tree);
    naming::routes(config, tree);
    decrypt::sections(config, tree);
    socketio::socketio(config, tree);
    access::centrifuge(config, tree);
    router::router(config, tree);
}

/// Paths that the node serves itself.
fn is_own_path(path: &str) -> bool {
    ["/sse", "/healthz", "/readyz", "/metrics", "/echo"].contains(&path)
        || path == "/api"
        || path.starts_with("/api/")
        || path == "/admin"
        || path.starts_with("/admin/")
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#')
}

fn server(server: &Server, tree: &mut Tree) {
    if tree.has("server.listen") && !is_listen_address(&server.listen) {
        let value = Some(server.listen.clone());
        tree.report(
            "server.listen",
            value,
            "must be `address:port`",
            "write it like `127.0.0.1:8080` or `[::]:8080`",
        );
    }
    if !is_path(&server.path) {
        tree.report(
            "server.path",
            Some(server.path.clone()),
            "must be a path",
            "begin it with `/`",
        );
    } else if is_own_path(&server.path) {
        tree.report(
            "server.path",
            Some(server.path.clone()),
            "is a path that pregón serves itself",
            "choose another, for example `/ws`",
        );
    }
    strangers(server, tree);
    if server.api_key.as_ref().is_some_and(Secret::is_empty) {
        tree.report(
            "server.api_key",
            None,
            "is empty",
            "remove it to close the API, or set PREGON_API_KEY",
        );
    }
    for (key, period) in [
        ("server.ping", server.ping),
        ("server.pong_timeout", server.pong_timeout),
    ] {
        if period.is_zero() {
            tree.report(key, Some(period.to_string()), "must be greater than 0", "");
        }
    }
}

/// Checks the token of the file; that of the environment was checked with it.
fn dashboard(config: &Config, tree: &mut Tree) {
    let weakness = config.admin.token.as_ref().and_then(admin::weakness);
    if let Some(weakness) = weakness.filter(|_| tree.has("admin.token")) {
        tree.report("admin.token", None, weakness, admin::REMEDY);
    }
}

/// Checks whom the node believes.
fn strangers(server: &Server, tree: &mut Tree) {
    for (index, origin) in server.origins.iter().enumerate() {
        if !["*", "null"].contains(&origin.as_str()) && !is_origin(origin) {
            let remedy = "write scheme and host without a path, for example `https://app.example.com`, or `null` for pages of `file:`";
            tree.report(
                &format!("server.origins[{index}]"),
                Some(origin.clone()),
                "is not an origin",
                remedy,
            );
        }
    }
    networks("server.trusted_proxies", &server.trusted_proxies, tree);
    networks("server.deny", &server.deny, tree);
}

fn networks(key: &str, list: &[String], tree: &mut Tree) {
    for (index, network) in list.iter().enumerate() {
        if Network::parse(network).is_none() {
            let remedy = "write `10.0.0.1` or `10.0.0.0/8`";
            tree.report(
                &format!("{key}[{index}]"),
                Some(network.clone()),
                "is not an address or a network",
                remedy,
            );
        }
    }
}

/// An origin as browsers send it: scheme, host, port, and nothing behind them.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    let good_scheme = !scheme.is_empty()
        && scheme
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    good_scheme
        && !host.is_empty()
        && !host.contains(|c: char| "/?#@*".contains(c) || c.is_whitespace() || c.is_ascii_uppercase())
}

fn limits(config: &Config, tree: &mut Tree) {
    let limits = &config.limits;
    let zeros = [
        ("limits.message", limits.message.0 == 0),
        ("limits.subscriptions", limits.subscriptions == 0),
        ("limits.queue", limits.queue.0 == 0),
        ("limits.body", limits.body.0 == 0),
        ("limits.bodies", limits.bodies.0 == 0),
        ("limits.recovery", limits.recovery.0 == 0),
        ("limits.batch", limits.batch == 0),
        ("limits.channel_name", limits.channel_name == 0),
        ("limits.handshake", limits.handshake.is_zero()),
        ("limits.auth", limits.auth.is_zero()),
        ("log.age", config.log.age.is_zero()),
        ("log.window", config.log.window.0 == 0),
        ("log.size", config.log.size.0 == 0),
        ("log.segment", config.log.segment.0 == 0),
    ];
    for (key, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
        tree.report(key, None, "must not be zero", "remove it for the default");
    }
    let log = &config.log;
    if log.segment > log.size {
        tree.report(
            "log.segment",
            Some(log.segment.to_string()),
            "is larger than `size`",
            "several segments have to fit: a sixteenth of `size` is usual",
        );
    }
}

#[cfg(test)]
mod tests;

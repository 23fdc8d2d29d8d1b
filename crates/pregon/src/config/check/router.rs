//! Checks `[router]`.

use super::super::tree::Tree;
use super::super::{Config, Router};
use super::data::is_table;
use super::{is_listen_address, is_path};

/// Checks addresses, tables and numbers. That there is a secret is asked when the router starts: `serve` does without.
pub(super) fn router(config: &Config, tree: &mut Tree) {
    let Some(router) = &config.router else { return };
    if config.postgres.is_none() {
        tree.report_key(
            "router",
            "needs a database",
            "add a [postgres] section with `url`, or set DATABASE_URL beside it",
        );
    }
    if !is_listen_address(&router.listen) {
        tree.report(
            "router.listen",
            Some(router.listen.clone()),
            "must be `address:port`",
            "write it like `127.0.0.1:3002`",
        );
    }
    let taken = ["/healthz", "/readyz", "/metrics"].contains(&router.path.as_str());
    if taken || !is_path(&router.path) || router.path.contains(['{', '}', '*']) {
        tree.report(
            "router.path",
            Some(router.path.clone()),
            "must be a path of its own",
            "write it like `/webhook`",
        );
    }
    let web = reqwest::Url::parse(&router.graph_url)
        .is_ok_and(|url| ["https", "http"].contains(&url.scheme()) && url.has_host());
    if !web {
        tree.report(
            "router.graph_url",
            Some(router.graph_url.clone()),
            "is no address of the web",
            "write it like `https://graph.facebook.com/v23.0`",
        );
    }
    tables(router, tree);
    numbers(router, tree);
}

fn tables(router: &Router, tree: &mut Tree) {
    let tables = [
        ("router.contacts", &router.contacts),
        ("router.conversations", &router.conversations),
        ("router.messages", &router.messages),
    ];
    for (key, table) in tables {
        if !is_table(table) {
            let remedy = "write `table` or `schema.table`, with double quotes around a part that has a dot in it";
            tree.report(key, Some(table.clone()), "is no name of a table", remedy);
        } else if tables
            .iter()
            .any(|(other, name)| *other != key && *name == table)
        {
            tree.report(
                key,
                Some(table.clone()),
                "is named twice",
                "name three different tables",
            );
        }
    }
    if router.area.trim().is_empty() || router.area.chars().any(char::is_control) {
        tree.report(
            "router.area",
            Some(router.area.clone()),
            "is no name of an area",
            "remove it for `general`",
        );
    }
}

fn numbers(router: &Router, tree: &mut Tree) {
    let zeros = [
        ("router.body", router.body.0 == 0),
        ("router.connections", router.connections == 0),
        ("router.workers", router.workers == 0),
        ("router.batch", router.batch == 0),
        ("router.attempts", router.attempts == 0),
        ("router.keep", router.keep.is_zero()),
    ];
    for (key, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
        tree.report(key, None, "must not be zero", "remove it for the default");
    }
    if router.batch > 10_000 {
        tree.report(
            "router.batch",
            Some(router.batch.to_string()),
            "must be at most 10000",
            "",
        );
    }
}

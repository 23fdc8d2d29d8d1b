//! Checks `[router]`.

use super::data::is_table;
use super::is_path;
use crate::config::net::is_listen_address;
use crate::config::tree::Tree;
use crate::config::{Config, QueueKind, Router, RouterRule};
use crate::route::expr::{Expr, Kind};
use crate::route::template::Template;

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
            "is not a web address",
            "write it like `https://graph.facebook.com/v23.0`",
        );
    }
    tables(router, tree);
    numbers(router, tree);
    queue_kind(config, router, tree);
    for (index, rule) in router.rule.iter().enumerate() {
        queue(config, rule, &format!("router.rule[{index}].bullmq"), tree);
        rule_parts(router, rule, &format!("router.rule[{index}]"), tree);
    }
}

fn tables(router: &Router, tree: &mut Tree) {
    let tables = [
        ("router.contacts", &router.contacts),
        ("router.conversations", &router.conversations),
        ("router.messages", &router.messages),
    ];
    for (key, table) in tables {
        if !is_table(table) {
            let remedy =
                "write `table` or `schema.table`, with double quotes around a part that has a dot in it";
            tree.report(key, Some(table.clone()), "is not the name of a table", remedy);
        } else if tables.iter().any(|(other, name)| *other != key && *name == table) {
            tree.report(
                key,
                Some(table.clone()),
                "is named twice",
                "name three different tables",
            );
        }
    }
    if !is_area(&router.area) {
        tree.report(
            "router.area",
            Some(router.area.clone()),
            "is not the name of an area",
            "remove it for `general`",
        );
    }
}

fn rule_parts(router: &Router, rule: &RouterRule, at: &str, tree: &mut Tree) {
    let when = rule.when.as_deref().map(|when| Expr::compile(when, Kind::Event));
    if let Some(Err(error)) = when {
        tree.report(&format!("{at}.when"), rule.when.clone(), error.to_string(), "");
    }
    let texts = rule.reply.iter().map(|text| (format!("{at}.reply"), text));
    let channels = rule
        .publish
        .iter()
        .map(|text| (super::data::item(tree, &format!("{at}.publish"), 0), text));
    let templates: Vec<_> = texts.chain(channels).collect();
    for (key, text) in templates {
        if let Err(error) = Template::parse(text) {
            tree.report(&key, Some(text.clone()), error.to_string(), "");
        }
    }
    buttons(rule, at, tree);
    if let Some(url) = &rule.webhook {
        let web = reqwest::Url::parse(url).is_ok_and(|url| ["https", "http"].contains(&url.scheme()));
        if !web {
            tree.report(
                &format!("{at}.webhook"),
                None,
                "is not a web address",
                "write it like `https://…`",
            );
        }
        if router.webhook_secret.is_none() {
            let message = "needs a secret that it is signed with";
            tree.report_key(
                &format!("{at}.webhook"),
                message,
                "set `webhook_secret` in [router]",
            );
        }
    }
    for (key, area) in [("area", &rule.area), ("otherwise", &rule.otherwise)] {
        let wrong = area.as_ref().filter(|area| !is_area(area));
        if let Some(area) = wrong {
            tree.report(
                &format!("{at}.{key}"),
                Some(area.clone()),
                "is not the name of an area",
                "",
            );
        }
    }
    if rule.assign.is_some() && router.agents.is_none() {
        let message = "needs to know the agents";
        tree.report_key(
            &format!("{at}.assign"),
            message,
            "set `agents` in [router] to their table",
        );
    }
}

fn queue_kind(config: &Config, router: &Router, tree: &mut Tree) {
    if router.queue.kind == QueueKind::Redis && config.redis.is_none() {
        tree.report_key("router.queue.kind", "needs a Redis", "add a [redis] section");
    }
    let wrong = router.queue.prefix.is_empty() || router.queue.prefix.contains(['{', '}']);
    if wrong {
        tree.report(
            "router.queue.prefix",
            Some(router.queue.prefix.clone()),
            "is not the beginning of a key",
            "write it without braces, or remove it for `pregon:router`",
        );
    }
}

fn queue(config: &Config, rule: &RouterRule, key: &str, tree: &mut Tree) {
    let Some(queue) = &rule.bullmq else { return };
    if queue.is_empty() || queue.contains(':') {
        tree.report(
            key,
            Some(queue.clone()),
            "is not the name of a queue",
            "name it without `:`",
        );
    }
    if config.redis.is_none() {
        tree.report_key(key, "needs a Redis", "add a [redis] section");
    }
}

/// What may stand in the name of a channel.
fn is_area(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 200 && !text.chars().any(char::is_control)
}

fn buttons(rule: &RouterRule, at: &str, tree: &mut Tree) {
    let wrong = rule.buttons.iter().any(|button| {
        button.split_once(':').is_none_or(|(id, title)| {
            id.trim().is_empty() || !(1..=20).contains(&title.trim().chars().count())
        })
    });
    if wrong || rule.buttons.len() > 3 {
        let remedy = "write up to three, each `\"id: title\"` with a title of at most 20 characters";
        tree.report(
            &format!("{at}.buttons"),
            None,
            "WhatsApp takes no such buttons",
            remedy,
        );
    }
    if !rule.buttons.is_empty() && rule.reply.is_none() {
        tree.report(
            &format!("{at}.buttons"),
            None,
            "stand under no text",
            "add a `reply`",
        );
    }
}

fn numbers(router: &Router, tree: &mut Tree) {
    let zeros = [
        ("router.body", router.body.0 == 0),
        ("router.media_limit", router.media_limit.0 == 0),
        ("router.connections", router.connections == 0),
        ("router.workers", router.workers == 0),
        ("router.batch", router.batch == 0),
        ("router.attempts", router.attempts == 0),
        ("router.keep", router.keep.is_zero()),
        ("router.queue.poll", router.queue.poll.is_zero()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use std::path::Path;

    use super::*;
    use crate::config::Problems;

    fn read(text: &str, vars: &[(&str, &str)]) -> Result<Config, Problems> {
        let text = format!("[postgres]\nurl = \"postgres://localhost/x\"\n[router]\n{text}");
        let env = |name: &str| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        crate::check::parse(&text, "pregon.toml", Path::new("."), &env)
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let vars = [
            ("WHATSAPP_APP_SECRET", "uno, dos"),
            ("WHATSAPP_VERIFY_TOKEN", "v"),
            ("WHATSAPP_TOKEN", "t"),
            ("WHATSAPP_GRAPH_URL", "http://127.0.0.1:9"),
            ("PREGON_LISTEN", "127.0.0.1:0"),
        ];
        let config = read("app_secret = \"file\"", &vars).unwrap();
        let router = config.router.unwrap();
        assert_eq!(router.secrets(), ["uno", "dos"]);
        assert_eq!(router.verify_token.unwrap().reveal(), "v");
        assert_eq!(router.token.unwrap().reveal(), "t");
        assert_eq!(
            (router.graph_url.as_str(), router.listen.as_str()),
            ("http://127.0.0.1:9", "127.0.0.1:0")
        );
        let ported = read("", &[("PORT", "81")]).unwrap().router.unwrap();
        assert_eq!(
            (ported.listen.as_str(), ported.secrets().len()),
            ("0.0.0.0:81", 0)
        );
        let named = read("listen = \"127.0.0.1:82\"", &[("PORT", "81")]).unwrap();
        assert_eq!(named.router.unwrap().listen, "127.0.0.1:82");
    }

    #[test]
    fn what_is_wrong_is_said_at_once_with_its_line() {
        let text = "listen = \"x\"\npath = \"/metrics\"\ncontacts = \"a b\"\nmessages = \"conversaciones\"\nworkers = 0\n\
                    graph_url = \"ftp://x\"\n[[router.rule]]\nwhen = \"mensaje ==\"\nbuttons = [\"x\"]\nassign = \"sticky\"\n\
                    webhook = \"https://x\"\n[router.queue]\nkind = \"redis\"\nprefix = \"{x}\"";
        let Err(Problems(problems)) = read(text, &[]) else {
            panic!("nothing is wrong with it")
        };
        let keys: Vec<(usize, &str)> = problems.iter().map(|one| (one.line, one.key.as_str())).collect();
        for (line, key) in [
            (4, "router.listen"),
            (5, "router.path"),
            (6, "router.contacts"),
            (7, "router.messages"),
            (8, "router.workers"),
            (9, "router.graph_url"),
            (11, "router.rule[0].when"),
            (12, "router.rule[0].buttons"),
            (13, "router.rule[0].assign"),
            (14, "router.rule[0].webhook"),
            (16, "router.queue.kind"),
            (17, "router.queue.prefix"),
        ] {
            assert!(keys.contains(&(line, key)), "{line} {key}: {keys:?}");
        }
    }
}

//! Checks `[redis]` and its channels, patterns and streams.

use super::data::source_name;
use crate::config::address::Address;
use crate::config::tree::Tree;
use crate::config::{Config, Redis};

/// Checks address, files, what is named twice, and names of sources.
pub(super) fn redis(config: &Config, tree: &mut Tree) {
    let Some(redis) = &config.redis else { return };
    address(redis, tree);
    if redis.heartbeat.is_zero() {
        let value = Some(redis.heartbeat.to_string());
        tree.report(
            "redis.heartbeat",
            value,
            "must be greater than 0",
            "remove it for the default",
        );
    }
    names(config, redis, tree);
    origins(redis, tree);
    for (index, stream) in redis.stream.iter().enumerate() {
        for (key, text) in [("field", &stream.field), ("group", &stream.group)] {
            if text.is_empty() {
                tree.report(
                    &format!("redis.stream[{index}].{key}"),
                    None,
                    "is empty",
                    "remove it for the default",
                );
            }
        }
    }
}

fn address(redis: &Redis, tree: &mut Tree) {
    let Some(url) = &redis.url else {
        tree.report_key(
            "redis.url",
            "the key `url` is missing",
            "set REDIS_URL, or REDIS_ADDR, or write `url = \"redis://127.0.0.1:6379\"`",
        );
        return;
    };
    let address = match Address::parse(url.reveal()) {
        Ok(address) => address,
        Err(error) => {
            let remedy = "write `redis://[user:password@]host:6379[/db]`, `rediss://…`, \
                          `redis+sentinel://host:26379,host:26379/MASTER` or `redis+cluster://host:6379,host:6379`";
            tree.report(
                "redis.url",
                None,
                format!("is not the address of a Redis: {error}"),
                remedy,
            );
            return;
        }
    };
    let Some(file) = &redis.ca_file else { return };
    if !address.tls {
        let remedy = "write `rediss://` in the url, or remove `ca_file`";
        tree.report(
            "redis.ca_file",
            Some(file.clone()),
            "is for TLS, which the url does not ask for",
            remedy,
        );
    }
    if let Err(error) = crate::source::redis::connect::authorities(file) {
        let remedy =
            "check the path (it is relative to the configuration's folder); the file holds PEM certificates";
        tree.report("redis.ca_file", Some(file.clone()), error.to_string(), remedy);
    }
}

/// Names are unique among all sources: a route refers to one.
fn names(config: &Config, redis: &Redis, tree: &mut Tree) {
    let before = config.watch.len() + config.listen.len();
    let keys = keys(redis).map(|(at, _, _)| at);
    for (index, (at, name)) in keys.zip(redis.names()).enumerate() {
        let earlier: Vec<&str> = config.sources().take(before + index).collect();
        source_name(name, &earlier, &at, tree);
    }
}

/// What is subscribed to or read twice would be taken once, or by halves.
fn origins(redis: &Redis, tree: &mut Tree) {
    let all: Vec<_> = keys(redis).collect();
    for (index, (at, kind, text)) in all.iter().enumerate() {
        let key = format!("{at}.{kind}");
        if !tree.has(&key) {
            continue;
        }
        let twice = all
            .iter()
            .take(index)
            .any(|(_, other, same)| other == kind && same == text);
        if text.is_empty() {
            tree.report(&key, None, "is empty", format!("name a {kind}"));
        } else if twice {
            tree.report(
                &key,
                Some((*text).to_owned()),
                format!("another entry has this {kind}"),
                "use several routes from one source",
            );
        }
    }
}

/// Place, kind and text of every source, in the order of their names.
fn keys(redis: &Redis) -> impl Iterator<Item = (String, &'static str, &str)> {
    let channels = redis.channel.iter().map(|at| at.channel.as_str()).enumerate();
    let patterns = redis.pattern.iter().map(|at| at.pattern.as_str()).enumerate();
    let streams = redis.stream.iter().map(|at| at.stream.as_str()).enumerate();
    channels
        .map(|(index, text)| (index, "channel", text))
        .chain(patterns.map(|(index, text)| (index, "pattern", text)))
        .chain(streams.map(|(index, text)| (index, "stream", text)))
        .map(|(index, kind, text)| (format!("redis.{kind}[{index}]"), kind, text))
}

//! `[redis]` with `[[redis.channel]]`, `[[redis.pattern]]` and `[[redis.stream]]`: what is taken from a Redis.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Period, Secret};

/// A Redis whose channels, patterns and streams are sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Where it is: `redis://[user:password@]host:6379[/db]`, `rediss://…` for verified TLS, `redis+sentinel://host:port,host:port/MASTER[/db]`,
    /// `redis+cluster://host:port,host:port` (both with `rediss+…` too). `REDIS_URL` overrides it, or `REDIS_ADDR` (`host:port`) its hosts.
    pub url: Option<Secret>,
    /// The password, where it is not part of `url`. `REDIS_PASSWORD` overrides it unless `REDIS_URL` is set.
    pub password: Option<Secret>,
    /// The password of the sentinels, if they ask for one.
    pub sentinel_password: Option<Secret>,
    /// File with the authorities (PEM) that `rediss` trusts; those of the system by default.
    pub ca_file: Option<String>,
    /// Pause between round trips that prove that Redis still delivers; one without an answer for as long is a lost connection.
    pub heartbeat: Period,
    /// Channels, exactly as the publisher spells them.
    pub channel: Vec<RedisChannel>,
    /// Patterns of channels. What comes through an exact channel too, or through an earlier pattern, is taken once, there.
    pub pattern: Vec<RedisPattern>,
    /// Streams, read with a position that Redis keeps.
    pub stream: Vec<RedisStream>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            password: None,
            sentinel_password: None,
            ca_file: None,
            heartbeat: Period::seconds(5),
            channel: Vec::new(),
            pattern: Vec::new(),
            stream: Vec::new(),
        }
    }
}

impl Redis {
    /// The names of its sources: channels, then patterns, then streams.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let channels = self.channel.iter().map(|channel| channel.name.as_str());
        let patterns = self.pattern.iter().map(|pattern| pattern.name.as_str());
        let streams = self.stream.iter().map(|stream| stream.name.as_str());
        channels.chain(patterns).chain(streams)
    }

    /// What Redis calls the source of this name: a channel, a pattern or a stream.
    pub fn origin(&self, name: &str) -> Option<&str> {
        let channels = self.channel.iter().map(|at| (&at.name, &at.channel));
        let patterns = self.pattern.iter().map(|at| (&at.name, &at.pattern));
        let streams = self.stream.iter().map(|at| (&at.name, &at.stream));
        let mut all = channels.chain(patterns).chain(streams);
        all.find(|(own, _)| *own == name)
            .map(|(_, origin)| origin.as_str())
    }

    /// Fills names that are not given, and makes the path of the file whole.
    pub(super) fn complete(&mut self, folder: &Path) {
        let channels = self.channel.iter_mut().map(|at| (&mut at.name, &at.channel));
        let patterns = self.pattern.iter_mut().map(|at| (&mut at.name, &at.pattern));
        let streams = self.stream.iter_mut().map(|at| (&mut at.name, &at.stream));
        for (name, origin) in channels.chain(patterns).chain(streams) {
            if name.is_empty() {
                name.clone_from(origin);
            }
        }
        if let Some(path) = &mut self.ca_file {
            *path = folder.join(&*path).display().to_string();
        }
    }
}

/// A channel of Redis, exactly.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["channel"]))]
pub struct RedisChannel {
    /// The channel, exactly as the publisher spells it.
    pub channel: String,
    /// Name for routes and logs; the channel's by default.
    pub name: String,
}

/// A pattern of channels, as PSUBSCRIBE takes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["pattern"]))]
pub struct RedisPattern {
    /// The pattern: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, `\` before a character that is meant literally.
    pub pattern: String,
    /// Name for routes and logs; the pattern's by default.
    pub name: String,
}

/// A stream, read as one consumer of a group: every entry arrives, and after a crash may arrive again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["stream"]))]
pub struct RedisStream {
    /// The stream's key.
    pub stream: String,
    /// Name for routes and logs; the stream's by default.
    pub name: String,
    /// Field of an entry that holds the message. An entry without it becomes a JSON object of all its fields, as texts.
    pub field: String,
    /// Consumer group that keeps the position; made if it is not there. Gateways with logs of their own need groups of their own.
    pub group: String,
    /// Where a group that has to be made begins: with what comes from then on, or with the oldest entry.
    pub from: StreamStart,
}

impl Default for RedisStream {
    fn default() -> Self {
        Self {
            stream: String::new(),
            name: String::new(),
            field: "data".into(),
            group: "pregon".into(),
            from: StreamStart::New,
        }
    }
}

/// Where a new consumer group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamStart {
    New,
    Start,
}

//! The configuration as data: one struct per section, read once.
//!
//! `units` are the types of values, `server`, `access`, `data`, `redis` and `socketio` the sections; `tree` knows where everything stands in the
//! file, `shape` compares it with the structs' schema, `env` lays the environment over it, `docs`
//! prints the reference. Nothing here looks at what the rest of the program makes of it: that is `crate::check`.

mod units;
pub(crate) mod problem;
mod server;
pub(crate) mod admin;
mod access;
mod socketio;
mod centrifuge;
mod data;
mod redis;
mod decrypt;
pub(crate) mod address;
mod router;
mod webhook;
pub mod net;
pub(crate) mod tree;
mod shape;
mod env;
mod outbox;
mod docs;

use std::path::Path;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use tree::Tree;

pub use access::{Algorithm, Auth, Channel, Endpoint, EndpointTransport, TokenRule};
pub use admin::Admin;
pub use centrifuge::Centrifuge;
pub use data::{Apply, Capture, Enrich, Listen, Operation, Postgres, Route, Watch};
pub use decrypt::{Decrypt, Encoding, Format, KeyEncoding, Plain};
pub use docs::{default_toml, reference_markdown, schema_json};
pub use outbox::Outbox;
pub use problem::{Problem, Problems};
pub use redis::{Redis, RedisChannel, RedisPattern, RedisStream, StreamStart};
pub use router::{Assign, Mode, Queue, QueueKind, Router, RouterRule};
pub use server::{Cluster, Limits, Log, LogKind, Metrics, Server};
pub use socketio::{Emitter, Socketio};

pub use units::{OneOrMany, Period, Secret, Size};
pub use webhook::{Preset, Webhook};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the node listens and whom it believes.
    pub server: Server,
    /// How tokens are verified and what they grant.
    pub auth: Auth,
    /// The database.
    pub postgres: Option<Postgres>,
    /// Tables whose changes are captured.
    pub watch: Vec<Watch>,
    /// NOTIFY channels that triggers of the application already use.
    pub listen: Vec<Listen>,
    /// Channels, patterns and streams of a Redis.
    pub redis: Option<Redis>,
    /// Paths that take signed webhooks of other services.
    pub webhook: Vec<Webhook>,
    /// Rules: which events go to which channels.
    pub route: Vec<Route>,
    /// Webhooks of WhatsApp, for `pregon router`.
    pub router: Option<Router>,
    /// Clients of Socket.IO; served when the section is there.
    pub socketio: Option<Socketio>,
    /// Clients of Centrifugo; served when the section is there.
    pub centrifuge: Option<Centrifuge>,
    /// Fields that the application stores encrypted.
    pub decrypt: Vec<Decrypt>,
    /// Paths that are bound to channels.
    pub endpoint: Vec<Endpoint>,
    /// Who may follow and publish what.
    pub channel: Vec<Channel>,
    /// What one client, one address and the whole node may use.
    pub limits: Limits,
    /// What is kept for clients that come back.
    pub log: Log,
    /// Which nodes share a log.
    pub cluster: Cluster,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// The dashboard of operators.
    pub admin: Admin,
}

impl Config {
    /// Reads a file and the environment, unchecked, with the places of its keys. Paths in it are relative to its folder.
    pub(crate) fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Self, Tree), Problems> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Problems(vec![Problem {
                file: file.clone(),
                line: 0,
                column: 0,
                key: String::new(),
                value: None,
                message: format!("cannot read the configuration: {error}"),
                remedy: "name the file with --config FILE".into(),
            }])
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &file, folder, env)
    }

    /// Like `load`, from a text.
    pub(crate) fn parse(
        text: &str,
        file: &str,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Tree), Problems> {
        let mut tree = Tree::parse(text, file);
        if tree.has_problems() {
            return Err(tree.into_problems()); // What follows a syntax error is guesswork.
        }
        let clean = shape::clean(&mut tree);
        let mut config: Self = match serde_json::from_value(clean) {
            Ok(config) => config,
            Err(error) => {
                tree.report("", None, error.to_string(), "");
                return Err(tree.into_problems());
            }
        };
        env::overlay(&mut config, &mut tree, env);
        config.complete(&tree, folder);
        Ok((config, tree))
    }

    /// The section of Socket.IO, or its defaults: without it no emitter is heard.
    pub fn socketio(&self) -> &Socketio {
        static ABSENT: LazyLock<Socketio> = LazyLock::new(Socketio::default);
        self.socketio.as_ref().unwrap_or(&ABSENT)
    }

    /// The names of all sources: watches, then listens, then those of Redis, then webhooks.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.watch
            .iter()
            .map(|watch| watch.name.as_str())
            .chain(self.listen.iter().map(|listen| listen.name.as_str()))
            .chain(self.redis.iter().flat_map(Redis::names))
            .chain(self.webhook.iter().map(|webhook| webhook.name.as_str()))
    }

    /// Fills what follows from something else: names of sources, the protocol's path, whole paths of files.
    fn complete(&mut self, tree: &Tree, folder: &Path) {
        for watch in self.watch.iter_mut().filter(|watch| watch.name.is_empty()) {
            let table = watch.table.rsplit('.').next().unwrap_or("");
            watch.name = table.trim_matches('"').to_owned();
        }
        for listen in self.listen.iter_mut().filter(|listen| listen.name.is_empty()) {
            listen.name.clone_from(&listen.channel);
        }
        if let Some(redis) = &mut self.redis {
            redis.complete(folder);
        }
        for decrypt in &mut self.decrypt {
            if decrypt.name.is_empty() {
                decrypt.name = decrypt.from.first().cloned().unwrap_or_default();
            }
        }
        let taken = self
            .endpoint
            .iter()
            .any(|endpoint| endpoint.path == self.server.path);
        if taken && !tree.has("server.path") {
            self.server.path = "/connect".into();
        }
        let keys = self.decrypt.iter_mut().map(|decrypt| &mut decrypt.key_file);
        let files = [
            &mut self.auth.secret_file,
            &mut self.auth.public_key_file,
            &mut self.log.path,
        ];
        for path in files.into_iter().chain(keys).flatten() {
            *path = folder.join(&*path).display().to_string();
        }
    }
}

//! `[server]`, `[limits]`, `[log]`, `[cluster]` and `[metrics]`: where the node listens and how much it takes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Period, Secret, Size};

/// Where the node listens and whom it believes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port to listen on. Port 0 takes a free port and prints it. `PREGON_LISTEN` overrides it; `PORT` counts where the file
    /// names no address. The default is reachable from this machine only, so that nothing is exposed by accident.
    pub listen: String,
    /// Origins whose pages may connect with a cookie and read answers across origins, for example `["https://app.example.com"]`.
    /// `"*"` allows every origin, but never together with a cookie token. Nor do pages of `"null"`, the origin of `file:` and of sandboxed frames.
    pub origins: Vec<String>,
    /// Addresses or networks (`"10.0.0.0/8"`) of proxies whose `X-Forwarded-For`, or where that is absent `Forwarded`, is believed. From anyone else
    /// they are ignored, because a client could write what it likes into them.
    pub trusted_proxies: Vec<String>,
    /// Addresses or networks that may not connect, for example of somebody who floods (`pregon top` names them). A reload takes it over,
    /// and closes the connections that they have.
    pub deny: Vec<String>,
    /// How long sessions have to leave after SIGTERM before they are cut.
    pub drain: Period,
    /// Threads that own sessions; 0 means one per core.
    pub shards: usize,
    /// Path of the full protocol. Where an endpoint takes `/ws`, the default becomes `/connect`.
    pub path: String,
    /// Whether `GET /sse` is served.
    pub sse: bool,
    /// Key for `POST /api/publish` and the rest of the HTTP API; without one the API is closed. `PREGON_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// Pause between pings to a quiet client: shorter than the 30 s after which common proxies cut idle connections.
    pub ping: Period,
    /// How long a client may take to answer a ping.
    pub pong_timeout: Period,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            deny: Vec::new(),
            drain: Period::seconds(5),
            shards: 0,
            path: "/ws".into(),
            sse: true,
            api_key: None,
            ping: Period::seconds(25),
            pong_timeout: Period::seconds(20),
        }
    }
}

/// What one client, one address and the whole node may use. Every limit has a code and a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message that a client may send.
    pub message: Size,
    /// Channels that one session may follow.
    pub subscriptions: usize,
    /// Connections of the whole node; 0 means no limit.
    pub connections: usize,
    /// Connections from one client address; 0 means no limit. Offices and mobile networks share an address, so it is generous.
    pub per_address: usize,
    /// Connections per second from one client address, with a burst of `per_address`; 0 means no limit. Without a limit of
    /// `per_address` there is none here either, as behind a proxy that is not declared.
    pub per_address_connects: u32,
    /// Commands and HTTP requests per second of all connections from one client address; what is more waits. 0 means no limit.
    pub per_address_commands: u32,
    /// Time for the request head and the upgrade to arrive, and for the body of a publish; and how long a client may read nothing of an
    /// answer.
    pub handshake: Period,
    /// Time for the first-message token to arrive.
    pub auth: Period,
    /// Messages per second that a client may publish.
    pub publishes_per_second: u32,
    /// Messages of every other kind per second that a client may send, with a burst of ten seconds; a faster one is closed with code
    /// 3006. 0 means no limit.
    pub commands_per_second: u32,
    /// Bytes per second that are read from a client, after inflating, with a burst of two seconds; what is more waits. 0 means no limit.
    pub bytes_per_second: Size,
    /// Bytes that may wait for a slow client; beyond them it is closed with a code that means "reconnect and resume".
    pub queue: Size,
    /// Largest body of an HTTP publish.
    pub body: Size,
    /// Room for the bodies of all webhooks whose signatures are not checked yet. One address may take a quarter, and an eighth is kept
    /// for bodies of at most 64 KiB.
    pub bodies: Size,
    /// Memory, and room on the disk, for sessions of Socket.IO that may come back, and as much for clients that resume without a position;
    /// beyond it those that left first begin anew.
    pub recovery: Size,
    /// Publications in one HTTP batch.
    pub batch: usize,
    /// Length of a channel name in bytes.
    pub channel_name: usize,
    /// Messages that a `last` of a subscribe or a history request may ask for.
    pub history: usize,
    /// Lines of one kind that the process logs in a minute; what is more is counted and told as one line with `suppressed`. The record of what
    /// was done (a message of the router, a step of an installation) and lines of `debug` are not limited, and of lines that every event
    /// can cause there is one a minute. 0 means no limit.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: Size::kib(64),
            subscriptions: 100,
            connections: 100_000,
            per_address: 1_000,
            per_address_connects: 100,
            per_address_commands: 5_000,
            handshake: Period::seconds(10),
            auth: Period::seconds(10),
            publishes_per_second: 50,
            commands_per_second: 100,
            bytes_per_second: Size::mib(1),
            queue: Size::mib(1),
            body: Size::mib(1),
            bodies: Size::mib(64),
            recovery: Size::mib(32),
            batch: 1_000,
            channel_name: 255,
            history: 1_000,
            log_lines: crate::lines::DEFAULT,
        }
    }
}

/// The log: what is kept for clients that come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Where publications are kept: `disk` survives restarts and the death of the process, `memory` forgets them when the node stops,
    /// `postgres` is a log in the database that several nodes share, see `[cluster]`.
    pub kind: LogKind,
    /// Folder of the disk log, one for each node; `PREGON_DATA` overrides it. Without either it is a folder in `pregon-data` of the working
    /// folder, named after the port and the database.
    pub path: Option<String>,
    /// Bytes of recent publications kept in memory for replay; what is older is read from the disk.
    pub window: Size,
    /// How long a publication is kept. A day, so that whoever closes a laptop in the evening misses nothing in the morning.
    pub age: Period,
    /// Bytes that the log may take on the disk or in the database; the oldest is removed before its age. About four million publications of
    /// 200 bytes.
    pub size: Size,
    /// Bytes of one file of the disk log. Whole files are removed, so that this and `size` say how exact retention is.
    pub segment: Size,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            kind: LogKind::Disk,
            path: None,
            window: Size::mib(64),
            age: Period::seconds(86_400),
            size: Size::mib(1024),
            segment: Size::mib(64),
        }
    }
}

/// The kinds of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(extend("x-later" = ["redis"]))]
pub enum LogKind {
    Disk,
    Memory,
    Postgres,
}

impl LogKind {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Postgres => "postgres",
        }
    }

    /// Whether it has a folder of its own.
    pub fn is_on_disk(self) -> bool {
        match self {
            Self::Disk => true,
            Self::Memory | Self::Postgres => false,
        }
    }

    /// Whether several nodes append to it.
    pub fn is_shared(self) -> bool {
        match self {
            Self::Disk | Self::Memory => false,
            Self::Postgres => true,
        }
    }
}

/// Nodes that share a log, where `[log] kind` is one for several nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Name of the log that the nodes share: nodes with the same name in the same database serve the same channels.
    pub name: String,
    /// Name of this node, which no other node has; `PREGON_NODE` overrides it. Without either it is made of the host name and the port.
    pub node: Option<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "pregon".into(),
            node: None,
        }
    }
}

/// `GET /metrics` in the Prometheus text format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether `/metrics` is served on the serving port.
    pub enabled: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true }
    }
}

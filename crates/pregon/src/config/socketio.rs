//! `[socketio]`: clients of Socket.IO 3 and 4, and the emitters of their back ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Period;

/// Clients of Socket.IO, and the emitters that their back ends use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Socketio {
    /// Path of the requests, as clients write it.
    pub path: String,
    /// Namespaces beside `/`: `["/admin"]`. A client of `/admin` follows `room` as the channel `/admin#room`.
    pub namespaces: Vec<String>,
    /// Whether a client that lost its connection gets its rooms and what it missed (connection state recovery). Clients then
    /// hear one argument more with every event, the position, which is why it must be asked for.
    pub recovery: bool,
    /// How long a session that lost its connection may come back.
    pub recovery_window: Period,
    /// How long a client may take to move from polling to a WebSocket.
    pub upgrade_timeout: Period,
    /// Where emitters of the application speak, so that `@socket.io/postgres-emitter` and `@socket.io/redis-emitter` reach clients. None by default: who may
    /// NOTIFY or PUBLISH may then emit to every room.
    pub emitters: Vec<Emitter>,
    /// The `key` of the Redis emitters.
    pub redis_prefix: String,
    /// The `channelPrefix` of the PostgreSQL emitters.
    pub postgres_prefix: String,
    /// The `tableName` of the PostgreSQL emitters, `"table"` or `"schema.table"`; the gateway needs SELECT on it.
    pub postgres_table: String,
}

impl Default for Socketio {
    fn default() -> Self {
        Self {
            path: "/socket.io/".into(),
            namespaces: Vec::new(),
            recovery: false,
            recovery_window: Period::seconds(120),
            upgrade_timeout: Period::seconds(10),
            emitters: Vec::new(),
            redis_prefix: "socket.io".into(),
            postgres_prefix: "socket.io".into(),
            postgres_table: "socket_io_attachments".into(),
        }
    }
}

impl Socketio {
    /// Whether emitters speak there.
    pub fn hears(&self, emitter: Emitter) -> bool {
        self.emitters.contains(&emitter)
    }

    /// `/` and the configured ones.
    pub fn all_namespaces(&self) -> impl Iterator<Item = &str> {
        std::iter::once("/").chain(self.namespaces.iter().map(String::as_str))
    }

    /// The NOTIFY channels of the PostgreSQL emitters with their namespaces; none if they are not heard.
    pub fn postgres_channels(&self) -> impl Iterator<Item = (String, &str)> {
        let heard = self.hears(Emitter::Postgres);
        let namespaces = self.all_namespaces().filter(move |_| heard);
        namespaces.map(|namespace| (format!("{}#{namespace}", self.postgres_prefix), namespace))
    }
}

/// Where emitters speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Emitter {
    Postgres,
    Redis,
}

//! `[socketio]`: what Socket.IO needs beyond the other protocols.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Socket.IO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Socketio {
    /// Where emitters of the application speak, so that `@socket.io/postgres-emitter` and `@socket.io/redis-emitter` reach clients. None by default: who may
    /// NOTIFY or PUBLISH may then emit to every room.
    pub emitters: Vec<Emitter>,
    /// Namespaces of the emitters beside `/`, for example `["/admin"]`.
    pub namespaces: Vec<String>,
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
            emitters: Vec::new(),
            namespaces: Vec::new(),
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

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
}

impl Default for Socketio {
    fn default() -> Self {
        Self {
            path: "/socket.io/".into(),
            namespaces: Vec::new(),
            recovery: false,
            recovery_window: Period::seconds(120),
            upgrade_timeout: Period::seconds(10),
        }
    }
}

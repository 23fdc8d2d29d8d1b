//! `[centrifuge]`: clients of Centrifugo.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clients of Centrifugo (`centrifuge-js`, `centrifuge-python` and others), with JSON over a WebSocket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Centrifuge {
    /// Path of the WebSocket, as clients write it.
    pub path: String,
}

impl Default for Centrifuge {
    fn default() -> Self {
        Self {
            path: "/connection/websocket".into(),
        }
    }
}

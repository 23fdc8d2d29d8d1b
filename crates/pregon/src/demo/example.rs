//! The examples that the demo runs, with the files that they are shipped with.

use serde_json::{Value, json};

use super::deed::{self, Deed};

/// An example and how the page follows it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) config: &'static str,
    pub(super) schema: &'static str,
    /// SQL that brings what must be there before traffic comes.
    pub(super) people: &'static str,
    pub(super) wire: Wire,
    /// What the page's token says; none where the example asks for none.
    pub(super) claims: Option<fn() -> Value>,
    /// The path of what in an event tells which deed it came of.
    pub(super) key: &'static str,
    /// What makes one more event.
    pub(super) deed: Deed,
    /// Its messages come from a Redis.
    pub(super) needs_redis: bool,
    /// Its messages come through `pregon router`.
    pub(super) needs_router: bool,
}

/// How the page is connected.
#[derive(Debug)]
pub(super) enum Wire {
    /// The bare endpoint at this path.
    Bare(&'static str),
    /// Socket.IO: the rooms that the page subscribes to, and the event that it shows.
    SocketIo {
        rooms: &'static [&'static str],
        event: &'static str,
    },
}

impl Wire {
    /// Path of the WebSocket.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Bare(path) => path,
            Self::SocketIo { .. } => "/socket.io/",
        }
    }
}

pub(super) static EXAMPLES: [Example; 5] = [
    Example {
        name: "live-sales",
        config: include_str!("../../../../examples/live-sales/pregon.toml"),
        schema: include_str!("../../../../examples/live-sales/schema.sql"),
        people: "",
        wire: Wire::Bare("/ws/sales"),
        claims: None,
        key: "id",
        deed: Deed::Row(deed::sale),
        needs_redis: false,
        needs_router: false,
    },
    Example {
        name: "turnstile",
        config: include_str!("../../../../examples/turnstile/pregon.toml"),
        schema: include_str!("../../../../examples/turnstile/schema.sql"),
        people: include_str!("members.sql"),
        wire: Wire::Bare("/ws/entradas"),
        claims: Some(|| json!({"sub": "caja"})),
        key: "id_entrada",
        deed: Deed::Row(deed::entry),
        needs_redis: false,
        needs_router: false,
    },
    Example {
        name: "chat-inbox",
        config: include_str!("../../../../examples/chat-inbox/pregon.toml"),
        schema: include_str!("../../../../examples/chat-inbox/schema.sql"),
        people: "INSERT INTO conversations (id, user_id) VALUES (1, 7), (2, 7), (3, 7) ON CONFLICT DO NOTHING",
        wire: Wire::SocketIo {
            rooms: &["conversation_1", "conversation_2", "conversation_3"],
            event: "message:new",
        },
        claims: Some(|| json!({"sub": 7})),
        key: "id",
        deed: Deed::Row(deed::message),
        needs_redis: false,
        needs_router: false,
    },
    Example {
        name: "marketplace",
        config: include_str!("../../../../examples/marketplace/pregon.toml"),
        schema: include_str!("../../../../examples/marketplace/schema.sql"),
        people: "",
        wire: Wire::Bare("/ws"),
        claims: Some(|| json!({"sub": "panel", "role": "ADMIN"})),
        key: "metadata.order_id",
        deed: Deed::Message(deed::stats),
        needs_redis: true,
        needs_router: false,
    },
    Example {
        name: "whatsapp-router",
        config: include_str!("../../../../examples/whatsapp-router/pregon.toml"),
        schema: include_str!("../../../../examples/whatsapp-router/schema.sql"),
        people: include_str!("writers.sql"),
        wire: Wire::SocketIo {
            rooms: &["conversacion_1", "conversacion_2", "conversacion_3"],
            event: "message:new",
        },
        claims: Some(|| json!({"sub": 7, "area": "general"})),
        key: "raw.demo",
        deed: Deed::Webhook(deed::delivery),
        needs_redis: false,
        needs_router: true,
    },
];

//! The examples that the demo runs, with the files that they are shipped with.

use serde_json::{Value, json};

use super::deeds::{self, Deed};

/// What a token says.
type Claims = fn() -> Value;

/// An example and how its page follows it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) config: &'static str,
    /// SQL that is run before the gateway starts, in this order.
    pub(super) schema: &'static [&'static str],
    /// SQL that brings what must be there before traffic comes; after the router has made its tables.
    pub(super) people: &'static str,
    pub(super) wire: Wire,
    /// Roles of its page and what their tokens say; none where the example asks for none.
    pub(super) tokens: &'static [(&'static str, Claims)],
    /// What can happen in it; the first is what traffic does.
    pub(super) deeds: &'static [Deed],
    /// Its messages come from a Redis.
    pub(super) needs_redis: bool,
    /// Its messages come through `pregon router`.
    pub(super) needs_router: bool,
}

/// How its page is connected; the full protocol is there for all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire {
    /// The full protocol.
    Full,
    /// The bare endpoint at this path.
    Bare(&'static str),
    /// Socket.IO.
    SocketIo,
}

impl Wire {
    /// Path of the WebSocket.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Full => "/ws",
            Self::Bare(path) => path,
            Self::SocketIo => "/socket.io/",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Bare(_) => "bare",
            Self::SocketIo => "socketio",
        }
    }
}

pub(super) static EXAMPLES: [Example; 5] = [
    Example {
        name: "live-sales",
        config: include_str!("../../../../examples/live-sales/page.toml"),
        schema: &[
            include_str!("../../../../examples/live-sales/schema.sql"),
            include_str!("../../../../examples/live-sales/page.sql"),
        ],
        people: "",
        wire: Wire::Full,
        tokens: &[],
        deeds: deeds::live_sales::DEEDS,
        needs_redis: false,
        needs_router: false,
    },
    Example {
        name: "turnstile",
        config: include_str!("../../../../examples/turnstile/nothing-missed.toml"),
        schema: &[include_str!("../../../../examples/turnstile/schema.sql")],
        people: include_str!("deeds/members.sql"),
        wire: Wire::Full,
        tokens: &[("caja", || json!({"sub": "caja"}))],
        deeds: deeds::turnstile::DEEDS,
        needs_redis: false,
        needs_router: false,
    },
    Example {
        name: "chat-inbox",
        config: include_str!("../../../../examples/chat-inbox/pregon.toml"),
        schema: &[include_str!("../../../../examples/chat-inbox/schema.sql")],
        people: include_str!("deeds/conversations.sql"),
        wire: Wire::SocketIo,
        tokens: &[
            ("owner", || json!({"sub": 7})),
            ("contact_1", || json!({"sub": "contact_1"})),
            ("contact_2", || json!({"sub": "contact_2"})),
            ("contact_3", || json!({"sub": "contact_3"})),
            ("contact_4", || json!({"sub": "contact_4"})),
            ("contact_5", || json!({"sub": "contact_5"})),
        ],
        deeds: deeds::chat_inbox::DEEDS,
        needs_redis: false,
        needs_router: false,
    },
    Example {
        name: "marketplace",
        config: include_str!("../../../../examples/marketplace/pregon.toml"),
        schema: &[
            include_str!("../../../../examples/marketplace/schema.sql"),
            include_str!("../../../../examples/marketplace/page.sql"),
        ],
        people: "",
        wire: Wire::Bare("/ws"),
        tokens: &[
            (
                "admin",
                || json!({"sub": "panel", "role": "ADMIN", "rooms": ["tienda"]}),
            ),
            (
                "seller-7",
                || json!({"sub": "siete", "role": "SELLER", "seller_id": 7, "rooms": ["tienda"]}),
            ),
            (
                "seller-42",
                || json!({"sub": "cuarenta", "role": "SELLER", "seller_id": 42, "rooms": ["tienda"]}),
            ),
            (
                "customer",
                || json!({"sub": "cliente", "role": "CLIENT", "rooms": ["tienda"]}),
            ),
        ],
        deeds: deeds::marketplace::DEEDS,
        needs_redis: true,
        needs_router: false,
    },
    Example {
        name: "whatsapp-router",
        config: include_str!("../../../../examples/whatsapp-router/page.toml"),
        schema: &[include_str!("../../../../examples/whatsapp-router/schema.sql")],
        people: include_str!("deeds/writers.sql"),
        wire: Wire::SocketIo,
        tokens: &[
            ("todas", || json!({"sub": 1, "area": "todas"})),
            ("general", || json!({"sub": 7, "area": "general"})),
            ("ventas", || json!({"sub": 8, "area": "ventas"})),
        ],
        deeds: deeds::whatsapp_router::DEEDS,
        needs_redis: false,
        needs_router: true,
    },
];

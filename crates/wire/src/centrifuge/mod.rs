//! The client protocol of Centrifuge (centrifugal/protocol, `client.proto`) as JSON: one object a line, in both directions.
//!
//! [`parse()`] reads one line of a client as a [`Request`]; [`encode`] writes replies and pushes. A message of a WebSocket may hold
//! several lines.

pub mod encode;
mod parse;

pub use parse::{BadRequest, Connect, Point, Request, Word, parse};

/// A command that has a reply. Its name is the key of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Presence,
    PresenceStats,
    Refresh,
}

impl Method {
    /// The key of a reply's result.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::Refresh => "refresh",
        }
    }
}

/// An error of a reply: its number, its words, and whether the client tries again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub code: u32,
    pub message: &'static str,
    pub temporary: bool,
}

impl Failure {
    pub const INTERNAL: Self = Self::again(100, "internal server error");
    pub const UNAUTHORIZED: Self = Self::new(101, "unauthorized");
    pub const PERMISSION_DENIED: Self = Self::new(103, "permission denied");
    pub const LIMIT_EXCEEDED: Self = Self::new(106, "limit exceeded");
    pub const BAD_REQUEST: Self = Self::new(107, "bad request");
    pub const NOT_AVAILABLE: Self = Self::new(108, "not available");
    /// The client asks its application for a fresh token and comes back.
    pub const TOKEN_EXPIRED: Self = Self::new(109, "token expired");
    pub const TOO_MANY_REQUESTS: Self = Self::again(111, "too many requests");

    const fn new(code: u32, message: &'static str) -> Self {
        Self {
            code,
            message,
            temporary: false,
        }
    }

    const fn again(code: u32, message: &'static str) -> Self {
        Self {
            code,
            message,
            temporary: true,
        }
    }
}

/// Why a subscription ends without having been asked to. From 2500 on the client subscribes again by itself, with its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub code: u32,
    pub reason: &'static str,
}

impl Ending {
    /// The right to the channel has ended; final.
    pub const PERMISSION_DENIED: Self = Self {
        code: 2000,
        reason: "permission denied",
    };
    /// Something may be missing: the client asks for what it missed, and learns whether it can be had.
    pub const INSUFFICIENT_STATE: Self = Self {
        code: 2500,
        reason: "insufficient state",
    };
}

/// A server's ping; a client's pong is the same.
pub const PING: &[u8] = b"{}";

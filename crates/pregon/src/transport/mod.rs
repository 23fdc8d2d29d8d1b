//! Connections: from `accept` to a socket on a shard, or to the HTTP library.
//!
//! A connection's first request is read by us. A stream (WebSocket, server-sent events) is admitted, answered, and its
//! socket goes to a shard with nothing of the HTTP library around it, which is what keeps an idle client in a few KiB.
//! Everything else, with what was read already, goes to the HTTP library; a stream that is asked for on such a connection
//! later is bridged to a shard.

pub(crate) mod head;
pub(crate) mod origin;
pub(crate) mod refused;
mod session;
pub(crate) mod admit;
pub(crate) mod accept;
pub(crate) mod listener;
mod bridge;
mod polling;
mod rewind;
pub(crate) mod patience;
pub(crate) mod forwarded;

/// The address that a request came from, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub std::net::IpAddr);

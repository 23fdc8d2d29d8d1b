//! What one client may use, and the times that it is held to.

use std::time::Duration;

use crate::limits::Rate;

/// Limits and times of sessions.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Largest message of a client, bytes, after inflating.
    pub message: usize,
    /// Largest message of a client of Engine.IO, bytes; in a polling body too.
    pub payload: usize,
    pub subscriptions: usize,
    /// Bytes that a session may be behind before it is closed with "reconnect and resume".
    pub queue: usize,
    pub publishes_per_second: u32,
    /// Messages of one connection, of whatever kind; who is faster is closed.
    pub commands: Rate,
    /// Bytes of one connection, after inflating; who is faster is not read for a while.
    pub inflow: Rate,
    /// Time between heartbeats.
    pub ping: Duration,
    /// Time that a client has to answer one; at most `ping`.
    pub pong: Duration,
    /// Time for a first-message token, or for the connect of Socket.IO.
    pub auth: Duration,
    /// Time to move from polling to a WebSocket.
    pub upgrade: Duration,
    /// Entries of the past that travel with one reply.
    pub history: usize,
}

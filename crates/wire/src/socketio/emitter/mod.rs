//! What `@socket.io/redis-emitter`, `@socket.io/postgres-emitter` and the adapters of Socket.IO servers say to their cluster.
//!
//! [`redis`] reads a message of a Redis channel, [`postgres`] a notification and [`stored`] the row that it names. What wants an
//! answer, or is meant for other servers only, is [`Emitted::Ignored`]. Limits on the size of a message are the caller's.

mod document;

mod msgpack;

use bytes::Bytes;

use super::packet::ParseError;

/// What somebody said to all servers of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emitted {
    /// An event for clients.
    Broadcast(Broadcast),
    /// Sockets join or leave rooms, or are disconnected.
    Change(RoomChange),
    /// Nothing that a gateway answers or delivers, and why.
    Ignored(&'static str),
}

/// An event for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// Who gets it.
    pub to: Target,
    /// It may be lost, and whoever comes later need not see it.
    pub volatile: bool,
    /// A number stays as it was written. Never a reserved name.
    pub event: String,
    /// Raw JSON values with commas between; `{"_placeholder":true,"num":0}` stands for the first attachment.
    pub args: String,
    /// How many values `args` has.
    pub count: usize,
    /// At most [`MAX_ATTACHMENTS`](super::MAX_ATTACHMENTS), in the order of their numbers.
    pub attachments: Vec<Bytes>,
}

/// Some sockets of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Begins with `/`.
    pub namespace: String,
    /// Those in any of these; everyone if there is none.
    pub rooms: Vec<String>,
    /// But for those in any of these.
    pub except: Vec<String>,
}

/// What sockets are told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomChange {
    /// Which sockets.
    pub to: Target,
    /// What they do.
    pub action: Action,
}

/// What sockets can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Enter these rooms.
    Join(Vec<String>),
    /// Leave these rooms.
    Leave(Vec<String>),
    /// Leave the namespace, or with `close` the whole connection.
    Disconnect {
        /// Whether the connection ends too.
        close: bool,
    },
}

/// A notification of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// It says all.
    Whole(Emitted),
    /// The row of this id in the table of attachments says it: see [`stored`].
    Stored(i64),
}

/// Why a message cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// It is neither JSON nor MessagePack.
    #[error("the message is not one of an emitter: {0}")]
    Msgpack(&'static str),
    /// The JSON, or what the MessagePack became, is not of the layout of emitters.
    #[error("the message is not one of an emitter: {0}")]
    Layout(String),
    /// The event has no name, or one that clients keep for themselves.
    #[error("{0}")]
    Event(ParseError),
    /// An argument looks like the place of an attachment that does not exist; clients would close their connection.
    #[error("an argument has `_placeholder` in it that stands for nothing")]
    Placeholder,
    /// More rooms than one message may name.
    #[error("a message names at most {MAX_ROOMS} rooms: emit to a room that all of them follow")]
    TooManyRooms,
    /// The channel is none of an emitter with that prefix.
    #[error("the channel is not one of an emitter: check the prefix")]
    Channel,
}

/// Rooms of one message, the excepted ones included: each is looked up by every shard.
pub const MAX_ROOMS: usize = 4096;

/// Reads what came over a channel of Redis, classic or sharded; `prefix` is the emitter's `key` (`socket.io` by default).
pub fn redis(prefix: &str, channel: &str, message: &[u8]) -> Result<Emitted, EmitError> {
    let rest = channel.strip_prefix(prefix).ok_or(EmitError::Channel)?;
    let (kind, rest) = rest.split_once('#').ok_or(EmitError::Channel)?;
    // What follows the namespace is the room, for those who filter by it; the message names all of its rooms.
    let (namespace, _) = rest.split_once('#').ok_or(EmitError::Channel)?;
    if !namespace.starts_with('/') {
        return Err(EmitError::Channel);
    }
    match kind {
        "" => document::broadcast_or_cluster(namespace, message),
        "-request" => document::request(namespace, message),
        "-response" => Ok(Emitted::Ignored("an answer among servers")),
        _ => Err(EmitError::Channel),
    }
}

/// Reads a notification on the channel of `namespace`.
pub fn postgres(namespace: &str, payload: &[u8]) -> Result<Noted, EmitError> {
    document::notification(namespace, payload)
}

/// Reads a row of the table of attachments.
pub fn stored(namespace: &str, payload: &[u8]) -> Result<Emitted, EmitError> {
    document::cluster(namespace, payload)
}

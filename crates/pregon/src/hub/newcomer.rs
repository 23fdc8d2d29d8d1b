//! A connection on its way to a shard.

use std::sync::Arc;

use super::codec::Variant;
use super::codec::bare::Rooms;
use super::codec::socketio::engine::App;
use super::link::Link;
use crate::auth::Claims;
use crate::limits::Permit;
use crate::session::replay::StartAt;

/// The protocol of a connection, who its client is, and what it follows from the start. Admission fills it in; the shard makes a
/// connection of it.
pub(crate) struct Opening {
    pub variant: Variant,
    pub claims: Claims,
    /// Channels that the session follows from the start.
    pub channels: Vec<Arc<str>>,
    /// It follows what its claims join too, by the rights of the moment when it begins.
    pub joined: bool,
    /// Where the channels begin.
    pub from: StartAt,
    /// A first-message token must come before anything else.
    pub must_authenticate: bool,
    /// The application above Engine.IO, and the claims of the request's own token (or why it is refused).
    pub engine: Option<(App, Result<Claims, String>)>,
    /// What a bare endpoint grants.
    pub rooms: Option<Arc<Rooms>>,
    /// Rooms that the request asks for.
    pub joins: Vec<String>,
    /// Its path and the session that it names: its client may come back without a position.
    pub returning: Option<String>,
}

impl Opening {
    /// An anonymous client that follows nothing.
    pub(crate) fn new(variant: Variant) -> Self {
        Self {
            variant,
            claims: Claims::default(),
            channels: Vec::new(),
            joined: false,
            from: StartAt::Now,
            must_authenticate: false,
            engine: None,
            rooms: None,
            joins: Vec::new(),
            returning: None,
        }
    }
}

/// A connection whose request was answered, ready for a shard.
pub(crate) struct Newcomer {
    pub link: Link,
    pub opening: Opening,
    /// The answer to the request. The shard writes it, once the session follows its channels: whoever has the answer misses
    /// nothing that is published from then on.
    pub greeting: Vec<u8>,
    /// Bytes that came behind the request.
    pub leftover: Vec<u8>,
    pub permit: Permit,
}

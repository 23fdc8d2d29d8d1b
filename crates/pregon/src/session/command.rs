//! The words between a session and its surroundings: commands are decided to effects (`decide`), which the shard carries out; a
//! question is answered outside of the shard, and the answer goes on (`answer`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use pregon_wire::codes::Code;

use super::channels::Channels;
use super::history::{History, Request};
use super::limits::Limits;
use super::members::Page;
use super::recovery::{Recalled, Recovery};
use super::replay::StartAt;
use crate::auth::{AuthError, Claims};
use crate::event::{Event, Publication};
use crate::log::{Position, Window};
use crate::metrics::Metrics;
use crate::route::grant::{Rights, SqlQuestion};
use crate::route::naming::Ambiguous;

/// Which command a reply belongs to: the client's own number, and where it was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    pub id: Option<u64>,
    /// Place of the session's namespace in the configuration; the root is 0, and the only one outside of Socket.IO.
    pub namespace: u8,
    /// The codec's own number of the command, where a reply says which one it answers.
    pub method: u8,
}

/// What a client is told about its command.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Subscribed {
        position: Position,
        recovered: bool,
        /// What was asked for of the past, where it travels with the reply: JSON objects with commas between.
        history: Option<Vec<u8>>,
        /// The channels by whose names events arrive, where the name that was asked for is not one of them.
        stands_for: Option<Vec<Arc<str>>>,
    },
    Published(Position),
    Members(Page),
    Refused {
        code: &'static Code,
        message: String,
    },
}

impl Reply {
    pub(crate) fn refused(code: &'static Code, message: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
        }
    }
}

/// What a subscribe asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The name that the client said.
    pub name: Arc<str>,
    /// More than one where the name stands for several.
    pub channels: Vec<Arc<str>>,
    pub from: StartAt,
    /// Whether the name stands for others.
    pub alias: bool,
}

/// What the shard does for a command.
pub(crate) enum Effect {
    Reply(Asked, Reply),
    /// Several commands are answered together, in their order.
    Replies(Vec<(Asked, Reply)>),
    /// Append it, with what the client publishes behind it.
    Publish(Asked, Publishing),
    Join(Asked, Wish),
    Leave {
        asked: Asked,
        channels: Vec<Arc<str>>,
    },
    /// Who follows the channel.
    Members {
        asked: Asked,
        channel: Arc<str>,
        since: Option<Arc<str>>,
    },
    /// Ask outside the shard; the answer continues with `Then`.
    Ask(Box<Ask>),
    /// The rights have changed since a fresh token's channels were asked for: once more.
    Refresh(Asked),
    /// What the database says about the channels of a session with a fresh token.
    Refreshed {
        asked: Asked,
        outcomes: Vec<(Arc<str>, Result<bool, String>)>,
    },
    /// The database said no to a subscribe: a session that follows the channel already does so no longer.
    Refused {
        asked: Asked,
        channel: Arc<str>,
    },
    /// A name stands for channels of which some are not rendered for these claims.
    Ambiguous {
        asked: Asked,
        names: Vec<Ambiguous>,
    },
    /// New claims: checked again and welcomed.
    Authenticate {
        asked: Asked,
        claims: Claims,
    },
    /// A session begins in a namespace.
    Connect {
        namespace: u8,
        claims: Claims,
        auth: Box<str>,
        recalled: Option<Box<Recalled>>,
    },
    /// No session begins there.
    Refuse {
        namespace: u8,
        code: &'static Code,
        message: String,
    },
    /// Tell an error and close.
    Close {
        asked: Asked,
        code: &'static Code,
        message: String,
    },
}

/// A question, how to go on with its answer, and the rights that it was asked by: an answer to older ones is asked again.
pub(crate) struct Ask {
    pub question: Question,
    pub then: Then,
    pub by: Arc<Rights>,
}

/// What a client publishes.
pub(crate) enum Publishing {
    /// It names its channel, and may publish there.
    Addressed(Publication),
    /// An event of the application's own: routes say where it goes, rights whether it may.
    Routed { event: Box<Event>, claims: Claims },
}

/// The position of something that was published, or why the log does not have it.
pub(crate) type Outcome = Result<Position, (&'static Code, String)>;

/// Replies to the commands of a client in their order. `None` stands where the log has to answer first.
pub(crate) type Replies = Vec<(Asked, Option<Reply>)>;

/// What only the node can answer.
pub(crate) enum Question {
    Verify {
        token: String,
    },
    /// One yes is enough.
    May(Vec<SqlQuestion>),
    /// The same once a position that is still to come has come, or was waited for in vain; without a question the answer is yes.
    Reach(Position, Vec<SqlQuestion>),
    /// Each of these channels by itself.
    MayEach(Vec<(Arc<str>, Vec<SqlQuestion>)>),
    /// What one client publishes, in its order.
    Publish(Vec<Publishing>),
    /// May the client have its earlier session back?
    Recover {
        recovery: Recovery,
        claims: Claims,
    },
    /// What lies before the window.
    History(Request),
}

/// The node's answer to a [`Question`].
pub(crate) enum Answer {
    Verified(Result<Claims, AuthError>),
    May(Result<bool, String>),
    MayEach(Vec<(Arc<str>, Result<bool, String>)>),
    /// One outcome for each that was published.
    Published(Vec<Outcome>),
    Recovered(Option<Box<Recalled>>),
    History(History),
}

/// How to go on when the answer is there.
pub(crate) enum Then {
    Authenticate(Asked),
    Join(Asked, Wish),
    Members {
        asked: Asked,
        channel: Arc<str>,
        since: Option<Arc<str>>,
    },
    Publish {
        asked: Asked,
        publication: Publication,
    },
    Confirm(Replies),
    /// The token of a connect was sent for verification.
    Connect {
        namespace: u8,
        auth: Box<str>,
        recovery: Option<Recovery>,
    },
    /// The claims are known, and an earlier session is looked for.
    Recover {
        namespace: u8,
        auth: Box<str>,
        claims: Claims,
        recovery: Recovery,
    },
    /// A fresh token has been taken; what its session follows was asked for again.
    Refreshed(Asked),
    /// A subscribe whose past travels with its reply.
    Subscribed {
        asked: Asked,
        wish: Wish,
        position: Position,
        /// A past that is complete means that the client has missed nothing.
        since: bool,
    },
}

/// A session that waits for an answer, with the messages that came in meanwhile.
pub(crate) struct Waiting {
    /// How to go on, and the rights that the question was asked by.
    pub then: Option<(Then, Arc<Rights>)>,
    pub inbox: VecDeque<Incoming>,
}

/// A complete message from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(Box<str>),
    Binary(Bytes),
    Ping(Box<[u8]>),
    /// With the position that it acknowledges, if there is one.
    Pong(Option<Position>),
    Close(Option<u16>),
}

impl Incoming {
    /// Bytes that the message holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Ping(bytes) => bytes.len(),
            Self::Pong(_) | Self::Close(_) => 0,
        }
    }
}

/// What decisions look at.
pub(crate) struct Env<'a> {
    pub rights: &'a Arc<Rights>,
    /// The names behind the session's subscriptions.
    pub channels: &'a Channels,
    pub window: &'a Window,
    pub limits: &'a Limits,
    pub metrics: &'a Metrics,
}

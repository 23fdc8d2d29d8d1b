//! What a client's command does: pure decisions, whose effects the shard carries out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use pregon_wire::codes::{self, Code};
use pregon_wire::plain::{self, Command, Request};

use super::Session;
use super::replay::From;
use crate::auth::{AuthError, Claims};
use crate::event::{Data, EventId, Publication};
use crate::hub::Limits;
use crate::log::Position;
use crate::metrics::{Metrics, Reason};
use crate::route::grant::{Decision, Rights, SqlQuestion};

/// Longest channel and event name, bytes. Names live in indexes and in every frame.
pub const NAME: usize = 255;

/// What the shard does for a command.
pub enum Effect {
    Reply(Vec<u8>),
    Join {
        id: Option<u64>,
        channel: Arc<str>,
        from: From,
    },
    Leave {
        id: Option<u64>,
        channel: Arc<str>,
    },
    /// Ask outside the shard; the answer continues with `Then`.
    Ask(Box<(Question, Then)>),
    /// New claims: checked again and welcomed.
    Authenticate {
        id: Option<u64>,
        claims: Claims,
    },
    /// Tell an error and close.
    Close {
        id: Option<u64>,
        code: &'static Code,
        message: String,
    },
}

/// What only the node can answer.
pub enum Question {
    Verify { token: String },
    May(SqlQuestion),
    Append(Publication),
}

/// The node's answer to a [`Question`].
pub enum Answer {
    Verified(Result<Claims, AuthError>),
    May(Result<bool, String>),
    Appended(Result<Position, String>),
}

/// How to go on when the answer is there.
pub enum Then {
    Authenticate {
        id: Option<u64>,
    },
    Join {
        id: Option<u64>,
        channel: Arc<str>,
        from: From,
    },
    Publish {
        id: Option<u64>,
        publication: Publication,
    },
    Confirm {
        id: Option<u64>,
    },
}

/// A session that waits for an answer, with the messages that came in meanwhile.
pub struct Waiting {
    pub then: Option<Then>,
    pub inbox: VecDeque<Incoming>,
}

/// A complete WebSocket message from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(Box<str>),
    Binary(Box<[u8]>),
    Ping(Box<[u8]>),
    Pong,
    Close(Option<u16>),
}

impl Incoming {
    /// Bytes that the message holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) => bytes.len(),
            Self::Pong | Self::Close(_) => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What decisions look at.
pub struct Env<'a> {
    pub rights: &'a Rights,
    pub limits: &'a Limits,
    pub metrics: &'a Metrics,
}

/// Decides what a text message of the full protocol does. `open`: the session may do more than authenticate.
pub fn handle(session: &mut Session, open: bool, text: &str, env: &Env<'_>) -> Effect {
    let Request { id, command } = match plain::parse(text) {
        Ok(request) => request,
        Err(error) => return refuse(error.id, &codes::BAD_REQUEST, &error.message),
    };
    match command {
        Command::Auth { token } => ask(
            Question::Verify {
                token: token.into_owned(),
            },
            Then::Authenticate { id },
        ),
        _ if !open => Effect::Close {
            id,
            code: &codes::UNAUTHORIZED,
            message: "send {\"type\":\"auth\",\"token\":\"…\"} first".into(),
        },
        Command::Subscribe { channel, since, last } => {
            subscribe(session, id, &channel, since.as_deref(), last, env)
        }
        Command::Unsubscribe { channel } => Effect::Leave {
            id,
            channel: Arc::from(&*channel),
        },
        Command::Publish { channel, event, data } => publish(session, id, &channel, &event, data.get(), env),
        Command::Presence { .. } => refuse(
            id,
            &codes::UNAVAILABLE,
            "presence is not available on this server",
        ),
        Command::Ping => reply(|out| plain::ok(id, out)),
    }
}

/// Continues a command with the answer to its question.
pub fn resume(then: Then, answer: Answer, env: &Env<'_>) -> Effect {
    match (then, answer) {
        (Then::Authenticate { id }, Answer::Verified(Ok(claims))) => Effect::Authenticate { id, claims },
        (Then::Authenticate { id }, Answer::Verified(Err(error))) => {
            env.metrics.dropped(Reason::Token);
            Effect::Close {
                id,
                code: &codes::INVALID_TOKEN,
                message: error.to_string(),
            }
        }
        (Then::Join { id, channel, from }, Answer::May(Ok(true))) => Effect::Join { id, channel, from },
        (Then::Publish { id, publication }, Answer::May(Ok(true))) => {
            ask(Question::Append(publication), Then::Confirm { id })
        }
        (Then::Join { id, .. } | Then::Publish { id, .. }, Answer::May(Ok(false))) => {
            forbid(id, "the rights of this channel do not include you", env)
        }
        (Then::Confirm { id }, Answer::Appended(Ok(position))) => {
            reply(|out| plain::ok_published(id, &position.to_string(), out))
        }
        (Then::Join { id, .. } | Then::Publish { id, .. }, Answer::May(Err(error))) => {
            refuse(id, &codes::UNAVAILABLE, &error)
        }
        (Then::Confirm { id }, Answer::Appended(Err(error))) => refuse(id, &codes::UNAVAILABLE, &error),
        (
            Then::Authenticate { id }
            | Then::Join { id, .. }
            | Then::Publish { id, .. }
            | Then::Confirm { id },
            _,
        ) => refuse(id, &codes::INTERNAL, "the answer does not fit the question"),
    }
}

fn subscribe(
    session: &Session,
    id: Option<u64>,
    channel: &str,
    since: Option<&str>,
    last: Option<u32>,
    env: &Env<'_>,
) -> Effect {
    if let Err(message) = check_name(channel) {
        return refuse(id, &codes::BAD_CHANNEL, message);
    }
    let from = match (since.map(str::parse), last) {
        (Some(Ok(since)), _) => From::Since(since),
        (Some(Err(error)), _) => return refuse(id, &codes::BAD_POSITION, &error.to_string()),
        (None, Some(n)) => From::Last(n),
        (None, None) => From::Now,
    };
    if session.subscriptions.len() >= env.limits.subscriptions {
        env.metrics.dropped(Reason::Subscriptions);
        return refuse(
            id,
            &codes::TOO_MANY_SUBSCRIPTIONS,
            "unsubscribe from a channel first",
        );
    }
    let from = if env.rights.history(channel) {
        from
    } else {
        From::Now
    };
    let channel: Arc<str> = Arc::from(channel);
    match env.rights.subscribe(&session.claims, &channel) {
        Decision::Allow => Effect::Join { id, channel, from },
        Decision::Deny(reason) => forbid(id, reason, env),
        Decision::Ask(question) => ask(Question::May(question), Then::Join { id, channel, from }),
    }
}

fn publish(
    session: &mut Session,
    id: Option<u64>,
    channel: &str,
    event: &str,
    data: &str,
    env: &Env<'_>,
) -> Effect {
    if let Err(message) = check_name(channel) {
        return refuse(id, &codes::BAD_CHANNEL, message);
    }
    if let Err(message) = check_name(event) {
        return refuse(id, &codes::BAD_EVENT, message);
    }
    if !session
        .publishes
        .take(env.limits.publishes_per_second, Instant::now())
    {
        env.metrics.dropped(Reason::Rate);
        return refuse(id, &codes::RATE_LIMITED, "publish more slowly");
    }
    let publication = Publication {
        channels: smallvec::smallvec![Arc::from(channel)],
        event: Arc::from(event),
        data: Data::Json(Bytes::copy_from_slice(data.as_bytes())),
        sealed: Box::default(),
        id: EventId::unique(),
        at: SystemTime::now(),
    };
    match env.rights.publish(&session.claims, channel) {
        Decision::Allow => ask(Question::Append(publication), Then::Confirm { id }),
        Decision::Deny(reason) => forbid(id, reason, env),
        Decision::Ask(question) => ask(Question::May(question), Then::Publish { id, publication }),
    }
}

/// A channel or event name that may travel in frames, headers of streams and logs.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("the name is empty"),
        _ if name.len() > NAME => Err("the name is longer than 255 bytes"),
        _ if name.chars().any(char::is_control) => Err("the name has control characters"),
        _ => Ok(()),
    }
}

fn ask(question: Question, then: Then) -> Effect {
    Effect::Ask(Box::new((question, then)))
}

fn forbid(id: Option<u64>, reason: &str, env: &Env<'_>) -> Effect {
    env.metrics.dropped(Reason::Forbidden);
    refuse(id, &codes::FORBIDDEN, reason)
}

fn refuse(id: Option<u64>, code: &'static Code, message: &str) -> Effect {
    reply(|out| plain::error(id, code, message, out))
}

fn reply(write: impl FnOnce(&mut Vec<u8>)) -> Effect {
    let mut out = Vec::new();
    write(&mut out);
    Effect::Reply(out)
}

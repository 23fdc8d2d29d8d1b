//! What a client's command does: pure decisions, whose effects the shard carries out. Knows no protocol.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pregon_wire::Command;
use pregon_wire::codes::{self, Code};
use pregon_wire::socketio::{elements, is_reserved};

use super::Session;
use super::command::{Ask, Asked, Effect, Env, Publishing, Question, Reply, Then, Wish};
use super::replay::StartAt;
use crate::event::{Data, Event, Publication, What};
use crate::metrics::Reason;
use crate::route::grant::{ByClaims, Decision};
use crate::route::rule::CLIENTS;

/// Longest channel and event name, bytes. Names live in indexes and in every frame.
const NAME: usize = 255;

/// Decides what a command does. `attachments` are the bytes that its data or arguments name.
pub(crate) fn handle(
    session: &mut Session,
    asked: Asked,
    command: Command<'_>,
    attachments: Vec<Bytes>,
    env: &Env<'_>,
) -> Effect {
    match command {
        Command::Auth { token } => ask(
            Question::Verify {
                token: token.into_owned(),
            },
            Then::Authenticate(asked),
            env,
        ),
        Command::Subscribe { channel, since, last } => {
            begin_subscribe(session, asked, &channel, since.as_deref(), last, env)
        }
        Command::Unsubscribe { channel } => Effect::Leave {
            asked,
            channels: env.rights.resolve(&session.claims, &channel).channels,
        },
        Command::Publish { channel, event, data } => {
            let data = Data::args(Bytes::copy_from_slice(data.as_bytes()), 1, attachments);
            publish(session, asked, &channel, &event, data, env)
        }
        Command::Emit { event, args } => emit(session, asked, &event, args, attachments, env),
        Command::Presence { channel, since } => {
            let since = since.as_deref().map(Arc::from);
            presence(session, asked, &channel, since, env)
        }
        Command::Ping => Effect::Reply(asked, Reply::Done),
    }
}

fn begin_subscribe(
    session: &Session,
    asked: Asked,
    channel: &str,
    since: Option<&str>,
    last: Option<u32>,
    env: &Env<'_>,
) -> Effect {
    if let Err(message) = check_name(channel) {
        return refuse(asked, &codes::BAD_CHANNEL, message);
    }
    let from = match (since.map(str::parse), last) {
        (Some(Ok(since)), _) => StartAt::Since(since),
        (Some(Err(error)), _) => return refuse(asked, &codes::BAD_POSITION, &error.to_string()),
        (None, Some(n)) => StartAt::Last(n),
        (None, None) => StartAt::Now,
    };
    subscribe(session, asked, channel, from, env)
}

pub(super) fn subscribe(
    session: &Session,
    asked: Asked,
    channel: &str,
    from: StartAt,
    env: &Env<'_>,
) -> Effect {
    let ByClaims { channels, ambiguous } = env.rights.resolve(&session.claims, channel);
    if !ambiguous.is_empty() {
        let names = ambiguous;
        return Effect::Ambiguous { asked, names };
    }
    // What it follows already takes no further place: at the limit a client may still ask for what it missed.
    let follows = |name: &Arc<str>| {
        let known = env.channels.find(name);
        known.is_some_and(|known| session.subscription(known).is_some())
    };
    let further = channels.iter().filter(|name| !follows(name)).count();
    if further > 0 && session.subscriptions.len() + further > env.limits.subscriptions {
        env.metrics.dropped(Reason::Subscriptions);
        return refuse(
            asked,
            &codes::TOO_MANY_SUBSCRIPTIONS,
            "unsubscribe from a channel first",
        );
    }
    let from = if env.rights.history(channel) {
        from
    } else {
        StartAt::Now
    };
    let wish = Wish {
        name: Arc::from(channel),
        alias: !matches!(channels.as_slice(), [only] if **only == *channel),
        channels,
        from,
    };
    match (
        env.rights.subscribe(&session.claims, channel),
        from.ahead(env.window),
    ) {
        (Decision::Allow, None) => Effect::Join(asked, wish),
        (Decision::Allow, Some(at)) => ask(Question::Reach(at, Vec::new()), Then::Join(asked, wish), env),
        (Decision::Deny(reason), _) => forbid(asked, reason, env),
        (Decision::Ask(question), None) => ask(Question::May(question), Then::Join(asked, wish), env),
        (Decision::Ask(question), Some(at)) => {
            ask(Question::Reach(at, question), Then::Join(asked, wish), env)
        }
    }
}

pub(super) fn presence(
    session: &Session,
    asked: Asked,
    channel: &str,
    since: Option<Arc<str>>,
    env: &Env<'_>,
) -> Effect {
    if !env.rights.presence(channel) {
        return refuse(asked, &codes::NO_PRESENCE, "this channel tells no members");
    }
    let channel: Arc<str> = Arc::from(channel);
    match env.rights.subscribe(&session.claims, &channel) {
        Decision::Allow => Effect::Members {
            asked,
            channel,
            since,
        },
        Decision::Deny(reason) => forbid(asked, reason, env),
        Decision::Ask(question) => {
            let then = Then::Members {
                asked,
                channel,
                since,
            };
            ask(Question::May(question), then, env)
        }
    }
}

fn publish(
    session: &mut Session,
    asked: Asked,
    channel: &str,
    event: &str,
    data: Data,
    env: &Env<'_>,
) -> Effect {
    if let Err(message) = check_name(channel) {
        return refuse(asked, &codes::BAD_CHANNEL, message);
    }
    if let Some(refused) = refuse_event(session, asked, event, env) {
        return refused;
    }
    let publication = Publication::new([Arc::from(channel)], event, data);
    decide_publish(session, asked, publication, env)
}

/// Whether a publication may go on its way.
pub(super) fn decide_publish(
    session: &Session,
    asked: Asked,
    publication: Publication,
    env: &Env<'_>,
) -> Effect {
    let channel = publication.channels.first().map_or("", |channel| &**channel);
    match env.rights.publish(&session.claims, channel) {
        Decision::Allow => Effect::Publish(asked, Publishing::Addressed(publication)),
        Decision::Deny(reason) => forbid(asked, reason, env),
        Decision::Ask(question) => ask(Question::May(question), Then::Publish { asked, publication }, env),
    }
}

/// An event of the application's own: routes say where it goes, rights whether it may.
fn emit(
    session: &mut Session,
    asked: Asked,
    event: &str,
    args: &str,
    attachments: Vec<Bytes>,
    env: &Env<'_>,
) -> Effect {
    if let Some(refused) = refuse_event(session, asked, event, env) {
        return refused;
    }
    let first = elements(args).next().unwrap_or("null");
    let message = Bytes::copy_from_slice(first.as_bytes());
    let list = Bytes::copy_from_slice(args.as_bytes());
    let payload = Data::args(list, elements(args).count(), attachments);
    let what = What::Emitted {
        name: Arc::from(event),
        text: message,
        payload,
        claims: Some(session.claims.clone()),
    };
    let publishing = Publishing::Routed {
        event: Box::new(Event::new(Arc::from(CLIENTS), what)),
        claims: session.claims.clone(),
    };
    Effect::Publish(asked, publishing)
}

/// A bad name, or too many of them in a short time.
fn refuse_event(session: &mut Session, asked: Asked, event: &str, env: &Env<'_>) -> Option<Effect> {
    if let Err(message) = check_event(event) {
        return Some(refuse(asked, &codes::BAD_EVENT, message));
    }
    if session
        .publishes
        .take(env.limits.publishes_per_second, Instant::now())
    {
        return None;
    }
    env.metrics.dropped(Reason::Rate);
    Some(refuse(asked, &codes::RATE_LIMITED, "publish more slowly"))
}

/// A channel or event name that may travel in frames, headers of streams and logs.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("the name is empty"),
        _ if name.len() > NAME => Err("the name is longer than 255 bytes"),
        _ if name.chars().any(char::is_control) => Err("the name has control characters"),
        _ => Ok(()),
    }
}

/// The name of an event that a client makes: it may not speak as the gateway does, nor as a library of Socket.IO does to its own
/// application, whose parser ends the connection at such a name.
fn check_event(name: &str) -> Result<(), &'static str> {
    check_name(name)?;
    if is_reserved(name) || matches!(name, "gap" | "error" | "join" | "leave") {
        return Err("the name is one of the protocol's own: choose another");
    }
    Ok(())
}

pub(super) fn ask(question: Question, then: Then, env: &Env<'_>) -> Effect {
    let by = Arc::clone(env.rights);
    Effect::Ask(Box::new(Ask { question, then, by }))
}

pub(super) fn forbid(asked: Asked, reason: &str, env: &Env<'_>) -> Effect {
    env.metrics.dropped(Reason::Forbidden);
    refuse(asked, &codes::FORBIDDEN, reason)
}

pub(super) fn refuse(asked: Asked, code: &'static Code, message: &str) -> Effect {
    Effect::Reply(asked, Reply::refused(code, message))
}

//! The client protocol of Centrifuge, JSON over a WebSocket: an unmodified client of Centrifugo connects, subscribes, publishes, and
//! recovers by our positions. Its offset is ours, and its epoch that of the log.
//!
//! A connect names the client; until then nothing else is heard. What a client missed travels with the answer to its subscribe. The
//! protocol has no word for a gap: a live one ends the subscription with a code upon which the client asks for what it missed, and
//! then learns that it cannot be had.

use std::sync::Arc;
use std::time::SystemTime;

use pregon_wire::Command;
use pregon_wire::centrifuge::encode::{self, Connected, Subscribed};
use pregon_wire::centrifuge::{self, Connect, Ending, Failure, Method, Point, Word};
use pregon_wire::codes::{self, Code};

use super::{Encoder, Variant};
use crate::auth::AuthError;
use crate::hub::Key;
use crate::hub::conn::ConnectionState;
use crate::hub::follow::HISTORY;
use crate::hub::rights::LostRight;
use crate::hub::shard::Shard;
use crate::log::window::Most;
use crate::log::{Body, Entry, Epoch, Position, Since};
use crate::session::command::{Asked, Effect, Reply};
use crate::session::history::Request;
use crate::session::replay::StartAt;

/// The name of a client's own event, for which the protocol has no place.
const EVENT: &str = "message";

/// Seconds before the end of a token at which the client is asked for a fresh one.
const EARLY: u64 = 10;

/// What a connect said, until it is answered.
#[derive(Debug, Default)]
pub(crate) struct Connecting {
    id: u64,
    /// Where the client was in the channels that the server subscribes it to.
    recover: Vec<(String, Point)>,
}

/// The numbers of commands in [`Asked::method`].
const METHODS: [Method; 7] = [
    Method::Connect,
    Method::Subscribe,
    Method::Unsubscribe,
    Method::Publish,
    Method::Presence,
    Method::PresenceStats,
    Method::Refresh,
];

fn number_of(method: Method) -> u8 {
    let place = METHODS.iter().position(|known| *known == method);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or_default()
}

fn method_of(asked: Asked) -> Method {
    METHODS
        .get(usize::from(asked.method))
        .copied()
        .unwrap_or(Method::Connect)
}

impl Encoder {
    pub(super) fn centrifuge(&mut self, variant: Variant, channel: &str, entry: &Entry, out: &mut Vec<u8>) {
        let mut json = Vec::new();
        match &entry.body {
            Body::Publication { event, data, .. } => {
                encode::push_publication(channel, entry.offset, event, &data.json(), &mut json);
            }
            Body::Member { client, joined, .. } => encode::push_member(channel, client, *joined, &mut json),
            // The subscription ends, see `Shard::end_with_gap`.
            Body::Gap(_) => return,
        }
        self.text(variant, &json, out);
    }

    pub(super) fn centrifuge_reply(
        &mut self,
        variant: Variant,
        asked: Asked,
        reply: &Reply,
        out: &mut Vec<u8>,
    ) {
        let Some(id) = asked.id else { return };
        let method = method_of(asked);
        let mut json = Vec::new();
        match reply {
            // The connect was answered when its channels began.
            Reply::Done if method == Method::Connect => return,
            Reply::Done => encode::done(id, method, &mut json),
            Reply::Published(_) => encode::done(id, Method::Publish, &mut json),
            Reply::Subscribed {
                position,
                recovered,
                history,
                ..
            } => {
                let epoch = position.epoch.to_string();
                let begun = Subscribed {
                    epoch: &epoch,
                    offset: position.offset,
                    recovered: history.is_some().then_some(*recovered),
                    // All or nothing.
                    publications: history.as_deref().filter(|_| *recovered).unwrap_or_default(),
                };
                encode::subscribed(id, begun, &mut json);
            }
            Reply::Members(page) if method == Method::PresenceStats => {
                encode::presence_stats(id, page.clients.len(), &mut json);
            }
            Reply::Members(page) => {
                encode::presence(id, page.clients.iter().map(|client| &**client), &mut json);
            }
            // Leaving twice is not a failure there.
            Reply::Refused { code, .. } if **code == codes::NOT_SUBSCRIBED => {
                encode::done(id, method, &mut json);
            }
            Reply::Refused { code, message } => encode::error(id, failure(code, message), message, &mut json),
        }
        self.text(variant, &json, out);
    }
}

/// A publication of the past, as the answer to a subscribe has it.
pub(super) fn write_past(entry: &Entry, _channel: &str, out: &mut Vec<u8>) {
    if let Body::Publication { event, data, .. } = &entry.body {
        encode::publication(entry.offset, event, &data.json(), out);
    }
}

/// Our codes as clients know them.
fn failure(code: &Code, message: &str) -> Failure {
    let table = [
        (&codes::UNAUTHORIZED, Failure::UNAUTHORIZED),
        (&codes::FORBIDDEN, Failure::PERMISSION_DENIED),
        (&codes::TOO_MANY_SUBSCRIPTIONS, Failure::LIMIT_EXCEEDED),
        (&codes::TOO_LARGE, Failure::LIMIT_EXCEEDED),
        (&codes::NO_PRESENCE, Failure::NOT_AVAILABLE),
        (&codes::RATE_LIMITED, Failure::TOO_MANY_REQUESTS),
        (&codes::INTERNAL, Failure::INTERNAL),
        (&codes::UNAVAILABLE, Failure::INTERNAL),
    ];
    if *code == codes::INVALID_TOKEN {
        return match is_expired(message) {
            true => Failure::TOKEN_EXPIRED,
            false => Failure::UNAUTHORIZED,
        };
    }
    let found = table.iter().find(|(known, _)| **known == *code);
    found.map_or(Failure::BAD_REQUEST, |(_, failure)| *failure)
}

/// Whether a fresh token helps.
fn is_expired(message: &str) -> bool {
    message == AuthError::Expired.to_string()
}

/// The close code of a connection whose token is refused: with a fresh one the client comes back.
pub(super) fn close_code(code: &'static Code, message: &str) -> &'static Code {
    match *code == codes::CLOSE_INVALID_TOKEN && is_expired(message) {
        true => &codes::CLOSE_TOKEN_EXPIRED,
        false => code,
    }
}

impl Shard {
    /// A line of a client.
    pub(super) fn centrifuge_text(&mut self, key: Key, text: &str) {
        let Ok(request) = centrifuge::parse(text) else {
            return self.close(key, &codes::CLOSE_BAD_PROTOCOL, "bad request");
        };
        let Some(state) = self.conn(key).map(|conn| conn.state) else {
            return;
        };
        let asked = |method| Asked {
            id: (request.id > 0).then_some(request.id),
            method: number_of(method),
            ..Asked::default()
        };
        match (request.word, state) {
            (Word::Connect(connect), ConnectionState::AwaitingToken(_)) => {
                self.centrifuge_connect(key, asked(Method::Connect), connect);
            }
            (Word::Connect(_), _) | (_, ConnectionState::AwaitingToken(_)) => {
                self.close(key, &codes::CLOSE_BAD_PROTOCOL, "connect comes first, and once");
            }
            (Word::Nothing, _) => {}
            (Word::Unavailable, _) => {
                let mut json = Vec::new();
                encode::error(request.id, Failure::NOT_AVAILABLE, "", &mut json);
                self.say(key, &json);
            }
            (Word::Subscribe { channel, recover }, _) => {
                let since = recover.map(|point| position_of(&point).to_string().into());
                let command = Command::Subscribe {
                    channel,
                    since,
                    last: None,
                };
                self.command(key, asked(Method::Subscribe), command, Vec::new());
            }
            (Word::Unsubscribe { channel }, _) => {
                let command = Command::Unsubscribe { channel };
                self.command(key, asked(Method::Unsubscribe), command, Vec::new());
            }
            (Word::Publish { channel, data }, _) => {
                let command = Command::Publish {
                    channel,
                    event: EVENT.into(),
                    data: data.get(),
                };
                self.command(key, asked(Method::Publish), command, Vec::new());
            }
            (Word::Presence { channel }, _) => {
                let command = Command::Presence { channel, since: None };
                self.command(key, asked(Method::Presence), command, Vec::new());
            }
            (Word::PresenceStats { channel }, _) => {
                let command = Command::Presence { channel, since: None };
                self.command(key, asked(Method::PresenceStats), command, Vec::new());
            }
            (Word::Refresh { token }, _) => {
                self.command(key, asked(Method::Refresh), Command::Auth { token }, Vec::new());
            }
        }
    }

    /// The client says who it is: by a token of the connect, or else by that of the request.
    fn centrifuge_connect(&mut self, key: Key, asked: Asked, connect: Connect<'_>) {
        let required = self.shared.auth_required;
        let Some(conn) = self.conn(key) else { return };
        conn.connecting = Some(Box::new(Connecting {
            id: asked.id.unwrap_or_default(),
            recover: connect.recover,
        }));
        if let Some(token) = connect.token {
            return self.command(key, asked, Command::Auth { token }, Vec::new());
        }
        let claims = conn.sessions.first().map(|session| session.claims.clone());
        let claims = claims.unwrap_or_default();
        let effect = match claims.is_anonymous() && required {
            true => Effect::Close {
                asked,
                code: &codes::UNAUTHORIZED,
                message: "a token is needed: new Centrifuge(url, { token })".into(),
            },
            false => Effect::Authenticate { asked, claims },
        };
        self.effect(key, effect);
    }

    /// Answers the connect, now that the connection follows its channels.
    pub(super) fn centrifuge_welcome(&mut self, key: Key) {
        let ping = self.shared.limits.ping.as_secs().max(1);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let connecting = conn.connecting.take().unwrap_or_default();
        let Some(session) = conn.sessions.first() else {
            return;
        };
        let (name, ttl) = (session.name(), seconds_left(session.claims.expires_at()));
        let followed: Vec<(Arc<str>, u64)> = self
            .subscriptions
            .followed(session.subscriptions.iter())
            .collect();
        let begun: Vec<_> = followed
            .iter()
            .map(|(channel, after)| {
                let asked = connecting.recover.iter().find(|(name, _)| **name == **channel);
                let past = asked.map(|(_, point)| self.missed(channel, point, *after));
                (channel, self.shared.window.position(*after), past)
            })
            .collect();
        let epoch = self.shared.window.epoch().to_string();
        let subscribed = begun.iter().map(|(channel, position, past)| {
            let begun = Subscribed {
                epoch: &epoch,
                offset: position.offset,
                recovered: past.as_ref().map(Option::is_some),
                publications: past.as_ref().and_then(Option::as_deref).unwrap_or_default(),
            };
            (&***channel, begun)
        });
        let hello = Connected {
            client: &name,
            ping,
            ttl,
        };
        let mut json = Vec::new();
        encode::connected(connecting.id, hello, subscribed, &mut json);
        self.say(key, &json);
    }

    /// What a client missed of a channel that the server subscribes it to; `None` if the window does not have all of it.
    fn missed(&self, channel: &Arc<str>, point: &Point, upto: u64) -> Option<Vec<u8>> {
        if !self.shared.rights.load().history(channel) {
            return None;
        }
        let request = Request {
            channels: vec![Arc::clone(channel)],
            from: StartAt::Since(Since::Position(position_of(point))),
            upto,
            most: Most {
                entries: self.shared.limits.history,
                bytes: HISTORY,
            },
            write: write_past,
        };
        let history = request.here(&self.shared.past)?;
        history.complete.then_some(history.json)
    }

    /// The answer to a fresh token.
    pub(super) fn centrifuge_refreshed(&mut self, key: Key, id: u64) {
        let session = self.conns.get(key).and_then(|conn| conn.sessions.first());
        let Some(session) = session else { return };
        let mut json = Vec::new();
        let ttl = seconds_left(session.claims.expires_at());
        encode::refreshed(id, &session.name(), ttl, &mut json);
        self.say(key, &json);
    }

    /// Whether a reply needs more than the encoder knows: that to a fresh token.
    pub(super) fn is_refreshed(asked: Asked, reply: &Reply) -> bool {
        method_of(asked) == Method::Refresh && matches!(reply, Reply::Done)
    }

    /// A subscription's right ended, or nobody can say whether it did.
    pub(super) fn centrifuge_lost(&mut self, key: Key, channel: &str, lost: &LostRight) {
        let ending = match lost.code.retry {
            true => Ending::INSUFFICIENT_STATE,
            false => Ending::PERMISSION_DENIED,
        };
        self.end_subscription(key, channel, ending);
    }

    /// A gap of the log concerns the channel: the client asks for what it missed, and learns that it cannot be had.
    pub(super) fn centrifuge_gap(&mut self, key: Key, channel: &str) {
        self.end_subscription(key, channel, Ending::INSUFFICIENT_STATE);
    }

    fn end_subscription(&mut self, key: Key, channel: &str, ending: Ending) {
        self.unsubscribe(key, channel);
        let mut json = Vec::new();
        encode::push_unsubscribe(channel, ending, &mut json);
        self.say(key, &json);
    }
}

/// Seconds until a client shall show a fresh token.
fn seconds_left(expires: Option<SystemTime>) -> Option<u64> {
    let left = expires?.duration_since(SystemTime::now()).unwrap_or_default();
    Some(left.as_secs().saturating_sub(EARLY).max(1))
}

/// The place that a client names. One of another log, or of none, is foreign: the epoch 0 is nobody's.
fn position_of(point: &Point) -> Position {
    let nowhere = Position {
        epoch: Epoch(0),
        offset: point.offset,
    };
    let text = format!("{}-{}", point.epoch, point.offset);
    text.parse().unwrap_or(nowhere)
}

/// Lines of one message, each a command of its own.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Box<str>> {
    text.lines().filter(|line| !line.trim().is_empty()).map(Box::from)
}

//! The full protocol: JSON in both directions over a WebSocket, or only to the client as the data of server-sent events.

use bytes::Bytes;
use pregon_wire::codes::{self, Code};
use pregon_wire::ws::frame::{self, Opcode};
use pregon_wire::{Command, plain};

use super::{Encoder, OwnGap, Variant};
use crate::hub::Key;
use crate::hub::conn::ConnectionState;
use crate::hub::shard::Shard;
use crate::log::{Body, Entry};
use crate::session::command::{Asked, Effect, Reply};
use crate::session::shown;

impl Encoder {
    pub(super) fn plain(
        &mut self,
        variant: Variant,
        channel: &str,
        entry: &Entry,
        replayed: bool,
        out: &mut Vec<u8>,
    ) {
        let mut json = std::mem::take(&mut self.scratch);
        json.clear();
        write_entry(channel, entry, replayed, &mut json);
        self.text(variant, &json, out);
        self.scratch = json;
    }

    pub(super) fn plain_reply(&mut self, variant: Variant, asked: Asked, reply: &Reply, out: &mut Vec<u8>) {
        let mut json = Vec::new();
        write_reply(asked.id, reply, &mut json);
        self.text(variant, &json, out);
    }

    pub(super) fn plain_gap(&mut self, variant: Variant, gap: &OwnGap<'_>, out: &mut Vec<u8>) {
        let mut json = Vec::new();
        write_gap(gap, &mut json);
        self.text(variant, &json, out);
    }

    /// A ping of the protocol with the position; before it one of the WebSocket, which browsers answer by themselves.
    pub(super) fn plain_heartbeat(
        &mut self,
        variant: Variant,
        position: &str,
        asked: &str,
        out: &mut Vec<u8>,
    ) {
        if !variant.one_way() {
            frame::frame(Opcode::Ping, asked.as_bytes(), out);
        }
        let mut json = Vec::new();
        plain::ping(position, &mut json);
        self.text(variant, &json, out);
    }

    /// The last event of an event stream: the error that ended it.
    pub(super) fn plain_farewell(&mut self, variant: Variant, code: &'static Code, message: &str) -> Bytes {
        let message = if message.is_empty() { code.help } else { message };
        self.reply(variant, Asked::default(), &Reply::refused(code, message))
    }
}

impl Shard {
    /// A text message of the full protocol.
    pub(super) fn plain_text(&mut self, key: Key, text: &str) {
        let request = match plain::parse(text) {
            Ok(request) => request,
            Err(error) => {
                let asked = Asked {
                    id: error.id,
                    ..Asked::default()
                };
                let refused = Reply::refused(&codes::BAD_REQUEST, error.message);
                return self.effect(key, Effect::Reply(asked, refused));
            }
        };
        let asked = Asked {
            id: request.id,
            ..Asked::default()
        };
        let open = self
            .conn(key)
            .is_some_and(|conn| conn.state == ConnectionState::Open);
        if !open && !matches!(request.command, Command::Auth { .. }) {
            return self.effect(
                key,
                Effect::Close {
                    asked,
                    code: &codes::UNAUTHORIZED,
                    message: "send {\"type\":\"auth\",\"token\":\"…\"} first".into(),
                },
            );
        }
        self.command(key, asked, request.command, Vec::new());
    }

    pub(super) fn plain_binary(&mut self, key: Key) {
        let refused = Reply::refused(&codes::BAD_REQUEST, "send commands as text frames");
        self.reply(key, Asked::default(), &refused);
    }

    /// The first message. The position is where what follows begins.
    pub(super) fn welcome(&mut self, key: Key, start: u64) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        let Some(session) = conn.sessions.first() else {
            return;
        };
        let names: Vec<_> = session
            .subscriptions
            .iter()
            .map(|s| self.subscriptions.channels.name(s.channel))
            .collect();
        let mut json = Vec::new();
        let position = self.shared.window.position(start).to_string();
        plain::welcome(
            &session.name(),
            &position,
            names.iter().map(|name| &**name),
            &mut json,
        );
        self.say(key, &json);
    }

    /// A subscription ended because its right did.
    pub(super) fn plain_lost(&mut self, key: Key, channel: &str, code: &'static Code, message: &str) {
        self.unsubscribe(key, channel);
        let mut json = Vec::new();
        plain::lost(channel, code, message, &mut json);
        self.say(key, &json);
    }
}

/// An entry as JSON, without a framing.
pub(super) fn write_entry(channel: &str, entry: &Entry, replayed: bool, out: &mut Vec<u8>) {
    match &entry.body {
        Body::Publication { .. } => shown::write_event(entry, channel, replayed, out),
        Body::Gap(gap) => {
            let from = gap.from.to_string();
            plain::gap(Some(channel), Some(&from), &entry.position, gap.reason, out);
        }
        Body::Member { client, joined, .. } if *joined => plain::join(channel, client, out),
        Body::Member { client, .. } => plain::leave(channel, client, out),
    }
}

/// A gap of one session as JSON, without a framing.
pub(super) fn write_gap(gap: &OwnGap<'_>, out: &mut Vec<u8>) {
    let from = gap.from.map(|position| position.to_string());
    plain::gap(
        Some(gap.channel),
        from.as_deref(),
        &gap.to.to_string(),
        gap.reason,
        out,
    );
}

/// A reply as JSON, without a framing.
pub(super) fn write_reply(id: Option<u64>, reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Done => plain::ok(id, out),
        Reply::Subscribed {
            position,
            recovered,
            stands_for,
            ..
        } => {
            let names = stands_for.as_ref().map(|names| names.iter().map(|name| &**name));
            plain::ok_subscribed(id, &position.to_string(), *recovered, names, out);
        }
        Reply::Published(position) => plain::ok_published(id, &position.to_string(), out),
        Reply::Members(page) => {
            let clients = page.clients.iter().map(|client| &**client);
            plain::ok_presence(id, clients, page.next(), out);
        }
        Reply::Refused { code, message } => plain::error(id, code, message, out),
    }
}

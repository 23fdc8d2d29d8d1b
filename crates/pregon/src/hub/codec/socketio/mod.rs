//! Socket.IO over Engine.IO: packets in, and what they ask of the sessions of a connection.
//!
//! A client enters a namespace by a connect, which makes a session there; its events are commands or emits of that session.
//! What is no packet, or comes at the wrong time, ends the connection, as clients expect.

mod encode;
pub(crate) mod engine;
pub(crate) mod polling;
pub(crate) mod sid;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pregon_wire::Command;
use pregon_wire::codes::{self, Code};
use pregon_wire::engineio::{self, PROBE};
use pregon_wire::socketio::{self, Assembled, Elements, Kind, Packet, command, room};

use crate::auth::Claims;
use crate::event::Data;
use crate::hub::Key;
use crate::hub::link::Link;
use crate::hub::shard::Shard;
use crate::hub::timers::Due;
use crate::log::Position;
use crate::metrics::Reason;
use crate::route::grant::ByClaims;
use crate::session::answer;
use crate::session::command::{Asked, Effect, Reply};
use crate::session::recovery::{Recalled, Recovery};
use crate::session::{Named, Session};
use engine::App;

/// Refused connects of one connection.
const REFUSED: u8 = 20;

/// After this time a suite has taken the answer to its connect.
const GREETING: Duration = Duration::from_millis(15);

impl Shard {
    /// A text message of a client of Engine.IO.
    pub(in crate::hub) fn engine_text(&mut self, key: Key, text: &str) {
        match engineio::parse(text) {
            Ok(engineio::Packet::Message(message)) => self.engine_message(key, message),
            Ok(engineio::Packet::Close) => self.said_farewell(key),
            Ok(engineio::Packet::Ping(data)) if data == PROBE => {}
            // A pong; `heard` is noted already. The rest has no meaning here and does no harm.
            Ok(engineio::Packet::Pong(_) | engineio::Packet::Noop | engineio::Packet::Ping(_)) => {}
            Ok(engineio::Packet::Upgrade | engineio::Packet::Open(_) | engineio::Packet::Binary(_))
            | Err(_) => {
                self.protocol_error(key);
            }
        }
    }

    fn engine_message(&mut self, key: Key, message: &str) {
        let most = self.shared.limits.payload;
        let Some(engine) = self.conn(key).and_then(|conn| conn.engine.as_mut()) else {
            return;
        };
        if engine.app == App::Echo {
            return self.say(key, format!("4{message}").as_bytes());
        }
        match engine.assembler.text(message, most) {
            Ok(Some(packet)) => self.packet(key, &packet, Vec::new()),
            // Its attachments come next.
            Ok(None) => {}
            Err(_) => self.protocol_error(key),
        }
    }

    /// An attachment.
    pub(in crate::hub) fn engine_binary(&mut self, key: Key, bytes: Bytes) {
        let most = self.shared.limits.payload;
        let Some(engine) = self.conn(key).and_then(|conn| conn.engine.as_mut()) else {
            return;
        };
        if engine.app == App::Echo {
            return self.say_binary(key, &bytes);
        }
        match engine.assembler.binary(bytes, most) {
            Ok(Some(assembled)) => self.assembled(key, assembled),
            Ok(None) => {}
            Err(_) => self.protocol_error(key),
        }
    }

    fn assembled(&mut self, key: Key, assembled: Assembled) {
        let attachments = assembled.attachments().to_vec();
        self.packet(key, &assembled.packet(), attachments);
    }

    fn packet(&mut self, key: Key, packet: &Packet<'_>, attachments: Vec<Bytes>) {
        let Some(namespace) = self.namespace_number(packet.namespace) else {
            return self.unknown_namespace(key, packet);
        };
        let entered = self
            .conn(key)
            .is_some_and(|conn| conn.session(namespace).is_some());
        match packet.kind {
            Kind::Connect if entered => self.protocol_error(key),
            Kind::Connect => self.enter(key, namespace, packet),
            Kind::Disconnect => self.exit(key, namespace),
            Kind::Event | Kind::BinaryEvent if entered => self.event(key, namespace, packet, attachments),
            // We ask clients for nothing, so that no answer is awaited.
            Kind::Ack | Kind::BinaryAck if entered => {}
            _ => self.protocol_error(key),
        }
    }

    pub(in crate::hub) fn namespace_number(&self, name: &str) -> Option<u8> {
        let place = self.shared.namespaces.iter().position(|known| known == name)?;
        u8::try_from(place).ok()
    }

    fn unknown_namespace(&mut self, key: Key, packet: &Packet<'_>) {
        if packet.kind != Kind::Connect {
            return self.protocol_error(key);
        }
        let mut out = Vec::new();
        socketio::encode_connect_error(packet.namespace, "Invalid namespace", None, &mut out);
        self.say(key, &out);
        self.count_refused(key);
    }

    /// A connect: whose session is it, and had it one before?
    fn enter(&mut self, key: Key, namespace: u8, packet: &Packet<'_>) {
        let auth = packet.auth();
        let required = self.shared.auth_required;
        let recovery = self.recovery(namespace, auth.pid.as_deref(), auth.offset.as_deref());
        let Some(engine) = self.conn(key).and_then(|conn| conn.engine.as_ref()) else {
            return;
        };
        let handshake = match &engine.handshake {
            Ok(claims) if claims.is_anonymous() && required => {
                Err("a token is needed: io(url, { auth: { token } })".to_owned())
            }
            handshake => handshake.clone(),
        };
        let given = packet.data.unwrap_or("{}").into();
        let rights = self.shared.rights.load();
        let env = self.shared.env(&rights, &self.subscriptions.channels);
        let effect = answer::connect(
            namespace,
            auth.token.as_deref(),
            &handshake,
            given,
            recovery,
            &env,
        );
        self.effect(key, effect);
    }

    /// What a client says of its earlier session, where that counts. Without an offset it has seen nothing of it.
    fn recovery(&self, namespace: u8, pid: Option<&str>, offset: Option<&str>) -> Option<Recovery> {
        if !self.shared.recovery {
            return None;
        }
        let offset: Position = offset?.parse().ok()?;
        Some(Recovery {
            pid: pid?.to_owned(),
            offset,
            namespace,
        })
    }

    /// The session begins, or goes on where it was.
    pub(in crate::hub) fn connect(
        &mut self,
        key: Key,
        namespace: u8,
        claims: Claims,
        auth: &str,
        recalled: Option<Box<Recalled>>,
    ) {
        self.fan_out();
        if let Some(recalled) = recalled
            && self.resume(key, namespace, &claims, *recalled)
        {
            return self.watch_expiry(key);
        }
        let named = Named {
            sid: sid::random().into(),
            pid: self.shared.recovery.then(|| sid::random().into()),
        };
        let own = self.own_channels(namespace, &named.sid);
        let name = self.encoder.namespace(namespace).to_owned();
        let mut out = Vec::new();
        socketio::encode_connect(&name, &named.sid, named.pid.as_deref(), &mut out);
        let joined = self.joined(namespace, &claims);
        let Some(conn) = self.conn(key) else { return };
        conn.sessions.push(Session::named(claims, namespace, named));
        let head = self.fanout.head;
        for channel in joined.channels.iter().chain(&own) {
            self.subscribe(key, namespace, channel, head);
        }
        self.keep(key, namespace);
        self.watch_expiry(key);
        self.say(key, &out);
        self.refuse_names(key, namespace, &joined.ambiguous);
        if self.shared.conformance {
            let args = Data::Json(Bytes::copy_from_slice(auth.as_bytes()));
            self.greet_suite_soon(key, namespace, args);
        }
    }

    /// Suites listen for one message at a time: what comes with the answer to their connect is missed.
    fn greet_suite_soon(&mut self, key: Key, namespace: u8, args: Data) {
        let Some(engine) = self.conn(key).and_then(|conn| conn.engine.as_mut()) else {
            return;
        };
        engine.greetings.push((namespace, args));
        self.timers.set(Instant::now() + GREETING, key, Due::Greeting);
    }

    /// What a suite sent with its connects comes back.
    pub(in crate::hub) fn greet_suite(&mut self, key: Key) {
        let engine = self.conn(key).and_then(|conn| conn.engine.as_mut());
        let greetings = engine.map(|engine| std::mem::take(&mut engine.greetings));
        for (namespace, args) in greetings.into_iter().flatten() {
            self.emit(key, namespace, "auth", &args);
        }
    }

    /// The channels that claims join, as far as they are of the namespace.
    pub(in crate::hub) fn joined(&self, namespace: u8, claims: &Claims) -> ByClaims {
        let name = self.encoder.namespace(namespace);
        let mut named = self.shared.rights.load().join(claims);
        named.channels.retain(|channel| room::split(channel).0 == name);
        named
            .ambiguous
            .retain(|ambiguous| room::split(ambiguous.name()).0 == name);
        named
    }

    /// The channels by which back ends reach a socket, and all of them.
    pub(in crate::hub) fn own_channels(&self, namespace: u8, sid: &str) -> Vec<Arc<str>> {
        if !self.shared.addressable {
            return Vec::new();
        }
        let name = self.encoder.namespace(namespace);
        vec![room::channel_of(name, sid).into(), room::everyone(name).into()]
    }

    pub(in crate::hub) fn refuse_connect(
        &mut self,
        key: Key,
        namespace: u8,
        code: &'static Code,
        message: &str,
    ) {
        let mut data = Vec::new();
        command::error(code, message, &mut data);
        let name = self.encoder.namespace(namespace).to_owned();
        let mut out = Vec::new();
        socketio::encode_connect_error(&name, message, Some(&data), &mut out);
        self.say(key, &out);
        self.count_refused(key);
    }

    /// Each connect costs a signature check: who is refused again and again ends.
    fn count_refused(&mut self, key: Key) {
        let Some(engine) = self.conn(key).and_then(|conn| conn.engine.as_mut()) else {
            return;
        };
        engine.refused = engine.refused.saturating_add(1);
        if engine.refused > REFUSED {
            self.protocol_error(key);
        }
    }

    /// A client leaves a namespace; the connection stays. It does not come back for what it misses from now on.
    pub(in crate::hub) fn exit(&mut self, key: Key, namespace: u8) {
        self.unfollow_namespace(key, namespace);
        let Some(conn) = self.conn(key) else { return };
        let Some(place) = conn.sessions.iter().position(|s| s.namespace == namespace) else {
            return;
        };
        let session = conn.sessions.remove(place);
        if let Some(pid) = session.named.and_then(|named| named.pid) {
            let owner = self.owner(key);
            self.shared.kept.forget(&pid, owner);
        }
    }

    fn event(&mut self, key: Key, namespace: u8, packet: &Packet<'_>, attachments: Vec<Bytes>) {
        let asked = Asked {
            id: packet.ack,
            namespace,
            ..Asked::default()
        };
        let Some(event) = packet.event() else {
            return self.protocol_error(key);
        };
        if self.shared.conformance {
            return self.conformance(key, asked, &event.name, event.args, attachments);
        }
        match command::command(event) {
            Ok(command) => {
                let name = self.encoder.namespace(namespace);
                let command = in_namespace(name, command);
                self.command(key, asked, command, attachments);
            }
            Err(message) => {
                let refused = Reply::refused(&codes::BAD_REQUEST, message);
                self.effect(key, Effect::Reply(asked, refused));
            }
        }
    }

    /// What the official suites expect of an application.
    fn conformance(
        &mut self,
        key: Key,
        asked: Asked,
        name: &str,
        args: Elements<'_>,
        attachments: Vec<Bytes>,
    ) {
        match (name, asked.id) {
            ("message", _) => {
                let list = Bytes::copy_from_slice(args.as_str().as_bytes());
                let args = Data::args(list, args.count(), attachments);
                self.emit(key, asked.namespace, "message-back", &args);
            }
            ("message-with-ack", Some(id)) => {
                let Some(variant) = self.conn(key).map(|conn| conn.variant) else {
                    return;
                };
                let list = args.as_str().as_bytes();
                let list = if list.is_empty() { &[][..] } else { &[list][..] };
                let mut out = Vec::new();
                self.encoder.ack(variant, asked, id, list, &attachments, &mut out);
                self.send(key, out.into());
            }
            _ => {}
        }
    }

    /// An event of the connection's own.
    pub(in crate::hub) fn emit(&mut self, key: Key, namespace: u8, event: &str, data: &Data) {
        let position = self
            .now_of(key)
            .map(|now| self.shared.window.position(now).to_string());
        let Some(variant) = self.conn(key).map(|conn| conn.variant) else {
            return;
        };
        let offset = position.filter(|_| self.shared.recovery);
        let name = self.encoder.namespace(namespace).to_owned();
        let mut out = Vec::new();
        self.encoder
            .event(variant, &name, event, data, offset.as_deref(), &mut out);
        self.send(key, out.into());
    }

    /// Clients of Socket.IO that are disconnected by the server do not come back by themselves.
    pub(in crate::hub::codec) fn disconnect_all(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        let namespaces: Vec<u8> = conn.sessions.iter().map(|session| session.namespace).collect();
        for namespace in namespaces {
            let mut out = Vec::new();
            socketio::encode_disconnect(self.encoder.namespace(namespace), &mut out);
            self.say(key, &out);
        }
    }

    /// An `error` event of a namespace.
    pub(in crate::hub::codec) fn emit_error(
        &mut self,
        key: Key,
        namespace: u8,
        code: &'static Code,
        message: &str,
    ) {
        let mut json = Vec::new();
        command::error(code, message, &mut json);
        self.emit(key, namespace, "error", &Data::Json(json.into()));
    }

    /// The client ends the connection: a poll that waits is let go.
    fn said_farewell(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        if let Link::Polling(polling) = &mut conn.link {
            polling.answer(engineio::NOOP.to_vec());
        }
        if let Some(reply) = conn.engine.as_mut().and_then(|engine| engine.post.take()) {
            let _ = reply.send(Ok(()));
        }
        self.remove(key);
    }

    pub(in crate::hub) fn protocol_error(&mut self, key: Key) {
        self.shared.metrics.dropped(Reason::Protocol);
        self.close(key, &codes::CLOSE_BAD_PROTOCOL, "");
    }
}

/// The names of a command as they are outside of its namespace.
fn in_namespace<'a>(namespace: &str, mut command: Command<'a>) -> Command<'a> {
    if let Command::Subscribe { channel, .. }
    | Command::Unsubscribe { channel }
    | Command::Publish { channel, .. }
    | Command::Presence { channel, .. } = &mut command
    {
        // A name that is none stays none: it must not become that of everyone.
        if !channel.is_empty() {
            *channel = Cow::Owned(room::channel_of(namespace, channel));
        }
    }
    command
}

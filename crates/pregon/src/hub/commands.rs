//! Commands take effect: what the session decided is carried out, and what only the node can answer is asked.

use std::sync::Arc;

use pregon_wire::{Command, codes};

use super::Key;
use super::conn::ConnectionState;
use super::shard::Shard;
use super::turns::reason_of;
use crate::auth::Claims;
use crate::route::naming::Ambiguous;
use crate::session::answer;
use crate::session::command::{Answer, Ask, Asked, Effect, Reply, Waiting};
use crate::session::decide;
use crate::session::replay::StartAt;

impl Shard {
    /// A command of a session.
    pub(super) fn command(
        &mut self,
        key: Key,
        asked: Asked,
        command: Command<'_>,
        attachments: Vec<bytes::Bytes>,
    ) {
        if self.has_gathered(key) && !matches!(command, Command::Publish { .. } | Command::Emit { .. }) {
            // It takes effect behind the publishes before it, and so comes again.
            self.postponed = true;
            return;
        }
        let rights = self.shared.rights.load();
        let env = self.shared.env(&rights, &self.subscriptions.channels);
        let Some(session) = self
            .conns
            .get_mut(key)
            .and_then(|conn| conn.session_mut(asked.namespace))
        else {
            return;
        };
        let effect = decide::handle(session, asked, command, attachments, &env);
        self.effect(key, effect);
    }

    /// An answer from outside: the command goes on, then the messages behind it.
    pub(super) fn answered(&mut self, key: Key, answered: Answer) {
        let rights = self.shared.rights.load();
        let env = self.shared.env(&rights, &self.subscriptions.channels);
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let Some((then, by)) = conn.waiting.as_mut().and_then(|waiting| waiting.then.take()) else {
            return;
        };
        let anew = match Arc::ptr_eq(&by, &rights) {
            true => Err(then),
            false => answer::again(conn.session(then.asked().namespace), then, &env),
        };
        let effect = anew.unwrap_or_else(|then| answer::resume(then, answered, &env));
        self.effect(key, effect);
        self.take_inbox(key);
        self.publish_gathered(key);
    }

    pub(super) fn effect(&mut self, key: Key, effect: Effect) {
        match effect {
            Effect::Reply(asked, reply) => self.gather_reply(key, asked, reply),
            Effect::Replies(replies) => self.replies(key, &replies),
            Effect::Publish(asked, publishing) => self.gather(key, asked, publishing),
            Effect::Join(asked, wish) => self.join(key, asked, &wish),
            Effect::Leave { asked, channels } => self.leave(key, asked, &channels),
            Effect::Members {
                asked,
                channel,
                since,
            } => {
                let members = self.shared.presence.members(&channel, since.as_deref());
                self.reply(key, asked, &Reply::Members(members));
            }
            Effect::Ask(ask) => self.ask(key, *ask),
            Effect::Refresh(asked) => self.refresh(key, asked),
            Effect::Refreshed { asked, outcomes } => self.refreshed(key, asked, outcomes),
            Effect::Refused { asked, channel } => self.refused(key, asked, &channel),
            Effect::Ambiguous { asked, names } => {
                self.shared.desk.ambiguous(&names);
                let message = names.first().map(Ambiguous::refusal).unwrap_or_default();
                self.reply(key, asked, &Reply::refused(&codes::FORBIDDEN, message));
            }
            Effect::Authenticate { asked, claims } => self.authenticate(key, asked, claims),
            Effect::Connect {
                namespace,
                claims,
                auth,
                recalled,
            } => self.connect(key, namespace, claims, &auth, recalled),
            Effect::Refuse {
                namespace,
                code,
                message,
            } => self.refuse_connect(key, namespace, code, &message),
            Effect::Close { asked, code, message } => {
                self.reply(key, asked, &Reply::refused(code, message.as_str()));
                let close = if *code == codes::INVALID_TOKEN {
                    &codes::CLOSE_INVALID_TOKEN
                } else {
                    &codes::CLOSE_BAD_PROTOCOL
                };
                self.close(key, close, &message);
            }
        }
    }

    pub(super) fn ask(&mut self, key: Key, ask: Ask) {
        let Ask { question, then, by } = ask;
        let then = (then, by);
        let Some(conn) = self.conn(key) else { return };
        match &mut conn.waiting {
            Some(waiting) => waiting.then = Some(then),
            None => {
                conn.waiting = Some(Box::new(Waiting {
                    then: Some(then),
                    inbox: Default::default(),
                }))
            }
        }
        let shard = self.handle.clone();
        self.shared
            .desk
            .ask(question, move |answer| shard.answer(key, answer));
    }

    /// A token came as a message: the session opens, or goes on with fresh claims.
    fn authenticate(&mut self, key: Key, asked: Asked, claims: Claims) {
        let joined = self.shared.rights.load().join(&claims);
        let waited = match self.conn(key).map(|conn| conn.state) {
            Some(ConnectionState::AwaitingToken(from)) => Some(from),
            Some(_) => None,
            None => return,
        };
        self.quit_presence(key, asked.namespace);
        let Some(session) = self.conn(key).and_then(|conn| conn.session_mut(asked.namespace)) else {
            return;
        };
        session.claims = claims;
        self.enter_presence(key, asked.namespace);
        if let Some(from) = waited {
            if let Some(conn) = self.conn(key) {
                conn.state = ConnectionState::Open;
            }
            self.open(key, &joined.channels, from, Vec::new());
            self.reply(key, asked, &Reply::Done);
            return self.refuse_names(key, asked.namespace, &joined.ambiguous);
        }
        self.watch_expiry(key);
        for channel in &joined.channels {
            self.follow(key, asked.namespace, channel, StartAt::Now);
        }
        self.refuse_names(key, asked.namespace, &joined.ambiguous);
        self.refresh(key, asked);
    }

    /// Tells a client what became of its command.
    pub(super) fn reply(&mut self, key: Key, asked: Asked, reply: &Reply) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        if let Reply::Refused { code, .. } = reply
            && let Some(reason) = reason_of(code)
        {
            conn.permit.refused(reason);
        }
        let variant = conn.variant;
        self.send_reply(key, variant, asked, reply);
    }

    /// Sends a text message of the connection's own.
    pub(super) fn say(&mut self, key: Key, text: &[u8]) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        let bytes = self.encoder.message(conn.variant, text);
        self.send(key, bytes);
    }

    /// Sends a binary message of the connection's own.
    pub(super) fn say_binary(&mut self, key: Key, payload: &[u8]) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        let bytes = self.encoder.binary(conn.variant, payload);
        self.send(key, bytes);
    }
}

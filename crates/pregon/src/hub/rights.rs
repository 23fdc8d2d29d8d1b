//! Rights that change while a session lives: with a fresh token, or with a new configuration.

use std::sync::Arc;

use pregon_wire::socketio::{command, room};
use pregon_wire::{codes, plain};

use super::Key;
use super::encoded::Codec;
use super::shard::Shard;
use crate::auth::Claims;
use crate::event::Data;
use crate::metrics::Reason;
use crate::route::grant::Decision;
use crate::session::Session;

impl Shard {
    /// What the fresh claims do not grant is lost. What the database granted stays if it would be asked the same.
    pub(super) fn refreshed(&mut self, key: Key, namespace: u8, before: &Claims) {
        let rights = self.shared.rights.load_full();
        self.watch_expiry(key);
        let Some(session) = self
            .conns
            .get(key.index as usize)
            .and_then(|conn| conn.session(namespace))
        else {
            return;
        };
        let mut lost = Vec::new();
        for name in self.granted(session) {
            let kept = match rights.subscribe(&session.claims, &name) {
                Decision::Allow => true,
                Decision::Deny(_) => false,
                question @ Decision::Ask(_) => rights.subscribe(before, &name) == question,
            };
            if !kept {
                lost.push(name);
            }
        }
        for channel in lost {
            self.lose(key, namespace, &channel);
        }
    }

    /// Rights have changed: sessions lose what they may no longer follow. Endpoints grant their own channels, and what the
    /// database was asked for is asked again with the next connection.
    pub(super) fn recheck(&mut self) {
        let rights = self.shared.rights.load_full();
        let mut lost = Vec::new();
        for (_, conn) in &self.conns {
            if !matches!(conn.variant.codec, Codec::Plain | Codec::Sse | Codec::Engine) {
                continue;
            }
            for session in &conn.sessions {
                for name in self.granted(session) {
                    if matches!(rights.subscribe(&session.claims, &name), Decision::Deny(_)) {
                        lost.push((conn.key, session.namespace, name));
                    }
                }
            }
        }
        for (key, namespace, channel) in lost {
            self.lose(key, namespace, &channel);
        }
    }

    /// The channels that a session follows by its rights: not those by which back ends reach its socket.
    fn granted(&self, session: &Session) -> Vec<Arc<str>> {
        let names = session
            .subscriptions
            .iter()
            .map(|s| self.channels.name(s.channel));
        let own = |name: &Arc<str>| match &session.named {
            Some(named) => room::is_own(name, &named.sid),
            None => false,
        };
        names.filter(|name| !own(name)).collect()
    }

    fn lose(&mut self, key: Key, namespace: u8, channel: &str) {
        self.shared.metrics.dropped(Reason::Forbidden);
        let codec = self.conn(key).map(|conn| conn.variant.codec);
        if codec == Some(Codec::Sse) {
            return self.close(key, &codes::CLOSE_FORBIDDEN, "");
        }
        self.unsubscribe(key, channel);
        let message = format!("channel {channel} is no longer granted");
        if codec == Some(Codec::Engine) {
            let mut json = Vec::new();
            command::error(&codes::FORBIDDEN, &message, &mut json);
            return self.emit(key, namespace, "error", &Data::Json(json.into()));
        }
        let mut json = Vec::new();
        plain::lost(channel, &codes::FORBIDDEN, &message, &mut json);
        self.say(key, &json);
    }
}

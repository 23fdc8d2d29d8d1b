//! Connection state recovery: a session goes on in a new connection, with its names, its rooms and what it missed.
//!
//! Clients want what they missed before the answer to their connect, which says that they are recovered. Rights were asked again
//! for every room; where the log no longer has everything, the session begins anew instead.

use std::sync::Arc;

use pregon_wire::socketio;

use super::Key;
use super::shard::Shard;
use crate::auth::Claims;
use crate::log::Since;
use crate::session::recovery::Recalled;
use crate::session::replay::{Plan, StartAt, plan_by};
use crate::session::{Named, Session};

impl Shard {
    /// Whether the session goes on; nothing has happened if not.
    pub(super) fn resume(&mut self, key: Key, namespace: u8, claims: &Claims, recalled: Recalled) -> bool {
        let Recalled { kept, pid, after } = recalled;
        let own = self.own_channels(namespace, &kept.sid);
        let mut channels = kept.channels;
        let joined = self.joined(namespace, claims);
        for channel in joined.channels.into_iter().chain(own) {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let mut replays: Vec<(Arc<str>, u64)> = Vec::with_capacity(channels.len());
        for channel in &channels {
            let from = StartAt::Since(Since::Position(after));
            match plan_by(&self.shared.rights.load(), &self.shared.past, channel, from) {
                Plan::Replay { after } => replays.push((Arc::clone(channel), after)),
                Plan::Live | Plan::Last { .. } | Plan::Younger { .. } | Plan::Gap { .. } => return false,
            }
        }
        let name = self.encoder.namespace(namespace).to_owned();
        let mut packet = Vec::new();
        socketio::encode_connect(&name, &kept.sid, Some(&pid), &mut packet);
        let head = self.fanout.head;
        let Some(conn) = self.conn(key) else { return true };
        let named = Named {
            sid: kept.sid,
            pid: Some(pid),
        };
        let variant = conn.variant;
        conn.sessions
            .push(Session::named(claims.clone(), namespace, named));
        for channel in &channels {
            self.subscribe(key, namespace, channel, head);
        }
        self.keep(key, namespace);
        let answer = self.encoder.message(variant, &packet);
        self.replay(key, replays, head, answer.to_vec());
        self.refuse_names(key, namespace, &joined.ambiguous);
        true
    }
}

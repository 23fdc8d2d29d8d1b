//! The sessions that ended last, with the reason: what an operator looks at when somebody says that nothing arrives.
//!
//! Kept only where somebody may look. A bounded ring, so that a storm of leaving clients costs one small entry each and no memory beside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use pregon_wire::codes;

use super::Key;
use super::conn::Conn;
use super::shard::Shard;
use crate::metrics::Transport;

/// Sessions that are remembered: an operator looks at the last minutes, not at history.
const MOST: usize = 256;

/// Channels that are remembered of each.
const CHANNELS: usize = 32;

/// A session that has ended.
#[derive(Debug, Clone)]
pub(crate) struct ClosedSession {
    pub session: String,
    pub user: Option<String>,
    pub transport: Transport,
    pub opened: SystemTime,
    pub closed: SystemTime,
    /// What the connection was closed with; zero if the client left.
    pub code: u16,
    /// The channels that it followed, some of them, each with the offset after which.
    pub channels: Vec<(Arc<str>, u64)>,
    pub followed: usize,
    /// Live entries up to here had been handed to its connection.
    pub reached: u64,
}

impl ClosedSession {
    /// The reason by name and in words.
    pub(crate) fn reason(&self) -> (&'static str, &'static str) {
        match codes::ALL.iter().find(|code| code.number == self.code) {
            Some(code) => (code.name, code.help),
            None => ("left", "The client closed the connection, or it broke."),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    ring: Mutex<VecDeque<Arc<ClosedSession>>>,
}

impl Closed {
    fn push(&self, session: ClosedSession) {
        let mut ring = self.ring.lock();
        if ring.len() == MOST {
            ring.pop_front();
        }
        ring.push_back(Arc::new(session));
    }

    /// The newest first.
    pub(crate) fn list(&self) -> Vec<Arc<ClosedSession>> {
        self.ring.lock().iter().rev().cloned().collect()
    }
}

impl Shard {
    /// Remembers how a connection ends, while it still follows its channels. One that is closing was remembered when that began.
    /// `code`: what the client is told, zero for nothing.
    pub(super) fn note_end(&self, key: Key, code: u16) {
        let Some(closed) = &self.shared.closed else {
            return;
        };
        if let Some(conn) = self.conns.get(key).filter(|conn| !conn.state.is_closing()) {
            self.ended(conn, code).for_each(|ended| closed.push(ended));
        }
    }

    fn ended<'a>(&'a self, conn: &'a Conn, code: u16) -> impl Iterator<Item = ClosedSession> + 'a {
        conn.sessions.iter().map(move |session| {
            let subscriptions = session.subscriptions.iter().take(CHANNELS);
            ClosedSession {
                session: session.name(),
                user: session.claims.subject().map(std::borrow::Cow::into_owned),
                transport: conn.transport(),
                opened: conn.opened_at(),
                closed: SystemTime::now(),
                code,
                channels: self.subscriptions.followed(subscriptions).collect(),
                followed: session.subscriptions.len(),
                reached: conn
                    .backlog
                    .as_ref()
                    .map_or(self.fanout.head, |backlog| backlog.cursor),
            }
        })
    }
}

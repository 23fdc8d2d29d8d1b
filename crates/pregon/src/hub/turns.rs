//! Turns: how much one connection may do before the others have theirs, and how much in a second.
//!
//! A turn is a portion of messages or bytes, after inflating; whoever has more waits behind the others. While many take their turns,
//! new entries go out in between, so that a listener waits for one portion and not for a round of floods. Rates are counted once for
//! each portion: too many messages close the connection with a code, too many bytes let it wait.

use std::collections::VecDeque;
use std::time::Instant;

use pregon_wire::codes::{self, Code};

use super::Key;
use super::conn::{Conn, ConnectionState};
use super::incoming::PORTION;
use super::shard::Shard;
use super::timers::Due;
use crate::metrics::Reason;
use crate::session::command::{Incoming, Waiting};

/// What is done for clients before new entries go out, in bytes: about a quarter of a millisecond.
const BREATH: usize = 256 * 1024;

/// What a message costs beside its bytes, in bytes.
const MESSAGE: usize = 1024;

/// What a message of a client counts that has shown no token yet: it has one to send.
const STRANGER: usize = 32;

impl Shard {
    /// Lets those go on whose last turn was over before they were.
    pub(super) fn read_more(&mut self) {
        for _ in 0..self.reread.len() {
            let Some(key) = self.reread.pop_front() else {
                return;
            };
            if let Some(conn) = self.conn(key) {
                conn.pace.queued = false;
                self.readable(key);
                self.breathe();
            }
        }
    }

    /// The connection goes on after the others.
    pub(super) fn queue_turn(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        if !std::mem::replace(&mut conn.pace.queued, true) {
            self.reread.push_back(key);
        }
    }

    /// Hands out what is new, if much was done since that was last looked for.
    pub(super) fn breathe(&mut self) {
        if self.spent < BREATH {
            return;
        }
        self.spent = 0;
        // Whoever shares the core with floods, as a publish does, would wait for the kernel's next tick.
        std::thread::yield_now();
        self.now = self.shared.clock.now();
        if self.fanout.is_behind(&self.shared) {
            self.fan_out();
        }
    }

    /// Counts what came from a client. `false` if it was too fast and is closed.
    pub(super) fn charge(&mut self, key: Key, messages: usize, bytes: usize) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else {
            return false;
        };
        self.spent += bytes + messages * MESSAGE;
        // A suite sends what no client would.
        if conn.variant.codec.is_suite() || self.shared.conformance {
            return true;
        }
        let limits = &self.shared.limits;
        let count = if is_stranger(conn) {
            // What it joins to its first words is counted as it is.
            messages + STRANGER - 1
        } else {
            messages
        };
        if conn
            .pace
            .commands
            .take(count as u64, limits.commands, now)
            .is_over()
        {
            self.too_fast(key);
            return false;
        }
        let own = conn.pace.inflow.take(bytes as u64, limits.inflow, now);
        let all = conn
            .permit
            .account()
            .map(|account| account.commands(messages as u64, now));
        let excess = own.max(all.unwrap_or_default());
        if excess.is_over() {
            conn.pace.held = true;
            self.timers.set(Instant::now() + excess.pause(), key, Due::Turn);
        }
        true
    }

    fn too_fast(&mut self, key: Key) {
        self.shared.metrics.dropped(Reason::Rate);
        self.close(key, &codes::CLOSE_RATE_LIMITED, "");
        if let Some(conn) = self.conn(key) {
            // Reading on would be what it wants.
            conn.pace.held = true;
        }
    }

    /// A client that was too fast may go on.
    pub(super) fn release(&mut self, key: Key) {
        let Some(conn) = self.conn(key) else { return };
        let told = codes::CLOSE_RATE_LIMITED.number;
        if conn.state == (ConnectionState::Closing { code: told }) {
            return;
        }
        conn.pace.held = false;
        self.queue_turn(key);
    }

    /// Messages that came at once, a portion in each turn.
    pub(super) fn take_messages(&mut self, key: Key, messages: impl IntoIterator<Item = Incoming>) {
        let mut messages = messages.into_iter();
        let held = self.conn(key).is_none_or(|conn| conn.pace.held);
        for message in messages.by_ref().take(if held { 0 } else { PORTION }) {
            self.incoming(key, message);
        }
        self.publish_gathered(key);
        let rest: VecDeque<Incoming> = messages.collect();
        let Some(conn) = self
            .conn(key)
            .filter(|conn| !rest.is_empty() && !conn.state.is_closing())
        else {
            return;
        };
        match &mut conn.waiting {
            Some(waiting) => waiting.inbox.extend(rest),
            None => {
                conn.waiting = Some(Box::new(Waiting {
                    then: None,
                    inbox: rest,
                }));
                self.queue_turn(key);
            }
        }
    }

    /// Closes who comes from an address that the operator denies.
    pub(super) fn close_denied(&mut self) {
        let denied: Vec<Key> = self
            .conns
            .iter()
            .filter(|conn| conn.permit.is_denied())
            .map(|conn| conn.key)
            .collect();
        for key in denied {
            self.shared.metrics.dropped(Reason::Denied);
            self.close(key, &codes::CLOSE_FORBIDDEN, "");
        }
    }
}

/// Whether a client has yet to say who it is.
pub(super) fn is_stranger(conn: &Conn) -> bool {
    match conn.variant.codec.enters_later() {
        true => conn.sessions.is_empty(),
        false => conn.state.is_awaiting_token(),
    }
}

/// What is noted of an address whose client is told this code.
pub(super) fn reason_of(code: &Code) -> Option<Reason> {
    let table = [
        (&codes::BAD_REQUEST, Reason::Protocol),
        (&codes::UNAUTHORIZED, Reason::Token),
        (&codes::INVALID_TOKEN, Reason::Token),
        (&codes::FORBIDDEN, Reason::Forbidden),
        (&codes::TOO_MANY_SUBSCRIPTIONS, Reason::Subscriptions),
        (&codes::TOO_LARGE, Reason::TooLarge),
        (&codes::RATE_LIMITED, Reason::Rate),
        (&codes::CLOSE_SLOW, Reason::Slow),
        (&codes::CLOSE_RATE_LIMITED, Reason::Rate),
        (&codes::CLOSE_AUTH_TIMEOUT, Reason::Handshake),
        (&codes::CLOSE_BAD_PROTOCOL, Reason::Protocol),
        (&codes::CLOSE_FORBIDDEN, Reason::Forbidden),
        (&codes::CLOSE_TOO_LARGE, Reason::TooLarge),
    ];
    let found = table.iter().find(|(known, _)| **known == *code);
    found.map(|(_, reason)| *reason)
}

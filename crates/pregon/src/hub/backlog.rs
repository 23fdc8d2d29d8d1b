//! Sessions that are not live: replays and catching up from the window, piece by piece as the socket takes it.

use std::sync::Arc;

use bytes::Bytes;
use pregon_wire::codes;

use super::Key;
use super::conn::{Conn, Phase};
use super::encoded::Encoder;
use super::shard::Shard;
use crate::log::Window;
use crate::log::window::Follow;
use crate::metrics::Reason;

/// Entries of one piece: enough to make the write cheap, few enough to pin little.
const PIECE: usize = 256;

/// Pieces that one session may send before others have their turn.
const TURN: usize = 8;

/// Why a session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slowness {
    /// Behind its limit, or the window has moved past it: it shall reconnect and resume.
    Slow,
    /// The socket is broken.
    Gone,
}

/// How a turn ended.
enum Turn {
    /// Nothing waits any more.
    Live,
    /// The socket takes no more; its readiness continues.
    Blocked,
    /// More to send, after the others.
    More,
}

impl Shard {
    pub(super) fn writable(&mut self, key: Key) {
        if self.conn(key).is_some_and(|conn| conn.backlog.is_some()) {
            self.pump(key);
        }
    }

    /// Lets the sessions that have more to send go on.
    pub(super) fn send_more(&mut self) {
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.pump(key);
            }
        }
    }

    /// Sends what waits for one session, as far as the socket and its turn allow.
    pub(super) fn pump(&mut self, key: Key) {
        let Some(conn) = self
            .conns
            .get_mut(key.index as usize)
            .filter(|conn| conn.key == key)
        else {
            return;
        };
        match turn(
            conn,
            &self.shared.window,
            self.head,
            &self.channels,
            &mut self.encoder,
        ) {
            Ok((Turn::Live, sent)) => {
                conn.backlog = None;
                self.shared.metrics.replayed.inc_by(sent);
                let closing = conn.phase == Phase::Closing;
                if closing {
                    self.finish(key);
                } else {
                    self.take_inbox(key);
                }
            }
            Ok((Turn::Blocked, sent)) => {
                self.shared.metrics.replayed.inc_by(sent);
            }
            Ok((Turn::More, sent)) => {
                self.shared.metrics.replayed.inc_by(sent);
                self.ready.push_back(key);
            }
            Err(why) => self.fail(key, why),
        }
    }

    pub(super) fn fail(&mut self, key: Key, why: Slowness) {
        match why {
            Slowness::Gone => self.remove(key),
            Slowness::Slow => {
                self.shared.metrics.dropped(Reason::Slow);
                self.close(key, None, &codes::CLOSE_SLOW, "");
            }
        }
    }
}

fn turn(
    conn: &mut Conn,
    window: &Window,
    head: u64,
    channels: &super::channels::Channels,
    encoder: &mut Encoder,
) -> Result<(Turn, u64), Slowness> {
    let mut sent = 0;
    for _ in 0..TURN {
        let Some(backlog) = &mut conn.backlog else {
            return Ok((Turn::Live, sent));
        };
        backlog.flush(&conn.socket).map_err(|_| Slowness::Gone)?;
        if backlog.blocked {
            return Ok((Turn::Blocked, sent));
        }
        if conn.phase == Phase::Closing {
            return Ok((Turn::Live, sent));
        }
        if let Some(replay) = backlog.replays.front_mut() {
            let piece = replay.next(window, PIECE).ok_or(Slowness::Slow)?;
            let mut out = Vec::new();
            for (entry, channel) in &piece.entries {
                encoder.entry(conn.variant, channel, entry, true, &mut out);
            }
            sent += piece.entries.len() as u64;
            push(&mut backlog.chunks, out);
            if piece.done {
                backlog.replays.pop_front();
            }
        } else if backlog.cursor < head {
            sent += catch_up(conn, window, head, channels, encoder)?;
        } else {
            return Ok((Turn::Live, sent));
        }
    }
    Ok((Turn::More, sent))
}

/// The next live entries after the session's cursor.
fn catch_up(
    conn: &mut Conn,
    window: &Window,
    head: u64,
    channels: &super::channels::Channels,
    encoder: &mut Encoder,
) -> Result<u64, Slowness> {
    let Some(backlog) = &mut conn.backlog else {
        return Ok(0);
    };
    // What a replay sends is not live: a subscription counts from its join, which is never before the cursor.
    let followed: Vec<(Arc<str>, u64)> = conn
        .session
        .subscriptions
        .iter()
        .map(|s| (channels.name(s.channel), backlog.cursor))
        .collect();
    let follows: Vec<Follow<'_>> = followed
        .iter()
        .map(|(channel, after)| Follow {
            channel,
            after: *after,
        })
        .collect();
    if !follows
        .iter()
        .all(|follow| window.holds(follow.channel, backlog.cursor))
    {
        return Err(Slowness::Slow);
    }
    let entries = window.merge(&follows, backlog.cursor, head, PIECE);
    backlog.cursor = if entries.len() < PIECE {
        head
    } else {
        entries.last().map_or(head, |entry| entry.offset)
    };
    let mut out = Vec::new();
    for entry in &entries {
        if let Some(channel) = entry.through(&followed) {
            encoder.entry(conn.variant, channel, entry, false, &mut out);
        }
    }
    backlog.lag = backlog.lag.saturating_sub(out.len());
    push(&mut backlog.chunks, out);
    Ok(entries.len() as u64)
}

fn push(chunks: &mut std::collections::VecDeque<Bytes>, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        chunks.push_back(bytes.into());
    }
}

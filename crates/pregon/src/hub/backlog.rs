//! Sessions that are not live: replays and catching up from the window, piece by piece as the socket takes it.

use std::sync::Arc;

use bytes::Bytes;
use pregon_wire::codes;

use super::Key;
use super::channels::Channels;
use super::conn::{self, Backlog, Conn, Phase};
use super::encoded::{Encoder, Variant};
use super::shard::Shard;
use crate::log::Window;
use crate::log::window::{Follow, Most};
use crate::metrics::Reason;

/// One piece: enough to make the write cheap, little enough that many slow sessions hold little.
const PIECE: Most = Most {
    entries: 256,
    bytes: 64 * 1024,
};

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
        let Some(conn) = conn::find_mut(&mut self.conns, key) else {
            return;
        };
        let outcome = turn(
            conn,
            &self.shared.window,
            self.head,
            &self.channels,
            &mut self.encoder,
        );
        let sent = match outcome {
            Ok((_, sent)) => sent,
            Err(why) => return self.fail(key, why),
        };
        let metrics = &self.shared.metrics;
        metrics.replayed.inc_by(sent.replayed);
        metrics.deliveries.inc_by(sent.caught_up);
        metrics.delivered_bytes.inc_by(sent.bytes);
        match outcome {
            Ok((Turn::Live, _)) => {
                conn.backlog = None;
                if conn.phase == Phase::Closing {
                    self.finish(key);
                } else {
                    self.take_inbox(key);
                }
            }
            Ok((Turn::More, _)) => self.ready.push_back(key),
            Ok((Turn::Blocked, _)) | Err(_) => {}
        }
    }

    pub(super) fn fail(&mut self, key: Key, why: Slowness) {
        match why {
            Slowness::Gone => self.remove(key),
            Slowness::Slow => {
                self.shared.metrics.dropped(Reason::Slow);
                self.close(key, &codes::CLOSE_SLOW, "");
            }
        }
    }
}

/// What a turn sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    replayed: u64,
    caught_up: u64,
    bytes: u64,
}

fn turn(
    conn: &mut Conn,
    window: &Window,
    head: u64,
    channels: &Channels,
    encoder: &mut Encoder,
) -> Result<(Turn, Sent), Slowness> {
    let mut sent = Sent::default();
    for _ in 0..TURN {
        let Some(backlog) = &mut conn.backlog else {
            return Ok((Turn::Live, sent));
        };
        backlog.flush(&mut conn.link).map_err(|_| Slowness::Gone)?;
        if backlog.blocked {
            return Ok((Turn::Blocked, sent));
        }
        if conn.phase == Phase::Closing {
            return Ok((Turn::Live, sent));
        }
        if !backlog.replays.is_empty() {
            replay(backlog, conn.variant, window, encoder, &mut sent)?;
        } else if backlog.cursor < head {
            catch_up(conn, window, head, channels, encoder, &mut sent)?;
        } else {
            return Ok((Turn::Live, sent));
        }
    }
    Ok((Turn::More, sent))
}

/// The next piece of the first replay.
fn replay(
    backlog: &mut Backlog,
    variant: Variant,
    window: &Window,
    encoder: &mut Encoder,
    sent: &mut Sent,
) -> Result<(), Slowness> {
    let Some(replay) = backlog.replays.front_mut() else {
        return Ok(());
    };
    let piece = replay.next(window, PIECE).ok_or(Slowness::Slow)?;
    let mut out = Vec::new();
    for (entry, channel) in &piece.entries {
        encoder.entry(variant, channel, entry, true, &mut out);
    }
    sent.replayed += piece.entries.len() as u64;
    sent.bytes += out.len() as u64;
    if piece.done {
        out.extend_from_slice(&replay.then);
        backlog.replays.pop_front();
    }
    push(&mut backlog.chunks, out);
    Ok(())
}

/// The next live entries after the session's cursor.
fn catch_up(
    conn: &mut Conn,
    window: &Window,
    head: u64,
    channels: &Channels,
    encoder: &mut Encoder,
    sent: &mut Sent,
) -> Result<(), Slowness> {
    let Some(cursor) = conn.backlog.as_ref().map(|backlog| backlog.cursor) else {
        return Ok(());
    };
    // A subscription may begin after the cursor: its client had everything up to there before it connected.
    let followed: Vec<(Arc<str>, u64)> = conn
        .subscriptions()
        .map(|s| (channels.name(s.channel), s.after.max(cursor)))
        .collect();
    let follows: Vec<Follow<'_>> = followed
        .iter()
        .map(|(channel, after)| Follow {
            channel,
            after: *after,
        })
        .collect();
    let merged = window
        .merge(&follows, cursor, head, PIECE)
        .ok_or(Slowness::Slow)?;
    let Some(backlog) = &mut conn.backlog else {
        return Ok(());
    };
    let last = merged.entries.last().map_or(head, |entry| entry.offset);
    backlog.cursor = if merged.complete { head } else { last };
    let mut out = Vec::new();
    for entry in &merged.entries {
        let excepted = entry
            .except()
            .iter()
            .any(|name| followed.iter().any(|(own, _)| own == name));
        for channel in entry.through(&followed).into_iter().filter(|_| !excepted) {
            encoder.entry(conn.variant, channel, entry, false, &mut out);
        }
    }
    backlog.lag = backlog.lag.saturating_sub(out.len());
    sent.caught_up += merged.entries.len() as u64;
    sent.bytes += out.len() as u64;
    push(&mut backlog.chunks, out);
    Ok(())
}

fn push(chunks: &mut std::collections::VecDeque<Bytes>, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        chunks.push_back(bytes.into());
    }
}

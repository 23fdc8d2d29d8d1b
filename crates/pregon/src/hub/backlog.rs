//! Sessions that are not live: replays and catching up, piece by piece as the socket takes it. Pieces come from the window, or from the
//! desk where the window no longer has them.

use std::sync::Arc;

use bytes::Bytes;
use pregon_wire::codes;

use super::Key;
use super::codec::{Encoder, Variant};
use super::conn::{Backlog, Conn};
use super::shard::Shard;
use crate::log::Past;
use crate::log::past::Found;
use crate::log::window::{Merged, Most};
use crate::metrics::Reason;
use crate::session::channels::Channels;
use crate::session::replay::{Fetch, Fetched, Next, Piece, follows};
use crate::session::shown;

/// One piece: enough to make the write cheap, little enough that many slow sessions hold little.
const PIECE: Most = Most {
    entries: 256,
    bytes: 64 * 1024,
};

/// One piece that has to be read, for a session whose link takes everything at once: reading costs the same for few and for many.
const LARGE_PIECE: Most = Most {
    entries: 2048,
    bytes: 1024 * 1024,
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
    /// The socket takes no more, or a piece is under way; readiness, or the piece, continues.
    Blocked,
    /// The next piece has to be read.
    Fetch(Box<Fetch>),
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
                self.breathe();
            }
        }
    }

    /// Sends what waits for one session, as far as the socket and its turn allow.
    pub(super) fn pump(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let outcome = turn(
            conn,
            &self.shared.past,
            self.fanout.head,
            &self.subscriptions.channels,
            &mut self.encoder,
        );
        let (turn, sent) = match outcome {
            Ok(turn) => turn,
            Err(why) => return self.fail(key, why),
        };
        let closing = conn.state.is_closing();
        if matches!(turn, Turn::Live) {
            conn.backlog = None;
            conn.live_since = self.fanout.head;
        }
        self.count_sent(sent);
        match turn {
            Turn::Live if closing => self.finish(key),
            Turn::Live => {
                self.ask_for_pong(key);
                self.take_inbox(key);
            }
            Turn::More => self.ready.push_back(key),
            Turn::Fetch(fetch) => {
                let shard = self.handle.clone();
                self.shared
                    .desk
                    .fetch(*fetch, move |fetched| shard.fetched(key, fetched));
            }
            Turn::Blocked => {}
        }
    }

    /// A piece that was read is there.
    pub(super) fn fetched(&mut self, key: Key, fetched: Fetched) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let mut sent = Sent::default();
        let outcome = if fetched.live {
            missed(
                conn,
                fetched,
                &self.subscriptions.channels,
                &mut self.encoder,
                &mut sent,
            )
            .map(|()| Vec::new())
        } else {
            replayed(conn, fetched, &mut self.encoder, &mut sent)
        };
        self.count_sent(sent);
        match outcome {
            Ok(begins) => {
                self.located(key, begins);
                self.pump(key);
            }
            Err(why) => self.fail(key, why),
        }
    }

    fn count_sent(&mut self, sent: Sent) {
        self.spent += sent.bytes as usize;
        let metrics = &self.shared.metrics;
        metrics.replayed.inc_by(sent.replayed);
        metrics.deliveries.inc_by(sent.caught_up);
        metrics.delivered_bytes.inc_by(sent.bytes);
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
    past: &Past,
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
            backlog.eager = false;
            return Ok((Turn::Blocked, sent));
        }
        if conn.state.is_closing() {
            return Ok((Turn::Live, sent));
        }
        if let Some(replay) = backlog.replays.front_mut() {
            if replay.fetching {
                return Ok((Turn::Blocked, sent));
            }
            let most = piece_to_read(&mut backlog.eager);
            match replay.next(past, PIECE, most) {
                Next::Piece(piece) => put(backlog, conn.variant, &piece, encoder, &mut sent),
                Next::Fetch(fetch) => return Ok((Turn::Fetch(fetch), sent)),
                Next::Gone => return Err(Slowness::Slow),
            }
        } else if backlog.cursor < head {
            if backlog.fetching {
                return Ok((Turn::Blocked, sent));
            }
            if let Some(fetch) = catch_up(conn, past, head, channels, encoder, &mut sent)? {
                return Ok((Turn::Fetch(fetch), sent));
            }
        } else {
            return Ok((Turn::Live, sent));
        }
    }
    Ok((Turn::More, sent))
}

/// How much to read for a session; a slow one holds little.
fn piece_to_read(eager: &mut bool) -> Most {
    if std::mem::replace(eager, true) {
        LARGE_PIECE
    } else {
        PIECE
    }
}

/// Sends a piece of the first replay.
fn put(backlog: &mut Backlog, variant: Variant, piece: &Piece, encoder: &mut Encoder, sent: &mut Sent) {
    let Some(replay) = backlog.replays.front_mut() else {
        return;
    };
    let mut out = Vec::new();
    for (entry, channel) in &piece.entries {
        encoder.entry(variant, channel, entry, true, &mut out);
    }
    sent.replayed += piece.entries.len() as u64;
    sent.bytes += out.len() as u64;
    if piece.done {
        out.extend_from_slice(&replay.then);
        backlog.replays.pop_front();
        // From here on the limit counts.
        backlog.lag = 0;
    }
    push(&mut backlog.chunks, out);
}

/// Sends a piece of a replay that was read; returns where its channels have turned out to begin.
fn replayed(
    conn: &mut Conn,
    fetched: Fetched,
    encoder: &mut Encoder,
    sent: &mut Sent,
) -> Result<Vec<(Arc<str>, u64)>, Slowness> {
    let variant = conn.variant;
    let Some(backlog) = &mut conn.backlog else {
        return Ok(Vec::new());
    };
    // The replay may be gone: the session is being closed then.
    let Some(replay) = backlog.replays.front_mut().filter(|replay| replay.fetching) else {
        return Ok(Vec::new());
    };
    let (piece, begins) = replay.take(fetched).ok_or(Slowness::Slow)?;
    put(backlog, variant, &piece, encoder, sent);
    Ok(begins)
}

/// What a connection follows, each channel with the offset after which. A subscription may begin after the cursor: its client had
/// everything up to there before it connected.
fn followed(conn: &Conn, cursor: u64, channels: &Channels) -> Vec<(Arc<str>, u64)> {
    conn.subscriptions()
        .map(|s| (channels.name(s.channel), s.after.max(cursor)))
        .collect()
}

/// The next live entries after the session's cursor; what has to be read if the window has moved past it.
fn catch_up(
    conn: &mut Conn,
    past: &Past,
    head: u64,
    channels: &Channels,
    encoder: &mut Encoder,
    sent: &mut Sent,
) -> Result<Option<Box<Fetch>>, Slowness> {
    let Some(cursor) = conn.backlog.as_ref().map(|backlog| backlog.cursor) else {
        return Ok(None);
    };
    let followed = followed(conn, cursor, channels);
    match past.find(&follows(&followed), cursor, head, PIECE) {
        Found::Here(merged) => {
            deliver(conn, &followed, &merged, encoder, sent)?;
            Ok(None)
        }
        Found::Older => {
            let Some(backlog) = &mut conn.backlog else {
                return Ok(None);
            };
            backlog.fetching = true;
            let most = piece_to_read(&mut backlog.eager);
            Ok(Some(Box::new(Fetch::missed(followed, cursor, head, most))))
        }
        Found::Gone => Err(Slowness::Slow),
    }
}

/// Live entries that were read. If the connection follows others by now, or has replays to send first, they are read again later.
fn missed(
    conn: &mut Conn,
    fetched: Fetched,
    channels: &Channels,
    encoder: &mut Encoder,
    sent: &mut Sent,
) -> Result<(), Slowness> {
    let Some(backlog) = &mut conn.backlog else {
        return Ok(());
    };
    backlog.fetching = false;
    let (cursor, first) = (backlog.cursor, backlog.replays.is_empty());
    let merged = fetched.merged.ok_or(Slowness::Slow)?;
    if first && !conn.state.is_closing() && followed(conn, cursor, channels) == fetched.channels {
        deliver(conn, &fetched.channels, &merged, encoder, sent)?;
    }
    Ok(())
}

/// Puts live entries behind what waits.
///
/// # Errors
///
/// A gap concerns a client whose protocol has no word for it: it shall reconnect, ask for what it missed and learn that it cannot be had.
fn deliver(
    conn: &mut Conn,
    followed: &[(Arc<str>, u64)],
    merged: &Merged,
    encoder: &mut Encoder,
    sent: &mut Sent,
) -> Result<(), Slowness> {
    let Some(backlog) = &mut conn.backlog else {
        return Ok(());
    };
    backlog.cursor = merged.reached;
    let mut out = Vec::new();
    let gap_ends = conn.variant.codec.gap_ends_subscription();
    for entry in &merged.entries {
        if gap_ends && entry.is_gap() && !shown::through(entry, followed).is_empty() {
            return Err(Slowness::Slow);
        }
        let excepted = entry
            .except()
            .iter()
            .any(|name| followed.iter().any(|(own, _)| own == name));
        for channel in shown::through(entry, followed).into_iter().filter(|_| !excepted) {
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

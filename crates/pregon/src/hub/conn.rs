//! One connection of a shard: its link, its sessions, and what could not be written yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use pregon_wire::ws::frame::Decoder;
use smallvec::SmallVec;

use super::Key;
use super::codec::Variant;
use super::codec::bare::Rooms;
use super::codec::centrifuge::Connecting;
use super::codec::socketio::engine::Engine;
use super::link::Link;
use super::publishes::Gathered;
use super::returning::Returning;
use super::socket::Written;
use crate::limits::{Meter, Permit};
use crate::metrics::Transport;
use crate::session::Session;
use crate::session::channels::{ChannelKey, Subscription};
use crate::session::command::Waiting;
use crate::session::replay::{Replay, StartAt};

/// An idle connection costs this struct and what its session holds; everything else is boxed and freed when done.
pub(crate) struct Conn {
    pub key: Key,
    pub link: Link,
    pub variant: Variant,
    /// One, but for Socket.IO: there one for each namespace that the client has entered.
    pub sessions: SmallVec<[Session; 1]>,
    /// What Engine.IO needs beside.
    pub engine: Option<Box<Engine>>,
    /// What a client of Centrifuge said when it connected, until that is answered.
    pub connecting: Option<Box<Connecting>>,
    /// How far its client is, where it may come back without a position.
    pub returning: Option<Box<Returning>>,
    /// The session that this WebSocket wants to take over, for a probe.
    pub probes: Option<Key>,
    /// The channel of a room, where the clients of a bare endpoint may join some.
    pub rooms: Option<Arc<Rooms>>,
    pub decoder: Decoder,
    /// What is not written yet; `None` means live: batches go straight to the link.
    pub backlog: Option<Box<Backlog>>,
    /// A command that waits for an answer from outside the shard, and what came in behind it.
    pub waiting: Option<Box<Waiting>>,
    /// What it publishes in the portion that is being taken.
    pub gathered: Option<Box<Gathered>>,
    pub state: ConnectionState,
    /// Something came from the client since the last heartbeat.
    pub heard: bool,
    /// The batch in which this connection was touched last, and by how many channels.
    pub touched: (u32, u32),
    pub opened: Instant,
    /// Since this offset every live entry was written with its batch.
    pub live_since: u64,
    pub permit: Permit,
    pub pace: Pace,
}

/// How fast a client is, and whether it is its turn.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub commands: Meter,
    pub inflow: Meter,
    /// It waits for its next turn: what its socket says meanwhile is nothing new.
    pub queued: bool,
    /// It was too fast: nothing is taken from it until its time has come, or (while it is being closed) ever.
    pub held: bool,
}

/// Where a connection stands.
///
/// ```text
///  AwaitingToken ──its token──▶ Open ──close──▶ Closing ──all is written and answered, or its time is over──▶ gone
///        │                        │                ▲
///        ├─────────close──────────┼────────────────┘
///        └────────────────────────┴──the socket ends, or nobody polls──▶ gone
/// ```
///
/// A connection whose request has a token, or needs none, begins as `Open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// The token comes as the first message; then the connection's channels begin at this point.
    AwaitingToken(StartAt),
    Open,
    /// A close frame or last event with this code is under way; nothing else is written.
    Closing {
        code: u16,
    },
}

impl ConnectionState {
    pub(crate) fn is_closing(self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    pub(crate) fn is_awaiting_token(self) -> bool {
        matches!(self, Self::AwaitingToken(_))
    }
}

/// What a connection that is not live has before it, in this order: bytes, replays, then the live entries after `cursor`.
pub(crate) struct Backlog {
    pub chunks: VecDeque<Bytes>,
    pub replays: VecDeque<Replay>,
    /// Live entries up to here were taken.
    pub cursor: u64,
    /// Bytes of live entries that wait in the window, counted while the connection is behind.
    pub lag: usize,
    /// When the link last took something.
    pub progress: Instant,
    /// The link refused to take more.
    pub blocked: bool,
    /// Live entries that the window no longer has are being read.
    pub fetching: bool,
    /// The link has taken everything since the last read: the next may bring more.
    pub eager: bool,
}

/// Replies that a client may leave unread before its further commands wait, bytes.
const UNREAD: usize = 64 * 1024;

/// Bytes of what is not kept that may wait for a client that is behind.
const PASSING: usize = 64 * 1024;

/// How what is not kept may come to a client that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// It has no position: members that come and go.
    Anytime,
    /// It names a position, before which nothing may be missing.
    InPlace,
}

impl Backlog {
    pub(crate) fn new(cursor: u64) -> Box<Self> {
        Box::new(Self {
            chunks: VecDeque::new(),
            replays: VecDeque::new(),
            cursor,
            lag: 0,
            progress: Instant::now(),
            blocked: false,
            fetching: false,
            eager: false,
        })
    }

    /// Bytes that wait in copies or shared pieces.
    pub(crate) fn queued(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Lets what is not kept wait behind the bytes that wait already, as long as it is in its place and there is not too much of it.
    /// A client between two polls is behind in this sense. `head`: what the entries' positions say.
    pub(crate) fn pass(&mut self, bytes: &Bytes, head: u64, passing: Passing) {
        let in_place = self.cursor >= head && self.replays.is_empty();
        if (passing == Passing::Anytime || in_place) && self.queued() + bytes.len() <= PASSING {
            self.chunks.push_back(bytes.clone());
        }
    }

    /// Writes chunks until none is left or the link blocks.
    pub(crate) fn flush(&mut self, link: &mut Link) -> std::io::Result<()> {
        let flushed = link.flush(&mut self.chunks)?;
        if flushed.progress {
            self.progress = Instant::now();
        }
        self.blocked = flushed.blocked;
        Ok(())
    }
}

impl Conn {
    pub(crate) fn transport(&self) -> Transport {
        self.variant.transport(&self.link)
    }

    /// Whether the client leaves so much unread that its commands wait.
    pub(crate) fn is_unread(&self) -> bool {
        let queued = self.backlog.as_ref().map(|backlog| backlog.queued());
        queued.is_some_and(|queued| queued > UNREAD)
    }

    /// When the connection came, by the clock of the wall.
    pub(crate) fn opened_at(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.opened.elapsed()).unwrap_or(now)
    }

    /// The session of a namespace.
    pub(crate) fn session(&self, namespace: u8) -> Option<&Session> {
        self.sessions
            .iter()
            .find(|session| session.namespace == namespace)
    }

    /// The session of a namespace.
    pub(crate) fn session_mut(&mut self, namespace: u8) -> Option<&mut Session> {
        self.sessions
            .iter_mut()
            .find(|session| session.namespace == namespace)
    }

    /// What the connection follows, in all namespaces.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.sessions.iter().flat_map(|session| &session.subscriptions)
    }

    /// What the connection follows, in all namespaces.
    pub(crate) fn subscriptions_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.sessions
            .iter_mut()
            .flat_map(|session| &mut session.subscriptions)
    }

    /// The place in a channel, if the connection follows it.
    pub(crate) fn subscription(&self, channel: ChannelKey) -> Option<&Subscription> {
        self.subscriptions()
            .find(|subscription| subscription.channel == channel)
    }

    /// Whether a ping that asks for an acknowledgement of everything up to `upto` goes with what is written next.
    pub(crate) fn asks(&mut self, upto: u64, now: u64) -> bool {
        match &mut self.returning {
            Some(returning) if self.backlog.is_none() => returning.asks(upto, now),
            Some(_) | None => false,
        }
    }

    /// Writes bytes that belong after everything that waits already. `cursor`: live entries up to here were taken.
    pub(crate) fn write(&mut self, bytes: &Bytes, cursor: u64) -> std::io::Result<()> {
        if let Some(backlog) = &mut self.backlog {
            backlog.chunks.push_back(bytes.clone());
            return Ok(());
        }
        if let Written::Part(n) = self.link.write(bytes)? {
            let mut backlog = Backlog::new(cursor);
            backlog.chunks.push_back(bytes.slice(n..));
            backlog.blocked = true;
            self.backlog = Some(backlog);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    //! Connections without a socket: a client that polls, whose answers the test holds.

    use tokio::sync::oneshot;

    use super::*;
    use crate::auth::Claims;
    use crate::hub::connections::Connections;
    use crate::hub::link::{Polled, Polling};
    use crate::hub::{Codec, Framing};
    use crate::limits::{self, Bounds, Clock};

    /// A client with one session. It has asked for one answer, which what is written first becomes.
    pub(in crate::hub) fn client(conns: &mut Connections) -> (Key, oneshot::Receiver<Polled>) {
        let (request, answer) = oneshot::channel();
        let mut polling = Polling::default();
        polling.wait(request);
        (connect(conns, polling), answer)
    }

    /// A client that takes nothing.
    pub(in crate::hub) fn idle_client(conns: &mut Connections) -> Key {
        connect(conns, Polling::default())
    }

    fn connect(conns: &mut Connections, polling: Polling) -> Key {
        let key = conns.next_key();
        let permits = limits::Connections::new(Bounds::default(), Clock::default());
        conns.insert(Conn {
            key,
            link: Link::Polling(polling),
            variant: Variant {
                codec: Codec::Plain,
                framing: Framing::Lines,
            },
            sessions: smallvec::smallvec![Session::new(Claims::default())],
            engine: None,
            connecting: None,
            returning: None,
            probes: None,
            rooms: None,
            decoder: Decoder::new(),
            backlog: None,
            waiting: None,
            gathered: None,
            state: ConnectionState::Open,
            heard: true,
            touched: (0, 0),
            opened: Instant::now(),
            live_since: 0,
            permit: permits.admit().expect("there is room for a client"),
            pace: Pace::default(),
        });
        key
    }
}

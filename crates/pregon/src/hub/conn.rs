//! One connection of a shard: its socket, its session, and what could not be written yet.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Buf, Bytes};
use pregon_wire::ws::frame::Decoder;

use super::Key;
use super::encoded::{Codec, Variant};
use super::socket::{ShardSocket, Written};
use crate::limits::Permit;
use crate::metrics::Transport;
use crate::session::Session;
use crate::session::command::Waiting;
use crate::session::replay::{From, Replay};

/// An idle connection costs this struct and what its session holds; everything else is boxed and freed when done.
pub struct Conn {
    pub key: Key,
    pub socket: ShardSocket,
    pub variant: Variant,
    pub session: Session,
    pub decoder: Decoder,
    /// What is not written yet; `None` means live: batches go straight to the socket.
    pub backlog: Option<Box<Backlog>>,
    /// A command that waits for an answer from outside the shard, and what came in behind it.
    pub waiting: Option<Box<Waiting>>,
    pub phase: Phase,
    /// Something came from the client since the last heartbeat.
    pub heard: bool,
    /// The batch in which this session was touched last, and by how many channels.
    pub touched: (u32, u32),
    pub permit: Permit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a first-message token; then its channels begin here.
    Waiting(From),
    Open,
    /// A close frame or last event is under way; nothing else is written.
    Closing,
}

/// What a session that is not live has before it, in this order: bytes, replays, then the live entries after `cursor`.
pub struct Backlog {
    pub chunks: VecDeque<Bytes>,
    pub replays: VecDeque<Replay>,
    /// Live entries up to here were taken.
    pub cursor: u64,
    /// Bytes of live entries that wait in the window, counted while the session is behind.
    pub lag: usize,
    /// When the socket last took something.
    pub progress: Instant,
    /// The socket refused to take more.
    pub blocked: bool,
}

impl Backlog {
    pub fn new(cursor: u64) -> Box<Self> {
        Box::new(Self {
            chunks: VecDeque::new(),
            replays: VecDeque::new(),
            cursor,
            lag: 0,
            progress: Instant::now(),
            blocked: false,
        })
    }

    /// Bytes that wait in copies or shared pieces.
    pub fn queued(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Writes chunks until none is left or the socket blocks.
    pub fn flush(&mut self, socket: &ShardSocket) -> std::io::Result<()> {
        self.blocked = false;
        while let Some(chunk) = self.chunks.front_mut() {
            match socket.write(chunk)? {
                Written::All => {
                    self.chunks.pop_front();
                    self.progress = Instant::now();
                }
                Written::Part(n) => {
                    if n > 0 {
                        self.progress = Instant::now();
                    }
                    chunk.advance(n);
                    self.blocked = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Conn {
    pub fn transport(&self) -> Transport {
        match self.variant.codec {
            Codec::Bare | Codec::Plain | Codec::Echo => Transport::WebSocket,
            Codec::Sse => Transport::Sse,
        }
    }

    /// Writes bytes that belong after everything that waits already. `cursor`: live entries up to here were taken.
    pub fn write(&mut self, bytes: &Bytes, cursor: u64) -> std::io::Result<()> {
        if let Some(backlog) = &mut self.backlog {
            backlog.chunks.push_back(bytes.clone());
            return Ok(());
        }
        if let Written::Part(n) = self.socket.write(bytes)? {
            let mut backlog = Backlog::new(cursor);
            backlog.chunks.push_back(bytes.slice(n..));
            backlog.blocked = true;
            self.backlog = Some(backlog);
        }
        Ok(())
    }
}

//! Where a connection's bytes go: a socket, or the polls of a client that has none.
//!
//! A polling client takes what there is once per request. Between two requests its link is like a socket that would block,
//! so that slowness is treated alike: a cursor into the window, and no copies.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};
use mio::{Registry, Token};
use pregon_wire::engineio::Refusal;
use tokio::sync::oneshot;

use super::socket::{ShardSocket, Written};

/// Ends each packet of a polling client's bytes; two would have it between them (engine.io-protocol v4).
pub(crate) const SEPARATOR: u8 = 0x1e;

/// What a poll is answered with at most, beside one packet that is larger.
const ANSWER: usize = 256 * 1024;

/// The answer to a poll: the body, or why there is none.
pub(crate) type Polled = Result<Vec<u8>, Refusal>;

/// See the module.
pub(crate) enum Link {
    Socket(ShardSocket),
    Polling(Polling),
}

/// A client that polls.
#[derive(Default)]
pub(crate) struct Polling {
    /// The request that waits.
    waiting: Option<oneshot::Sender<Polled>>,
}

impl Polling {
    /// Takes a request that waits from now on.
    pub(crate) fn wait(&mut self, request: oneshot::Sender<Polled>) {
        self.waiting = Some(request);
    }

    /// Whether a request waits.
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether the request that waits has nobody behind it any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.waiting.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Answers the request that waits; `false` if there is none.
    pub(crate) fn answer(&mut self, mut body: Vec<u8>) -> bool {
        if body.last() == Some(&SEPARATOR) {
            body.pop();
        }
        // One that was given up meanwhile ends the session by itself.
        self.waiting
            .take()
            .is_some_and(|request| request.send(Ok(body)).is_ok())
    }
}

impl Link {
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.register(registry, token),
            Self::Polling(_) => Ok(()),
        }
    }

    /// For a socket that was another connection's.
    pub(crate) fn reregister(&self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.reregister(registry, token),
            Self::Polling(_) => Ok(()),
        }
    }

    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.deregister(registry),
            Self::Polling(_) => Ok(()),
        }
    }

    /// Reads what is there: `None` when nothing is at the moment, `Some(0)` at the end. A polling client posts.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Socket(socket) => socket.read(buffer),
            Self::Polling(_) => Ok(None),
        }
    }

    /// Writes what goes now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        match self {
            Self::Socket(socket) => socket.write(bytes),
            Self::Polling(polling) if polling.waits() => match polling.answer(bytes.to_vec()) {
                true => Ok(Written::All),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            },
            Self::Polling(_) => Ok(Written::Part(0)),
        }
    }

    /// Writes chunks until none is left or no more goes; the last is how it ended.
    pub(crate) fn flush(&mut self, chunks: &mut VecDeque<Bytes>) -> io::Result<Flushed> {
        match self {
            Self::Socket(socket) => flush_socket(socket, chunks),
            Self::Polling(polling) => flush_polling(polling, chunks),
        }
    }

    /// No more writes from us.
    pub(crate) fn finish(&self) {
        if let Self::Socket(socket) = self {
            socket.finish();
        }
    }
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flushed {
    /// Something went.
    pub progress: bool,
    /// Something is left.
    pub blocked: bool,
}

fn flush_socket(socket: &ShardSocket, chunks: &mut VecDeque<Bytes>) -> io::Result<Flushed> {
    let mut flushed = Flushed::default();
    while let Some(chunk) = chunks.front_mut() {
        match socket.write(chunk)? {
            Written::All => {
                chunks.pop_front();
                flushed.progress = true;
            }
            Written::Part(n) => {
                chunk.advance(n);
                flushed.progress |= n > 0;
                flushed.blocked = true;
                return Ok(flushed);
            }
        }
    }
    Ok(flushed)
}

fn flush_polling(polling: &mut Polling, chunks: &mut VecDeque<Bytes>) -> io::Result<Flushed> {
    if chunks.is_empty() || !polling.waits() {
        return Ok(Flushed {
            progress: false,
            blocked: !chunks.is_empty(),
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = chunks.front() {
        if !body.is_empty() && body.len() + chunk.len() > ANSWER {
            break;
        }
        body.extend_from_slice(chunk);
        chunks.pop_front();
    }
    if !polling.answer(body) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(Flushed {
        progress: true,
        blocked: !chunks.is_empty(),
    })
}

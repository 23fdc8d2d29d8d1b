//! A non-blocking stream socket that a shard owns: TCP, or one end of a pair that the HTTP library bridges.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

/// See the module.
#[derive(Debug)]
pub(crate) struct ShardSocket(Socket);

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    All,
    /// So many bytes, then the socket would have blocked.
    Part(usize),
}

impl ShardSocket {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Edge-triggered for both directions, once and for all: no system call per change of interest.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            &mut SourceFd(&self.0.as_raw_fd()),
            token,
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    /// The socket belongs to another connection from now on; what it holds already is told again.
    pub(crate) fn reregister(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.reregister(
            &mut SourceFd(&self.0.as_raw_fd()),
            token,
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.0.as_raw_fd()))
    }

    /// Writes what the kernel takes now.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<Written> {
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.0.send_with_flags(rest, libc::MSG_NOSIGNAL) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Part(sent)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Written::All)
    }

    /// Reads what is there: `None` when nothing is at the moment, `Some(0)` at the end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match io::Read::read(&mut &self.0, buffer) {
                Ok(n) => return Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// No more writes from us; the peer reads what is under way and then the end.
    pub(crate) fn finish(&self) {
        // A socket that is already gone needs no farewell.
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }
}

//! A TCP stream that gives bytes which were read already before those that still come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::patience::Patient;

/// See the module.
pub(super) struct Rewind {
    ahead: Vec<u8>,
    given: usize,
    stream: Patient,
}

impl Rewind {
    pub(super) fn new(ahead: Vec<u8>, stream: Patient) -> Self {
        Self {
            ahead,
            given: 0,
            stream,
        }
    }

    /// The stream, and the bytes that nobody has read.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (
            self.stream.into_inner(),
            self.ahead.get(self.given..).unwrap_or_default().to_vec(),
        )
    }
}

impl AsyncRead for Rewind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.ahead.get(this.given..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let n = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..n).unwrap_or_default());
        this.given += n;
        if this.given == this.ahead.len() {
            (this.ahead, this.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

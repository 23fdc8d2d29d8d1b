//! One keep-alive HTTP connection that publishes, one request at a time.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;

/// The key that the runner gives our server; the others do not look at it.
pub(crate) const API_KEY: &str = "bench-key-0123456789abcdef";

/// Servers close idle connections after 5 s (Node) or 10 s (ours); a request must not cross that.
const IDLE: Duration = Duration::from_secs(3);

pub(super) struct Publisher {
    stream: TcpStream,
    busy: bool,
    closed: bool,
    used: Instant,
    answer: Vec<u8>,
}

impl Publisher {
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect(address).context("connecting a publisher")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            busy: false,
            closed: false,
            used: Instant::now(),
            answer: Vec::new(),
        })
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Sends one publish; its answer comes through [`Publisher::read`].
    pub(super) fn send(&mut self, payload: &str) -> anyhow::Result<()> {
        let body = format!(r#"{{"channel":"bench","event":"tick","data":{payload}}}"#);
        let request = format!(
            "POST /api/publish HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {API_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.busy = true;
        self.stream
            .write_all(request.as_bytes())
            .context("sending a publish")
    }

    /// Whether the server has closed the connection, as it may while there is nothing to do, or is about to.
    pub(super) fn is_stale(&self) -> bool {
        self.closed || self.used.elapsed() > IDLE
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        match self.stream.read(buffer) {
            Ok(0) if self.busy => bail!("the server closed a connection instead of answering a publish"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !self.busy => {
                self.closed = true;
                return Ok(());
            }
            // An answer that nobody asked for says that the connection was idle for too long.
            Ok(_) if !self.busy => {
                self.closed = true;
                return Ok(());
            }
            Ok(length) => self
                .answer
                .extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("waiting for the answer to a publish"),
        }
        if is_whole(&self.answer)? {
            self.answer.clear();
            self.busy = false;
            self.used = Instant::now();
        }
        Ok(())
    }
}

/// Whether an answer has come to its end; anything but 200 is an error.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = answer.split_at(end + 4);
    let text = String::from_utf8_lossy(answer);
    ensure!(head.starts_with(b"HTTP/1.1 200"), "a publish failed: {text}");
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length {
        Some(length) => Ok(body.len() >= length.trim().parse::<usize>()?),
        None => Ok(body.ends_with(b"0\r\n\r\n")), // Chunked.
    }
}

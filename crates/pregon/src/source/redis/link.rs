//! The connection of channels and patterns: login, subscriptions, and the frames that Redis pushes over it.
//!
//! Our own, because of what lies between a wake-up and a message: the task that reads the socket is the one that routes, and a message
//! is copied once, out of the buffer that the socket was read into.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pregon_wire::resp::{self, Frame};
use redis::Cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::connect::{CONNECT, Connector, Host};
use super::retry::Lost;
use super::subscription::Set;

/// Read at once, where there is so much.
const CHUNK: usize = 64 << 10;

/// A larger buffer is given back when it is empty.
const KEPT: usize = 1 << 20;

/// A connection on which every subscription is confirmed.
pub(super) struct Link {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    buffer: BytesMut,
    /// Bytes of the frame that was handed out last.
    used: usize,
    /// Messages that came before the last confirmation.
    early: BytesMut,
    pub(super) at: Host,
}

impl Link {
    /// Connects to the first host that lets it, logs in and subscribes; a server may take `patience` for each answer.
    pub(super) async fn subscribe(
        connector: &Connector,
        set: &Set,
        patience: Duration,
    ) -> Result<Self, Lost> {
        let mut failed = Lost::Closed;
        for host in connector.hosts().await? {
            let begun = async {
                let mut link = Self::open(connector, host).await?;
                link.begin(connector, set, patience).await?;
                Ok(link)
            };
            match begun.await {
                Ok(link) => return Ok(link),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn open(connector: &Connector, at: Host) -> Result<Self, Lost> {
        let connected = async {
            let stream = TcpStream::connect((at.0.as_str(), at.1)).await?;
            stream.set_nodelay(true)?;
            let Some(config) = connector.tls()? else {
                return Ok(Either::Left(stream));
            };
            let name = at.0.clone().try_into().map_err(io::Error::other)?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            Ok(Either::Right(Box::new(stream)))
        };
        let stream = timeout(CONNECT, connected)
            .await
            .map_err(|_| Lost::Silent(CONNECT))?;
        Ok(Self {
            stream: stream.map_err(Lost::Io)?,
            buffer: BytesMut::new(),
            used: 0,
            early: BytesMut::new(),
            at,
        })
    }

    /// Logs in, then subscribes to everything and waits until all of it is confirmed.
    async fn begin(&mut self, connector: &Connector, set: &Set, patience: Duration) -> Result<(), Lost> {
        self.send(&connector.hello(), patience).await?;
        self.expect(Frame::Answer, patience).await?;
        let (channels, patterns) = (set.channels(), set.patterns());
        for (command, names) in [("SUBSCRIBE", &channels), ("PSUBSCRIBE", &patterns)] {
            if !names.is_empty() {
                self.send(redis::cmd(command).arg(names), patience).await?;
            }
        }
        for _ in 0..channels.len() + patterns.len() {
            self.expect(Frame::Subscribed, patience).await?;
        }
        let mut early = std::mem::take(&mut self.early);
        self.buffer.advance(std::mem::take(&mut self.used));
        early.extend_from_slice(&self.buffer);
        self.buffer = early;
        Ok(())
    }

    /// Waits for this frame. Messages before it are for later, a refusal ends it.
    async fn expect(&mut self, expected: Frame<'_>, patience: Duration) -> Result<(), Lost> {
        loop {
            while let Some(frame) = self.next()? {
                let is_message = match frame {
                    Frame::Error(words) => return Err(Lost::refused(words)),
                    frame if frame == expected => return Ok(()),
                    frame => matches!(frame, Frame::Message { .. }),
                };
                if is_message {
                    let bytes = self.buffer.get(..self.used).unwrap_or_default();
                    self.early.extend_from_slice(bytes);
                }
            }
            timeout(patience, self.fill())
                .await
                .map_err(|_| Lost::Silent(patience))??;
        }
    }

    async fn send(&mut self, command: &Cmd, patience: Duration) -> Result<(), Lost> {
        let bytes = command.get_packed_command();
        let sent = timeout(patience, async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        });
        Ok(sent.await.map_err(|_| Lost::Silent(patience))??)
    }

    /// Asks for a sign of life, which comes as [`Frame::Answer`].
    pub(super) async fn ping(&mut self, patience: Duration) -> Result<(), Lost> {
        self.send(&redis::cmd("PING"), patience).await
    }

    /// Waits for more bytes. Cancel-safe.
    pub(super) async fn fill(&mut self) -> Result<(), Lost> {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(CHUNK);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Lost::Closed),
            _ => Ok(()),
        }
    }

    /// The next frame of what was read; `None` when more has to be read first.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, Lost> {
        self.buffer.advance(std::mem::take(&mut self.used));
        let Some((frame, length)) = resp::decode(&self.buffer)? else {
            return Ok(None);
        };
        self.used = length;
        Ok(Some(frame))
    }
}

//! A WebSocket that publishes. It does not wait for answers, and reads them only to see that none is an error.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;

use super::{
    Protocol,
    frames::{Frames, PING, PONG, TEXT, client_frame},
};

pub(super) struct Speaker {
    stream: TcpStream,
    frames: Frames,
    /// Bytes that the socket has not taken.
    unsent: Vec<u8>,
    published: u64,
}

impl Speaker {
    pub(super) fn connect(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(Protocol::Bare.request(address, path).as_bytes())?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).context("the answer to an upgrade")?;
            head.extend(byte);
        }
        ensure!(
            head.starts_with(b"HTTP/1.1 101"),
            "refused: {}",
            String::from_utf8_lossy(&head)
        );
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            frames: Frames::default(),
            unsent: Vec::new(),
            published: 0,
        })
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn publish(&mut self, payload: &str) -> anyhow::Result<()> {
        self.published += 1;
        let id = self.published;
        let text =
            format!(r#"{{"id":{id},"type":"publish","channel":"bench","event":"tick","data":{payload}}}"#);
        self.unsent.extend(client_frame(TEXT, text.as_bytes()));
        self.flush()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("sending a publish"),
            }
        }
        Ok(())
    }

    /// Reads what is there; a refusal fails the run.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        self.flush()?;
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed the connection of a publisher"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("reading answers to publishes"),
            };
            let (mut refused, mut pings) = (None, 0);
            self.frames
                .feed(buffer.get(..length).unwrap_or_default(), |(opcode, payload)| {
                    pings += usize::from(opcode == PING);
                    if memchr::memmem::find(payload, br#""error""#).is_some() {
                        refused = Some(String::from_utf8_lossy(payload).into_owned());
                    }
                });
            if let Some(refused) = refused {
                bail!("a publish failed: {refused}");
            }
            for _ in 0..pings {
                self.unsent.extend(client_frame(PONG, b""));
            }
            self.flush()?;
        }
    }
}

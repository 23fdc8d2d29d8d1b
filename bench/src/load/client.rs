//! One receiving connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;

use super::{
    frames::{BINARY, CLOSE, Frames, PING, PONG, Sse, TEXT, client_frame},
    tally::PAYLOAD,
};

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// WebSocket that needs no word from the client.
    Bare,
    /// The full protocol: wait for the welcome, subscribe, wait for the answer.
    Full,
    /// Server-sent events.
    Sse,
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    /// Messages of the full protocol that must come before deliveries.
    Subscribing,
    Open,
}

enum Parser {
    WebSocket(Frames),
    Sse(Sse),
}

pub(super) struct Client {
    stream: TcpStream,
    protocol: Protocol,
    state: State,
    parser: Parser,
    /// Deliveries of the tally's present round.
    count: usize,
    round: u32,
}

impl Client {
    pub(super) fn connect(address: SocketAddr, protocol: Protocol, path: &str) -> anyhow::Result<Self> {
        let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.write_all(upgrade_request(address, protocol, path).as_bytes())?;
        stream.set_nonblocking(true)?;
        let parser = match protocol {
            Protocol::Bare | Protocol::Full => Parser::WebSocket(Frames::default()),
            Protocol::Sse => Parser::Sse(Sse::default()),
        };
        Ok(Self {
            stream: TcpStream::from_std(stream),
            protocol,
            state: State::Head(Vec::new()),
            parser,
            count: 0,
            round: 0,
        })
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Counts deliveries and returns how many of this round there were before.
    pub(super) fn advance(&mut self, arrived: usize, round: u32) -> usize {
        if self.round != round {
            self.round = round;
            self.count = 0;
        }
        let before = self.count;
        self.count += arrived;
        before
    }

    /// Reads what is there; returns the number of deliveries in it.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<usize> {
        let mut deliveries = 0;
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(deliveries),
                Err(error) => return Err(error.into()),
            };
            deliveries += self.take(buffer.get(..length).unwrap_or_default())?;
            // A short read has emptied the socket (epoll(7), question 9): the second read can be saved.
            if length < buffer.len() {
                return Ok(deliveries);
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) -> anyhow::Result<usize> {
        let State::Head(head) = &mut self.state else {
            return self.messages(chunk);
        };
        head.extend_from_slice(chunk);
        let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
            return Ok(0);
        };
        let rest = head.split_off(end + 4);
        let expected: &[u8] = match self.protocol {
            Protocol::Sse => b"HTTP/1.1 200",
            Protocol::Bare | Protocol::Full => b"HTTP/1.1 101",
        };
        ensure!(
            head.starts_with(expected),
            "refused: {}",
            String::from_utf8_lossy(head)
        );
        self.state = State::Open;
        if self.protocol == Protocol::Full {
            self.state = State::Subscribing;
            let subscribe = client_frame(TEXT, br#"{"id":1,"type":"subscribe","channel":"bench"}"#);
            self.stream.write_all(&subscribe)?;
        }
        self.messages(&rest)
    }

    fn messages(&mut self, chunk: &[u8]) -> anyhow::Result<usize> {
        let frames = match &mut self.parser {
            Parser::Sse(sse) => return Ok(sse.feed(chunk)),
            Parser::WebSocket(frames) => frames,
        };
        let (mut deliveries, mut closed, mut pong) = (0, None, None);
        let state = &mut self.state;
        frames.feed(chunk, |(opcode, payload)| match opcode {
            TEXT | BINARY if matches!(state, State::Subscribing) => {
                let contains = |text: &[u8]| memchr::memmem::find(payload, text).is_some();
                if contains(br#""id":1"#) && contains(br#""error""#) {
                    closed = Some(payload.to_vec());
                } else if contains(br#""id":1"#) {
                    *state = State::Open;
                }
            }
            // The full protocol's pings are shorter than any delivery.
            TEXT | BINARY if payload.len() >= PAYLOAD => deliveries += 1,
            PING => pong = Some(client_frame(PONG, payload)),
            CLOSE => closed = Some(payload.to_vec()),
            _ => {}
        });
        if let Some(payload) = closed {
            bail!("closed or refused: {}", String::from_utf8_lossy(&payload));
        }
        if let Some(pong) = pong {
            self.stream.write_all(&pong).context("answering a ping")?;
        }
        Ok(deliveries)
    }
}

/// The request that opens a stream.
pub(crate) fn upgrade_request(address: SocketAddr, protocol: Protocol, path: &str) -> String {
    match protocol {
        Protocol::Sse => {
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")
        }
        Protocol::Bare | Protocol::Full => format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
    }
}

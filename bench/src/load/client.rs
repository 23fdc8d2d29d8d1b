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
    greeting::{Protocol, Step},
    tally::PAYLOAD,
};

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    /// Words that must come before deliveries.
    Greeting,
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
        stream.write_all(protocol.request(address, path).as_bytes())?;
        stream.set_nonblocking(true)?;
        let parser = match protocol {
            Protocol::Sse => Parser::Sse(Sse::default()),
            _ => Parser::WebSocket(Frames::default()),
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
        ensure!(
            head.starts_with(self.protocol.accepted()),
            "refused: {}",
            String::from_utf8_lossy(head)
        );
        self.state = if self.protocol.greets() {
            State::Greeting
        } else {
            State::Open
        };
        if let Some(opening) = self.protocol.opening() {
            self.stream.write_all(&opening)?;
        }
        self.messages(&rest)
    }

    fn messages(&mut self, chunk: &[u8]) -> anyhow::Result<usize> {
        let frames = match &mut self.parser {
            Parser::Sse(sse) => return Ok(sse.feed(chunk)),
            Parser::WebSocket(frames) => frames,
        };
        let (mut deliveries, mut closed, mut answer) = (0, None, None);
        let (state, protocol) = (&mut self.state, self.protocol);
        frames.feed(chunk, |(opcode, payload)| match opcode {
            // Whatever else the protocols say is shorter than any delivery.
            TEXT | BINARY if matches!(state, State::Open) && payload.len() >= PAYLOAD => deliveries += 1,
            TEXT if protocol.is_farewell(payload) => closed = Some(payload.to_vec()),
            TEXT if matches!(state, State::Greeting) => match protocol.step(payload) {
                Step::Wait => {}
                Step::Say(frame) => answer = Some(frame),
                Step::In => *state = State::Open,
                Step::Refused => closed = Some(payload.to_vec()),
            },
            TEXT => answer = protocol.pong(payload).or(answer.take()),
            PING => answer = Some(client_frame(PONG, payload)),
            CLOSE => closed = Some(payload.to_vec()),
            _ => {}
        });
        if let Some(payload) = closed {
            bail!("closed or refused: {}", String::from_utf8_lossy(&payload));
        }
        if let Some(answer) = answer {
            self.stream.write_all(&answer).context("answering the server")?;
        }
        Ok(deliveries)
    }
}

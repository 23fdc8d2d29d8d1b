//! The floor: the least that a server can do for a fan-out, one epoll loop and one write call per socket and frame.
//!
//! `POST` with a body `{…,"data":PAYLOAD}` sends PAYLOAD as one WebSocket frame to every connected socket. With
//! `--joined` the frames of all publishes that one poll brought are joined first, so that a socket gets one write for
//! all of them. It trusts its load generator and fails on anything unexpected: it is a ruler, not a server.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const DOOR: Token = Token(usize::MAX);

struct Peer {
    stream: TcpStream,
    request: Vec<u8>,
    open: bool,
}

struct Floor {
    joined: bool,
    peers: BTreeMap<usize, Peer>,
    /// Publishers whose answer waits for the joined write.
    waiting: Vec<usize>,
    batch: Vec<u8>,
}

/// What a request turned out to be.
enum Request {
    Partial,
    Upgrade(String),
    Publish(Vec<u8>),
}

fn main() -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4096);
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let mut door = TcpListener::from_std(socket);
    poll.registry().register(&mut door, DOOR, Interest::READABLE)?;
    writeln!(std::io::stdout(), "listening on http://{}", door.local_addr()?)?;
    let joined = std::env::args().any(|argument| argument == "--joined");
    let mut floor = Floor {
        joined,
        peers: BTreeMap::new(),
        waiting: Vec::new(),
        batch: Vec::new(),
    };
    let mut next = 0;
    loop {
        poll.poll(&mut events, None::<Duration>)?;
        for event in &events {
            if event.token() == DOOR {
                floor.accept(&door, &poll, &mut next)?;
            } else {
                floor.ready(event.token().0)?;
            }
        }
        floor.flush()?;
    }
}

impl Floor {
    fn accept(&mut self, door: &TcpListener, poll: &Poll, next: &mut usize) -> anyhow::Result<()> {
        loop {
            match door.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    poll.registry()
                        .register(&mut stream, Token(*next), Interest::READABLE)?;
                    self.peers.insert(
                        *next,
                        Peer {
                            stream,
                            request: Vec::new(),
                            open: false,
                        },
                    );
                    *next += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ready(&mut self, token: usize) -> anyhow::Result<()> {
        let Some(peer) = self.peers.get_mut(&token) else {
            return Ok(());
        };
        let mut buffer = [0; 4096];
        loop {
            match peer.stream.read(&mut buffer) {
                Ok(0) => {
                    self.peers.remove(&token);
                    return Ok(());
                }
                Ok(_) if peer.open => {} // A client has nothing to say.
                Ok(length) => peer
                    .request
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.peers.remove(&token);
                    return Ok(());
                }
            }
        }
        match read_request(&peer.request)? {
            Request::Partial => Ok(()),
            Request::Upgrade(key) => {
                peer.open = true;
                peer.request = Vec::new();
                let answer = pregon_wire::ws::handshake::response(&key, None, None);
                write_all(&mut peer.stream, &answer)
            }
            Request::Publish(payload) => {
                peer.request.clear();
                self.publish(token, &payload)
            }
        }
    }

    fn publish(&mut self, publisher: usize, payload: &[u8]) -> anyhow::Result<()> {
        frame(&mut self.batch, payload);
        self.waiting.push(publisher);
        if self.joined { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        for peer in self.peers.values_mut().filter(|peer| peer.open) {
            write_all(&mut peer.stream, &self.batch)?;
        }
        self.batch.clear();
        for publisher in self.waiting.drain(..) {
            if let Some(peer) = self.peers.get_mut(&publisher) {
                write_all(
                    &mut peer.stream,
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
                )?;
            }
        }
        Ok(())
    }
}

/// The load keeps so little in flight that a socket always has room.
fn write_all(stream: &mut TcpStream, bytes: &[u8]) -> anyhow::Result<()> {
    let written = stream.write(bytes).context("writing to a client")?;
    ensure!(written == bytes.len(), "a socket was full");
    Ok(())
}

/// One unmasked text frame.
fn frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x81);
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => out.push(length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

fn read_request(bytes: &[u8]) -> anyhow::Result<Request> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(Request::Partial);
    };
    let (head, body) = bytes.split_at(end + 4);
    let head = std::str::from_utf8(head).context("a request head that is not text")?;
    if head.starts_with("GET ") {
        let key = header(head, "sec-websocket-key").context("no websocket key")?;
        return Ok(Request::Upgrade(key.to_owned()));
    }
    let length: usize = header(head, "content-length")
        .context("no content-length")?
        .parse()?;
    if body.len() < length {
        return Ok(Request::Partial);
    }
    let start = memchr::memmem::find(body, b"\"data\":").context("no data in the publish")? + 7;
    let Some(payload) = body.get(start..length.saturating_sub(1)) else {
        bail!("an empty publish")
    };
    Ok(Request::Publish(payload.to_vec()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
}

//! One WebSocket client on a blocking socket and a thread of its own, which says what arrived and when.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    contestant::{Kind, Running},
    load::{
        Protocol,
        frames::{CLOSE, Frames, PING, PONG, TEXT, client_frame},
        greeting::Step,
    },
};

/// A server that is there lets a client in within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A payload's `"id"` and when it was read.
pub(crate) type Arrival = (u64, Instant);

/// What a receiver's thread sends; an error is the last.
pub(crate) type Arrivals = mpsc::Receiver<anyhow::Result<Arrival>>;

/// Connects a client, waits until it is let in, and hands over its deliveries.
pub(crate) fn connect(server: &Running, kind: Kind) -> anyhow::Result<Arrivals> {
    let protocol = kind.protocol();
    let mut stream = open(server.address, protocol, kind.path())?;
    let mut frames = Frames::default();
    greet(&mut stream, &mut frames, protocol).context("waiting to be let in")?;
    stream.set_read_timeout(None)?;
    Ok(listen(stream, frames, protocol))
}

/// A stream behind the answer to its request, on which reads are not waited for in vain.
pub(crate) fn open(address: SocketAddr, protocol: Protocol, path: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(protocol.request(address, path).as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("waiting for the upgrade")?;
        head.extend(byte);
    }
    ensure!(
        head.starts_with(protocol.accepted()),
        "refused: {}",
        String::from_utf8_lossy(&head)
    );
    Ok(stream)
}

/// Reads until so many events have come.
pub(crate) fn count(client: &mut TcpStream, wanted: u64) -> anyhow::Result<()> {
    let mut parser = Frames::default();
    let mut chunk = vec![0; 256 * 1024];
    let mut seen = 0;
    while seen < wanted {
        let length = client
            .read(&mut chunk)
            .with_context(|| format!("{seen} of {wanted} rows came"))?;
        ensure!(
            length > 0,
            "the gateway closed the connection after {seen} of {wanted} rows"
        );
        let mut pong = None;
        parser.feed(
            chunk.get(..length).unwrap_or_default(),
            |(opcode, payload)| match opcode {
                TEXT => seen += 1,
                PING => pong = Some(client_frame(PONG, payload)),
                _ => {}
            },
        );
        if let Some(pong) = pong {
            client.write_all(&pong)?;
        }
    }
    ensure!(seen == wanted, "{seen} rows came instead of {wanted}");
    Ok(())
}

/// The deliveries on a stream of WebSocket frames that is open.
pub(crate) fn listen(mut stream: TcpStream, mut frames: Frames, protocol: Protocol) -> Arrivals {
    spawn(move || receive(&mut stream, &mut frames, protocol))
}

/// Calls `next` on a thread of its own until it fails or nobody listens any more. It may bring several at once.
pub(crate) fn spawn(mut next: impl FnMut() -> anyhow::Result<Vec<Arrival>> + Send + 'static) -> Arrivals {
    let (sender, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let sent = match next() {
                Ok(all) => all.into_iter().try_for_each(|arrival| sender.send(Ok(arrival))),
                Err(error) => {
                    // Nobody listens: the run is over, and that is why the connection ended.
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    });
    arrivals
}

/// The payload's number and the present.
pub(crate) fn identify(payload: &[u8]) -> anyhow::Result<Arrival> {
    let now = Instant::now();
    let at = memchr::memmem::find(payload, b"\"id\":").context("a payload without an id")? + 5;
    let digits = payload.iter().skip(at).skip_while(|byte| **byte == b' ');
    let digits: Vec<u8> = digits.take_while(|byte| byte.is_ascii_digit()).copied().collect();
    Ok((String::from_utf8(digits)?.parse()?, now))
}

/// Says what the protocol wants to hear before the first delivery.
fn greet(stream: &mut TcpStream, frames: &mut Frames, protocol: Protocol) -> anyhow::Result<()> {
    if let Some(opening) = protocol.opening() {
        stream.write_all(&opening)?;
    }
    let mut is_in = !protocol.greets();
    while !is_in {
        let mut steps = Vec::new();
        read(stream, frames, |(opcode, payload)| {
            if opcode == TEXT {
                steps.push(protocol.step(payload));
            }
        })?;
        for step in steps {
            match step {
                Step::Wait => {}
                Step::Say(frame) => stream.write_all(&frame)?,
                Step::In => is_in = true,
                Step::Refused => bail!("refused"),
            }
        }
    }
    Ok(())
}

/// Waits for deliveries and answers pings.
fn receive(stream: &mut TcpStream, frames: &mut Frames, protocol: Protocol) -> anyhow::Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    while arrivals.is_empty() {
        let (mut pong, mut closed) = (None, false);
        read(stream, frames, |(opcode, payload)| match opcode {
            TEXT if memchr::memchr(b'{', payload).is_some() => arrivals.push(identify(payload)),
            TEXT => pong = protocol.pong(payload),
            PING => pong = Some(client_frame(PONG, payload)),
            CLOSE => closed = true,
            _ => {}
        })?;
        ensure!(!closed, "the server closed the connection");
        if let Some(pong) = pong {
            stream.write_all(&pong)?;
        }
    }
    arrivals.into_iter().collect()
}

fn read(stream: &mut TcpStream, frames: &mut Frames, each: impl FnMut((u8, &[u8]))) -> anyhow::Result<()> {
    let mut chunk = [0; 16 * 1024];
    let length = stream.read(&mut chunk)?;
    ensure!(length > 0, "the server closed the connection");
    frames.feed(chunk.get(..length).unwrap_or_default(), each);
    Ok(())
}

//! The attacks: what each connection opens with, what it sends again and again, and whether it reads.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde_json::json;

use crate::{
    contestant::Running,
    load::{
        API_KEY,
        frames::{PING, TEXT, client_frame},
    },
    usage,
};

/// Connections of one attack.
const CONNECTIONS: usize = 50;

const SECRET: &str = "una-clave-solo-para-medir-aqui";

/// What the gateway has for all of them.
pub(super) const CONFIGURATION: &str = r#"
[auth]
secret = "una-clave-solo-para-medir-aqui"

[socketio]
recovery = true

[[channel]]
name = "room_{n}"

[[webhook]]
name = "hook"
path = "/hook"
preset = "github"
secret = "nobody-knows-it"

[[route]]
from = "hook"
to = "bench"
"#;

/// One attack.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// The request, and what is sent once behind it.
    opening: fn(&str) -> Vec<u8>,
    /// What is sent again and again.
    flood: fn() -> Vec<u8>,
    /// Whether answers are read.
    reads: bool,
    /// Whether the connection is closed and opened again after one flood.
    leaves: bool,
}

pub(super) static ATTACKS: [Attack; 9] = [
    Attack {
        name: "history that nobody reads",
        opening: |_| Vec::new(),
        flood: history,
        reads: false,
        leaves: false,
    },
    Attack {
        name: "history that is read",
        opening: |_| Vec::new(),
        flood: history,
        reads: true,
        leaves: false,
    },
    Attack {
        name: "deflated blanks without a token",
        opening: |_| upgrade("/ws"),
        flood: || blanks().repeat(200),
        reads: true,
        leaves: false,
    },
    Attack {
        name: "deflated blanks with a token",
        opening: |token| upgrade(&format!("/ws?token={token}")),
        flood: || blanks().repeat(200),
        reads: true,
        leaves: false,
    },
    Attack {
        name: "pings",
        opening: |token| upgrade(&format!("/ws?token={token}")),
        flood: || {
            [client_frame(PING, b""), client_frame(TEXT, br#"{"type":"ping"}"#)]
                .concat()
                .repeat(500)
        },
        reads: true,
        leaves: false,
    },
    Attack {
        name: "junk",
        opening: |token| upgrade(&format!("/ws?token={token}")),
        flood: || client_frame(TEXT, b"junk").repeat(1000),
        reads: true,
        leaves: false,
    },
    Attack {
        name: "subscribe and unsubscribe",
        opening: |token| upgrade(&format!("/ws?token={token}")),
        flood: || {
            let subscribe = client_frame(TEXT, br#"{"type":"subscribe","channel":"room_1"}"#);
            let leave = client_frame(TEXT, br#"{"type":"unsubscribe","channel":"room_1"}"#);
            [subscribe, leave].concat().repeat(500)
        },
        reads: true,
        leaves: false,
    },
    Attack {
        name: "sessions of Socket.IO with 90 rooms that come and go",
        opening: |_| upgrade("/socket.io/?EIO=4&transport=websocket"),
        flood: rooms,
        reads: true,
        leaves: true,
    },
    Attack {
        name: "bodies of 4 MB with a wrong signature",
        opening: |_| Vec::new(),
        flood: body,
        reads: true,
        leaves: false,
    },
];

fn token() -> String {
    pregon_testkit::token(&json!({ "sub": "somebody" }), SECRET)
}

fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    .into_bytes()
}

fn history() -> Vec<u8> {
    let token = token();
    let request =
        format!("GET /api/history?channel=room_old&last=1000&token={token} HTTP/1.1\r\nHost: x\r\n\r\n");
    request.repeat(20).into_bytes()
}

/// A text of 65,000 blanks, compressed, in one frame.
fn blanks() -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder
        .write_all(&vec![b' '; 65_000])
        .and_then(|()| encoder.flush());
    let mut frame = client_frame(
        TEXT,
        encoder
            .get_ref()
            .strip_suffix(&[0, 0, 0xff, 0xff])
            .unwrap_or_default(),
    );
    if let Some(first) = frame.first_mut() {
        *first |= 0x40;
    }
    frame
}

fn rooms() -> Vec<u8> {
    let connect = format!(r#"40{{"token":"{}"}}"#, token());
    // Longer than 125 bytes, with a mask of zeros.
    let mut out = vec![0x80 | TEXT, 0x80 | 126];
    out.extend(u16::try_from(connect.len()).unwrap_or_default().to_be_bytes());
    out.extend([0; 4]);
    out.extend(connect.bytes());
    for n in 0..90 {
        out.extend(client_frame(
            TEXT,
            format!(r#"42["subscribe","room_{n:0>60}"]"#).as_bytes(),
        ));
    }
    out
}

fn body() -> Vec<u8> {
    let head = format!(
        "POST /hook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={}\r\nContent-Length: 4000000\r\n\r\n",
        "00".repeat(32)
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + 4_000_000, b'x');
    request
}

/// Fills the channel whose history is asked for: 1,000 messages of 60 KB.
pub(super) fn prepare(server: &Running) -> anyhow::Result<()> {
    let mut stream = std::net::TcpStream::connect(server.address)?;
    let event = json!({ "channel": "room_old", "event": "n", "data": "x".repeat(60_000) });
    let batch = serde_json::to_string(&vec![event; 10])?;
    for _ in 0..100 {
        write!(
            stream,
            "POST /api/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{batch}",
            batch.len()
        )?;
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!(
                "{}",
                String::from_utf8_lossy(answer.get(..length).unwrap_or_default())
            );
        }
    }
    Ok(())
}

/// The thread of an attack.
pub(super) struct Attackers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

struct One {
    stream: TcpStream,
    /// What is being sent, and how far.
    sending: Arc<Vec<u8>>,
    sent: usize,
}

impl Attackers {
    pub(super) fn start(address: SocketAddr, attack: &'static Attack) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            usage::pin_load()?;
            usage::give_way()?;
            fight(address, attack, &stopped)
        });
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("the attackers' thread panicked"),
        }
    }
}

fn fight(address: SocketAddr, attack: &Attack, stop: &AtomicBool) -> anyhow::Result<()> {
    let (opening, flood) = (Arc::new((attack.opening)(&token())), Arc::new((attack.flood)()));
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(CONNECTIONS);
    let mut buffer = vec![0; 64 * 1024];
    let connect = |poll: &Poll, place: usize| -> anyhow::Result<One> {
        let mut stream = TcpStream::connect(address).context("an attacker cannot connect")?;
        let interest = match attack.reads {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::WRITABLE,
        };
        poll.registry().register(&mut stream, Token(place), interest)?;
        let sending = Arc::clone(if opening.is_empty() { &flood } else { &opening });
        Ok(One {
            stream,
            sending,
            sent: 0,
        })
    };
    let mut all = Vec::with_capacity(CONNECTIONS);
    for place in 0..CONNECTIONS {
        all.push(connect(&poll, place)?);
    }
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let place = event.token().0;
            let Some(one) = all.get_mut(place) else { continue };
            let goes_on = (!event.is_readable() || one.read(&mut buffer))
                && (!event.is_writable() || one.write(&flood, attack.leaves));
            if !goes_on {
                *one = connect(&poll, place)?;
            }
        }
    }
    Ok(())
}

impl One {
    /// Throws away what came; false at the end.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    /// Writes as much as goes; false if the connection ended or is to be left.
    fn write(&mut self, flood: &Arc<Vec<u8>>, leaves: bool) -> bool {
        loop {
            let rest = self.sending.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                if leaves && Arc::ptr_eq(&self.sending, flood) {
                    return false;
                }
                (self.sending, self.sent) = (Arc::clone(flood), 0);
                continue;
            }
            match self.stream.write(rest) {
                Ok(0) => return false,
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::NotConnected => return true,
                Err(_) => return false,
            }
        }
    }
}

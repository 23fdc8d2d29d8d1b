//! Clients that flap: each keeps what a good client keeps (positions), loses its connection again and again, and comes back.
//!
//! One task per client owns its record; [`Me::take`] is the only way into it. A client ends when it has seen the closing mark on
//! every channel, or when it is told to give up.

mod plain;
mod sse;
mod socketio;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::record::{ROWS, Record, Seen, room_channel};

/// Marks are facts of this writer; they are no evidence.
pub(crate) const MARKER: u32 = 0;
/// And updates of this row.
pub(crate) const MARKED_ROW: u32 = 1_000;

/// Between two connections of a client, milliseconds.
const PAUSE: std::ops::Range<u64> = 5..150;
/// How long a connection lasts while clients flap, milliseconds.
const LIFE: std::ops::Range<u64> = 100..6_000;
/// No connection needs longer to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Sse,
    SocketIo,
}

pub(crate) const TRANSPORTS: [Transport; 3] = [Transport::Plain, Transport::Sse, Transport::SocketIo];

/// What all clients look at.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Connections are given up again and again.
    pub(crate) flap: AtomicBool,
    /// The number of the mark that closes the run; 0 before it is set.
    pub(crate) closing: AtomicUsize,
    /// Clients that have seen some mark on all of their channels.
    pub(crate) ready: AtomicUsize,
    /// Clients that have seen the closing mark on all of their channels.
    pub(crate) done: AtomicUsize,
    /// Time is up.
    pub(crate) give_up: AtomicBool,
}

/// A client of the run.
pub(crate) struct Me {
    pub(crate) record: Record,
    /// `127.0.0.1:port` of the gateway, or of a proxy before it.
    pub(crate) address: String,
    pub(crate) token: String,
    /// A channel that the token does not grant.
    pub(crate) forbidden: String,
    signals: Arc<Signals>,
    random: StdRng,
    /// The newest mark of each channel.
    marks: HashMap<String, usize>,
    /// Where each channel goes on.
    since: HashMap<String, String>,
    is_ready: bool,
}

impl Me {
    pub(crate) fn new(
        record: Record,
        address: String,
        token: String,
        forbidden: String,
        signals: Arc<Signals>,
        seed: u64,
    ) -> Self {
        Self {
            record,
            address,
            token,
            forbidden,
            signals,
            random: StdRng::seed_from_u64(seed),
            marks: HashMap::new(),
            since: HashMap::new(),
            is_ready: false,
        }
    }

    /// Connects again and again until the run is over; gives the evidence back.
    pub(crate) async fn run(mut self, transport: Transport) -> Record {
        let mut session = socketio::Kept::default();
        while !self.is_done() {
            self.record.connects += 1;
            let until = self.end_of_life();
            let lived = async {
                match transport {
                    Transport::Plain => plain::session(&mut self).await,
                    Transport::Sse => sse::session(&mut self).await,
                    Transport::SocketIo => socketio::session(&mut self, &mut session).await,
                }
            };
            // A connection that breaks is what the run is about; the next one tells whether anything was lost.
            let _ = tokio::time::timeout_at(until, lived).await;
            let pause = self.random.random_range(PAUSE);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.signals.done.fetch_add(1, Ordering::Relaxed);
        self.record
    }

    fn end_of_life(&mut self) -> Instant {
        // Without flapping a look now and then is enough: the end of the run is one of these.
        let millis = if self.signals.flap.load(Ordering::Relaxed) {
            self.random.random_range(LIFE)
        } else {
            LIFE.end
        };
        Instant::now() + Duration::from_millis(millis)
    }

    fn is_done(&self) -> bool {
        if self.signals.give_up.load(Ordering::Relaxed) {
            return true;
        }
        let closing = self.signals.closing.load(Ordering::Relaxed);
        closing > 0 && self.has_mark(closing)
    }

    fn has_mark(&self, number: usize) -> bool {
        let mut channels = self.record.channels().into_iter();
        channels.all(|channel| self.marks.get(&channel).is_some_and(|&mark| mark >= number))
    }

    /// Takes what came on a channel at a position.
    fn take(&mut self, channel: &str, seen: Seen, position: Option<&str>) {
        match seen {
            Seen::Fact {
                writer: MARKER, n, ..
            } => self.mark(channel, n),
            Seen::Row {
                id: MARKED_ROW,
                version,
            } => self.mark(channel, version),
            seen => self.record.seen.push(seen),
        }
        if let Some(position) = position {
            self.goes_on_at(channel, position);
        }
    }

    fn gap(&mut self, channel: Option<&str>, to: Option<&str>) {
        self.record.seen.push(Seen::Gap {
            channel: channel.map(str::to_owned),
        });
        let channels = match channel {
            Some(channel) => vec![channel.to_owned()],
            None => self.record.channels(),
        };
        for channel in channels {
            if let Some(to) = to {
                self.goes_on_at(&channel, to);
            }
        }
    }

    fn goes_on_at(&mut self, channel: &str, position: &str) {
        self.since.insert(channel.to_owned(), position.to_owned());
    }

    fn mark(&mut self, channel: &str, number: i64) {
        let number = usize::try_from(number).unwrap_or(0);
        let newest = self.marks.entry(channel.to_owned()).or_default();
        *newest = number.max(*newest);
        if !self.is_ready && self.has_mark(1) {
            self.is_ready = true;
            self.signals.ready.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Channels of which something came and the client does not follow them are evidence too.
fn channel_of(seen: &Seen) -> String {
    match seen {
        Seen::Fact { room, .. } => room_channel(*room),
        Seen::Row { .. } => ROWS.to_owned(),
        Seen::Gap { channel } => channel.clone().unwrap_or_default(),
        Seen::Strange(_) => String::new(),
    }
}

/// The channels of a set that are not in another.
fn others(all: Vec<String>, known: &HashSet<String>) -> Vec<String> {
    all.into_iter()
        .filter(|channel| !known.contains(channel))
        .collect()
}

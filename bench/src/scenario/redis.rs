//! From sending PUBLISH to arrival at a client: a bare Redis subscriber, the barest gateway that there can be, clients of
//! pregón, and how the marketplace of seed 002 is built today.
//!
//! All hang on one Redis, with a channel each, and take turns message by message, so that they meet the same machine. The
//! pause before each message is long enough for everybody to fall asleep: wake-ups count, as they do in use.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use pregon_testkit::Redis;
use pregon_wire::ws::frame::{self, Opcode};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::{Protocol, frames::Frames},
    receiver::{self, Arrivals},
    redis::Connection,
    report::{Bar, Figure, Report, Table, median, quantile, short},
};

/// Messages a second, of all ways together.
const RATE: u32 = 100;
/// Bytes of a message.
const PAYLOAD: usize = 200;
/// A delivery that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);

const BARE: &str = "bare Redis subscriber";
const RELAY: &str = "bare relay: one thread from Redis to one socket";
const GATEWAYS: [Kind; 2] = [Kind::Ours, Kind::OursSocketIo];

/// One way from a PUBLISH to a client.
struct Way {
    name: &'static str,
    channel: &'static str,
    arrivals: Arrivals,
    /// Microseconds of this pass.
    times: Vec<f64>,
    /// p50 and p99 of each pass.
    passes: Vec<[f64; 2]>,
    /// What keeps the other end alive.
    _server: Option<Running>,
}

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let rounds = if effort.quick { 100 } else { 500 };
    let mut notes = notes(effort, rounds);
    let redis = match super::runtime()?.block_on(Redis::start()) {
        Ok(redis) => redis,
        Err(error) => {
            notes = vec![format!("left out: {error:#}")];
            return Ok(report(&[], notes, effort));
        }
    };
    let mut ways = vec![bare(&redis)?, relay(&redis)?];
    for kind in GATEWAYS.into_iter().chain([Kind::SeedHub]) {
        match kind.obstacle() {
            Some(obstacle) => notes.push(format!("{} is left out: {obstacle}", kind.name())),
            None => ways.push(through(kind, &redis).with_context(|| kind.name())?),
        }
    }
    let mut publisher = Publisher::open(&redis)?;
    publisher.rounds(&mut ways, 50)?; // Warm caches and sockets.
    ways.iter_mut().for_each(|way| way.times.clear());
    for _ in 0..effort.passes {
        publisher.rounds(&mut ways, rounds)?;
        for way in &mut ways {
            let times = std::mem::take(&mut way.times);
            way.passes.push([quantile(&times, 0.5), quantile(&times, 0.99)]);
        }
    }
    Ok(report(&ways, notes, effort))
}

struct Publisher {
    connection: Connection,
    sent: u64,
    due: Instant,
}

impl Publisher {
    fn open(redis: &Redis) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(redis.port())?,
            sent: 0,
            due: Instant::now(),
        })
    }

    /// Every way has its turn in each round; another begins each time.
    fn rounds(&mut self, ways: &mut [Way], rounds: usize) -> anyhow::Result<()> {
        self.due = Instant::now();
        for round in 0..rounds {
            let first = round % ways.len();
            let (late, early) = ways.split_at_mut(first);
            for way in early.iter_mut().chain(late) {
                self.turn(way).context(way.name)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, way: &mut Way) -> anyhow::Result<()> {
        std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        self.due = self.due.max(Instant::now()) + Duration::from_secs(1) / RATE;
        self.sent += 1;
        let message = message(self.sent);
        let begun = Instant::now();
        let subscribers = self.connection.publish(way.channel, &message)?;
        ensure!(subscribers == 1, "{subscribers} subscribers");
        let arrival = way.arrivals.recv_timeout(PATIENCE);
        let (id, arrived) = arrival.with_context(|| format!("message {} did not arrive", self.sent))??;
        ensure!(id == self.sent, "message {id} arrived instead of {}", self.sent);
        way.times.push((arrived - begun).as_secs_f64() * 1e6);
        Ok(())
    }
}

/// JSON of [`PAYLOAD`] bytes.
fn message(number: u64) -> String {
    let mut text = format!(r#"{{"id":{number},"type":"ORDER_UPDATED","note":""#);
    let fill = PAYLOAD.saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_n('x', fill));
    text.push_str("\"}");
    text
}

impl Way {
    fn new(name: &'static str, channel: &'static str, arrivals: Arrivals, server: Option<Running>) -> Self {
        Self {
            name,
            channel,
            arrivals,
            times: Vec::new(),
            passes: Vec::new(),
            _server: server,
        }
    }
}

fn bare(redis: &Redis) -> anyhow::Result<Way> {
    let mut subscriber = Connection::open(redis.port())?;
    subscriber.subscribe("bare")?;
    let arrivals = receiver::spawn(move || Ok(vec![receiver::identify(&subscriber.message()?)?]));
    Ok(Way::new(BARE, "bare", arrivals, None))
}

/// The least that a gateway can be: it neither reads the message nor has a second client or thread.
fn relay(redis: &Redis) -> anyhow::Result<Way> {
    let mut subscriber = Connection::open(redis.port())?;
    subscriber.subscribe("relay")?;
    let door = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(door.local_addr()?)?;
    let (mut socket, _) = door.accept()?;
    socket.set_nodelay(true)?;
    std::thread::spawn(move || {
        // It ends with Redis or with its client, which is the end of the run.
        while let Ok(message) = subscriber.message() {
            let mut out = Vec::new();
            frame::frame(Opcode::Text, &message, &mut out);
            if socket.write_all(&out).is_err() {
                return;
            }
        }
    });
    let arrivals = receiver::listen(client, Frames::default(), Protocol::Bare);
    Ok(Way::new(RELAY, "relay", arrivals, None))
}

fn through(kind: Kind, redis: &Redis) -> anyhow::Result<Way> {
    let channel = match kind {
        Kind::SeedHub => "ws:room:bench",
        Kind::OursSocketIo => "ours:socketio",
        _ => "ours:plain",
    };
    let server = if kind.is_ours() {
        Running::start(kind, &source(&redis.url(), channel), None)?
    } else {
        Running::start_with(kind, "", None, &[("REDIS_URL", redis.url())])?
    };
    let arrivals = receiver::connect(&server, kind)?;
    Ok(Way::new(kind.name(), channel, arrivals, Some(server)))
}

/// Our configuration for a channel of Redis whose messages go to the channel `bench`.
fn source(url: &str, channel: &str) -> String {
    format!("[redis]\nurl = \"{url}\"\n\n[[redis.channel]]\nchannel = \"{channel}\"\nname = \"bench\"\n")
}

fn notes(effort: Effort, rounds: usize) -> Vec<String> {
    vec![
        format!(
            "{RATE} messages of {PAYLOAD} bytes a second, each to one of the ways in turn, all on one Redis; medians of {} passes of \
             {rounds} messages for each. Microseconds from sending PUBLISH to the client's read. No process is bound to a core.",
            effort.passes
        ),
        "A bare subscriber is woken once. Behind a gateway two are woken after one another, the gateway and its client: that is \
         the relay. Ours wakes nobody else: the thread that reads Redis writes to the client's socket. After the pause what a process \
         needs is no longer in the caches, above all where others compile, and a gateway needs more than a relay."
            .into(),
    ]
}

fn report(ways: &[Way], notes: Vec<String>, effort: Effort) -> Report {
    let middle = |name: &str, place: usize| {
        let way = ways.iter().find(|way| way.name == name);
        let all = way.iter().flat_map(|way| &way.passes);
        let values: Vec<f64> = all.filter_map(|pass| pass.get(place)).copied().collect();
        median(&values)
    };
    let mut figures = Vec::new();
    for kind in GATEWAYS {
        for (place, what, bar) in [(0, "p50", Bar::Ratio(1.3)), (1, "p99", Bar::None)] {
            for (against, bar) in [(BARE, bar), (RELAY, Bar::None)] {
                figures.push(Figure {
                    what: format!("{}: PUBLISH to client, {what}", kind.name()),
                    ours: middle(kind.name(), place),
                    unit: "µs",
                    against,
                    theirs: middle(against, place),
                    bar,
                });
            }
        }
    }
    figures.retain(|figure| !figure.ours.is_nan());
    let mut table = Table::new(&["way", "p50 µs", "p99 µs"]);
    for way in ways {
        let cell = |place| short(middle(way.name, place));
        table.rows.push(vec![way.name.into(), cell(0), cell(1)]);
    }
    Report {
        scenario: "redis",
        notes,
        figures,
        table,
        quick: effort.quick,
    }
}

//! The load generator: thousands of clients and their publishers on one epoll thread.
//!
//! One thread owns everything, so that a measurement costs one core and has no locks. `frames` cuts bytes, `greeting` is
//! what comes before deliveries, `client` one receiving connection, `publisher` one keep-alive HTTP connection, `tally` knows which publish has arrived where.

pub(crate) mod frames;
pub(crate) mod greeting;
mod client;
mod publisher;
mod speaker;
mod tally;

pub(crate) use greeting::Protocol;
pub(crate) use publisher::API_KEY;
pub(crate) use tally::{Measured, PAYLOAD};

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use mio::{Events, Interest, Poll, Registry, Token};

use client::Client;
use publisher::Publisher;
use speaker::Speaker;
use tally::Tally;

/// Handshakes that may be under way: fewer than the shortest accept queue among the peers.
const HANDSHAKES: usize = 100;
/// When nothing has arrived for so long, the rest is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// Publishers have the tokens from here.
const PUBLISHERS: usize = 1 << 32;
/// WebSockets that publish have the tokens from here.
const SPEAKERS: usize = 1 << 33;

/// When to publish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So many times a second, evenly.
    PerSecond(u32),
    /// The next as soon as fewer than so many are on their way; a publish has arrived when every client has it.
    InFlight(usize),
}

/// Clients and publishers of one server.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    crowd: Crowd,
}

struct Crowd {
    address: SocketAddr,
    registry: Registry,
    clients: Vec<Client>,
    publishers: Vec<Publisher>,
    /// They publish in turn, if there are some.
    speakers: Vec<Speaker>,
    open: usize,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Load {
    /// Connects `count` clients and waits until all of them follow the channel.
    pub(crate) fn connect(
        address: SocketAddr,
        protocol: Protocol,
        path: &str,
        count: usize,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let crowd = Crowd {
            address,
            registry: poll.registry().try_clone()?,
            clients: Vec::with_capacity(count),
            publishers: Vec::new(),
            speakers: Vec::new(),
            open: 0,
            tally: Tally::new(count),
            buffer: vec![0; 256 * 1024],
        };
        let mut load = Self {
            poll,
            events: Events::with_capacity(4096),
            crowd,
        };
        let mut progress = Instant::now();
        while load.crowd.open < count {
            let before = load.crowd.open;
            while load.crowd.clients.len() < (before + HANDSHAKES).min(count) {
                load.add_client(protocol, path)?;
            }
            load.turn(Duration::from_millis(100))?;
            if load.crowd.open > before {
                progress = Instant::now();
            }
            ensure!(
                progress.elapsed() < PATIENCE,
                "only {} of {count} clients could connect",
                load.crowd.open
            );
        }
        Ok(load)
    }

    fn add_client(&mut self, protocol: Protocol, path: &str) -> anyhow::Result<()> {
        let number = self.crowd.clients.len();
        let mut client = Client::connect(self.crowd.address, protocol, path)
            .with_context(|| format!("connecting client {number}"))?;
        self.poll
            .registry()
            .register(client.stream(), Token(number), Interest::READABLE)?;
        self.crowd.clients.push(client);
        Ok(())
    }

    /// Publishes until every client has one: a server may subscribe a moment after it has answered the handshake.
    pub(crate) fn settle(&mut self) -> anyhow::Result<()> {
        self.need_publishers(1)?;
        for _ in 0..20 {
            self.crowd.tally.reset();
            self.crowd.publish()?;
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end && !self.crowd.tally.all_arrived() {
                self.turn(Duration::from_millis(20))?;
            }
            if self.crowd.tally.all_arrived() {
                return Ok(());
            }
        }
        bail!("no publish reaches every client: {}", self.crowd.tally.missing())
    }

    /// From now on so many WebSockets publish; none means HTTP.
    pub(crate) fn publish_over(
        &mut self,
        address: SocketAddr,
        path: &str,
        sockets: usize,
    ) -> anyhow::Result<()> {
        self.crowd.speakers.clear();
        for number in 0..sockets {
            let mut speaker = Speaker::connect(address, path)?;
            let token = Token(SPEAKERS + number);
            self.poll.registry().register(
                speaker.stream(),
                token,
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.crowd.speakers.push(speaker);
        }
        Ok(())
    }

    /// Publishes for `time`, waits until everything has arrived everywhere, and says what it took.
    pub(crate) fn run(&mut self, pace: Pace, time: Duration) -> anyhow::Result<Measured> {
        self.need_publishers(match pace {
            Pace::PerSecond(_) => 1,
            Pace::InFlight(depth) => depth,
        })?;
        self.crowd.tally.reset();
        let start = Instant::now();
        let mut due = start;
        while start.elapsed() < time {
            let wait = match pace {
                Pace::PerSecond(rate) => {
                    if Instant::now() >= due && self.crowd.publish()? {
                        due += Duration::from_secs(1) / rate;
                    }
                    due.saturating_duration_since(Instant::now())
                }
                Pace::InFlight(depth) => {
                    while self.crowd.tally.in_flight() < depth && self.crowd.publish()? {}
                    Duration::from_millis(100)
                }
            };
            self.turn(wait)?;
        }
        self.drain()?;
        Ok(self.crowd.tally.measured(start.elapsed()))
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        let (mut progress, mut seen) = (Instant::now(), 0);
        while !self.crowd.tally.all_arrived() || self.crowd.publishers.iter().any(Publisher::is_busy) {
            if self.crowd.tally.deliveries() > seen {
                (progress, seen) = (Instant::now(), self.crowd.tally.deliveries());
            }
            ensure!(
                progress.elapsed() < PATIENCE,
                "deliveries are lost: {}",
                self.crowd.tally.missing()
            );
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Only answers pings for `time`.
    pub(crate) fn idle(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Answers pings that have come while another server had its turn.
    pub(crate) fn attend(&mut self) -> anyhow::Result<()> {
        while self.turn(Duration::ZERO)? > 0 {}
        Ok(())
    }

    fn need_publishers(&mut self, count: usize) -> anyhow::Result<()> {
        while self.crowd.publishers.len() < count {
            let publisher = self.crowd.new_publisher(self.crowd.publishers.len())?;
            self.crowd.publishers.push(publisher);
        }
        Ok(())
    }

    /// Waits for sockets and does what they ask for; says how many there were.
    fn turn(&mut self, wait: Duration) -> anyhow::Result<usize> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(0),
            other => other?,
        }
        for event in &self.events {
            self.crowd.ready(event.token().0)?;
        }
        Ok(self.events.iter().count())
    }
}

impl Crowd {
    fn new_publisher(&self, number: usize) -> anyhow::Result<Publisher> {
        let mut publisher = Publisher::connect(self.address)?;
        let token = Token(PUBLISHERS + number);
        self.registry
            .register(publisher.stream(), token, Interest::READABLE)?;
        Ok(publisher)
    }

    /// Starts a publish on a free connection; false when all are busy.
    fn publish(&mut self) -> anyhow::Result<bool> {
        if !self.speakers.is_empty() {
            self.speakers.rotate_left(1);
            return self.speak();
        }
        let Some(number) = self.publishers.iter().position(|publisher| !publisher.is_busy()) else {
            return Ok(false);
        };
        if self.publishers.get(number).is_some_and(Publisher::is_stale) {
            let fresh = self.new_publisher(number)?;
            self.publishers.splice(number..=number, [fresh]);
        }
        if let Some(publisher) = self.publishers.get_mut(number) {
            publisher.send(&self.tally.next_payload())?;
            self.tally.sent();
        }
        Ok(true)
    }

    /// The first speaker publishes.
    fn speak(&mut self) -> anyhow::Result<bool> {
        let speaker = self.speakers.first_mut().context("no WebSocket publishes")?;
        speaker.publish(&self.tally.next_payload())?;
        self.tally.sent();
        Ok(true)
    }

    fn ready(&mut self, token: usize) -> anyhow::Result<()> {
        if token >= SPEAKERS {
            let buffer = &mut self.buffer;
            // Which of them it is does not matter: there are few.
            return self
                .speakers
                .iter_mut()
                .try_for_each(|speaker| speaker.read(buffer));
        }
        if let Some(number) = token.checked_sub(PUBLISHERS) {
            let publisher = self.publishers.get_mut(number).context("an unknown publisher")?;
            return publisher.read(&mut self.buffer);
        }
        let client = self.clients.get_mut(token).context("an unknown client")?;
        let was_open = client.is_open();
        let arrived = client
            .read(&mut self.buffer)
            .with_context(|| format!("client {token}"))?;
        if arrived > 0 {
            self.tally
                .arrived(client.advance(arrived, self.tally.round()), arrived);
        }
        if !was_open && client.is_open() {
            self.open += 1;
        }
        Ok(())
    }
}

//! A shard's loop: wait for sockets, messages, entries and timers, and do what they ask for.
//!
//! Everything a shard does happens in rounds, in this order: sockets, messages from other threads, new entries, timers, sessions with
//! more to send. Nothing here waits except the poll itself. The shard's thread alone takes from sockets; a round without them may be
//! another thread's, see `lead`.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::connections::Connections;
use mio::{Events, Poll, Registry, Token};
use parking_lot::Mutex;

use super::codec::Encoder;
use super::conn::Conn;
use super::fanout::Fanout;
use super::orders::Orders;
use super::rights::Walk;
use super::subscriptions::Subscriptions;
use super::timers::Timers;
use super::written::Written;
use super::{Key, Message, ShardHandle, Shared};
use crate::abort;
use crate::session::recovery::Owner;

/// The waker's token; connections have their slab index.
const WAKER: Token = Token(usize::MAX);

/// One read of a socket. Shared by all connections of a shard, so an idle one holds no buffer.
const READ_BUFFER: usize = 64 * 1024;

/// Newcomers of one round: a storm of connections must not keep those that are here from their entries.
const NEWCOMERS: usize = 64;

pub(super) struct Shard {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    pub(super) conns: Connections,
    pub(super) subscriptions: Subscriptions,
    pub(super) timers: Timers,
    pub(super) encoder: Encoder,
    pub(super) fanout: Fanout,
    /// Place of the shard among those of the node.
    pub(super) number: u16,
    /// The session that the last message has made a WebSocket's.
    pub(super) promoted: Option<Key>,
    /// Sessions that have more to send although their socket did not block.
    pub(super) ready: VecDeque<Key>,
    /// Sessions whose socket may hold more although it said so before.
    pub(super) reread: VecDeque<Key>,
    /// The message under way has to come again, behind what its connection has gathered.
    pub(super) postponed: bool,
    pub(super) buffer: Vec<u8>,
    pub(super) draining: bool,
    /// The handle by which other threads reach this shard.
    pub(super) handle: ShardHandle,
    inbox: mpsc::Receiver<Message>,
    waiting: VecDeque<Message>,
    pub(super) orders: Orders,
    pub(super) written: Written,
    /// New rights, and how far the sessions were held against them.
    pub(super) walk: Option<Walk>,
    /// When the last round ended.
    pub(super) rested: Instant,
    /// When the thread looks again by itself.
    pub(super) until: Option<Instant>,
    /// The time of this round, for rates.
    pub(super) now: u64,
    /// What was done since others were last looked after.
    pub(super) spent: usize,
}

/// The shard's thread: runs until the last session of a shard that drains is gone.
pub(super) fn run(shard: &Mutex<Shard>, poll: &mut Poll) {
    let mut events = Events::with_capacity(1024);
    let mut patience = Some(Duration::ZERO);
    loop {
        if let Err(error) = poll.poll(&mut events, patience)
            && error.kind() != io::ErrorKind::Interrupted
        {
            // Its sessions would be abandoned, and newcomers given to it for ever.
            abort::now(&format!(
                "a shard cannot poll its sockets ({error}): aborting, so that clients reconnect and resume"
            ));
        }
        let mut shard = shard.lock();
        shard.sockets(&events);
        shard.round();
        if shard.is_over() {
            return;
        }
        patience = shard.patience();
    }
}

impl Shard {
    /// A shard, what its thread waits on, and how others see it.
    pub(super) fn new(shared: Arc<Shared>, number: u16) -> io::Result<(Self, Poll, ShardHandle)> {
        let poll = Poll::new()?;
        let (sender, inbox) = mpsc::channel();
        let (given, orders) = mpsc::channel();
        let handle = ShardHandle {
            inbox: sender,
            orders: given,
            waker: Arc::new(mio::Waker::new(poll.registry(), WAKER)?),
            woken: Arc::new(AtomicBool::new(false)),
            sessions: Arc::new(AtomicUsize::new(0)),
        };
        let head = shared.window.head();
        let passed = shared.volatile.count();
        let now = shared.clock.now();
        let encoder = Encoder::new(shared.namespaces.clone(), shared.recovery);
        let written = Written::new(shared.closed.is_some(), head);
        let shard = Self {
            shared,
            registry: poll.registry().try_clone()?,
            conns: Connections::default(),
            subscriptions: Subscriptions::default(),
            timers: Timers::default(),
            encoder,
            fanout: Fanout::new(head, passed),
            number,
            promoted: None,
            ready: VecDeque::new(),
            reread: VecDeque::new(),
            postponed: false,
            buffer: vec![0; READ_BUFFER],
            draining: false,
            handle: handle.clone(),
            inbox,
            waiting: VecDeque::new(),
            orders: Orders::new(orders),
            written,
            walk: None,
            rested: Instant::now(),
            until: None,
            now,
            spent: 0,
        };
        Ok((shard, poll, handle))
    }

    /// All of a round but the sockets.
    pub(super) fn round(&mut self) {
        self.messages();
        self.walk();
        self.fan_out();
        self.due();
        self.send_more();
        self.read_more();
        self.rested = Instant::now();
        self.now = self.shared.clock.at(self.rested);
    }

    pub(super) fn is_over(&self) -> bool {
        self.draining && self.conns.is_empty()
    }

    /// Whether there is more to do at once.
    pub(super) fn has_more(&self) -> bool {
        !self.ready.is_empty() || !self.reread.is_empty() || !self.waiting.is_empty() || self.walk.is_some()
    }

    fn patience(&mut self) -> Option<Duration> {
        self.until = match self.has_more() {
            true => Some(self.rested),
            false => self.timers.next(),
        };
        self.until
            .map(|until| until.saturating_duration_since(self.rested))
    }

    fn sockets(&mut self, events: &Events) {
        // The thread may have slept for long.
        self.now = self.shared.clock.now();
        for event in events {
            self.breathe();
            if event.token() == WAKER {
                // Cleared before the inbox and the window are read: what comes later wakes again.
                self.handle.looking();
                continue;
            }
            let Some(key) = self.conns.of_token(event.token()) else {
                continue;
            };
            if event.is_writable() {
                self.writable(key);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.readable(key);
            }
        }
    }

    fn messages(&mut self) {
        self.waiting.extend(self.inbox.try_iter());
        let (mut newcomers, mut postponed) = (0, false);
        for _ in 0..self.waiting.len() {
            let Some(message) = self.waiting.pop_front() else {
                break;
            };
            match message {
                Message::Adopt(_) if newcomers >= NEWCOMERS => {
                    postponed = true;
                    self.waiting.push_back(message);
                }
                // Newcomers before it were let in by the old rights: it has to find them.
                Message::Recheck(_) if postponed => self.waiting.push_back(message),
                Message::Adopt(newcomer) => {
                    newcomers += 1;
                    self.adopt(*newcomer);
                }
                Message::Probe(sid, newcomer) => self.probe(sid, *newcomer),
                Message::Poll(sid, request) => self.poll_request(sid, request),
                Message::PollGone(sid) => self.poll_given_up(sid),
                Message::PostBegins(sid, reply) => self.post_begins(sid, reply),
                Message::PostGone(sid) => self.post_given_up(sid),
                Message::Post(sid, messages, reply) => self.post_request(sid, messages, reply),
                Message::Answer(key, answer) => self.answered(key, answer),
                Message::Fetched(key, fetched) => self.fetched(key, *fetched),
                Message::Drain(over) => self.drain(over),
                Message::SendAway(over) => self.send_away(over),
                Message::Recheck(round) => self.recheck(round),
                Message::Settled(round, followers, word) => self.settled(&round, followers, word),
                Message::Unsubscribe(user, channel, reply) => {
                    // Who asked may not wait for it any more.
                    let _ = reply.send(self.take_from_user(&user, &channel));
                }
                Message::Look(look, reply) => self.look(&look, reply),
                Message::Denied => self.close_denied(),
                Message::End(keys, code) => self.end(&keys, code),
            }
            self.breathe();
        }
    }

    fn due(&mut self) {
        let now = Instant::now();
        while let Some((key, due)) = self.timers.pop(now) {
            self.fire(key, due, now);
        }
    }

    /// A connection as sessions that may come back know it.
    pub(super) fn owner(&self, key: Key) -> Owner {
        (
            self.number,
            u64::from(key.index) << 32 | u64::from(key.generation),
        )
    }

    /// The connection, unless it is gone.
    pub(super) fn conn(&mut self, key: Key) -> Option<&mut Conn> {
        self.conns.get_mut(key)
    }
}

//! Hands log entries to the sessions that follow their channels.
//!
//! One shard per core: sockets, sessions and subscriptions of its own, which belong to its thread, or for a round to whoever appends
//! while it rests. Shards read new entries from the log's window (which tells them of news), encode each once per codec, join what one
//! channel gets in a batch, and write it straight to the sockets. A session whose socket blocks keeps a cursor into the window, no
//! copies.
//!
//! Lifecycle: [`Hub::start`] spawns the threads; connections come in through [`Hub::adopt`]; [`Hub::drain`] closes sessions
//! spread over a time; [`Hub::join`] returns when every shard has let its last session go. Shards stop before the runtime
//! that answers their questions.

pub(crate) mod socket;
pub(crate) mod link;
pub(crate) mod codec;
pub(crate) mod batch;
pub(crate) mod presence;
pub(crate) mod timers;
pub(crate) mod conn;
mod returning;
mod connections;
mod newcomer;
mod subscriptions;
mod shard;
mod lead;
mod fanout;
mod backlog;
mod lifecycle;
mod heartbeat;
mod incoming;
mod turns;
mod commands;
mod publishes;
mod follow;
mod rights;
mod resume;
pub(crate) mod orders;
mod written;
pub(crate) mod closed;
pub(crate) mod inspect;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::abort;
use crate::auth::Revoked;
use crate::desk::{Desk, Round};
use crate::limits::Clock;
use crate::log::{Past, Volatile, Window};
use crate::metrics::Metrics;
use crate::route::grant::Rights;
use crate::session::channels::Channels;
use crate::session::command::{Answer, Env, Incoming};
use crate::session::limits::Limits;
use crate::session::members::Page;
use crate::session::recovery::Sessions;
use crate::session::replay::Fetched;
use crate::standby::Standby;
use closed::Closed;
pub(crate) use codec::socketio::engine::App;
use codec::socketio::sid::Sid;
pub(crate) use codec::{Codec, Framing, Variant};
pub(crate) use connections::Key;
use inspect::{Look, Seen};
use link::Polled;
pub(crate) use newcomer::{Newcomer, Opening};
use orders::{Given, Order};
use pregon_wire::codes::Code;
use pregon_wire::engineio::Refusal;
use presence::Presence;
use rights::Followers;
use shard::Shard;
use tokio::sync::oneshot;

/// Where a shard says what became of a post.
type Reply = oneshot::Sender<Result<(), Refusal>>;

/// What other threads tell a shard. Bounded by the number of connections and requests: each has at most one of each under way.
enum Message {
    Adopt(Box<Newcomer>),
    Probe(Sid, Box<Newcomer>),
    Poll(Sid, oneshot::Sender<Polled>),
    PollGone(Sid),
    PostBegins(Sid, Reply),
    PostGone(Sid),
    Post(Sid, Option<Vec<Incoming>>, Reply),
    Answer(Key, Answer),
    Fetched(Key, Box<Fetched>),
    Drain(Duration),
    /// The node stands by.
    SendAway(Duration),
    Recheck(Arc<Round>),
    Settled(Arc<Round>, Followers, Option<bool>),
    /// The sessions of this user lose this channel.
    Unsubscribe(Arc<str>, Arc<str>, oneshot::Sender<usize>),
    Look(Look, oneshot::Sender<Seen>),
    /// The operator denies other addresses than before.
    Denied,
    End(Vec<Key>, &'static Code),
}

/// A shard as other threads see it.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    inbox: mpsc::Sender<Message>,
    orders: mpsc::Sender<Given>,
    waker: Arc<mio::Waker>,
    /// A wake-up is under way: no second system call for it.
    woken: Arc<AtomicBool>,
    sessions: Arc<AtomicUsize>,
}

impl ShardHandle {
    fn wake(&self) {
        if self.must_wake() {
            self.wake_thread();
        }
    }

    /// Whether nobody has been woken since the shard was looked at; the caller sees to it then.
    fn must_wake(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    fn wake_thread(&self) {
        // Waking fails only if the shard is gone, and then nobody is there to be told.
        let _ = self.waker.wake();
    }

    /// Somebody is about to look: what comes later must wake again.
    fn looking(&self) {
        self.woken.store(false, Ordering::Release);
    }

    fn tell(&self, message: Message) {
        // A shard that is gone has closed its sessions; what is told to it has no reader.
        if self.inbox.send(message).is_ok() {
            self.wake();
        }
    }

    /// Before anything that is appended after `at` is seen by the shard.
    fn order(&self, order: Arc<Order>, at: u64) {
        // A shard that is gone has no sockets.
        if self.orders.send(Given { order, at }).is_ok() {
            self.wake();
        }
    }

    /// Brings the answer to a session's question.
    pub(crate) fn answer(&self, key: Key, answer: Answer) {
        self.tell(Message::Answer(key, answer));
    }

    /// Brings what the database says of a doubt; `None` if it cannot be asked.
    fn settled(&self, round: Arc<Round>, followers: Followers, word: Option<bool>) {
        self.tell(Message::Settled(round, followers, word));
    }

    /// Brings a piece of a session's replay.
    pub(crate) fn fetched(&self, key: Key, fetched: Fetched) {
        self.tell(Message::Fetched(key, Box::new(fetched)));
    }
}

/// What all shards share.
pub(crate) struct Shared {
    pub window: Arc<Window>,
    /// The window and what the log keeps beyond it.
    pub past: Arc<Past>,
    pub rights: Arc<ArcSwap<Rights>>,
    pub metrics: Arc<Metrics>,
    pub desk: Arc<Desk>,
    pub volatile: Arc<Volatile>,
    pub presence: Presence,
    /// Sessions of Socket.IO that may come back.
    pub kept: Arc<Sessions>,
    /// Clients that may come back without a position.
    pub returns: Arc<Sessions>,
    /// Whose tokens count no more.
    pub revoked: Arc<Revoked>,
    /// Sessions that have ended, where an operator may look.
    pub closed: Option<Arc<Closed>>,
    /// What rates are measured by.
    pub clock: Clock,
    /// Whether another gateway serves in this one's stead.
    pub standby: Standby,
    /// Hears of orders, where nodes share the log.
    pub others: OnceLock<orders::Tell>,
    pub settings: Settings,
}

impl Shared {
    /// What a decision on a command looks at.
    fn env<'a>(&'a self, rights: &'a Arc<Rights>, channels: &'a Channels) -> Env<'a> {
        Env {
            rights,
            channels,
            window: &self.window,
            limits: &self.limits,
            metrics: &self.metrics,
        }
    }
}

impl std::ops::Deref for Shared {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// What shards know of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub limits: Limits,
    /// Whether sessions of Socket.IO may come back.
    pub recovery: bool,
    /// Names of the namespaces of Socket.IO; the first is the root.
    pub namespaces: Vec<String>,
    /// Whether back ends address sockets by their ids, and all of them.
    pub addressable: bool,
    /// Whether a session of Socket.IO needs a token.
    pub auth_required: bool,
    /// Official suites are served, not applications.
    pub conformance: bool,
    pub shards: u16,
}

/// Does a shard's work. One that panics takes the process with it: its sessions are lost, half a node would go on taking
/// newcomers for it, and a supervisor starts a whole one at once.
fn or_abort(run: impl FnOnce()) {
    let why = "a shard panicked: aborting, so that clients reconnect and resume";
    abort::on_panic(why, run);
}

/// All shards of a node.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    shards: Vec<ShardHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Closed while the rights change, so that whoever was let in by the old ones is with its shard before they are asked again.
    gate: RwLock<()>,
}

impl Hub {
    /// Starts the shard threads.
    pub(crate) fn start(shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let mut hub = Self {
            shared: Arc::clone(&shared),
            shards: Vec::new(),
            threads: Mutex::default(),
            gate: RwLock::default(),
        };
        let mut led = Vec::new();
        for number in 0..shared.shards {
            let (handle, shard) = hub.start_shard(number)?;
            hub.shards.push(handle.clone());
            led.push(lead::Led { shard, handle });
        }
        shared.window.on_news(move || or_abort(|| lead::lead(&led)));
        Ok(hub)
    }

    fn start_shard(&self, number: u16) -> io::Result<(ShardHandle, Weak<Mutex<Shard>>)> {
        let (shard, mut poll, handle) = Shard::new(Arc::clone(&self.shared), number)?;
        let shard = Arc::new(Mutex::new(shard));
        let led = Arc::downgrade(&shard);
        let waking = handle.clone();
        self.shared.volatile.on_news(move || waking.wake());
        let thread = std::thread::Builder::new().name(format!("shard-{number}"));
        let thread = thread.spawn(move || or_abort(|| shard::run(&shard, &mut poll)))?;
        self.threads.lock().push(thread);
        Ok((handle, led))
    }

    /// Gives a connection to the shard with the fewest sessions.
    pub(crate) fn adopt(&self, newcomer: Newcomer) {
        let least = self
            .shards
            .iter()
            .min_by_key(|shard| shard.sessions.load(Ordering::Relaxed));
        if let Some(shard) = least {
            // Counted here, so that a burst of newcomers spreads.
            shard.sessions.fetch_add(1, Ordering::Relaxed);
            shard.tell(Message::Adopt(Box::new(newcomer)));
        }
    }

    /// Gives a WebSocket to the session that it wants to take over from polling.
    pub(crate) fn probe(&self, sid: Sid, newcomer: Newcomer) {
        if let Some(shard) = self.shard(sid) {
            shard.sessions.fetch_add(1, Ordering::Relaxed);
            shard.tell(Message::Probe(sid, Box::new(newcomer)));
        }
    }

    /// A poll of a session: the next packets, or why there are none.
    pub(crate) async fn poll(&self, sid: Sid) -> Polled {
        let shard = self.shard(sid).ok_or(Refusal::UnknownSid)?;
        let (request, answer) = oneshot::channel();
        shard.tell(Message::Poll(sid, request));
        // One that is given up ends the session; the answer's place is dropped before the guard, so that it is seen to be closed.
        let mut guard = Guard::new(shard, Message::PollGone(sid));
        let answer = answer.await.unwrap_or(Err(Refusal::UnknownSid));
        guard.gone = None;
        answer
    }

    /// A client begins to post; the session ends if that is given up.
    pub(crate) async fn post(&self, sid: Sid) -> Result<Post<'_>, Refusal> {
        let shard = self.shard(sid).ok_or(Refusal::UnknownSid)?;
        let guard = Guard::new(shard, Message::PostGone(sid));
        let (reply, answer) = oneshot::channel();
        shard.tell(Message::PostBegins(sid, reply));
        let mut post = Post { sid, guard };
        if let Err(refusal) = answer.await.unwrap_or(Err(Refusal::UnknownSid)) {
            post.guard.gone = None;
            return Err(refusal);
        }
        Ok(post)
    }

    fn shard(&self, sid: Sid) -> Option<&ShardHandle> {
        self.shards.get(usize::from(sid.shard))
    }

    /// What all shards share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Most bytes of one polling body of a client.
    pub(crate) fn payload(&self) -> usize {
        self.shared.limits.payload
    }

    /// Who is in a channel whose members are known, as many as an answer holds behind `since`.
    pub(crate) fn members(&self, channel: &str, since: Option<&str>) -> Page {
        self.shared.presence.members(channel, since)
    }

    /// Sessions now.
    pub(crate) fn sessions(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.sessions.load(Ordering::Relaxed))
            .sum()
    }

    /// Closes all sessions, spread over `over` so that they do not all come back at once; then the shards end.
    pub(crate) fn drain(&self, over: Duration) {
        for shard in &self.shards {
            shard.tell(Message::Drain(over));
        }
    }

    /// Closes all sessions, spread over `over`, as long as the node stands by; the shards go on.
    pub(crate) fn send_away(&self, over: Duration) {
        for shard in &self.shards {
            shard.tell(Message::SendAway(over));
        }
    }

    /// Puts rights in force, and holds every session's channels against them.
    pub(crate) fn replace_rights(&self, rights: Rights) {
        let rights = Arc::new(rights);
        let _closed = self.gate.write();
        self.shared.rights.store(Arc::clone(&rights));
        let round = Round::reload(rights);
        for shard in &self.shards {
            shard.tell(Message::Recheck(Arc::clone(&round)));
        }
    }

    /// Asks again for the rights that sections want asked for as often as this.
    pub(crate) fn recheck(&self, period: Duration) {
        let round = Round::period(self.shared.rights.load_full(), period);
        for shard in &self.shards {
            shard.tell(Message::Recheck(Arc::clone(&round)));
        }
    }

    /// Takes a channel from all sessions of a user; how many had it. What was appended before comes first.
    pub(crate) async fn unsubscribe(&self, user: &str, channel: &str) -> usize {
        let (user, channel) = (Arc::from(user), Arc::from(channel));
        let mut answers = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            shard.tell(Message::Unsubscribe(
                Arc::clone(&user),
                Arc::clone(&channel),
                reply,
            ));
            answers.push(answer);
        }
        let mut ended = 0;
        for answer in answers {
            // A shard that is gone has no sessions.
            ended += answer.await.unwrap_or_default();
        }
        ended
    }

    /// Closes the connections of addresses that are denied by now.
    pub(crate) fn denied(&self) {
        for shard in &self.shards {
            shard.tell(Message::Denied);
        }
    }

    /// Keeps the rights in force for whoever was let in by them, as long as it takes to hand it over; `None` if they are not any more.
    pub(crate) fn holds(&self, rights: &Arc<Rights>) -> Option<RwLockReadGuard<'_, ()>> {
        let open = self.gate.read();
        self.shared.desk.in_force(rights).then_some(open)
    }

    /// Waits for the threads to end; blocks.
    pub(crate) fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
    }
}

/// A post that is under way.
pub(crate) struct Post<'a> {
    sid: Sid,
    guard: Guard<'a>,
}

impl Post<'_> {
    /// Hands over the packets, `None` if they were none; returns when they are taken.
    pub(crate) async fn take(mut self, messages: Option<Vec<Incoming>>) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.guard.gone = None;
        self.guard.shard.tell(Message::Post(self.sid, messages, reply));
        answer.await.unwrap_or(Err(Refusal::UnknownSid))
    }
}

/// Tells the shard of a request that is given up.
struct Guard<'a> {
    shard: &'a ShardHandle,
    gone: Option<Message>,
}

impl<'a> Guard<'a> {
    fn new(shard: &'a ShardHandle, gone: Message) -> Self {
        let gone = Some(gone);
        Self { shard, gone }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            self.shard.tell(gone);
        }
    }
}

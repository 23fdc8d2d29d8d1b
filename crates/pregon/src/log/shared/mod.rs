//! The log that nodes share: an engine gives the order and keeps it, every node follows it and serves its own clients.
//!
//! ```text
//!  append ──▶ lane (one for each source, one for publishes) ──frames──▶ engine ──▶ tail ──▶ window ──▶ shards
//!                       ▲ retried until it is known                        │        └──▶ receipts
//!                       └── fenced: somebody else reads the source ◀───────┘
//! ```
//!
//! One frame holds what waits when its turn comes; a batch is never split. Entries are delivered from the tail alone, also what this node
//! appended itself, so that all nodes deliver the same in the same order; the tail proves every number. Nothing is kept on this machine:
//! replay is served from the window, which a node that starts fills from the engine, and what is older is read from there.
//!
//! A frame that was given to the engine is given again until it is known whether it is there: a receipt may be left waiting, and nothing is
//! appended twice. A frame of a source names the frame that the source appended last. A node that was the source's reader, and is not any
//! more, is refused by that, whatever it believes.

pub mod engine;
mod frame;
mod job;
mod kept;
mod lane;
mod tail;
pub mod postgres;
#[cfg(test)]
pub mod local;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::engine::{Engine, Fresh, Seq};
use self::job::{Job, Waiter};
use self::kept::{Kept, Times};
use self::lane::{Lane, Work};
use self::tail::Tail;
use super::entry::{Body, Entry};
use super::window::{Retention, Window};
use super::{Append, History, Log, LogError, Open, Receipt, Taken};

pub use self::engine::EngineError;
pub use self::frame::{Word, decode_passed, encode_passed};
pub use self::postgres::PostgresEngine;

/// Bytes that may wait for the engine. A source that has more is told to come again.
const MOST: usize = 64 << 20;

/// How long whoever wants to know waits for an engine: an election of a leader takes 4 to 9 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a node that stops waits for what it has given to the engine.
const GRACE: Duration = Duration::from_secs(2);

/// Hears why a log is not served as it should be.
pub type Up = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// What a log is told once.
pub struct Options {
    /// Bounds of the window.
    pub window: Retention,
    /// Bytes that the engine keeps.
    pub size: u64,
    /// A name of this process that no other has, now or before.
    pub incarnation: String,
    /// Hears why the log is not served as it should be; nothing when it is.
    pub up: Up,
}

/// See the module.
pub struct SharedLog {
    core: Arc<Core>,
    /// What the lanes take. The publishes of all clients have none of a source.
    lanes: Mutex<HashMap<Option<Arc<str>>, mpsc::UnboundedSender<Work>>>,
    runtime: Handle,
    tasks: TaskTracker,
}

/// What the tail and the lanes share.
struct Core {
    engine: Arc<dyn Engine>,
    window: Arc<Window>,
    opener: Arc<dyn Open>,
    options: Options,
    known: Mutex<Known>,
    /// Bytes of batches that are not in the engine yet.
    waiting: AtomicUsize,
    /// Numbers the frames of this process.
    count: AtomicU64,
    /// The tail should look.
    poke: Notify,
    closed: AtomicBool,
    stop: CancellationToken,
    /// Takes the words of all nodes; `None` says that some may have been missed.
    hear: OnceLock<Hear>,
    times: Times,
}

/// See [`SharedLog::hear`].
pub type Hear = Box<dyn Fn(Option<Word>) + Send + Sync>;

/// What the tail knows.
#[derive(Default)]
struct Known {
    /// The newest frame that was delivered, and its id.
    seq: Seq,
    id: String,
    /// The oldest frame that the engine keeps.
    first: Seq,
    /// Offsets of the identities in the window.
    ids: HashMap<Arc<str>, u64>,
    /// How far sources were taken, of which this node was the reader.
    taken: HashMap<Arc<str>, Taken>,
    /// Batches whose frames are in the engine and were not delivered yet.
    waiters: BTreeMap<Seq, Vec<Waiter>>,
}

impl SharedLog {
    /// Finds the log, fills the window with the newest that it has, and follows it. Waits for an engine that is away.
    pub async fn open(
        engine: Arc<dyn Engine>,
        opener: Arc<dyn Open>,
        options: Options,
    ) -> Result<Self, EngineError> {
        let begun = tail::begin(&*engine, &options).await?;
        let window = Window::new(begun.epoch, frame::behind(begun.seq), options.window)
            .since(begun.whole.then(SystemTime::now))
            .awaited();
        let core = Arc::new(Core {
            engine,
            window: Arc::new(window),
            opener,
            options,
            known: Mutex::new(Known {
                seq: begun.seq,
                first: begun.first,
                ..Known::default()
            }),
            waiting: AtomicUsize::new(0),
            count: AtomicU64::new(0),
            poke: Notify::new(),
            closed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            hear: OnceLock::new(),
            times: Times::default(),
        });
        let mut tail = Tail::new(Arc::clone(&core));
        tail.catch_up(begun.reader, begun.last).await;
        let tasks = TaskTracker::new();
        tasks.spawn(tail.run());
        Ok(Self {
            core,
            lanes: Mutex::default(),
            runtime: Handle::current(),
            tasks,
        })
    }

    /// From now on `hear` gets what nodes tell, this one included, on the task of the tail; it must not block. `None` stands where something
    /// may have been missed.
    pub fn hear(&self, hear: Hear) {
        // A node listens once.
        let _ = self.core.hear.set(hear);
    }

    /// Which process this is, as words say it.
    pub fn incarnation(&self) -> &str {
        &self.core.options.incarnation
    }

    /// Tells all nodes, behind what was appended before. What there is no room for is not said: see the bound of what may wait.
    pub fn say(&self, topic: u8, bytes: &[u8]) {
        let (told, _) = oneshot::channel();
        let job = Job::word(frame::word(self.incarnation(), topic, bytes), told);
        if self.admit(&job) {
            self.give(None, Work::Append(job));
        }
    }

    /// Whether there is room for a batch among those that wait; then it is among them.
    fn admit(&self, job: &Job) -> bool {
        let weight = job.weight();
        let before = self.core.waiting.fetch_add(weight, Ordering::AcqRel);
        let fits = (before == 0 || before + weight <= MOST) && !self.core.closed.load(Ordering::Acquire);
        if !fits {
            self.core.waiting.fetch_sub(weight, Ordering::AcqRel);
        }
        fits
    }

    /// What is noted under this name for all nodes.
    pub async fn noted(&self, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.core.engine.last_of(name).await?.map(|last| last.place))
    }

    /// Changes what is noted, from what it is to what `change` makes of it, and tells all nodes by a word; nothing that somebody else changed
    /// meanwhile is lost. An engine that is away is waited for a while.
    pub async fn note(
        &self,
        name: &str,
        (topic, word): (u8, &[u8]),
        change: &(dyn Fn(Option<&[u8]>) -> Vec<u8> + Send + Sync),
    ) -> Result<(), EngineError> {
        let changing = async {
            loop {
                match self.change(name, (topic, word), change).await {
                    // Somebody else was faster, or it is not known who was.
                    Err(EngineError::Fenced | EngineError::Away(_) | EngineError::History) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    done => return done,
                }
            }
        };
        let patience = || EngineError::Away("the shared log does not answer".into());
        tokio::time::timeout(PATIENCE, changing)
            .await
            .unwrap_or_else(|_| Err(patience()))
    }

    async fn change(
        &self,
        name: &str,
        (topic, word): (u8, &[u8]),
        change: &(dyn Fn(Option<&[u8]>) -> Vec<u8> + Send + Sync),
    ) -> Result<(), EngineError> {
        let last = self.core.engine.last_of(name).await?;
        let item = frame::word(self.incarnation(), topic, word);
        let place = change(last.as_ref().map(|last| last.place.as_slice()));
        let fresh = Fresh {
            id: self.core.next_id(),
            body: frame::body(std::iter::once(item.as_slice())),
            lane: Some(engine::Lane {
                source: Arc::from(name),
                behind: last.map_or(0, |last| last.seq),
                place: place.into(),
            }),
        };
        self.core.engine.append(self.core.window.epoch(), &fresh).await?;
        Ok(())
    }

    /// Hands work to a lane, which is made where there was none.
    fn give(&self, source: Option<&Arc<str>>, work: Work) {
        let source = source.map(Arc::clone);
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry(source.clone()).or_insert_with(|| {
            let (give, works) = mpsc::unbounded_channel();
            let lane = Lane::new(Arc::clone(&self.core), source, works);
            self.tasks.spawn_on(lane.run(), &self.runtime);
            give
        });
        // A lane ends only when the log is closed; what it did not take is dropped, and its receipt with it.
        let _ = lane.send(work);
    }
}

impl Core {
    /// The offsets of the items of a batch that are in the log already.
    fn known(&self, batch: &[Append]) -> Vec<Option<u64>> {
        let known = self.known.lock();
        batch
            .iter()
            .map(|item| known.ids.get(item.id()?).copied())
            .collect()
    }

    /// A frame is in the engine: its batches are answered when the tail has delivered it.
    fn expect(&self, seq: Seq, waiters: Vec<Waiter>) {
        let mut known = self.known.lock();
        if known.seq >= seq {
            drop(known);
            return waiters
                .into_iter()
                .for_each(|waiter| waiter.tell(&self.window, seq));
        }
        known.waiters.entry(seq).or_default().extend(waiters);
        drop(known);
        self.poke.notify_one();
    }

    /// An id that no other frame has.
    fn next_id(&self) -> Arc<str> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}-{count}", self.options.incarnation).into()
    }

    /// Notes what left the window.
    fn forget(&self, pruned: &[Arc<Entry>]) {
        let mut known = self.known.lock();
        for entry in pruned {
            if let Body::Publication { id: Some(id), .. } = &entry.body
                && known.ids.get(id) == Some(&entry.offset)
            {
                known.ids.remove(id);
            }
        }
    }
}

impl Log for SharedLog {
    fn append(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt {
        if batch.is_empty() && taken.is_none() {
            return Receipt::ready(Ok(Vec::new()));
        }
        if self.core.closed.load(Ordering::Acquire) {
            return Receipt::ready(Err(LogError::Closed));
        }
        let known = self.core.known(&batch);
        if taken.is_none() && known.iter().all(Option::is_some) {
            let offsets = known.into_iter().flatten();
            return Receipt::ready(Ok(offsets
                .map(|offset| self.core.window.position(offset))
                .collect()));
        }
        let (told, answer) = oneshot::channel();
        let job = match Job::new(&batch, &known, taken, told) {
            Ok(job) => job,
            Err(error) => return Receipt::ready(Err(error)),
        };
        if !self.admit(&job) {
            return Receipt::ready(Err(LogError::Full));
        }
        let source = job.taken.as_ref().map(|taken| Arc::clone(&taken.source));
        self.give(source.as_ref(), Work::Append(job));
        Receipt::until(answer, Instant::now() + PATIENCE)
    }

    fn taken(&self, source: &str) -> Option<Taken> {
        self.core.known.lock().taken.get(source).cloned()
    }

    fn lead<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Option<Taken>, LogError>> {
        async move {
            if self.core.closed.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            let (told, answer) = oneshot::channel();
            self.give(Some(&Arc::from(source)), Work::Lead(told));
            answer.await.unwrap_or(Err(LogError::Closed))
        }
        .boxed()
    }

    fn window(&self) -> &Arc<Window> {
        &self.core.window
    }

    fn prune(&self) -> Result<(), LogError> {
        let pruned = self.core.window.prune();
        self.core.forget(&pruned);
        let core = Arc::clone(&self.core);
        let pruning = async move {
            let older = SystemTime::now().checked_sub(core.options.window.age);
            let older = older.unwrap_or(SystemTime::UNIX_EPOCH);
            if let Err(error) = core.engine.prune(older, core.options.size).await {
                tracing::debug!(%error, "old frames of the shared log were not removed, later they are");
            }
        };
        let stop = self.core.stop.clone();
        self.tasks.spawn_on(
            async move {
                stop.run_until_cancelled(pruning).await;
            },
            &self.runtime,
        );
        Ok(())
    }

    fn history(&self) -> Option<Arc<dyn History>> {
        Some(Arc::new(Kept {
            core: Arc::clone(&self.core),
            runtime: self.runtime.clone(),
            reader: tokio::sync::Mutex::default(),
        }))
    }

    fn close(&self) {
        self.core.closed.store(true, Ordering::Release);
        // A lane ends when nobody can give it anything, once everything that it has is in the engine.
        self.lanes.lock().clear();
        let core = Arc::clone(&self.core);
        self.tasks.close();
        let tasks = self.tasks.clone();
        self.runtime.block_on(async move {
            let deadline = tokio::time::Instant::now() + GRACE;
            while core.waiting.load(Ordering::Acquire) > 0 && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            core.stop.cancel();
            tasks.wait().await;
        });
    }
}

impl Drop for SharedLog {
    fn drop(&mut self) {
        self.core.stop.cancel();
    }
}

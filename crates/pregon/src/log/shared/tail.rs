//! The tail: what all nodes appended, in order, into the window of this one.
//!
//! One task. It proves every number: one that is missing is a loss of history, or was pruned while this node was away, and is never passed
//! over silently. It also notices when the engine has lost history: another epoch, an end that lies before what was delivered, or another
//! frame in the place of the newest one that was delivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::{Engine, EngineError, Reader, Seq, Stored};
use super::frame::{self, Item, Word};
use super::{Core, Options};
use crate::log::entry::{Body, Entry};
use crate::log::position::Epoch;

/// Bytes of frames that are read at once.
const READ: u64 = 4 << 20;

/// The tail looks by itself so often: whatever should wake it may be lost.
const LOOK: Duration = Duration::from_millis(500);

/// Silence after which the node says that its log is away.
const AWAY: Duration = Duration::from_secs(5);

/// Between two attempts to follow the engine again.
const AGAIN: Duration = Duration::from_millis(100);

/// Where a log begins to be followed.
pub(super) struct Begun {
    pub(super) epoch: Epoch,
    /// Behind this frame.
    pub(super) seq: Seq,
    /// The newest frame then.
    pub(super) last: Seq,
    /// The oldest frame that is kept.
    pub(super) first: Seq,
    /// Nothing was ever appended.
    pub(super) whole: bool,
    pub(super) reader: Box<dyn Reader>,
}

/// Connects for the first time and finds what fits into the window. An engine that is away is waited for.
pub(super) async fn begin(engine: &dyn Engine, options: &Options) -> Result<Begun, EngineError> {
    let mut told = false;
    loop {
        match attempt(engine, options).await {
            Err(EngineError::Away(reason)) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(reason, "the shared log is away: waiting for it");
                }
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
}

async fn attempt(engine: &dyn Engine, options: &Options) -> Result<Begun, EngineError> {
    let reader = engine.reader().await?;
    let bounds = reader.bounds().await?;
    let bytes = u64::try_from(options.window.bytes).unwrap_or(u64::MAX);
    let recent = reader.recent(bytes).await?;
    Ok(Begun {
        epoch: bounds.epoch,
        // The newest frame is always read: where it ends is where clients are that have everything.
        seq: recent.min(bounds.last.saturating_sub(1)).max(bounds.began),
        last: bounds.last,
        first: bounds.first,
        whole: bounds.last == 0,
        reader,
    })
}

/// See the module.
pub(super) struct Tail {
    core: Arc<Core>,
    /// When the engine last answered.
    heard: Instant,
    away: bool,
}

impl Tail {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            heard: Instant::now(),
            away: false,
        }
    }

    /// Reads up to where the log was when it was opened, so that the node serves nothing older; a failure is made up for by [`Tail::run`].
    pub(super) async fn catch_up(&mut self, reader: Box<dyn Reader>, last: Seq) {
        while self.seq() < last {
            match self.read(&*reader).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the shared log was not read to its end");
                    break;
                }
            }
        }
    }

    /// Until the log stops.
    pub(super) async fn run(mut self) {
        let stop = self.core.stop.clone();
        stop.run_until_cancelled(async {
            loop {
                let error = match self.core.engine.reader().await {
                    Ok(reader) => self.follow(&*reader).await,
                    Err(error) => error,
                };
                self.failed(&error);
                tokio::time::sleep(AGAIN).await;
            }
        })
        .await;
    }

    /// Follows until it cannot.
    async fn follow(&mut self, reader: &dyn Reader) -> EngineError {
        if let Err(error) = self.verify(reader).await {
            return error;
        }
        loop {
            match self.read(reader).await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => return error,
            }
            self.alive();
            let woken = {
                let core = Arc::clone(&self.core);
                tokio::select! {
                    () = reader.news() => true,
                    () = core.poke.notified() => true,
                    () = tokio::time::sleep(LOOK) => false,
                }
            };
            // What is lost in silence is looked for in silence.
            if !woken && let Err(error) = self.verify(reader).await {
                return error;
            }
        }
    }

    fn seq(&self) -> Seq {
        self.core.known.lock().seq
    }

    fn alive(&mut self) {
        self.heard = Instant::now();
        if std::mem::take(&mut self.away) {
            tracing::info!("the shared log is there again");
            (self.core.options.up)(None);
        }
    }

    fn failed(&mut self, error: &EngineError) {
        tracing::debug!(%error, "the shared log is not followed, trying again");
        if !self.away && self.heard.elapsed() >= AWAY {
            self.away = true;
            tracing::warn!(%error, "the shared log is away");
            (self.core.options.up)(Some("the shared log does not answer"));
        }
    }

    /// Compares what was delivered with what the engine has.
    async fn verify(&mut self, reader: &dyn Reader) -> Result<(), EngineError> {
        let (seq, id) = {
            let known = self.core.known.lock();
            (known.seq, known.id.clone())
        };
        let bounds = reader.bounds().await?;
        self.core.known.lock().first = bounds.first;
        let ours = self.core.window.epoch();
        if bounds.epoch != ours && bounds.began >= seq {
            tracing::warn!("a part of the shared log was lost: a new epoch has begun, clients are told");
            self.restart(bounds.epoch, bounds.began);
            return Ok(());
        }
        let replaced = || async {
            // One that was pruned says nothing.
            let there = reader.id_of(seq).await?;
            Ok::<_, EngineError>(!id.is_empty() && there.is_some_and(|there| there != id))
        };
        if bounds.epoch != ours || bounds.last < seq || replaced().await? {
            tracing::error!(
                delivered = seq,
                newest = bounds.last,
                "the shared log has lost what was delivered"
            );
            self.core.engine.renew(bounds.epoch, seq).await?;
            // The new epoch is taken over like one that another node has begun.
            return Err(EngineError::Away("another epoch begins".into()));
        }
        if seq + 1 < bounds.first {
            self.miss(bounds.first - 1);
        }
        Ok(())
    }

    /// Reads and delivers a piece; how many frames it had.
    async fn read(&mut self, reader: &dyn Reader) -> Result<usize, EngineError> {
        let frames = reader.read(self.seq(), READ).await?;
        let Some(first) = frames.first() else { return Ok(0) };
        if first.seq != self.seq() + 1 {
            self.verify(reader).await?;
            if first.seq > self.seq() + 1 {
                self.miss(first.seq - 1);
            }
            return Ok(1); // Read again, from where it goes on now.
        }
        let count = frames.len();
        self.deliver(frames)?;
        self.alive();
        Ok(count)
    }

    /// Delivers frames up to the first number that is missing.
    fn deliver(&mut self, frames: Vec<Stored>) -> Result<(), EngineError> {
        let mut entries = Vec::new();
        let (mut seq, mut id) = (self.seq(), String::new());
        let epoch = self.core.window.epoch();
        for stored in frames {
            if stored.seq != seq + 1 {
                break;
            }
            let Some(items) = frame::items(&stored.body) else {
                break;
            };
            let age = stored.at.elapsed().unwrap_or_default();
            let appended = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            for (place, item) in items.into_iter().enumerate() {
                let mut item = match item {
                    Item::Entry(item) => item,
                    Item::Word(word) => {
                        // What was said after an entry is heard after it.
                        self.push(std::mem::take(&mut entries));
                        self.hear(Some(word));
                        continue;
                    }
                };
                item.open(&*self.core.opener);
                let offset = frame::offset(stored.seq, place);
                entries.push(Arc::new(Entry::stored(offset, epoch, item, stored.at, appended)));
            }
            self.core.times.note(stored.at, stored.seq);
            (seq, id) = (stored.seq, stored.id);
        }
        if id.is_empty() {
            let reason = "a frame of the shared log is of a newer version: update this node";
            return Err(EngineError::Refused(reason.into()));
        }
        self.push(entries);
        self.delivered(seq, id);
        Ok(())
    }

    fn push(&self, entries: Vec<Arc<Entry>>) {
        if entries.is_empty() {
            return;
        }
        let core = &self.core;
        {
            let mut known = core.known.lock();
            for entry in &entries {
                if let Body::Publication { id: Some(id), .. } = &entry.body {
                    known.ids.insert(Arc::clone(id), entry.offset);
                }
            }
        }
        let pruned = core.window.push(entries);
        core.forget(&pruned);
        core.window.tell();
    }

    /// Tells the node what was said, or that something may have been missed.
    fn hear(&self, word: Option<Word>) {
        if let Some(hear) = self.core.hear.get() {
            hear(word);
        }
    }

    /// Everything up to this frame is delivered.
    fn delivered(&self, seq: Seq, id: String) {
        let told = {
            let mut known = self.core.known.lock();
            (known.seq, known.id) = (seq, id);
            let later = known.waiters.split_off(&(seq + 1));
            std::mem::replace(&mut known.waiters, later)
        };
        for (seq, waiters) in told {
            waiters
                .into_iter()
                .for_each(|waiter| waiter.tell(&self.core.window, seq));
        }
    }

    /// Frames up to this one are gone for this node: sessions that have not had them are told.
    fn miss(&self, seq: Seq) {
        tracing::warn!(
            upto = seq,
            "the shared log no longer has what this node missed: clients are told"
        );
        self.restart(self.core.window.epoch(), seq);
    }

    /// Goes on behind this frame with an empty window.
    fn restart(&self, epoch: Epoch, seq: Seq) {
        let core = &self.core;
        let lost = {
            let mut known = core.known.lock();
            known.ids.clear();
            (known.seq, known.id) = (seq, String::new());
            let later = known.waiters.split_off(&(seq + 1));
            std::mem::replace(&mut known.waiters, later)
        };
        core.window.restart(epoch, frame::behind(seq));
        for waiter in lost.into_values().flatten() {
            waiter.lose();
        }
        core.window.tell();
        self.hear(None);
    }
}

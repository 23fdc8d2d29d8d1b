//! A lane: the frames of one source, or of all publishes, one after the other.
//!
//! One task. It makes a frame of the batches that wait, gives it to the engine until it is known to be there, and goes on. A lane of a source
//! knows the source's last frame; it asks for it when somebody begins to read the source ([`Work::Lead`]), and closes when the engine says
//! that somebody else has appended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Core;
use super::engine::{self, Appended, EngineError, Fresh, Last, Seq};
use super::frame;
use super::job::Job;
use crate::log::{LogError, Taken};

/// Entries and bytes of a frame, if so many wait. One batch may have more.
const ENTRIES: usize = 1_024;
const BYTES: usize = 1 << 20;

/// Pauses before an engine that is away is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What a lane is given.
pub(super) enum Work {
    Append(Job),
    /// Somebody begins to read the source, and wants to know how far it was taken.
    Lead(oneshot::Sender<Result<Option<Taken>, LogError>>),
}

/// Whether a source's frames are taken.
enum Turn {
    /// Nobody has asked where the source is.
    Unknown,
    /// The source's last frame and its place.
    Ours { behind: Seq, place: Option<Taken> },
    /// Somebody else has appended.
    Lost,
}

/// See the module.
pub(super) struct Lane {
    core: Arc<Core>,
    source: Option<Arc<str>>,
    works: mpsc::UnboundedReceiver<Work>,
    /// What was received and did not fit.
    next: Option<Work>,
    turn: Turn,
}

impl Lane {
    pub(super) fn new(
        core: Arc<Core>,
        source: Option<Arc<str>>,
        works: mpsc::UnboundedReceiver<Work>,
    ) -> Self {
        Self {
            core,
            source,
            works,
            next: None,
            turn: Turn::Unknown,
        }
    }

    /// Until nothing comes any more, or the log stops.
    pub(super) async fn run(mut self) {
        let stop = self.core.stop.clone();
        stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        while let Some(work) = self.receive().await {
            match work {
                Work::Lead(told) => {
                    let place = self.lead().await;
                    let _ = told.send(place);
                }
                Work::Append(job) => {
                    let jobs = self.gather(job);
                    self.append(jobs).await;
                }
            }
        }
    }

    async fn receive(&mut self) -> Option<Work> {
        match self.next.take() {
            Some(work) => Some(work),
            None => self.works.recv().await,
        }
    }

    /// The batches of the next frame.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let alone = first.key.is_some();
        let (mut entries, mut bytes) = (first.entries.len(), first.weight());
        let mut jobs = vec![first];
        while !alone && entries < ENTRIES && bytes < BYTES {
            let Ok(work) = self.works.try_recv() else { break };
            match work {
                Work::Append(job) if job.key.is_none() && entries + job.entries.len() <= ENTRIES => {
                    entries += job.entries.len();
                    bytes += job.weight();
                    jobs.push(job);
                }
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        jobs
    }

    /// Asks where the source is.
    async fn lead(&mut self) -> Result<Option<Taken>, LogError> {
        let Some(source) = self.source.clone() else {
            return Ok(None);
        };
        let mut pause = FIRST_PAUSE;
        let last = loop {
            match self.core.engine.last_of(&source).await {
                Ok(last) => break last,
                Err(error) => self.wait(&error, &mut pause).await,
            }
        };
        let Last { seq, place } = last.unwrap_or(Last {
            seq: 0,
            place: Vec::new(),
        });
        let place = frame::taken(&place);
        self.remember(seq, place.clone());
        Ok(place)
    }

    /// The source's last frame is this one.
    fn remember(&mut self, behind: Seq, place: Option<Taken>) {
        if let Some(place) = &place {
            let mut known = self.core.known.lock();
            known.taken.insert(Arc::clone(&place.source), place.clone());
        }
        self.turn = Turn::Ours { behind, place };
    }

    async fn append(&mut self, jobs: Vec<Job>) {
        let weight: usize = jobs.iter().map(Job::weight).sum();
        if self.source.is_some() && matches!(self.turn, Turn::Unknown) {
            // A log that is closed answers nobody.
            let _ = self.lead().await;
        }
        let jobs = self.admit(jobs);
        if !jobs.is_empty() {
            self.append_frame(jobs).await;
        }
        self.core.waiting.fetch_sub(weight, Ordering::AcqRel);
    }

    /// Refuses batches that the source may not append now.
    fn admit(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let Some(source) = &self.source else { return jobs };
        let Turn::Ours { place, .. } = &self.turn else {
            let fenced = || LogError::Fenced {
                source_name: Arc::clone(source),
            };
            jobs.into_iter().for_each(|job| job.refuse(fenced()));
            return Vec::new();
        };
        let mut place = place.clone();
        let mut admitted = Vec::with_capacity(jobs.len());
        for job in jobs {
            let repeated = match (&job.taken, &place) {
                (Some(taken), Some(place)) => taken.is_repeated(place),
                _ => false,
            };
            if repeated {
                job.refuse(LogError::Repeated {
                    source_name: Arc::clone(source),
                });
            } else {
                place.clone_from(&job.taken);
                admitted.push(job);
            }
        }
        admitted
    }

    async fn append_frame(&mut self, jobs: Vec<Job>) {
        let entries: Vec<&[u8]> = jobs
            .iter()
            .flat_map(|job| job.entries.iter().map(Vec::as_slice))
            .collect();
        let body = frame::body(entries.into_iter());
        let taken = jobs.last().and_then(|job| job.taken.clone());
        let key = jobs.first().and_then(|job| job.key.clone());
        let lane = match (&self.turn, &self.source, &taken) {
            (Turn::Ours { behind, .. }, Some(source), Some(taken)) => Some(engine::Lane {
                source: Arc::clone(source),
                behind: *behind,
                place: frame::place(taken),
            }),
            _ => None,
        };
        let id = key.unwrap_or_else(|| self.core.next_id());
        match self.persist(&Fresh { id, body, lane }).await {
            Ok(seq) => {
                if self.source.is_some() {
                    self.remember(seq, taken);
                }
                let mut base = 0;
                let mut waiters = Vec::with_capacity(jobs.len());
                for job in jobs {
                    let count = job.entries.len();
                    waiters.push(job.waiter(base));
                    base += count;
                }
                self.core.expect(seq, waiters);
            }
            Err(source_name) => {
                tracing::warn!(
                    source_name = &*source_name,
                    "another node reads this source: what was read here is not appended"
                );
                self.turn = Turn::Lost;
                for job in jobs {
                    let source_name = Arc::clone(&source_name);
                    job.refuse(LogError::Fenced { source_name });
                }
            }
        }
    }

    /// Gives a frame to the engine until it is known to be there; an error if the source is somebody else's.
    async fn persist(&self, fresh: &Fresh) -> Result<Seq, Arc<str>> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Another one, once the tail has learnt that history was lost.
            let epoch = self.core.window.epoch();
            match self.core.engine.append(epoch, fresh).await {
                Ok(Appended::Now(seq) | Appended::Before(seq)) => return Ok(seq),
                Err(EngineError::Fenced) => {
                    let source = fresh.lane.as_ref().map(|lane| Arc::clone(&lane.source));
                    return Err(source.unwrap_or_default());
                }
                Err(error) => self.wait(&error, &mut pause).await,
            }
        }
    }

    async fn wait(&self, error: &EngineError, pause: &mut Duration) {
        tracing::debug!(%error, "the shared log did not take a frame, it is given again");
        if matches!(error, EngineError::History) {
            self.core.poke.notify_one();
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }
}

//! Answers what shards may not do themselves: verify signatures, ask the database, append to the log.
//!
//! Work runs on the node's runtime; the answer goes back through the shard's inbox. A session has at most one question
//! under way, so the desk's load is bounded by the number of sessions, and the database's by the pool.

mod again;
mod publish;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pregon_capture::query::{Pool, QueryError};
use pregon_wire::socketio::room;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use again::{Doubt, Round};

use crate::auth::{Claims, Verifier};
use crate::lines;
use crate::log::{Entry, Past};
use crate::metrics::{Metrics, Reason};
use crate::pipeline::Pipeline;
use crate::route::grant::{Decision, Rights, SqlQuestion};
use crate::route::naming::Ambiguous;
use crate::session::command::{Answer, Question};
use crate::session::history::History;
use crate::session::recovery::{Recalled, Recovery, Sessions};
use crate::session::replay::{Fetch, Fetched};

/// Reads of the log beyond its window at one time: more would only wait for the same disk, on threads that others need.
const READERS: usize = 4;

/// How long a node that stops waits for questions and appends that are under way; a database may hang.
const GRACE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Desk {
    runtime: Handle,
    /// Its questions and reads that are under way.
    tasks: TaskTracker,
    /// They are given up.
    stop: CancellationToken,
    verifier: Arc<Verifier>,
    pool: Option<Arc<Pool>>,
    pipeline: Arc<Pipeline>,
    rights: Arc<ArcSwap<Rights>>,
    kept: Arc<Sessions>,
    past: Arc<Past>,
    readers: Semaphore,
    /// Questions of rounds that may be under way.
    rounds: Semaphore,
    metrics: Arc<Metrics>,
}

impl Desk {
    pub(crate) fn new(
        runtime: Handle,
        verifier: Arc<Verifier>,
        pool: Option<Arc<Pool>>,
        pipeline: Arc<Pipeline>,
        rights: Arc<ArcSwap<Rights>>,
        kept: Arc<Sessions>,
        past: Arc<Past>,
    ) -> Arc<Self> {
        let metrics = Arc::clone(pipeline.metrics());
        Arc::new(Self {
            runtime,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            verifier,
            pool,
            pipeline,
            rights,
            kept,
            past,
            readers: Semaphore::new(READERS),
            rounds: Semaphore::new(again::AT_ONCE),
            metrics,
        })
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let bounded = async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        };
        self.tasks.spawn_on(bounded, &self.runtime);
    }

    /// Waits for what is under way, for a moment: nobody is there any more to take an answer.
    pub(crate) async fn stop(&self) {
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }

    /// The rights that it decides by.
    pub(crate) fn rights(&self) -> &Arc<ArcSwap<Rights>> {
        &self.rights
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether tokens are verified here: otherwise everybody is anonymous.
    pub(crate) fn verifies(&self) -> bool {
        self.verifier.configured()
    }

    /// The sessions that may come back.
    pub(crate) fn kept(&self) -> &Arc<Sessions> {
        &self.kept
    }

    /// All that the log still has.
    pub(crate) fn past(&self) -> &Arc<Past> {
        &self.past
    }

    /// Reads a piece of a replay that lies before the window, and hands it to `take` on another thread.
    pub(crate) fn fetch(self: &Arc<Self>, fetch: Fetch, take: impl FnOnce(Fetched) + Send + 'static) {
        let desk = Arc::clone(self);
        self.spawn(async move {
            desk.metrics.log_reads.inc();
            // Without an answer the node is stopping, and the session is closed with it.
            if let Some(fetched) = desk.read(move |past| fetch.read(past)).await {
                take(fetched);
            }
        });
    }

    /// Runs what may read files; `None` if the node is stopping. A few run at a time, the others wait in order.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Past) -> T + Send + 'static,
    ) -> Option<T> {
        let _permit = self.readers.acquire().await.ok()?;
        let past = Arc::clone(&self.past);
        tokio::task::spawn_blocking(move || read(&past)).await.ok()
    }

    /// Answers `question` to whoever takes the answer, on another thread.
    pub(crate) fn ask(self: &Arc<Self>, question: Question, take: impl FnOnce(Answer) + Send + 'static) {
        let desk = Arc::clone(self);
        self.spawn(async move {
            take(desk.answer(question).await);
        });
    }

    async fn answer(&self, question: Question) -> Answer {
        match question {
            // Without a key there is nothing to hold a token against: its bearer is anonymous, as with `?token=`.
            Question::Verify { .. } if !self.verifier.configured() => Answer::Verified(Ok(Claims::default())),
            Question::Verify { token } => Answer::Verified(self.verifier.verify(&token).await),
            Question::May(questions) => Answer::May(self.may(&questions).await),
            Question::Reach(position, questions) => {
                self.past.window().reach(position).await;
                Answer::May(if questions.is_empty() {
                    Ok(true)
                } else {
                    self.may(&questions).await
                })
            }
            Question::MayEach(channels) => Answer::MayEach(self.may_each(channels).await),
            Question::Publish(list) => Answer::Published(self.publish(list).await),
            Question::Recover { recovery, claims } => {
                Answer::Recovered(self.recover(&recovery, &claims).await.map(Box::new))
            }
            Question::History(request) => {
                let history = self.read(move |past| request.read(past)).await;
                Answer::History(history.unwrap_or_else(History::default))
            }
        }
    }

    /// Asks the database whether something is allowed: by one of these questions.
    pub(crate) async fn may(&self, questions: &[SqlQuestion]) -> Result<bool, String> {
        let mut outcome = Ok(false);
        for question in questions {
            match self.ask_database(question).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(_) => outcome = Err("the rights could not be checked, try again later".into()),
            }
        }
        outcome
    }

    async fn ask_database(&self, question: &SqlQuestion) -> Result<bool, QueryError> {
        let Some(pool) = &self.pool else {
            return Err(QueryError::Value("there is no database to ask".into()));
        };
        let params: Vec<_> = question
            .params
            .iter()
            .map(|text| serde_json::Value::from(text.as_str()))
            .collect();
        let outcome = pool.query_json(&question.sql, &params).await;
        match outcome {
            Ok(rows) => Ok(rows.first().and_then(first_column) == Some(true)),
            // Class 22, a value that does not fit the column's type: there can be no such row.
            Err(QueryError::Sql { code, .. }) if code.starts_with("22") => Ok(false),
            Err(error) => {
                tracing::warn!(channel = &*question.section, %error, "a rights query failed");
                Err(error)
            }
        }
    }

    /// Whether a decision comes out as yes, asking the database where it says so.
    pub(crate) async fn decide(&self, decision: Decision) -> Result<bool, String> {
        match decision {
            Decision::Allow => Ok(true),
            Decision::Deny(_) => Ok(false),
            Decision::Ask(questions) => self.may(&questions).await,
        }
    }

    /// Whether these are the rights of now: what was decided by others is decided again.
    pub(crate) fn in_force(&self, rights: &Arc<Rights>) -> bool {
        Arc::ptr_eq(&self.rights.load(), rights)
    }

    /// The session that a client had, if it may still follow every one of its rooms.
    async fn recover(&self, recovery: &Recovery, claims: &Claims) -> Option<Recalled> {
        let (pid, kept) = self.kept.recall(&recovery.pid)?;
        if kept.namespace != recovery.namespace {
            return None;
        }
        self.past.window().reach(recovery.offset).await;
        // Where the rights change meanwhile, the shard asks again.
        let rights = self.rights.load_full();
        for channel in &kept.channels {
            let own = room::is_own(channel, &kept.sid);
            let decision = rights.subscribe(claims, channel);
            if !own && self.decide(decision).await != Ok(true) {
                return None;
            }
        }
        Some(Recalled {
            kept,
            pid,
            after: recovery.offset,
        })
    }

    /// An entry had no subscriber anywhere: it often means a misspelt channel.
    pub(crate) fn nobody(&self, entry: &Entry) {
        let channel = entry.channels().first().map(|channel| &**channel);
        tracing::warn!(name: lines::EACH_EVENT, channel, "an event found nobody connected");
    }

    /// Claims would join channels under names that are taken apart wrongly: their signer has to know.
    pub(crate) fn ambiguous(&self, names: &[Ambiguous]) {
        for name in names {
            self.metrics.dropped(Reason::Ambiguous);
            tracing::warn!(name: lines::EACH_EVENT, error = %name, "a client does not join a channel");
        }
    }
}

fn first_column(row: &serde_json::Value) -> Option<bool> {
    row.as_object()?.values().next()?.as_bool()
}

//! Rights that are asked for again: of those who follow something already, after a reload or with a fresh token.
//!
//! A reload is a round. Every distinct question is put to the database once for all shards, a few at a time, so that others have their
//! turn. What cannot be asked (a database that is away) is tried again for a while; then the right is taken away, because nobody knows
//! whether it is still there. A round ends early when the next one begins, which asks everybody anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hashbrown::HashMap;
use parking_lot::Mutex;
use pregon_capture::query::QueryError;
use tokio::sync::OnceCell;

use super::Desk;
use crate::lines;
use crate::route::grant::{Rights, SqlQuestion};

/// Questions of all rounds that are under way at one time: fewer than the pool has connections by default.
pub(super) const AT_ONCE: usize = 2;

/// How long a database that gives no answers may take to come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before a question is tried again; it doubles up to a limit.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// The answer of the database; `None` where it could not be asked.
pub(super) type Word = Option<bool>;

/// Why rights are asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Everybody, by new rights.
    Reload,
    /// Everybody who follows a channel of a section with this period.
    Period(Duration),
    /// One session.
    Session,
}

/// One time that rights are asked for again.
pub(crate) struct Round {
    /// The rights that it asks by.
    pub rights: Arc<Rights>,
    reason: Reason,
    words: Mutex<HashMap<SqlQuestion, Arc<OnceCell<Word>>>>,
    /// Since when no question was answered.
    silent: Mutex<Option<Instant>>,
    sessions: AtomicUsize,
    lost: AtomicUsize,
    /// The next one has begun.
    over: AtomicBool,
}

impl Round {
    fn new(rights: Arc<Rights>, reason: Reason) -> Arc<Self> {
        Arc::new(Self {
            rights,
            reason,
            words: Mutex::default(),
            silent: Mutex::default(),
            sessions: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// Everybody's rights after a reload.
    pub(crate) fn reload(rights: Arc<Rights>) -> Arc<Self> {
        Self::new(rights, Reason::Reload)
    }

    /// The rights to channels whose sections want them asked for as often as this.
    pub(crate) fn period(rights: Arc<Rights>, period: Duration) -> Arc<Self> {
        Self::new(rights, Reason::Period(period))
    }

    /// Whether it replaces a round that is under way: it asks everybody for everything.
    pub(crate) fn is_reload(&self) -> bool {
        self.reason == Reason::Reload
    }

    /// Whether the right to this channel is asked for.
    pub(crate) fn concerns(&self, channel: &str) -> bool {
        match self.reason {
            Reason::Reload | Reason::Session => true,
            Reason::Period(period) => self.rights.recheck(channel) == Some(period),
        }
    }

    /// The rights of one session.
    pub(crate) fn session(rights: Arc<Rights>) -> Arc<Self> {
        Self::new(rights, Reason::Session)
    }

    /// So many sessions were looked at.
    pub(crate) fn looked_at(&self, sessions: usize) {
        self.sessions.fetch_add(sessions, Ordering::Relaxed);
    }

    /// A session has lost a channel.
    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// The next one has begun, and asks everybody.
    pub(crate) fn give_way(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn word(&self, question: &SqlQuestion) -> Arc<OnceCell<Word>> {
        Arc::clone(self.words.lock().entry(question.clone()).or_default())
    }

    /// Notes whether a question was answered; false if there was no answer to any for too long.
    fn patient(&self, answered: bool) -> bool {
        let mut silent = self.silent.lock();
        if answered {
            *silent = None;
            return true;
        }
        silent.get_or_insert_with(Instant::now).elapsed() < PATIENCE
    }

    fn given_up(&self) -> bool {
        let silent = *self.silent.lock();
        silent.is_some_and(|since| since.elapsed() >= PATIENCE)
    }
}

/// The last one who held it has carried out what it found.
impl Drop for Round {
    fn drop(&mut self) {
        if self.reason != Reason::Reload || *self.over.get_mut() {
            return;
        }
        let words = self.words.get_mut();
        let unanswered = words
            .values()
            .filter(|word| word.get().is_none_or(Option::is_none));
        tracing::info!(
            name: lines::RECORD,
            sessions = *self.sessions.get_mut(),
            questions = words.len(),
            unanswered = unanswered.count(),
            lost = *self.lost.get_mut(),
            "the new rights hold for all sessions"
        );
    }
}

/// What the database has to say before it is known whether somebody may go on following.
pub(crate) struct Doubt<D> {
    /// One yes is enough.
    pub questions: Vec<SqlQuestion>,
    /// Whom the answer concerns.
    pub of: D,
}

impl Desk {
    /// Puts the doubts of a round to the database, and hands each with its answer to `settle`, on another thread.
    pub(crate) fn ask_again<D: Send + 'static>(
        self: &Arc<Self>,
        round: Arc<Round>,
        doubts: Vec<Doubt<D>>,
        settle: impl Fn(&Arc<Round>, D, Word) + Send + 'static,
    ) {
        let desk = Arc::clone(self);
        self.spawn(async move {
            let asked = futures_util::stream::iter(doubts).map(|doubt| {
                let (desk, round) = (Arc::clone(&desk), Arc::clone(&round));
                async move {
                    let word = desk.any_word(&round, &doubt.questions).await;
                    (doubt.of, word)
                }
            });
            let mut answers = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
            while let Some((of, word)) = answers.next().await {
                if !desk.in_force(&round.rights) {
                    return round.give_way();
                }
                settle(&round, of, word);
            }
        });
    }

    /// Each channel's own answer, a few at a time.
    pub(super) async fn may_each(
        &self,
        channels: Vec<(Arc<str>, Vec<SqlQuestion>)>,
    ) -> Vec<(Arc<str>, Result<bool, String>)> {
        let asked = futures_util::stream::iter(channels).map(|(channel, questions)| async move {
            let answer = self.may(&questions).await;
            (channel, answer)
        });
        asked.buffer_unordered(AT_ONCE).collect().await
    }

    async fn any_word(&self, round: &Round, questions: &[SqlQuestion]) -> Word {
        let mut any = Some(false);
        for question in questions {
            let word = round.word(question);
            match *word.get_or_init(|| self.word(round, question)).await {
                Some(true) => return Some(true),
                Some(false) => {}
                None => any = None,
            }
        }
        any
    }

    async fn word(&self, round: &Round, question: &SqlQuestion) -> Word {
        let mut pause = PAUSE;
        loop {
            if round.given_up() || !self.in_force(&round.rights) {
                return None;
            }
            let outcome = {
                let _place = self.rounds.acquire().await.ok()?;
                self.ask_database(question).await
            };
            let answered = outcome.as_ref().is_ok() || outcome.as_ref().is_err_and(QueryError::is_permanent);
            let patient = round.patient(answered);
            match outcome {
                Ok(allowed) => return Some(allowed),
                Err(error) if error.is_permanent() || !patient => return None,
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

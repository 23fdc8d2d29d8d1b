//! Reads the stream, hands changes over in batches, and tells the server what is kept. Reconnects for ever.
//!
//! The queue behind it is short: when it is full the server waits, which costs nobody anything, while this task goes on telling
//! it that somebody is here. Each stream begins behind what the log has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attach::{Attached, Copying, Trouble, attach};
use super::continuity::Known;
use super::frame::{self, Frame};
use super::health::{Health, health};
use super::lsn::{Lsn, Place};
use super::pgoutput::decode;
use super::repair::Repair;
use super::transaction::{Assembler, RawBatch};
use crate::Backoff;
use crate::connect::Settings;
use crate::install::{SLOT_WAITS, WatchSpec};
use crate::query::{Pool, QueryError};

/// Messages of `pregon.publish` begin with it.
pub const PREFIX: &[u8] = b"pregon";

/// News for the server wait as long as this; it is asked for nothing that hurries.
const STATUS_AFTER: Duration = Duration::from_millis(500);
/// The server is told at least this often that somebody is here: it gives up after 10 s.
const STATUS_EVERY: Duration = Duration::from_secs(3);
/// A server that says nothing for so long has gone: it answers each of our messages.
const SILENCE: Duration = Duration::from_secs(15);
/// A stream that ends sooner is begun again with ever longer pauses.
const STABLE: Duration = Duration::from_secs(2);
/// A gateway that stops waits so long for its log; less than `[server] drain`.
const FAREWELL: Duration = Duration::from_secs(4);
/// A transaction that the server could not send so often is passed over.
const ATTEMPTS: u32 = 2;
/// Between looks at a slot that another gateway reads. Each is a login, and clients wait as long.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// What a reader needs.
#[derive(Clone)]
pub struct WalOptions {
    /// A role with REPLICATION.
    pub settings: Settings,
    /// For looking after slot and publication.
    pub pool: Pool,
    /// Name of the slot and of the publication.
    pub slot: String,
    pub watches: Vec<WatchSpec>,
    /// How to install what is missing; absent where somebody else does that.
    pub repair: Option<Repair>,
    /// Time between two looks at slot and publication.
    pub check: Duration,
}

/// What the reader tells, in order.
#[derive(Debug)]
pub enum Step {
    /// The stream has begun. Places that follow belong to this epoch; with a reason, something before them may be lost.
    Attached {
        known: Known,
        gap: Option<&'static str>,
    },
    Batch(RawBatch),
    /// Asks where to begin. The answer is given when all that was handed over before is in the log or has been refused: the stream
    /// begins again behind what the log has.
    Resume(oneshot::Sender<Option<Known>>),
    /// How slot and publication are.
    Health(Health),
    /// There is no stream until [`Step::Attached`] comes again.
    Lost {
        reason: String,
        permanent: bool,
        /// What anybody may hear of it.
        in_short: Option<&'static str>,
        /// Another gateway reads.
        stands_by: bool,
    },
}

/// Up to where everything of an epoch is durable. Of another epoch it says nothing: that may be of another server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub epoch: u64,
    pub lsn: Lsn,
}

/// See the module.
pub struct Reader {
    options: WalOptions,
    sink: mpsc::Sender<Step>,
    /// Up to where everything is kept.
    kept: watch::Receiver<Kept>,
    /// Bumped by whoever wants a new connection.
    again: watch::Receiver<u64>,
    /// Of the present stream.
    epoch: u64,
    publication: String,
    /// The transaction in which the stream ended for want of words, and how often in a row.
    unsendable: (Lsn, u32),
    written: Lsn,
    /// Up to where the server can forget once everything that was handed over is kept.
    owed: Lsn,
    /// What the server was told, and when.
    told: (Lsn, Instant),
    reported: String,
}

impl Reader {
    /// `kept` says how far everything is durable; a change of `again` ends the connection, and another is made.
    pub fn new(
        options: WalOptions,
        sink: mpsc::Sender<Step>,
        kept: watch::Receiver<Kept>,
        again: watch::Receiver<u64>,
    ) -> Self {
        Self {
            options,
            sink,
            kept,
            again,
            epoch: 0,
            publication: String::new(),
            unsendable: (Lsn::default(), 0),
            written: Lsn::default(),
            owed: Lsn::default(),
            told: (Lsn::default(), Instant::now()),
            reported: String::new(),
        }
    }

    /// Reads until the token is cancelled or nobody takes what is read.
    pub async fn run(mut self, stop: CancellationToken) {
        let sink = self.sink.clone();
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            () = given_up => {}
            () = sink.closed() => {}
            () = self.keep_reading(&stop) => {}
        }
    }

    async fn keep_reading(&mut self, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let Some(known) = self.resume().await else { return };
            let trouble = match attach(&self.options.settings, &self.options.slot, known, self.past()).await {
                Ok(attached) => {
                    self.reported.clear();
                    let begun = Instant::now();
                    let trouble = self.stream(attached, stop).await;
                    if begun.elapsed() > STABLE {
                        backoff.reset();
                    }
                    if stop.is_cancelled() {
                        return;
                    }
                    self.lost(&trouble).await;
                    trouble
                }
                Err(trouble) => {
                    self.report(&trouble).await;
                    trouble
                }
            };
            let pause = match trouble {
                Trouble::Busy(_) | Trouble::InUse(_) => BUSY_PAUSE,
                _ => backoff.next(
                    trouble.is_permanent() && !self.mend(&trouble).await,
                    rand::random(),
                ),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Installs what is missing, where that is wanted and helps.
    async fn mend(&mut self, trouble: &Trouble) -> bool {
        let Some(repair) = self.options.repair.as_ref().filter(|_| trouble.is_mendable()) else {
            return false;
        };
        match repair.run(matches!(trouble, Trouble::Stale(_))).await {
            Ok(()) => true,
            Err(error) => {
                self.unmended(error).await;
                false
            }
        }
    }

    /// Says why what is missing could not be made, whenever that is another reason.
    async fn unmended(&mut self, error: String) {
        if self.reported == error {
            return;
        }
        tracing::error!(error, "slot and publication could not be mended");
        let in_short = error
            .contains(SLOT_WAITS)
            .then_some("a new slot waits for running writes, which the log names");
        let step = Step::Lost {
            reason: error.clone(),
            permanent: true,
            in_short,
            stands_by: false,
        };
        self.reported = error;
        // Whoever does not take it has gone.
        let _ = self.sink.send(step).await;
    }

    /// Where the log is; waits until it has decided about everything before.
    async fn resume(&self) -> Option<Option<Known>> {
        let (answer, known) = oneshot::channel();
        self.sink.send(Step::Resume(answer)).await.ok()?;
        known.await.ok()
    }

    async fn stream(&mut self, attached: Attached, stop: &CancellationToken) -> Trouble {
        let told = self.begin(&attached);
        let Attached {
            mut stream, start, ..
        } = attached;
        let mut assembler = Assembler::new(start.known.place, PREFIX);
        let (mut next_look, mut heard) = (Instant::now(), Instant::now());
        let result = async {
            self.give(&mut stream, told).await?;
            loop {
                let before = Instant::now();
                self.take_all(&mut stream, &mut assembler).await?;
                // While the queue is full nothing is read.
                heard += before.elapsed();
                let due = self.due();
                // The stream comes last: it may be ready for a long time.
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => {
                        if heard.elapsed() > SILENCE {
                            return Err(Trouble::Lost("the server no longer answers".to_owned()));
                        }
                        self.hand_over_news(&mut stream, &mut assembler).await?;
                        self.tell(&mut stream).await?;
                    }
                    () = tokio::time::sleep_until(next_look) => {
                        next_look = Instant::now() + self.options.check;
                        self.look(&mut stream).await?;
                    }
                    _ = self.again.changed() => return Err(Trouble::Lost("a new connection was asked for".to_owned())),
                    changed = self.kept.changed() => {
                        // Its sender lives as long as whoever takes the steps.
                        changed.map_err(|_| Trouble::Lost("nobody takes what is read".to_owned()))?;
                    }
                    () = stop.cancelled() => {
                        // The end of a transaction whose changes have been handed over already.
                        self.hand_over_news(&mut stream, &mut assembler).await?;
                        return self.say_farewell(&mut stream).await;
                    }
                    filled = stream.fill() => {
                        filled?;
                        heard = Instant::now();
                    }
                }
            }
        };
        let result: Result<(), Trouble> = result.await;
        if let Err(Trouble::Unsendable(_)) = result {
            self.cannot_be_sent(&mut stream, &mut assembler).await;
        }
        let Err(trouble) = result else {
            // Whoever cuts it off gives up waiting.
            let _ = stream.finish().await;
            return Trouble::Lost("this gateway stops".to_owned());
        };
        trouble
    }

    fn begin(&mut self, attached: &Attached) -> Step {
        let start = attached.start;
        self.publication.clone_from(&attached.publication);
        self.epoch = start.known.epoch;
        self.written = start.known.place.lsn;
        self.owed = Lsn::default();
        self.told = (Lsn::default(), Instant::now());
        self.again.mark_unchanged();
        Step::Attached {
            known: start.known,
            gap: start.gap,
        }
    }

    /// Notes in which transaction the server found something that it cannot send.
    async fn cannot_be_sent(&mut self, stream: &mut Copying, assembler: &mut Assembler) {
        let Some(commit) = assembler.begun() else { return };
        // What came before it has to be handed over before it may be passed over.
        if self.hand_over_news(stream, assembler).await.is_err() {
            return;
        }
        let (before, times) = self.unsendable;
        self.unsendable = (commit, if before == commit { times + 1 } else { 1 });
        if self.past().is_some() {
            tracing::error!(lsn = %commit, "the rest of a transaction is passed over: the server cannot send a change in it");
        }
    }

    /// The transaction that has to be passed over: once may be chance.
    fn past(&self) -> Option<Lsn> {
        let (commit, times) = self.unsendable;
        (times >= ATTEMPTS).then_some(commit)
    }

    async fn hand_over_news(
        &mut self,
        stream: &mut Copying,
        assembler: &mut Assembler,
    ) -> Result<(), Trouble> {
        if assembler.has_news() {
            self.hand_over(stream, assembler).await?;
        }
        Ok(())
    }

    /// Waits until what was handed over is kept and tells the server, so that the next one does not get it again.
    async fn say_farewell(&mut self, stream: &mut Copying) -> Result<(), Trouble> {
        while self.kept_here() < self.owed && self.kept.changed().await.is_ok() {}
        self.tell(stream).await
    }

    /// Up to where everything of this stream is kept; nothing is the same as zero to the server.
    fn kept_here(&self) -> Lsn {
        let kept = *self.kept.borrow();
        if kept.epoch == self.epoch {
            kept.lsn
        } else {
            Lsn::default()
        }
    }

    /// When the server should hear from us: soon if there is something new.
    fn due(&self) -> Instant {
        let news = self.kept_here() > self.told.0;
        self.told.1 + if news { STATUS_AFTER } else { STATUS_EVERY }
    }

    /// Takes everything that was read. Changes are handed over; a mere place waits for the next change or the next status.
    async fn take_all(&mut self, stream: &mut Copying, assembler: &mut Assembler) -> Result<(), Trouble> {
        let broken = |error: &dyn std::error::Error| Trouble::Lost(error.to_string());
        while let Some(frame) = stream.next().map_err(|error| broken(&error))? {
            match frame {
                Frame::Data(bytes) => {
                    let message = decode(bytes).map_err(|error| broken(&error))?;
                    assembler.take(message).map_err(|error| broken(&error))?;
                    if assembler.is_full() {
                        self.hand_over(stream, assembler).await?;
                    }
                }
                Frame::Keepalive { end, reply } => {
                    self.written = self.written.max(end);
                    assembler.reached(end);
                    if reply {
                        // A server that stops waits until everything is confirmed.
                        if assembler.has_news() {
                            self.hand_over(stream, assembler).await?;
                        }
                        self.tell(stream).await?;
                    }
                }
                Frame::Refused { code, message } => {
                    return Err(Trouble::refused(&self.options.slot, &code, message));
                }
                Frame::Ended => return Err(Trouble::Lost("the server ended the stream".to_owned())),
                Frame::Started => {}
            }
        }
        if assembler.has_changes() {
            self.hand_over(stream, assembler).await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, stream: &mut Copying, assembler: &mut Assembler) -> Result<(), Trouble> {
        let batch = assembler.hand_over();
        self.written = self.written.max(batch.upto.lsn);
        let confirm = batch.confirm;
        self.give(stream, Step::Batch(batch)).await?;
        self.owed = confirm.unwrap_or(self.owed);
        Ok(())
    }

    /// Waits for room in the queue, and meanwhile tells the server that somebody is here.
    async fn give(&mut self, stream: &mut Copying, step: Step) -> Result<(), Trouble> {
        let sink = self.sink.clone();
        let mut room = std::pin::pin!(sink.reserve());
        loop {
            let due = self.due();
            tokio::select! {
                permit = &mut room => {
                    let permit = permit.map_err(|_| Trouble::Lost("nobody takes what is read".to_owned()))?;
                    permit.send(step);
                    return Ok(());
                }
                _ = self.again.changed() => return Err(Trouble::Lost("a new connection was asked for".to_owned())),
                () = tokio::time::sleep_until(due) => self.tell(stream).await?,
            }
        }
    }

    async fn tell(&mut self, stream: &mut Copying) -> Result<(), Trouble> {
        self.kept.mark_unchanged();
        let kept = self.kept_here();
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        let clock = i64::try_from(clock).unwrap_or(i64::MAX);
        self.told = (kept, Instant::now());
        stream
            .send(&frame::status(self.written.max(kept), kept, clock))
            .await
    }

    /// Looks at slot and publication, and mends what is missing where that is wanted.
    async fn look(&mut self, stream: &mut Copying) -> Result<(), Trouble> {
        let options = self.options.clone();
        let mut looked = std::pin::pin!(look_and_mend(&options));
        let seen = loop {
            let due = self.due();
            tokio::select! {
                seen = &mut looked => break seen,
                () = tokio::time::sleep_until(due) => self.tell(stream).await?,
            }
        };
        match seen {
            Ok(seen) => match &seen.publication {
                None => Err(Trouble::NoPublication(self.options.slot.clone())),
                // What was written while there was none, or another one, is not known.
                Some(found) if *found != self.publication => Err(Trouble::Lost(
                    "the publication was altered or made anew: beginning again".to_owned(),
                )),
                Some(_) => self.give(stream, Step::Health(seen)).await,
            },
            Err(error) => {
                tracing::debug!(%error, "slot and publication could not be looked at");
                Ok(())
            }
        }
    }

    async fn lost(&mut self, trouble: &Trouble) {
        self.reported = trouble.to_string();
        let step = Step::Lost {
            reason: trouble.to_string(),
            permanent: trouble.is_permanent(),
            in_short: trouble.in_short(),
            stands_by: matches!(trouble, Trouble::Busy(_)),
        };
        // Whoever does not take it has gone.
        let _ = self.sink.send(step).await;
    }

    /// Says once what is wrong while nothing streams.
    async fn report(&mut self, trouble: &Trouble) {
        if self.reported != trouble.to_string() {
            self.lost(trouble).await;
        }
    }
}

async fn look_and_mend(options: &WalOptions) -> Result<Health, QueryError> {
    let look = || health(&options.pool, &options.slot, &options.watches);
    let seen = look().await?;
    let Some(repair) = options
        .repair
        .as_ref()
        .filter(|_| seen.publication.is_some() && !seen.missing.is_empty())
    else {
        return Ok(seen);
    };
    tracing::warn!(found = seen.missing.join("; "), "slot and publication are mended");
    if let Err(error) = repair.run(false).await {
        tracing::error!(error, "slot and publication could not be mended");
    }
    look().await
}

impl Place {
    /// As the log keeps it.
    pub fn pair(self) -> (u64, u64) {
        (self.lsn.0, self.index)
    }
}

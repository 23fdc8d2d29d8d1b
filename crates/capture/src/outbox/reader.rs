//! Reads in passes and hands over what may go on. One task; it waits for its consumer, never the other way round.
//!
//! Memory is bounded: a pass reads a piece of the table, and while rows wait for an open transaction nothing more is read ahead than
//! [`AHEAD`]. Every statement is a transaction of its own and sees what is committed then; the order of the statements of a pass is
//! what the gate's proof rests on.

use std::collections::HashSet;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::attach::{Begun, Claim, KEEPALIVE, Link, in_time, number};
use super::bell::{Bell, Next, Seen};
use super::gate::Gate;
use super::ledger::Ledger;
use super::piece::Pieces;
use super::row::Raw;
use super::stall::{self, Stall};
use super::{Batch, Item, OutboxError, OutboxOptions, Place, Report};

/// Bytes that may wait behind a transaction that is still open.
const AHEAD: usize = 16 << 20;

/// Rows that are given on together, and their bytes.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// A transaction that stays open for this long is worth a line in the log.
const STALLED: Duration = Duration::from_secs(5);

/// Ids without a row that are told all the same, so that the place moves on.
const SILENT: u64 = 1000;

/// What the reader and the clerk of a session know of each other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clerk: i32,
    pub(super) ledger: Mutex<Ledger>,
    /// Rows up to here were deleted before they were read.
    pub(super) dropped: AtomicU64,
    /// How often it has to be told that changes went past the outbox.
    pub(super) missed: AtomicU64,
    /// How often changes went past the outbox ever since it was made.
    pub(super) counted: AtomicU64,
    /// The last row that was given on, and when it was written, in microseconds since 1970; 0 where that is not known.
    pub(super) witness: Mutex<(u64, u64)>,
    pub(super) report: watch::Sender<Report>,
}

impl Shared {
    pub(super) fn new(clerk: i32, counted: u64, report: watch::Sender<Report>) -> Self {
        Self {
            clerk,
            ledger: Mutex::default(),
            dropped: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            counted: AtomicU64::new(counted),
            witness: Mutex::default(),
            report,
        }
    }

    fn saw(&self, id: u64, at: u64) {
        *self.witness.lock().unwrap_or_else(PoisonError::into_inner) = (id, at);
    }

    pub(super) fn witness(&self) -> (u64, u64) {
        *self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    link: Link,
    pieces: Pieces,
    options: Arc<OutboxOptions>,
    shared: Arc<Shared>,
    table: u32,
    claim: Claim,
    bell: Bell,
    gate: Gate<Raw>,
    /// The last row that was read, and when it was written; 0 where that is not known.
    newest: (u64, u64),
    /// Bytes in the gate.
    waiting: usize,
    /// Place of the last batch.
    sent: u64,
    /// Rows up to here are known to be lost, and that was said.
    told: u64,
    /// What of [`Shared::missed`] was told.
    missed: u64,
    /// Writers that may have read that the gateway is awake.
    elders: HashSet<Box<str>>,
    stall: Option<Waiting>,
}

/// Delivery waits at a place.
#[derive(Debug)]
struct Waiting {
    place: u64,
    since: Instant,
    asked: Option<Instant>,
}

impl Reader {
    pub(super) fn new(
        (link, pieces): (Link, Pieces),
        options: Arc<OutboxOptions>,
        shared: Arc<Shared>,
        table: u32,
        claim: Claim,
        bell: Bell,
    ) -> Self {
        let place = claim.position;
        Self {
            link,
            pieces,
            options,
            shared,
            table,
            claim,
            bell,
            gate: Gate::new(place),
            newest: (0, 0),
            waiting: 0,
            sent: place,
            told: 0,
            missed: 0,
            elders: HashSet::new(),
            stall: None,
        }
    }

    /// What is worth knowing about the session; changes about every second.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.shared.report.subscribe()
    }

    /// Finds the place to go on from: behind `known`, what the caller has in its log, if that is of this outbox; otherwise where the last
    /// gateway was. `missed` is what the caller knows of [`Reader::missed`].
    pub async fn begin(&mut self, known: Option<Place>, missed: Option<u64>) -> Result<Begun, OutboxError> {
        let counted = self.missed();
        let mut lost = missed.is_some_and(|missed| missed != counted);
        let mut start = self.claim.position;
        let mut at = 0;
        match known {
            Some(known) if known.epoch != self.claim.epoch => lost = true,
            // The database is behind what it once committed: restored, or it lost its last moments in a crash.
            Some(known) if known.upto > self.newest().await? => {
                self.claim.renew(&self.link).await?;
                lost = true;
            }
            Some(known) => (start, at) = (known.upto, known.at),
            None => {}
        }
        lost |= start < self.claim.pruned || self.given_again().await?;
        const LOST: &str = "SELECT max(row::bigint) FROM pregon.outbox WHERE op = 'X' AND id > $1";
        let row = in_time(self.link.query_typed_one(LOST, &[(&signed(start), Type::INT8)])).await?;
        self.told = number(&row, 0)?;
        lost |= self.told > start;
        if at > 0 && start > self.claim.pruned && self.told < start && self.written(start).await? != at {
            self.claim.renew(&self.link).await?;
            (lost, at) = (true, 0);
        }
        self.gate = Gate::new(start);
        self.sent = start;
        self.newest = (start, at);
        self.shared.saw(start, at);
        let place = Place {
            epoch: self.claim.epoch,
            upto: start,
            at,
        };
        Ok(Begun { place, lost })
    }

    /// How often changes went past the outbox, as far as is known.
    pub fn missed(&self) -> u64 {
        self.shared.counted.load(Ordering::Acquire)
    }

    /// When the row of an id was written, in microseconds since 1970; 0 if it is not there.
    async fn written(&self, id: u64) -> Result<u64, OutboxError> {
        const AT: &str = "SELECT (SELECT (extract(epoch FROM o.at) * 1000000)::bigint FROM pregon.outbox o WHERE o.id = $1)";
        let row = in_time(self.link.query_typed_one(AT, &[(&signed(id), Type::INT8)])).await?;
        Ok(number(&row, 0)?)
    }

    /// Whether rows stand where all were deleted: somebody has set the sequence back, and nobody will read them.
    async fn given_again(&self) -> Result<bool, OutboxError> {
        const AGAIN: &str = "SELECT EXISTS (SELECT FROM pregon.outbox o WHERE o.id <= $1)";
        let pruned: [Param<'_>; 1] = [(&signed(self.claim.pruned), Type::INT8)];
        Ok(in_time(self.link.query_typed_one(AGAIN, &pruned))
            .await?
            .try_get(0)?)
    }

    /// The highest id that is known to have been committed.
    async fn newest(&self) -> Result<u64, OutboxError> {
        const NEWEST: &str = "SELECT greatest(c.position, c.pruned, (SELECT max(o.id) FROM pregon.outbox o)) FROM pregon.cursor c";
        Ok(number(
            &in_time(self.link.query_typed_one(NEWEST, &[])).await?,
            0,
        )?)
    }

    /// Reads until `stop`, or until nobody takes what was read.
    pub async fn run(
        &mut self,
        out: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> Result<(), OutboxError> {
        while !stop.is_cancelled() {
            let mut seen = self.pass().await?;
            let items = self.gate.take();
            seen.rows = !items.is_empty();
            seen.writers |= self.gate.is_waiting();
            if self.options.durable && !items.is_empty() {
                self.make_durable().await?;
            }
            if !self.hand_over(items, &out, &stop).await? {
                break;
            }
            self.watch_stall().await?;
            match self.bell.next(seen, Instant::now()) {
                Next::Look(pause) => self.pause(pause, &stop).await,
                Next::Sleep => {
                    self.set_asleep(true).await?;
                    let lookers = in_time(stall::lookers(&self.link, self.table, &self.ours())).await?;
                    self.elders = lookers.into_iter().collect();
                }
                Next::Wake => {
                    self.set_asleep(false).await?;
                    self.elders.clear();
                }
            }
        }
        if self.bell.is_asleep() {
            self.set_asleep(false).await?;
        }
        self.link.leave().await;
        Ok(())
    }

    fn ours(&self) -> [i32; 2] {
        [self.link.pid, self.shared.clerk]
    }

    async fn pause(&self, pause: Duration, stop: &CancellationToken) {
        if pause.is_zero() {
            return;
        }
        tokio::select! {
            () = self.link.woken.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn set_asleep(&mut self, asleep: bool) -> Result<(), OutboxError> {
        const BELL: &str = "UPDATE pregon.bell SET asleep = $1, alive = clock_timestamp() \
             WHERE EXISTS (SELECT FROM pregon.cursor c WHERE c.reader = $2) RETURNING true";
        let params: [Param<'_>; 2] = [(&asleep, Type::BOOL), (&self.claim.fence, Type::INT8)];
        in_time(self.link.query_typed_opt(BELL, &params))
            .await?
            .ok_or(OutboxError::Fenced)?;
        self.bell.set_asleep(asleep, Instant::now());
        Ok(())
    }

    /// Returns when everything that this session has seen is on the server's disk: a commit of ours that waits for the disk comes behind
    /// all of them in the WAL.
    async fn make_durable(&self) -> Result<(), OutboxError> {
        const TOUCH: &str = "UPDATE pregon.bell SET alive = clock_timestamp() \
             WHERE EXISTS (SELECT FROM pregon.cursor c WHERE c.reader = $1) RETURNING true";
        in_time(
            self.link
                .batch_execute("BEGIN; SET LOCAL synchronous_commit = local"),
        )
        .await?;
        let fence: [Param<'_>; 1] = [(&self.claim.fence, Type::INT8)];
        in_time(self.link.query_typed_opt(TOUCH, &fence))
            .await?
            .ok_or(OutboxError::Fenced)?;
        in_time(self.link.batch_execute("COMMIT")).await
    }

    /// One pass; see the gate for why its steps stand in this order.
    async fn pass(&mut self) -> Result<Seen, OutboxError> {
        let mut seen = Seen::default();
        if self.waiting < AHEAD {
            let behind = signed(self.gate.seen());
            let piece = self.pieces.behind(&self.link, behind).await?;
            // Its id was given again: what got the others before it is not seen here.
            if self.newest.1 > 0 && piece.before.is_some_and(|at| at != self.newest.1) {
                return Err(OutboxError::Replaced);
            }
            if let Some((id, raw)) = piece.rows.last() {
                self.newest = (*id, raw.at());
            }
            seen.more = piece.cut.is_some();
            self.waiting += piece.bytes;
            self.gate.read(piece.rows);
        }
        if !self.gate.is_waiting() && self.elders.is_empty() {
            return Ok(seen);
        }
        let (first, last) = self.gate.missing();
        let [first, last] = [first, last].map(|ids| ids.into_iter().map(signed).collect::<Vec<_>>());
        let ours = self.ours();
        let holders = in_time(stall::holders(&self.link, self.table, &ours)).await?;
        if !self.elders.is_empty() {
            let lookers = in_time(stall::lookers(&self.link, self.table, &ours)).await?;
            self.elders.retain(|elder| lookers.contains(elder));
            // What the last of them has committed may not be read yet.
            seen.more |= self.elders.is_empty();
            seen.writers |= !self.elders.is_empty();
        }
        self.gate.hold(holders);
        if !first.is_empty() {
            let piece = self.pieces.within(&self.link, &first, &last).await?;
            seen.more |= piece.cut.is_some();
            self.waiting += piece.bytes;
            self.gate.fill(piece.rows, piece.cut);
        }
        Ok(seen)
    }

    /// Whether somebody still takes them.
    async fn hand_over(
        &mut self,
        rows: Vec<(u64, Raw)>,
        out: &mpsc::Sender<Batch>,
        stop: &CancellationToken,
    ) -> Result<bool, OutboxError> {
        let dropped = self.shared.dropped.load(Ordering::Acquire);
        if dropped > self.told {
            self.told = dropped;
            let batch = Batch {
                items: vec![(self.sent, Item::Dropped { upto: dropped })],
                upto: self.sent,
                at: 0,
                bytes: 0,
            };
            if !self.send(batch, out, stop).await? {
                return Ok(false);
            }
        }
        let missed = self.shared.missed.load(Ordering::Acquire);
        if missed > self.missed {
            self.missed = missed;
            let batch = Batch {
                items: vec![(
                    self.sent,
                    Item::Missed {
                        counted: self.missed(),
                    },
                )],
                upto: self.sent,
                at: 0,
                bytes: 0,
            };
            if !self.send(batch, out, stop).await? {
                return Ok(false);
            }
        }
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let batch = self.batch(&mut rows);
            if !self.send(batch, out, stop).await? {
                return Ok(false);
            }
        }
        let upto = self.gate.passed();
        if upto >= self.sent + SILENT {
            let batch = Batch {
                items: Vec::new(),
                upto,
                at: 0,
                bytes: 0,
            };
            return self.send(batch, out, stop).await;
        }
        Ok(true)
    }

    /// The first of these rows, as many as go together.
    fn batch(&mut self, rows: &mut Peekable<impl Iterator<Item = (u64, Raw)>>) -> Batch {
        let (mut items, mut upto, mut at) = (Vec::with_capacity(BATCH), self.sent, 0);
        let (mut count, mut bytes) = (0, 0);
        while count < BATCH
            && bytes < BATCH_BYTES
            && let Some((id, raw)) = rows.next_if(|(_, raw)| count == 0 || !raw.is_gap())
        {
            (upto, at) = (id, raw.at());
            count += 1;
            bytes += raw.size();
            match raw.item(id, &self.options.watches, self.missed()) {
                Some(Item::Dropped { upto }) if upto <= self.told => {}
                Some(item) => items.push((id, item)),
                None => {}
            }
        }
        self.waiting = self.waiting.saturating_sub(bytes);
        self.shared.saw(upto, at);
        self.shared
            .with_ledger(|ledger| ledger.add(upto, count as u64, bytes as u64));
        Batch {
            items,
            upto,
            at,
            bytes,
        }
    }

    async fn send(
        &mut self,
        batch: Batch,
        out: &mpsc::Sender<Batch>,
        stop: &CancellationToken,
    ) -> Result<bool, OutboxError> {
        self.sent = batch.upto;
        loop {
            tokio::select! {
                biased;
                room = out.reserve() => {
                    let Ok(room) = room else { return Ok(false) };
                    room.send(batch);
                    return Ok(true);
                }
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(KEEPALIVE) => in_time(self.link.batch_execute("SELECT 1")).await?,
            }
        }
    }

    /// Notices, and tells the report, that delivery waits for somebody.
    async fn watch_stall(&mut self) -> Result<(), OutboxError> {
        let place = self.gate.passed();
        let over = |stall: &Waiting| stall.place != place || !self.gate.is_waiting();
        if let Some(stall) = self.stall.take_if(|stall| over(stall))
            && stall.asked.is_some()
        {
            self.shared.report.send_modify(|report| report.stall = None);
        }
        if !self.gate.is_waiting() {
            return Ok(());
        }
        let now = Instant::now();
        let stall = self.stall.get_or_insert(Waiting {
            place,
            since: now,
            asked: None,
        });
        let lasts = now.saturating_duration_since(stall.since);
        if lasts < STALLED
            || stall
                .asked
                .is_some_and(|asked| now.saturating_duration_since(asked) < STALLED)
        {
            return Ok(());
        }
        stall.asked = Some(now);
        let blockers = in_time(stall::blockers(&self.link, self.table, &self.ours())).await?;
        self.shared
            .report
            .send_modify(|report| report.stall = Some(Stall { lasts, blockers }));
        Ok(())
    }
}

pub(super) type Param<'a> = (&'a (dyn tokio_postgres::types::ToSql + Sync), Type);

/// Ids come from a bigint.
pub(super) fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

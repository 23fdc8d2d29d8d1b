//! Everything about the outbox that is not reading: remembers what is in the log, deletes what is old, says that the gateway lives, keeps
//! the table within its limit. On a connection of its own, so that a large DELETE holds up no delivery.
//!
//! Every write carries the fencing number: a gateway that was taken over changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::attach::{Link, in_time, number};
use super::reader::{Param, Shared, signed};
use super::sound::{self, Condition};
use super::{OutboxError, OutboxOptions};

/// Between two savings of the place: what a gateway without a lasting log repeats after a kill.
const SAVE: Duration = Duration::from_millis(100);
/// Between two rounds of housekeeping.
const ROUND: Duration = Duration::from_secs(1);
/// Between two signs of life. Writers take a gateway for gone after a minute.
const ALIVE: Duration = Duration::from_secs(10);
/// Rows of one DELETE, and DELETEs of one round: a few milliseconds each, and 100,000 rows a second in all.
const PRUNE: i64 = 5000;
const PRUNES: u32 = 20;
/// Rows that go at once where the table has outgrown its limit.
const TRIM: i64 = 20_000;
/// Of a row of which nothing is known yet.
const WIDTH: u64 = 300;

/// See the module.
#[derive(Debug)]
pub struct Clerk {
    link: Link,
    options: Arc<OutboxOptions>,
    shared: Arc<Shared>,
    fence: i64,
    /// The saved place, and up to where rows were deleted.
    position: u64,
    pruned: u64,
    alive: Option<Instant>,
    table: u32,
    /// What the last look has found.
    condition: Condition,
    /// Beyond every transaction that may have gone on without its changes and may not be committed yet.
    unsettled: Option<String>,
}

impl Clerk {
    pub(super) fn new(
        link: Link,
        options: Arc<OutboxOptions>,
        shared: Arc<Shared>,
        fence: i64,
        (position, pruned): (u64, u64),
        (table, condition): (u32, Condition),
    ) -> Self {
        Self {
            link,
            options,
            shared,
            fence,
            position,
            pruned,
            alive: None,
            table,
            // Transactions of before the session may still be open.
            unsettled: Some(condition.horizon.clone()),
            condition,
        }
    }

    /// Works until `stop`; `logged` is the place up to which everything is in the log.
    pub async fn run(
        &mut self,
        mut logged: watch::Receiver<u64>,
        stop: CancellationToken,
    ) -> Result<(), OutboxError> {
        self.count_what_is_there().await?;
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = round.tick() => self.keep_house().await?,
                changed = logged.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let place = *logged.borrow_and_update();
                    self.save(place).await?;
                    tokio::select! {
                        () = tokio::time::sleep(SAVE) => {}
                        () = stop.cancelled() => {}
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Remembers that everything up to here is in the log.
    pub async fn save(&mut self, place: u64) -> Result<(), OutboxError> {
        const SAVE: &str =
            "UPDATE pregon.cursor SET position = greatest(position, $1) WHERE reader = $2 RETURNING position";
        let row = self
            .fenced(SAVE, signed(place))
            .await?
            .ok_or(OutboxError::Fenced)?;
        self.position = number(&row, 0)?;
        Ok(())
    }

    async fn fenced(&self, sql: &str, value: i64) -> Result<Option<tokio_postgres::Row>, OutboxError> {
        let params: &[Param<'_>] = &[(&value, Type::INT8), (&self.fence, Type::INT8)];
        in_time(self.link.query_typed_opt(sql, params)).await
    }

    async fn keep_house(&mut self) -> Result<(), OutboxError> {
        if self.alive.is_none_or(|alive| alive.elapsed() >= ALIVE) {
            self.say_alive().await?;
        }
        self.look_after_the_table().await?;
        for _ in 0..PRUNES {
            if !self.prune().await? {
                break;
            }
        }
        let (newest, lag) = self.look().await?;
        let (kept_rows, kept_bytes) = self.shared.with_ledger(|ledger| ledger.size());
        let width = kept_bytes.checked_div(kept_rows).unwrap_or(WIDTH);
        let unread = newest.saturating_sub(self.position);
        let bytes = kept_bytes.saturating_add(unread.saturating_mul(width));
        self.shared.report.send_modify(|report| {
            report.rows = kept_rows + unread;
            report.bytes = bytes;
            report.lag = lag;
        });
        if bytes > self.options.most {
            self.trim().await?;
        }
        Ok(())
    }

    /// Ends the session where the outbox does not give or take rows as it should; says so where changes went past it.
    async fn look_after_the_table(&mut self) -> Result<(), OutboxError> {
        let earlier = self.unsettled.as_deref().unwrap_or("0");
        let found = sound::look(&self.link, self.table, earlier).await?;
        if found.file != self.condition.file {
            return Err(OutboxError::Replaced);
        }
        if found.missed != self.condition.missed {
            tracing::warn!("a transaction went on without its changes: the outbox did not take them");
            self.shared.missed.fetch_add(1, Ordering::AcqRel);
            self.unsettled = Some(found.horizon.clone());
        } else if self.unsettled.is_some() && found.settled {
            // Whoever read again when the gap was told may have been too early.
            if self.shared.missed.load(Ordering::Acquire) > 0 {
                self.shared.missed.fetch_add(1, Ordering::AcqRel);
            }
            self.unsettled = None;
        }
        self.shared.counted.store(found.missed, Ordering::Release);
        self.condition = found;
        self.look_for_the_witness().await
    }

    /// Ends the session where the last row that was given on is not there any more, or is another one, although nobody of us has deleted
    /// it: others may have gone with it, and its id may have been given again.
    async fn look_for_the_witness(&self) -> Result<(), OutboxError> {
        const WITNESS: &str = "SELECT (SELECT (extract(epoch FROM o.at) * 1000000)::bigint FROM pregon.outbox o WHERE o.id = $1), \
             (SELECT max(x.row::bigint) FROM pregon.outbox x WHERE x.op = 'X')";
        let (id, at) = self.shared.witness();
        if at == 0 || id <= self.pruned || id <= self.shared.dropped.load(Ordering::Acquire) {
            return Ok(());
        }
        let params: &[Param<'_>] = &[(&signed(id), Type::INT8)];
        let row = in_time(self.link.query_typed_one(WITNESS, params)).await?;
        if number(&row, 0)? != at && number(&row, 1)? < id {
            return Err(OutboxError::Replaced);
        }
        Ok(())
    }

    async fn say_alive(&mut self) -> Result<(), OutboxError> {
        const ALIVE: &str = "UPDATE pregon.bell SET alive = clock_timestamp(), most = $1 \
             WHERE EXISTS (SELECT FROM pregon.cursor c WHERE c.reader = $2) RETURNING true";
        self.fenced(ALIVE, signed(self.options.most))
            .await?
            .ok_or(OutboxError::Fenced)?;
        self.alive = Some(Instant::now());
        Ok(())
    }

    /// Rows that earlier sessions have read are still there. Those where all were deleted have been told as a gap.
    async fn count_what_is_there(&mut self) -> Result<(), OutboxError> {
        const AGAIN: &str = "DELETE FROM pregon.outbox WHERE id <= $1 AND EXISTS (SELECT FROM pregon.cursor c WHERE c.reader = $2)";
        self.fenced(AGAIN, signed(self.pruned)).await?;
        const COUNT: &str = "SELECT count(*), sum(128 + coalesce(octet_length(row), 0) + coalesce(octet_length(old), 0))::bigint \
             FROM pregon.outbox WHERE id > $1 AND id <= $2";
        let range: &[Param<'_>] = &[
            (&signed(self.pruned), Type::INT8),
            (&signed(self.position), Type::INT8),
        ];
        let row = in_time(self.link.query_typed_one(COUNT, range)).await?;
        let (rows, bytes) = (number(&row, 0)?, number(&row, 1)?);
        if rows > 0 {
            self.shared
                .with_ledger(|ledger| ledger.add_oldest(self.position, rows, bytes));
        }
        Ok(())
    }

    /// Deletes the oldest rows that are in the log and too old or too many; whether there may be more of them.
    async fn prune(&mut self) -> Result<bool, OutboxError> {
        // The first rows that are too old without a break, so that what is deleted is one range.
        const OLD: &str = "SELECT max(h.id), count(*) FROM (
              SELECT p.id, bool_and(p.id <= $3 OR p.at < clock_timestamp() - $4 * interval '1 millisecond') OVER (ORDER BY p.id) AS old
                FROM (SELECT id, at FROM pregon.outbox WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $5) AS p) AS h WHERE h.old";
        const DELETE: &str = "WITH gone AS (
              DELETE FROM pregon.outbox WHERE id > $1 AND id <= $2
                 AND EXISTS (SELECT FROM pregon.cursor c WHERE c.reader = $3) RETURNING id)
            UPDATE pregon.cursor SET pruned = greatest(pruned, $2) WHERE reader = $3 RETURNING (SELECT count(*) FROM gone)";
        let beyond = self.shared.with_ledger(|ledger| ledger.beyond(self.options.kept));
        let retention = i64::try_from(self.options.retention.as_millis()).unwrap_or(i64::MAX);
        let (pruned, position) = (signed(self.pruned), signed(self.position));
        let old: &[Param<'_>] = &[
            (&pruned, Type::INT8),
            (&position, Type::INT8),
            (&signed(beyond), Type::INT8),
            (&retention, Type::INT8),
            (&PRUNE, Type::INT8),
        ];
        let row = in_time(self.link.query_typed_one(OLD, old)).await?;
        let (upto, count) = (number(&row, 0)?, number(&row, 1)?);
        if count == 0 {
            return Ok(false);
        }
        let range: &[Param<'_>] = &[
            (&pruned, Type::INT8),
            (&signed(upto), Type::INT8),
            (&self.fence, Type::INT8),
        ];
        in_time(self.link.query_typed_opt(DELETE, range))
            .await?
            .ok_or(OutboxError::Fenced)?;
        self.pruned = upto;
        self.shared.with_ledger(|ledger| ledger.forget(upto));
        Ok(count >= PRUNE.unsigned_abs())
    }

    /// The newest id, and the age of the oldest row that is not in the log.
    async fn look(&self) -> Result<(u64, f64), OutboxError> {
        const LOOK: &str = "SELECT (SELECT max(id) FROM pregon.outbox),
            (SELECT extract(epoch FROM clock_timestamp() - n.at)::float8 FROM pregon.outbox n WHERE n.id > $1 ORDER BY n.id LIMIT 1)";
        let row = in_time(
            self.link
                .query_typed_one(LOOK, &[(&signed(self.position), Type::INT8)]),
        )
        .await?;
        Ok((number(&row, 0)?, row.try_get::<_, Option<f64>>(1)?.unwrap_or(0.0)))
    }

    /// Lets the oldest rows go, read or not.
    async fn trim(&mut self) -> Result<(), OutboxError> {
        const TRIM_SQL: &str = "SELECT pregon.trim($1)";
        for _ in 0..PRUNES {
            let row = in_time(self.link.query_typed_one(TRIM_SQL, &[(&TRIM, Type::INT8)])).await?;
            let upto = number(&row, 0)?;
            if upto == 0 {
                return Ok(());
            }
            self.shared.with_ledger(|ledger| ledger.forget(upto));
            if upto > self.position {
                self.shared.dropped.fetch_max(upto, Ordering::AcqRel);
                tracing::warn!(
                    upto,
                    "the outbox has outgrown its limit: rows were dropped before they were read"
                );
            }
        }
        Ok(())
    }
}

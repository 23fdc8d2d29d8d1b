//! Looks around every second, more often when queued: what waits in the database, left by another process or due again, and what is old enough to go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pregon_capture::query::{Pool, QueryError};
use tokio_util::sync::CancellationToken;

use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;
use super::rules::Rules;
use super::stream::Stream;

/// Between two removals of what is old.
const PRUNE: Duration = Duration::from_secs(60);

/// Lanes that have something to do. Lane by lane, so that one with much to do hides none.
const LOOK: &str = "
    SELECT coalesce(string_agg(l.lane::text, ','), '') FROM generate_series(0, 63) AS l(lane) CROSS JOIN LATERAL (
      SELECT FROM pregon_router.work AS w
       WHERE w.lane = l.lane::smallint AND (w.due IS NULL OR w.due <= clock_timestamp())
         AND NOT EXISTS (SELECT FROM pregon_router.work AS h WHERE h.lane = w.lane AND h.who = w.who AND h.due > clock_timestamp())
       ORDER BY w.id LIMIT 1) AS first";

/// What waits, what is dead, and contacts that wait for an item that failed; counted up to a point.
const COUNT: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM pregon_router.work LIMIT 100000) AS seen)::text,
           (SELECT count(*) FROM (SELECT FROM pregon_router.dead_letter LIMIT 100000) AS seen)::text,
           (SELECT count(DISTINCT who) FROM pregon_router.work WHERE due IS NOT NULL)::text";

/// Between two counts, which cost more than a look when there is much.
const COUNTED: Duration = Duration::from_secs(1);

/// Deliveries of which nothing is left to do, and what was noted beside them; a few at a time.
const FORGET: &str = "
    WITH old AS (
      DELETE FROM pregon_router.inbox WHERE id IN (
        SELECT i.id FROM pregon_router.inbox AS i
         WHERE i.received < clock_timestamp() - make_interval(secs => $1::double precision)
           AND NOT EXISTS (SELECT 1 FROM pregon_router.work AS w WHERE w.delivery = i.id)
           AND NOT EXISTS (SELECT 1 FROM pregon_router.dead_letter AS d WHERE d.delivery = i.id)
         LIMIT 2000 FOR UPDATE SKIP LOCKED) RETURNING 1
    ), statuses AS (
      DELETE FROM pregon_router.status WHERE (numero, wamid) IN (
        SELECT s.numero, s.wamid FROM pregon_router.status AS s
         WHERE s.heard < clock_timestamp() - make_interval(secs => greatest($1::double precision, 2592000)) LIMIT 2000)
      RETURNING 1
    ), events AS (
      DELETE FROM pregon_router.event WHERE id IN (
        SELECT e.id FROM pregon_router.event AS e
         WHERE e.received < clock_timestamp() - make_interval(secs => $1::double precision) LIMIT 2000)
      RETURNING 1
    )
    , paces AS (DELETE FROM pregon_router.pace WHERE next < clock_timestamp() - interval '1 hour')
    SELECT ((SELECT count(*) FROM old) + (SELECT count(*) FROM statuses) + (SELECT count(*) FROM events))::text";

/// Seconds that a time zone is ahead of UTC now; PostgreSQL knows the zones.
pub(super) const OFFSET: &str = "
    SELECT extract(epoch FROM (now() AT TIME ZONE $1::text) - (now() AT TIME ZONE 'UTC'))::bigint::text";

/// What the sweep needs.
pub(super) struct Sweep {
    pub(super) pool: Pool,
    pub(super) lanes: Arc<Lanes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) keep: Duration,
    pub(super) rules: Arc<Rules>,
    pub(super) mode: Arc<Mode>,
}

impl Sweep {
    /// Sweeps until `stop`. Each chore by itself: one that fails keeps no other from its turn.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pruned: Option<Instant> = None;
        let mut counted: Option<Instant> = None;
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the inbox cannot be looked at");
            }
            if counted.is_none_or(|at| at.elapsed() >= COUNTED) {
                counted = Some(Instant::now());
                if let Err(error) = self.count().await {
                    tracing::warn!(%error, "what waits in the inbox cannot be counted");
                }
            }
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
                pruned = Some(Instant::now());
                self.tidy().await;
            }
            tokio::select! {
                () = tokio::time::sleep(self.mode.pause()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Result<(), QueryError> {
        let found = self.pool.query_text_value(LOOK, &[]).await?;
        let mut lanes = Set::default();
        for lane in found.split(',').filter_map(|lane| lane.parse().ok()) {
            lanes.add(lane);
        }
        self.lanes.mark(lanes);
        Ok(())
    }

    async fn count(&self) -> Result<(), QueryError> {
        let rows = self.pool.query_texts(COUNT, &[]).await?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter().flatten();
        for gauge in [&self.metrics.waiting, &self.metrics.dead, &self.metrics.held] {
            gauge.set(row.next().and_then(|count| count.parse().ok()).unwrap_or(0));
        }
        Ok(())
    }

    async fn tidy(&self) {
        if let Err(error) = self.take_offset().await {
            let zone = self.rules.zone();
            tracing::warn!(%error, zone, "the time zone of the rules cannot be asked for, they keep the offset that they have");
        }
        if let Err(error) = self.forget().await {
            tracing::warn!(%error, "old deliveries could not be removed");
        }
    }

    async fn take_offset(&self) -> Result<(), QueryError> {
        if let Some(zone) = self.rules.zone() {
            let offset = self.pool.query_text_value(OFFSET, &[Some(zone)]).await?;
            let offset = offset.parse();
            self.rules.set_offset(
                offset.map_err(|_| QueryError::Value("the offset of a time zone is not a number".into()))?,
            );
        }
        Ok(())
    }

    async fn forget(&self) -> Result<(), QueryError> {
        let seconds = self.keep.as_secs().to_string();
        loop {
            let gone = self.pool.query_text_value(FORGET, &[Some(&seconds)]).await?;
            if gone.parse::<u64>().unwrap_or(0) < 2000 {
                return Ok(());
            }
        }
    }
}

/// Looks for what waits in Redis, left by another process or, when queued, by ourselves; until `stop`.
pub(super) async fn streams(
    mut stream: Stream,
    lanes: &Lanes,
    mode: &Mode,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let mut told = false;
    loop {
        match stream.waiting().await {
            Ok((count, found)) => {
                told = false;
                metrics.streamed.set(i64::try_from(count).unwrap_or(i64::MAX));
                lanes.mark(found);
            }
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(%error, "the queue in redis cannot be looked at");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(mode.pause()) => {}
            () = stop.cancelled() => return,
        }
    }
}

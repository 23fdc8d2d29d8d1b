//! Looks around every second, more often when queued: what waits in the database, left by another process or due again, and what is old enough to go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pregon_capture::query::{Pool, QueryError};
use tokio_util::sync::CancellationToken;

use super::lanes::{Lanes, Set};
use super::metrics::Metrics;
use super::mode::Mode;
use super::rules::Rules;

/// Between two removals of what is old.
const PRUNE: Duration = Duration::from_secs(60);

/// Lanes whose work is due, what waits and what is dead; counted up to a point, because it is asked often.
const LOOK: &str = "
    SELECT coalesce((SELECT string_agg(lane::text, ',') FROM (
             SELECT DISTINCT lane FROM (SELECT lane FROM pregon_router.work
              WHERE due IS NULL OR due <= clock_timestamp() ORDER BY id LIMIT 5000) AS first) AS lanes), ''),
           (SELECT count(*) FROM (SELECT FROM pregon_router.work LIMIT 100000) AS seen)::text,
           (SELECT count(*) FROM (SELECT FROM pregon_router.dead_letter LIMIT 100000) AS seen)::text";

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
const OFFSET: &str = "
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
    /// Sweeps until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pruned: Option<Instant> = None;
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the inbox cannot be looked at");
            } else if pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
                pruned = Some(Instant::now());
                if let Err(error) = self.tidy().await {
                    tracing::warn!(%error, "old deliveries could not be removed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.mode.pause()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Result<(), QueryError> {
        let rows = self.pool.query_texts(LOOK, &[]).await?;
        let mut row = rows.into_iter().next().unwrap_or_default().into_iter().flatten();
        let mut lanes = Set::default();
        for lane in row.next().unwrap_or_default().split(',') {
            if let Ok(lane) = lane.parse() {
                lanes.add(lane);
            }
        }
        self.lanes.mark(lanes);
        for gauge in [&self.metrics.waiting, &self.metrics.dead] {
            gauge.set(row.next().and_then(|count| count.parse().ok()).unwrap_or(0));
        }
        Ok(())
    }

    async fn tidy(&self) -> Result<(), QueryError> {
        if let Some(zone) = self.rules.zone() {
            let offset = self.pool.query_text_value(OFFSET, &[Some(zone)]).await?;
            self.rules.set_offset(offset.parse().unwrap_or(0));
        }
        self.forget().await
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

//! Whether transactions that the WAL has are visible to queries yet. One that waits for a synchronous standby is not, although it is
//! written: a query would still find the rows as they were before it.

use std::time::Duration;

use tokio::time::Instant;

use crate::query::{Pool, QueryError, TextParam, column_text};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often a long wait is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

// The stream has the low half of a number; the whole is the nearest to the snapshot's own end.
const VISIBLE: &str = "
    SELECT coalesce(bool_and(pg_visible_in_snapshot(
             (top + CASE WHEN away >= 2147483648 THEN away - 4294967296 ELSE away END)::text::xid8, now)), true)::text
      FROM (SELECT now, pg_snapshot_xmax(now)::text::bigint AS top FROM (SELECT pg_current_snapshot() AS now) AS s) AS s
     CROSS JOIN LATERAL (SELECT (xid - top) & 4294967295 AS away FROM unnest($1::bigint[]) AS xid) AS x";

/// Waits until queries see these transactions, for as long as it takes: to go on would show old rows as new ones. Returns whether it had
/// to wait.
///
/// # Errors
///
/// The database cannot be asked.
pub async fn wait_visible(pool: &Pool, xids: &[u32]) -> Result<bool, QueryError> {
    let list: Vec<String> = xids.iter().map(u32::to_string).collect();
    let list = format!("{{{}}}", list.join(","));
    let mut pause = FIRST_PAUSE;
    let mut told = Instant::now();
    let mut waited = false;
    loop {
        let rows = pool.query_text(VISIBLE, &[&TextParam(Some(&list))]).await?;
        let visible = rows.first().map_or(Ok(None), |row| column_text(row, 0))?;
        if visible.as_deref() == Some("true") {
            return Ok(waited);
        }
        if told.elapsed() > TOLD_EVERY {
            tracing::warn!(
                "written changes are not visible yet: does a commit wait for a synchronous standby?"
            );
            told = Instant::now();
        }
        waited = true;
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

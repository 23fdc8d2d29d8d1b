//! Pieces of the table, in the order of the ids.
//!
//! The statements are prepared once for each session: a change that comes alone would otherwise wait longer for the server to plan
//! them than to carry them out. One row never stops all: a piece that the server cannot send, or not in time, is read again in smaller
//! ones, and the one row that is left is given on as a gap.

use std::time::{Duration, SystemTime};

use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

use super::OutboxError;
use super::attach::{LIMIT, Link, PATIENCE, in_time, number};
use super::row::{BEFORE, COLUMNS, Raw, micros};
use crate::wal::is_unsendable;

/// Rows and bytes of one piece: a few milliseconds of work.
const ROWS: i64 = 2000;
const BYTES: i64 = 4 << 20;
/// A piece that cannot be sent is cut in so many.
const CUT: i64 = 8;
/// For a row that is read alone: so long, and a second more for so many bytes.
const ALONE: u64 = 30;
const SLOWEST: u64 = 64 << 10;

/// Rows in rising order.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) rows: Vec<(u64, Raw)>,
    pub(super) bytes: usize,
    /// When the row behind which was read was written, in microseconds since 1970, where it is there.
    pub(super) before: Option<u64>,
    /// The last id, where there are more.
    pub(super) cut: Option<u64>,
}

/// What reads them, in one session.
#[derive(Debug)]
pub(super) struct Pieces {
    behind: Statement,
    within: Statement,
    /// At most so many: fewer after a piece that could not be sent.
    rows: i64,
}

/// Which rows are asked for.
#[derive(Debug, Clone, Copy)]
enum Range<'a> {
    Behind(i64),
    Within(&'a [i64], &'a [i64]),
}

impl Pieces {
    pub(super) async fn prepare(link: &Link) -> Result<Self, OutboxError> {
        const THREE: &[Type] = &[Type::INT8, Type::INT8, Type::INT8];
        const RANGES: &[Type] = &[Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8, Type::INT8];
        let (behind, within) = (
            READ.replace("{columns}", COLUMNS),
            FILL.replace("{columns}", COLUMNS),
        );
        Ok(Self {
            behind: in_time(link.prepare_typed(&behind, THREE)).await?,
            within: in_time(link.prepare_typed(&within, RANGES)).await?,
            rows: ROWS,
        })
    }

    /// The first rows behind an id.
    pub(super) async fn behind(&mut self, link: &Link, id: i64) -> Result<Piece, OutboxError> {
        self.read(link, Range::Behind(id)).await
    }

    /// The first rows of ranges, which stand in rising order.
    pub(super) async fn within(
        &mut self,
        link: &Link,
        first: &[i64],
        last: &[i64],
    ) -> Result<Piece, OutboxError> {
        self.read(link, Range::Within(first, last)).await
    }

    async fn read(&mut self, link: &Link, range: Range<'_>) -> Result<Piece, OutboxError> {
        loop {
            match self.piece(link, range).await {
                Ok(piece) => {
                    self.rows = (self.rows * 2).min(ROWS);
                    return Ok(piece);
                }
                Err(error) if !concerns_rows(&error) => return Err(error),
                Err(_) if self.rows > 1 => self.rows /= CUT.min(self.rows),
                Err(error) => {
                    tracing::debug!(%error, "a row of the outbox is read alone");
                    if let Some(piece) = alone(link, range).await? {
                        return Ok(piece);
                    }
                }
            }
        }
    }

    async fn piece(&self, link: &Link, range: Range<'_>) -> Result<Piece, OutboxError> {
        let found = match &range {
            Range::Behind(id) => {
                let params: [&(dyn ToSql + Sync); 3] = [id, &self.rows, &BYTES];
                link.while_it_moves(PATIENCE, link.query(&self.behind, &params))
                    .await?
            }
            Range::Within(first, last) => {
                let params: [&(dyn ToSql + Sync); 4] = [first, last, &self.rows, &BYTES];
                link.while_it_moves(PATIENCE, link.query(&self.within, &params))
                    .await?
            }
        };
        let mut rows = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for row in &found {
            let (id, raw) = Raw::read(row)?;
            bytes += raw.size();
            rows.push((id, raw));
        }
        if !rows.is_sorted_by_key(|(id, _)| *id) {
            return Err(OutboxError::Lost(
                "rows came in another order than asked for".to_owned(),
            ));
        }
        let full = |limit: i64, number: usize| usize::try_from(limit).is_ok_and(|limit| number >= limit);
        let cut = full(self.rows, rows.len()) || full(BYTES, bytes);
        let last = rows.last().map(|(id, _)| *id);
        let before = match range {
            Range::Behind(_) => found
                .first()
                .and_then(|row| row.try_get::<_, Option<SystemTime>>(BEFORE).transpose()),
            Range::Within(..) => None,
        };
        Ok(Piece {
            rows,
            bytes,
            before: before.transpose()?.map(micros),
            cut: last.filter(|_| cut),
        })
    }
}

/// Whether fewer rows, or others, may be sent all the same.
fn concerns_rows(error: &OutboxError) -> bool {
    match error {
        // 57014: not in time. XX001: what the table keeps of a row is damaged.
        OutboxError::Sql { code, message } => {
            is_unsendable(code, message) || ["57014", "XX001", "53200"].contains(&code.as_str())
        }
        _ => false,
    }
}

/// The first row of a range, with more time, or a gap in its place; `None` if it has gone.
async fn alone(link: &Link, range: Range<'_>) -> Result<Option<Piece>, OutboxError> {
    let found = match &range {
        Range::Behind(id) => in_time(link.query_typed_opt(FIRST, &[(id, Type::INT8)])).await?,
        Range::Within(first, last) => {
            let ranges: [(&(dyn ToSql + Sync), Type); 2] =
                [(first, Type::INT8_ARRAY), (last, Type::INT8_ARRAY)];
            in_time(link.query_typed_opt(FIRST_OF, &ranges)).await?
        }
    };
    let Some(found) = found else { return Ok(None) };
    let (id, size) = (found.try_get::<_, i64>(0)?, number(&found, 3)?);
    let seconds = ALONE + size / SLOWEST;
    let set = |limit: &str| format!("SET statement_timeout = {limit}");
    in_time(link.batch_execute(&set(&format!("'{seconds}s'")))).await?;
    let one = format!("SELECT {COLUMNS} FROM pregon.outbox AS o WHERE o.id = $1");
    // The server gives up first, so that the session stays.
    let patience = Duration::from_secs(seconds) + PATIENCE;
    let params: [(&(dyn ToSql + Sync), Type); 1] = [(&id, Type::INT8)];
    let read = link
        .while_it_moves(patience, link.query_typed_opt(&one, &params))
        .await;
    in_time(link.batch_execute(&set(LIMIT))).await?;
    let (id, raw) = match read {
        Ok(None) => return Ok(None),
        Ok(Some(row)) => Raw::read(&row)?,
        Err(error) if concerns_rows(&error) => {
            tracing::warn!(id, size, reason = %error, "a row of the outbox cannot be read: it becomes a gap");
            Raw::unreadable(&found, &error.coded())?
        }
        Err(error) => return Err(error),
    };
    Ok(Some(Piece {
        bytes: raw.size(),
        before: None,
        rows: vec![(id, raw)],
        cut: Some(id),
    }))
}

/// A piece of the rows behind `$1`: at most `$2` rows, and none that begins beyond `$3` bytes. The length of a stored value is known
/// without reading it.
const READ: &str = "SELECT {columns}, (SELECT w.at FROM pregon.outbox AS w WHERE w.id = $1) FROM (
      SELECT p.*, sum(coalesce(octet_length(p.row), 0) + coalesce(octet_length(p.old), 0))
               OVER (ORDER BY p.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM (SELECT * FROM pregon.outbox WHERE id > $1 ORDER BY id LIMIT $2) AS p) AS o
     WHERE coalesce(o.before, 0) < $3 ORDER BY o.id";

/// The same of ranges, which stand in rising order: a nested loop is the only plan there is and keeps it.
const FILL: &str = "SELECT {columns} FROM (
      SELECT p.*, sum(coalesce(octet_length(p.row), 0) + coalesce(octet_length(p.old), 0))
               OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM (SELECT r.* FROM unnest($1::bigint[], $2::bigint[]) AS g (first, last)
                CROSS JOIN LATERAL (SELECT * FROM pregon.outbox WHERE id BETWEEN g.first AND g.last ORDER BY id) AS r
               LIMIT $3) AS p) AS o
     WHERE coalesce(o.before, 0) < $4";

/// What can be read of the first row behind `$1` in any case.
const FIRST: &str = "SELECT o.id, o.watch, o.at, (coalesce(octet_length(o.row), 0) + coalesce(octet_length(o.old), 0))::bigint
      FROM pregon.outbox AS o WHERE o.id > $1 ORDER BY o.id LIMIT 1";

/// The same of ranges.
const FIRST_OF: &str = "SELECT o.id, o.watch, o.at, (coalesce(octet_length(o.row), 0) + coalesce(octet_length(o.old), 0))::bigint
      FROM unnest($1::bigint[], $2::bigint[]) AS g (first, last)
           CROSS JOIN LATERAL (SELECT * FROM pregon.outbox WHERE id BETWEEN g.first AND g.last ORDER BY id LIMIT 1) AS o LIMIT 1";

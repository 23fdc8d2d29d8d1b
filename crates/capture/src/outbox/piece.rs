//! Pieces of the table, in the order of the ids.
//!
//! The two statements are prepared once for each session: a change that comes alone would otherwise wait longer for the server to plan
//! them than to carry them out.

use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

use super::OutboxError;
use super::attach::{Link, in_time};
use super::row::{COLUMNS, Raw};

/// Rows and bytes of one piece: a few milliseconds of work.
const ROWS: i64 = 2000;
const BYTES: i64 = 4 << 20;

/// Rows in rising order.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) rows: Vec<(u64, Raw)>,
    pub(super) bytes: usize,
    /// The last id, where there are more.
    pub(super) cut: Option<u64>,
}

/// What reads them, in one session.
#[derive(Debug)]
pub(super) struct Pieces {
    behind: Statement,
    within: Statement,
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
        })
    }

    /// The first rows behind an id.
    pub(super) async fn behind(&self, link: &Link, id: i64) -> Result<Piece, OutboxError> {
        piece(link, &self.behind, &[&id, &ROWS, &BYTES]).await
    }

    /// The first rows of ranges, which stand in rising order.
    pub(super) async fn within(
        &self,
        link: &Link,
        first: &[i64],
        last: &[i64],
    ) -> Result<Piece, OutboxError> {
        piece(link, &self.within, &[&first, &last, &ROWS, &BYTES]).await
    }
}

async fn piece(
    link: &Link,
    statement: &Statement,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Piece, OutboxError> {
    let found = in_time(link.query(statement, params)).await?;
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
    let cut = full(ROWS, rows.len()) || full(BYTES, bytes);
    let last = rows.last().map(|(id, _)| *id);
    Ok(Piece {
        rows,
        bytes,
        cut: last.filter(|_| cut),
    })
}

/// A piece of the rows behind `$1`: at most `$2` rows, and none that begins beyond `$3` bytes. The length of a stored value is known
/// without reading it.
const READ: &str = "SELECT {columns} FROM (
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

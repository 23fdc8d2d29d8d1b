//! Reads what emitters of Socket.IO store in a table of theirs because a notification could not carry it.

use bytes::Bytes;

use crate::catalog::names::{ident, qualified, split_qualified};
use crate::connect::chain;
use crate::query::{Pool, QueryError};

/// The table of attachments. Reading needs SELECT on it and nothing else.
#[derive(Debug, Clone)]
pub struct Attachments {
    sql: String,
}

/// What the table has for an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    Payload(Bytes),
    /// Never stored, or deleted already: the adapters delete after 30 s.
    Missing,
    /// Larger than asked for, so it was not read.
    TooLarge,
}

impl Attachments {
    /// `table` or `schema.table`, either part quoted or not.
    pub fn new(table: &str) -> Self {
        let table = match split_qualified(table) {
            (Some(schema), table) => qualified(&schema, &table),
            (None, table) => ident(&table),
        };
        // The length of a stored value is known without reading it.
        let payload = "CASE WHEN pg_catalog.octet_length(payload) <= $2::bigint THEN payload END";
        Self {
            sql: format!("SELECT {payload} FROM {table} WHERE id = $1::bigint"),
        }
    }

    /// The query, to be examined beforehand.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Reads a row of at most `most` bytes.
    pub async fn fetch(&self, pool: &Pool, id: i64, most: usize) -> Result<Attachment, QueryError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = pool.query_text(&self.sql, &[&id, &most]).await?;
        let Some(row) = rows.first() else {
            return Ok(Attachment::Missing);
        };
        let payload: Option<Vec<u8>> = row.try_get(0).map_err(|error| QueryError::Value(chain(&error)))?;
        Ok(payload.map_or(Attachment::TooLarge, |payload| {
            Attachment::Payload(payload.into())
        }))
    }
}

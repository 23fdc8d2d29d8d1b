//! How slot and publication are: whether every watched table is published, and how much WAL is kept for us.

use serde::Deserialize;
use serde_json::json;

use crate::catalog::names::spelt;
use crate::install::WatchSpec;
use crate::query::{Pool, QueryError};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// The publication is there.
    pub published: bool,
    /// Watched tables that are not in the publication.
    pub missing: Vec<String>,
    /// WAL that the slot keeps, in bytes.
    pub retained: u64,
    /// How much more it may keep; absent without a limit.
    pub safe: Option<i64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub status: String,
}

impl Health {
    /// Half of what the slot may keep is used, so that it will be lost if this goes on.
    pub fn is_alarming(&self) -> bool {
        let used = i64::try_from(self.retained).unwrap_or(i64::MAX);
        self.status == "unreserved" || self.safe.is_some_and(|safe| used > safe.max(0))
    }
}

const SQL: &str = "
    SELECT EXISTS (SELECT 1 FROM pg_publication WHERE pubname = $1::text) AS published,
           coalesce((SELECT json_agg(json_build_array(w->>0, w->>1)) FROM json_array_elements($2::json) AS w
              WHERE NOT EXISTS (
                SELECT 1 FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
                  JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE p.pubname = $1::text AND n.nspname = w->>0 AND c.relname = w->>1)), '[]'::json) AS missing,
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS retained,
           s.safe_wal_size AS safe, coalesce(s.wal_status, 'lost') AS status
      FROM (SELECT 1) AS one LEFT JOIN pg_replication_slots s ON s.slot_name = $1::text";

#[derive(Deserialize)]
struct Row {
    published: bool,
    missing: Vec<(String, String)>,
    retained: i64,
    safe: Option<i64>,
    status: String,
}

/// Looks; any role may.
pub async fn health(pool: &Pool, slot: &str, watches: &[WatchSpec]) -> Result<Health, QueryError> {
    let tables: Vec<_> = watches
        .iter()
        .map(|watch| json!([watch.schema, watch.table]))
        .collect();
    let rows = pool.query_json(SQL, &[json!(slot), json!(tables)]).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let row: Row = serde_json::from_value(row).map_err(|error| QueryError::Value(error.to_string()))?;
    let missing = row.missing.iter();
    Ok(Health {
        published: row.published,
        missing: missing
            .map(|(schema, table)| format!("{}.{}", spelt(schema), spelt(table)))
            .collect(),
        retained: u64::try_from(row.retained).unwrap_or_default(),
        safe: row.safe,
        status: row.status,
    })
}

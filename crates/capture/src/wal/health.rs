//! How slot and publication are: whether everything that the watches cover is published as it should be, how much WAL is kept for us,
//! and who holds it up.

use serde::Deserialize;
use serde_json::json;

use crate::change::Op;
use crate::install::WatchSpec;
use crate::query::{Pool, QueryError};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// Which publication it is, and in which version; absent without one.
    pub publication: Option<String>,
    /// What it has of the watched tables, by identity: another text means that something may not have been published meanwhile.
    pub seal: String,
    /// What is not captured, or not whole, and an installation mends.
    pub missing: Vec<String>,
    /// What keeps changes from arriving, and somebody has to see to.
    pub blocked: Vec<String>,
    /// Slots of standbys that the server waits for before it streams anything, and that nobody reads.
    pub standbys: Vec<String>,
    /// WAL that the slot keeps, in bytes.
    pub retained: i64,
    /// How much more it may keep; absent without a limit.
    pub safe: Option<i64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub status: String,
    /// Who has the oldest open transaction of the server, of whatever database: the slot keeps the WAL from there on.
    pub oldest: Option<String>,
}

impl Health {
    /// Half of what the slot may keep is used, so that it will be lost if this goes on.
    pub fn is_alarming(&self) -> bool {
        self.status == "unreserved" || self.safe.is_some_and(|safe| self.retained > safe.max(0))
    }

    /// Why not everything arrives; empty where it does.
    pub fn in_short(&self) -> String {
        let standbys = (!self.standbys.is_empty()).then(|| {
            let slots = self.standbys.join(", ");
            format!("the server streams nothing until standbys have it, and nobody reads {slots}")
        });
        let all = self.missing.iter().chain(&self.blocked).cloned().chain(standbys);
        all.collect::<Vec<_>>().join("; ")
    }

    /// Everything that is watched arrives.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.blocked.is_empty() && self.standbys.is_empty()
    }
}

// A partition goes through its root; one that inherits has to be in the publication itself.
const SQL: &str = "
    WITH RECURSIVE wanted AS (
      SELECT w->>0 AS schema, w->>1 AS name, (w->>2)::boolean AS whole, c.oid, c.relkind, c.relreplident
        FROM json_array_elements($2::json) AS w
        LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON n.nspname = w->>0 AND c.relname = w->>1),
    covered AS (
      SELECT oid, relkind = 'p' AS through_root, whole AND relreplident = 'f' AS whole FROM wanted WHERE oid IS NOT NULL
      UNION SELECT i.inhrelid, c.through_root, c.whole FROM covered c JOIN pg_inherits i ON i.inhparent = c.oid),
    above AS (
      SELECT oid AS watched, oid FROM wanted WHERE oid IS NOT NULL
      UNION SELECT a.watched, i.inhparent FROM above a JOIN pg_class c ON c.oid = a.oid AND c.relispartition JOIN pg_inherits i ON i.inhrelid = a.oid),
    tables AS (
      SELECT c.oid, c.relkind, c.relreplident, format('%I.%I', n.nspname, c.relname) AS name, bool_and(v.through_root) AS through_root, bool_or(v.whole) AS whole
        FROM covered v JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relpersistence = 'p' GROUP BY 1, 2, 3, 4),
    published AS (
      SELECT r.oid, r.xmin, r.prrelid, to_jsonb(r)->>'prqual' IS NOT NULL AS filtered, to_jsonb(r)->>'prattrs' IS NOT NULL AS narrow
        FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1::text),
    missing AS (
      SELECT 1 AS nr, format('%I.%I', w.schema, w.name) AS name, '%s is not in the publication' AS text FROM wanted w
       WHERE NOT EXISTS (SELECT 1 FROM published p WHERE p.prrelid = w.oid)
      UNION SELECT 1, t.name, '%s is not in the publication' FROM tables t
       WHERE t.relkind = 'r' AND NOT t.through_root AND NOT EXISTS (SELECT 1 FROM published p WHERE p.prrelid = t.oid)
      UNION SELECT 2, t.name, 'the publication has some rows or columns of %s only' FROM tables t JOIN published p ON p.prrelid = t.oid
       WHERE p.filtered OR p.narrow
      UNION SELECT 3, t.name, '%s logs keys where whole old rows are needed' FROM tables t
       WHERE t.whole AND t.relkind = 'r' AND t.relreplident <> 'f'
      UNION SELECT 4, p.pubname, 'the publication %s leaves out operations, or names partitions' FROM pg_publication p
       WHERE p.pubname = $1::text AND NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot))
    SELECT (SELECT p.oid || '/' || p.xmin FROM pg_publication p WHERE p.pubname = $1::text) AS publication,
           coalesce((SELECT string_agg(concat_ws('/', p.oid, p.xmin, p.prrelid), ' ' ORDER BY p.oid) FROM published p JOIN tables t ON t.oid = p.prrelid),
                    '') AS seal,
           coalesce((SELECT json_agg(format(m.text, m.name) ORDER BY m.nr, m.name) FROM missing m), '[]'::json) AS missing,
           coalesce((SELECT json_agg(b.text ORDER BY b.text) FROM (
                       SELECT format('%s is a foreign table: what is written to it is not in this server''s WAL', t.name) AS text
                         FROM tables t WHERE t.relkind = 'f'
                       UNION SELECT format('%s is a partition of %s, which is watched too: its changes arrive under that name only',
                                           format('%I.%I', w.schema, w.name), a.oid::regclass)
                         FROM above a JOIN wanted w ON w.oid = a.watched JOIN published p ON p.prrelid = a.oid AND a.oid <> a.watched) AS b),
                    '[]'::json) AS blocked,
           coalesce((SELECT json_agg(name) FROM unnest(string_to_array(replace(current_setting('synchronized_standby_slots', true), ' ', ''), ',')) AS name
                      WHERE (to_jsonb(s)->>'failover')::boolean AND name <> ''
                        AND NOT EXISTS (SELECT 1 FROM pg_replication_slots o WHERE o.slot_name = name AND o.active)), '[]'::json) AS standbys,
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS retained,
           s.safe_wal_size AS safe, coalesce(s.wal_status, 'lost') AS status, NULL AS oldest
      FROM (SELECT 1) AS one LEFT JOIN pg_replication_slots s ON s.slot_name = $1::text";

/// The oldest open transaction of the server. Any role sees who holds its number.
pub(crate) const OLDEST: &str = "
    SELECT CASE WHEN l.pid IS NULL THEN 'a prepared transaction (pg_prepared_xacts)'
                ELSE format('pid %s in database %s', l.pid, coalesce(a.datname, '?')) END AS oldest
      FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted ORDER BY age(l.transactionid) DESC LIMIT 1";

/// Looks; any role may.
pub async fn health(pool: &Pool, slot: &str, watches: &[WatchSpec]) -> Result<Health, QueryError> {
    let tables: Vec<_> = watches.iter().map(wanted).collect();
    let rows = pool.query_json(SQL, &[json!(slot), json!(tables)]).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let mut health: Health =
        serde_json::from_value(row).map_err(|error| QueryError::Value(error.to_string()))?;
    if health.is_alarming() {
        let rows = pool.query_json(OLDEST, &[]).await?;
        let oldest = rows.first().and_then(|row| row.get("oldest")?.as_str());
        health.oldest = oldest.map(str::to_owned);
    }
    Ok(health)
}

/// A watch as the query takes it: its table, and whether it needs whole old rows where its key does not do.
fn wanted(watch: &WatchSpec) -> serde_json::Value {
    let has = |op: Op| watch.operations.contains(&op);
    let old = watch.old && has(Op::Update);
    let decided = watch.condition.is_some() && (has(Op::Update) || has(Op::Delete));
    json!([watch.schema, watch.table, old || decided])
}

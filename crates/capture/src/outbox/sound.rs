//! Whether the outbox can take and give rows, asked at the beginning of a session and every second of it: what somebody may do to our
//! tables must neither make the application's writes fail (the triggers see to that) nor go unnoticed (this does).

use tokio_postgres::types::Type;

use super::OutboxError;
use super::attach::{Link, in_time, number};
use crate::fault::advised;

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// The file of the table: another one after TRUNCATE and whatever writes the table anew.
    pub(super) file: u32,
    /// How often a transaction had to go on without its changes.
    pub(super) missed: u64,
    /// No transaction that was open at an earlier look is still open.
    pub(super) settled: bool,
    /// Beyond every transaction of this moment.
    pub(super) horizon: String,
}

/// Mends what can be mended; an error says what cannot. `earlier` is the horizon of the look that asks whether it has passed.
pub(super) async fn look(link: &Link, table: u32, earlier: &str) -> Result<Condition, OutboxError> {
    const FLAW: &str = "SELECT pregon.flaw(clock_timestamp())";
    const LOOK: &str = "SELECT pregon.mend(), coalesce(pg_relation_filenode($1), 0),
             (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM pregon.seq s),
             pg_snapshot_xmin(w.now) >= $2::text::xid8, pg_snapshot_xmax(w.now)::text
        FROM pg_current_snapshot() AS w (now)";
    let flaw = in_time(link.query_typed_one(FLAW, &[])).await.map_err(missing)?;
    if let Some(reason) = flaw.try_get::<_, Option<String>>(0)? {
        return Err(OutboxError::Flawed(reason));
    }
    let row = in_time(link.query_typed_one(LOOK, &[(&table, Type::OID), (&earlier, Type::TEXT)]))
        .await
        .map_err(missing)?;
    if !row.try_get::<_, bool>(0)? {
        return Err(OutboxError::Flawed(
            "pregon.outbox: its sequence is at its end".to_owned(),
        ));
    }
    Ok(Condition {
        file: row.try_get(1)?,
        missed: number(&row, 2)?,
        settled: row.try_get(3)?,
        horizon: row.try_get(4)?,
    })
}

/// Functions of ours that were dropped, or are of an earlier version.
fn missing(error: OutboxError) -> OutboxError {
    match error {
        OutboxError::Sql { code, message } if ["42883", "42P01", "3F000"].contains(&code.as_str()) => {
            OutboxError::Flawed(format!("{message}: run `pregon db apply`"))
        }
        other => other,
    }
}

/// What to do about a flaw that `pregon.flaw` has named.
pub(crate) fn remedy(reason: &str) -> String {
    let table = reason.split(':').next().unwrap_or_default();
    let advice = [
        (
            "is missing",
            "run `pregon db apply`: clients are told of a gap".to_owned(),
        ),
        ("may not use it", "run `pregon db apply`".to_owned()),
        ("db apply", "run `pregon db apply`".to_owned()),
        (
            "row level security",
            format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
        ),
        ("UNLOGGED", format!("ALTER TABLE {table} SET LOGGED")),
        (
            "lacks a right",
            format!("GRANT ALL ON {table} TO its owner, who also owns the functions in schema pregon"),
        ),
        (
            "no USAGE",
            "GRANT USAGE ON SCHEMA pregon TO the owner of its functions".to_owned(),
        ),
    ];
    advised(reason, advice)
}

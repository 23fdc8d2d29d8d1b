//! Whether notifications can carry changes: what somebody may do to our sequence, to the table of large payloads or to rights on them makes no write
//! fail (the triggers see to that), and does not go unnoticed.

use crate::fault::advised;
use crate::query::{Pool, QueryError, column_text};

/// Why they cannot, in words; no row where nothing is wrong. Any role may ask.
pub(crate) const FLAW: &str = include_str!("../../sql/notify_flaw.sql");

/// Why changes that travel by NOTIFY are lost or become gaps, if they are.
pub async fn notify_flaw(pool: &Pool) -> Result<Option<String>, QueryError> {
    let rows = pool.query_text(FLAW, &[]).await?;
    rows.first().map_or(Ok(None), |row| column_text(row, 0))
}

/// What to do about it.
pub(crate) fn notify_remedy(reason: &str) -> String {
    let object = reason.split(':').next().unwrap_or_default();
    let advice = [
        ("is missing", "pregon db apply".to_owned()),
        ("row level security", format!("ALTER TABLE {object} DISABLE ROW LEVEL SECURITY")),
        ("lacks a right", format!("GRANT ALL ON {object} TO the role that is named")),
        ("pregon.fit: role", "pregon db apply, or GRANT EXECUTE ON FUNCTION pregon.fit(text, text, text) TO the role that is named".to_owned()),
        ("may not use it", format!("GRANT USAGE ON SEQUENCE {object} TO the role that is named")),
        ("no USAGE", "GRANT USAGE ON SCHEMA pregon TO the role that is named".to_owned()),
        (
            "at its end",
            format!("ALTER SEQUENCE {object} INCREMENT 1 MAXVALUE 9223372036854775807 CYCLE"),
        ),
    ];
    advised(reason, advice)
}

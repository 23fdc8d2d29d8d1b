//! Whose turn it is to read for all gateways that share a log: an advisory lock, which ends with the connection that holds it.
//!
//! The server frees the lock of a process that is frozen, too (14 and later): whoever holds it is asked for a sign of life every second. A
//! lock is no fence: what its former holder still appends is refused because somebody else has appended for the source.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};

use super::{FramesError, in_time};
use crate::connect::{Session, Settings};

/// Between two attempts, with a random part, so that waiting gateways do not ask in step.
const RETRY: Duration = Duration::from_millis(200);

/// Between two signs of life.
const PULSE: Duration = Duration::from_secs(1);

/// After so long without a sign the server takes the lock away.
const IDLE: &[(&str, &str)] = &[("idle_session_timeout", "8000")];

/// A session that waits for the lock, or holds it.
#[derive(Debug)]
pub struct Turn {
    session: Session,
    key: String,
    /// The lock that all share.
    present: String,
    pid: i32,
}

/// The lock of the text `$1`, in this database.
const HELD: &str = "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
     AND (l.classid::bigint << 32) + l.objid::bigint = hashtextextended($1, 0) \
     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())";

impl Turn {
    pub(super) async fn open(settings: &Settings, log: &str) -> Result<Self, FramesError> {
        let session = settings.with_settings(IDLE).open().await?;
        let row =
            in_time(session.query_typed_one("SELECT pg_backend_pid(), pg_is_in_recovery()", &[])).await?;
        if row.try_get(1)? {
            return Err(FramesError::Standby);
        }
        let turn = Self {
            pid: row.try_get(0)?,
            key: format!("pregon turn {log}"),
            present: format!("pregon node {log}"),
            session,
        };
        // Whoever is there shares another lock, and is counted by that.
        const PRESENT: &str = "SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0))";
        in_time(
            turn.session
                .query_typed_one(PRESENT, &[(&turn.present, Type::TEXT)]),
        )
        .await?;
        Ok(turn)
    }

    /// How many gateways share the log now, this one included. It looks through all locks of the server.
    pub async fn nodes(&self) -> Result<i64, FramesError> {
        let sql = format!("SELECT count(*) FROM pg_locks l WHERE {HELD}");
        let row = in_time(self.session.query_typed_one(&sql, &[(&self.present, Type::TEXT)])).await?;
        Ok(row.try_get(0)?)
    }

    /// Asks once, without waiting; whether it is this gateway's turn now. If not, it is another one's.
    pub async fn take(&self) -> Result<bool, FramesError> {
        const TRY: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
        let row = in_time(self.session.query_typed_one(TRY, &[(&self.key, Type::TEXT)])).await?;
        Ok(row.try_get(0)?)
    }

    /// Whose turn it is: the name in `pg_stat_activity`. It looks through all locks of the server, so not to be asked all the time.
    pub async fn holder(&self) -> Result<String, FramesError> {
        let who = format!(
            "SELECT coalesce(a.application_name, '?') FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
             WHERE l.pid <> $2 AND {HELD}"
        );
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&self.key, Type::TEXT), (&self.pid, Type::INT4)];
        let row = in_time(self.session.query_typed_opt(&who, &params)).await?;
        let name = row.map(|row| row.try_get(0)).transpose()?;
        Ok(name.unwrap_or_default())
    }

    /// Waits a moment before the next attempt.
    pub async fn pause() {
        tokio::time::sleep(RETRY.mul_f64(rand::random_range(0.75..1.25))).await;
    }

    /// Gives the next sign of life; how many gateways there are, or why the turn is over.
    pub async fn hold(&self) -> Result<i64, FramesError> {
        tokio::time::sleep(PULSE).await;
        self.nodes().await
    }
}

//! Who holds delivery back: transactions that have written into the outbox and are still open.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::gate::Holder;

/// Those who hold the lock of writers on the outbox `$1`, but for the sessions `$2` of our own.
macro_rules! writers {
    ($columns:literal, $more:literal, $modes:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM pg_catalog.pg_locks l ",
            $more,
            " WHERE l.locktype = 'relation' AND l.relation = $1 AND l.mode ",
            $modes,
            " AND l.granted \
               AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
               AND (l.pid IS NULL OR l.pid <> ALL ($2))"
        )
    };
}

const HOLDERS: &str = writers!("l.virtualtransaction, l.pid IS NULL", "", "= 'RowExclusiveLock'");

/// Also those who are about to write: they take the weaker lock when they look at the bell.
const LOOKERS: &str = writers!(
    "DISTINCT l.virtualtransaction",
    "",
    "IN ('RowExclusiveLock', 'AccessShareLock')"
);

const BLOCKERS: &str = concat!(
    writers!(
        "l.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, ''), \
         extract(epoch FROM clock_timestamp() - a.xact_start)::float8",
        "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid",
        "= 'RowExclusiveLock'"
    ),
    " ORDER BY a.xact_start NULLS LAST LIMIT 5"
);

/// An open transaction that has written.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocker {
    /// None for a transaction that was prepared for two-phase commit.
    pub pid: Option<i32>,
    pub user: String,
    pub application: String,
    /// Empty where this role may not see it.
    pub state: String,
    /// Seconds since it began, where this role may see that.
    pub age: Option<f64>,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(pid) = self.pid else {
            return f.write_str("a prepared transaction");
        };
        write!(
            f,
            "pid {pid} (user {}, application \"{}\"",
            self.user, self.application
        )?;
        if !self.state.is_empty() {
            write!(f, ", {}", self.state)?;
        }
        if let Some(age) = self.age {
            write!(f, ", open for {age:.0} s")?;
        }
        f.write_str(")")
    }
}

/// Delivery waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Stall {
    pub lasts: Duration,
    pub blockers: Vec<Blocker>,
}

/// Who holds the lock at this moment.
pub(super) async fn holders(
    client: &Client,
    outbox: u32,
    ours: &[i32],
) -> Result<Vec<Holder>, tokio_postgres::Error> {
    let rows = client
        .query_typed(HOLDERS, &[(&outbox, Type::OID), (&ours, Type::INT4_ARRAY)])
        .await?;
    let holder = |row: &Row| {
        Ok(Holder {
            transaction: row.try_get::<_, String>(0)?.into(),
            prepared: row.try_get(1)?,
        })
    };
    rows.iter().map(holder).collect()
}

/// The same with names, the oldest first.
pub(crate) async fn blockers(
    client: &Client,
    outbox: u32,
    ours: &[i32],
) -> Result<Vec<Blocker>, tokio_postgres::Error> {
    let rows = client
        .query_typed(BLOCKERS, &[(&outbox, Type::OID), (&ours, Type::INT4_ARRAY)])
        .await?;
    let blocker = |row: &Row| {
        Ok(Blocker {
            pid: row.try_get(0)?,
            user: row.try_get(1)?,
            application: row.try_get(2)?,
            state: row.try_get(3)?,
            age: row.try_get(4)?,
        })
    };
    rows.iter().map(blocker).collect()
}

/// The transactions that may have looked at the bell before now and not written yet, or not committed.
pub(super) async fn lookers(
    client: &Client,
    outbox: u32,
    ours: &[i32],
) -> Result<Vec<Box<str>>, tokio_postgres::Error> {
    let rows = client
        .query_typed(LOOKERS, &[(&outbox, Type::OID), (&ours, Type::INT4_ARRAY)])
        .await?;
    rows.iter()
        .map(|row| Ok(row.try_get::<_, String>(0)?.into()))
        .collect()
}

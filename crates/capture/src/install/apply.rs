//! Runs a plan: one transaction, one advisory lock, short lock waits and patience.
//!
//! A DDL statement that waits for a table's lock makes every later writer wait behind it, so it waits half a second, gives
//! up, and tries again later. Every step may be run twice: a second node that waited for the first repeats what is there.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::error::server_words;
use super::plan::{Plan, Step, StepKind};
use super::{ADVISORY_LOCK, InstallError, roles};

/// 0.1 s, 0.2 s … 3 s between attempts: about half a minute in all.
const ATTEMPTS: u32 = 14;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A longer write than that should be known to whoever installs.
const SLOT_TIMEOUT: &str = "SET statement_timeout = '20s'";
/// Not a RESET, which would bring back what the role has as its default.
const NO_TIMEOUT: &str = "SET statement_timeout = 0";

/// Applies the steps, all or none, and calls `log` for each of them once they are committed.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    log: &mut (dyn FnMut(&Step) + Send),
) -> Result<(), InstallError> {
    if plan.is_empty() {
        return Ok(());
    }
    slots(client, plan, StepKind::DropSlot, log).await?;
    transaction(client, plan, log).await?;
    mend(client).await?;
    slots(client, plan, StepKind::CreateSlot, log).await
}

/// Rows of the outbox that were copied from another database must not be in the way of the next write.
async fn mend(client: &Client) -> Result<(), InstallError> {
    const THERE: &str = "SELECT to_regprocedure('pregon.mend()') IS NOT NULL";
    if client.query_one(THERE, &[]).await?.try_get(0)? {
        client.batch_execute("SELECT pregon.mend()").await?;
    }
    Ok(())
}

/// Slots know no transactions: one after the other, each for good. A new one waits until the running writes have ended.
async fn slots(
    client: &Client,
    plan: &Plan,
    kind: StepKind,
    log: &mut (dyn FnMut(&Step) + Send),
) -> Result<(), InstallError> {
    for step in plan.steps.iter().filter(|step| step.kind == kind) {
        client.batch_execute(SLOT_TIMEOUT).await?;
        let done = client.batch_execute(&step.sql).await;
        client.batch_execute(NO_TIMEOUT).await?;
        match done {
            Ok(()) => log(step),
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                return Err(InstallError::SlotWaits {
                    running: running(client).await,
                });
            }
            // Another node was quicker.
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => {}
            Err(error) => {
                let object = step.object.clone();
                return Err(Failure { object, error }.into());
            }
        }
    }
    Ok(())
}

/// The transactions that a new slot waits for.
async fn running(client: &Client) -> String {
    const SQL: &str = "
        SELECT coalesce(string_agg(format('pid %s of %s in database %s since %s', pid, coalesce(usename, '?'), coalesce(datname, '?'), xact_start), ', '), '')
          FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()";
    let row = client.query_one(SQL, &[]).await;
    row.and_then(|row| row.try_get(0)).unwrap_or_default()
}

async fn transaction(
    client: &Client,
    plan: &Plan,
    log: &mut (dyn FnMut(&Step) + Send),
) -> Result<(), InstallError> {
    if plan.steps.iter().all(|step| step.kind.is_apart()) {
        return Ok(());
    }
    let mut pause = FIRST_PAUSE;
    let mut first = String::new();
    for attempt in 1..=ATTEMPTS {
        let failure = match attempt_once(client, plan, &first).await {
            Ok(()) => {
                plan.steps
                    .iter()
                    .filter(|step| !step.kind.is_apart())
                    .for_each(&mut *log);
                return Ok(());
            }
            Err(failure) => failure,
        };
        // The error of a connection that died matters more than that of its ROLLBACK.
        let _ = client.batch_execute("ROLLBACK").await;
        if roles::has_gone(&failure.error) {
            first = roles::again(plan);
        }
        if !is_passing(&failure.error) && (first.is_empty() || !roles::has_gone(&failure.error)) {
            return Err(failure.into());
        }
        if attempt == ATTEMPTS {
            return Err(InstallError::Locked {
                object: failure.object,
                attempts: ATTEMPTS,
            });
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    Ok(())
}

struct Failure {
    object: String,
    error: Error,
}

impl From<Failure> for InstallError {
    fn from(failure: Failure) -> Self {
        let message = server_words(&failure.error);
        if failure.error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return Self::Denied {
                object: failure.object,
                message,
            };
        }
        Self::Step {
            object: failure.object,
            message,
            error: failure.error,
        }
    }
}

async fn attempt_once(client: &Client, plan: &Plan, first: &str) -> Result<(), Failure> {
    let fail = |object: &str| {
        let object = object.to_owned();
        move |error| Failure { object, error }
    };
    // Another node may be installing: that wait is worth more than half a second.
    let begin = format!(
        "BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '30s'; \
         SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"
    );
    client
        .batch_execute(&begin)
        .await
        .map_err(fail("the installation lock"))?;
    client
        .batch_execute("SET LOCAL lock_timeout = '500ms'")
        .await
        .map_err(fail("the lock timeout"))?;
    client.batch_execute(first).await.map_err(fail("our roles"))?;
    for step in plan.steps.iter().filter(|step| !step.kind.is_apart()) {
        client
            .batch_execute(&step.sql)
            .await
            .map_err(fail(&step.object))?;
    }
    client
        .batch_execute("COMMIT")
        .await
        .map_err(fail("the transaction"))
}

/// Whether the same statement may work a moment later.
fn is_passing(error: &Error) -> bool {
    let Some(db) = error.as_db_error() else {
        return false;
    };
    let code = db.code();
    *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::T_R_DEADLOCK_DETECTED
        || *code == SqlState::T_R_SERIALIZATION_FAILURE
        || *code == SqlState::UNIQUE_VIOLATION
        || *code == SqlState::DUPLICATE_OBJECT
        // Two databases of a cluster that change the same role at once: there is no lock to wait for.
        || (*code == SqlState::INTERNAL_ERROR && db.message().contains("concurrently"))
}

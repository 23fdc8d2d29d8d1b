//! Named checks of a database, each with what to do about it. Reads only, apart from one notification to itself; works for the
//! least-privileged role, which sees less: what may not be read is skipped, never guessed.
//!
//! The order of the checks is the order in which to repair: server (C), watches (W), the WAL (L), rights (P), the outbox (O),
//! notifications (N).

mod notify;
mod outbox;
mod server;
mod statements;
mod wal;
mod watches;

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::connect::Settings;
use crate::install::Target;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Ok,
    /// It does not apply, or may not be read.
    Skip,
    Warn,
    Fail,
}

impl CheckStatus {
    /// The word for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable, for scripts: `C1`, `W3`.
    pub id: &'static str,
    pub name: &'static str,
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do; empty when nothing is to be done.
    pub remedy: String,
}

/// What to examine.
#[derive(Debug, Clone)]
pub struct DoctorInput {
    /// Watches and roles as the configuration has them.
    pub target: Target,
    /// Channels of `[[listen]]`.
    pub listen: Vec<String>,
    /// Queries that the gateway runs: where they stand in the configuration, and the SQL with `$1`, `$2`…
    pub statements: Vec<(String, String)>,
    /// For the round trip through a second connection; without it that check is skipped.
    pub settings: Option<Settings>,
    /// How the slot is read.
    pub replication: Option<Settings>,
    /// How often the listener proves that it is alive.
    pub heartbeat: Duration,
    /// For how long writes are counted; zero skips the check.
    pub sample: Duration,
}

impl Default for DoctorInput {
    fn default() -> Self {
        Self {
            target: Target::default(),
            listen: Vec::new(),
            statements: Vec::new(),
            settings: None,
            replication: None,
            heartbeat: Duration::from_secs(5),
            sample: Duration::from_secs(1),
        }
    }
}

/// Runs every check. A check that cannot be run says so; it never ends the others. `client` is the gateway's connection.
pub async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    let path = catalogue_first(client).await;
    let mut checks = server::run(client, input).await;
    checks.extend(watches::run(client, input).await);
    checks.extend(wal::run(client, input).await);
    set_path(client, path.as_deref()).await;
    // The queries of the configuration are written for the role's own path.
    checks.extend(statements::run(client, input).await);
    catalogue_first(client).await;
    checks.extend(outbox::run(client, input).await);
    checks.extend(notify::run(client, input).await);
    checks
}

/// Puts the catalogue first in the search path, where a role's default has it behind schemas whose objects may have the same names; the path
/// as it was.
async fn catalogue_first(client: &Client) -> Option<String> {
    const PATH: &str = "SELECT pg_catalog.current_setting('search_path')";
    // A connection that does not answer is a finding of the checks.
    let path: String = client.query_one(PATH, &[]).await.ok()?.try_get(0).ok()?;
    let names = ["pg_catalog", path.as_str()];
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    set_path(client, Some(&names.join(", "))).await;
    Some(path)
}

async fn set_path(client: &Client, path: Option<&str>) {
    const SET: &str = "SELECT pg_catalog.set_config('search_path', $1, false)";
    if let Some(path) = path
        && let Err(error) = client.query_one(SET, &[&path]).await
    {
        tracing::debug!(error = %crate::connect::chain(&error), "the search path was not set");
    }
}

/// Identity of a check, from which its outcomes are made.
#[derive(Debug, Clone, Copy)]
struct Id(&'static str, &'static str);

impl Id {
    fn ok(self, detail: impl Into<String>) -> Check {
        self.outcome(CheckStatus::Ok, detail, "")
    }

    fn skip(self, detail: impl Into<String>) -> Check {
        self.outcome(CheckStatus::Skip, detail, "")
    }

    fn warn(self, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
        self.outcome(CheckStatus::Warn, detail, remedy)
    }

    fn fail(self, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
        self.outcome(CheckStatus::Fail, detail, remedy)
    }

    fn outcome(self, status: CheckStatus, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check {
            id: self.0,
            name: self.1,
            status,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    /// A query that failed: what may not be read is skipped, anything else is a finding.
    fn settle(self, result: Result<Check, tokio_postgres::Error>) -> Check {
        match result {
            Ok(check) => check,
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => self.skip(format!(
                "this role may not read it ({})",
                crate::connect::chain(&error)
            )),
            Err(error) => self.fail(
                format!("the query failed ({})", crate::connect::chain(&error)),
                "look into the server's log",
            ),
        }
    }
}

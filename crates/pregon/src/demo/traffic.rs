//! Rows that keep coming, and word of each statement for the page.
//!
//! One task per example; `one_more` may also be called by the page's button. Both tell `statements`, a bounded broadcast:
//! a page that reads too slowly misses statements, never holds traffic up.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::broadcast;

use super::example::Example;

/// Statements kept for a page that is slow for a moment: about a minute of traffic.
const STATEMENTS: usize = 128;
/// Between two rows of an example, milliseconds: lively, and slow enough to read.
const PAUSE: std::ops::Range<u64> = 1_000..2_000;

/// A statement that was run, as the page gets it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Statement {
    example: &'static str,
    /// What the row's event carries under the example's key.
    key: String,
    sql: String,
    /// When it was sent, milliseconds since 1970 with a fraction.
    sent: f64,
    /// How long the database took.
    millis: f64,
}

/// What makes rows; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    targets: Arc<[(&'static Example, String)]>,
    statements: broadcast::Sender<Arc<Statement>>,
}

impl Traffic {
    pub(super) fn new(targets: impl Iterator<Item = (&'static Example, String)>) -> Self {
        Self {
            targets: targets.collect(),
            statements: broadcast::channel(STATEMENTS).0,
        }
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.targets.iter().map(|(example, _)| example.name).collect()
    }

    pub(super) fn statements(&self) -> broadcast::Receiver<Arc<Statement>> {
        self.statements.subscribe()
    }

    /// Inserts a row now and then, for ever.
    pub(super) async fn keep_coming(self, name: &'static str) {
        loop {
            tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
            if let Err(error) = self.one_more(name).await {
                // Someone may have stopped this PostgreSQL to see what happens; the next row will tell.
                tracing::warn!(
                    example = name,
                    error = format!("{error:#}"),
                    "a row could not be inserted"
                );
            }
        }
    }

    /// Inserts one row; a connection for each, so that a restart of PostgreSQL needs no care.
    pub(super) async fn one_more(&self, name: &str) -> anyhow::Result<()> {
        let Some((example, url)) = self.targets.iter().find(|(example, _)| example.name == name) else {
            anyhow::bail!("no example {name}");
        };
        let client = pregon_testkit::postgres::connect(url).await?;
        let sql = (example.statement)();
        let prepared = client.prepare(&sql).await?;
        let sent = now();
        let row = client.query_one(&prepared, &[]).await?;
        let millis = now() - sent;
        let key: i32 = row.try_get(0)?;
        let sql = sql.split(" RETURNING").next().unwrap_or_default().to_owned();
        let statement = Statement {
            example: example.name,
            key: key.to_string(),
            sql,
            sent,
            millis,
        };
        // No page is open: nobody needs to know.
        let _ = self.statements.send(Arc::new(statement));
        Ok(())
    }
}

/// Milliseconds since 1970, the clock of browsers.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1_000.0
}

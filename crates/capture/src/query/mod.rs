//! A small pool of connections for everything that is not listening: enrichment, rights, fetches by key, publishing.
//!
//! Values travel as parameters, never inside the SQL. A connection whose query was given up (timeout, dropped future) is
//! closed, so that nobody waits behind it. Rows come back as the JSON text that `row_to_json` writes under UTC, ISO and hex.

mod batch;
mod named;
mod param;
mod pool;
mod text;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::connect::{ConnectError, chain};
use crate::fault::{Fault, code_told};
pub use named::{NamedSql, SqlError};
pub(crate) use param::Param;
pub use param::TextParam;
pub use pool::{Lease, Pool, PoolOptions};

/// Why a query gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection could be made.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The statement timeout, ours or the server's, or no free connection in that time.
    #[error("the query took too long; add an index or raise the timeout")]
    Timeout,
    /// The connection broke while the query ran.
    #[error("the database connection was lost: {0}")]
    Lost(String),
    /// The server refused the statement or the values. A message that may quote values is not shown; see [`QueryError::whole`].
    #[error("the database refuses the query ({})", told(.code, .message, *.quotes))]
    Sql {
        code: String,
        message: String,
        /// Whether values were looked at; otherwise it was the SQL alone.
        quotes: bool,
    },
    /// A value that the driver or the caller cannot use.
    #[error("{0}")]
    Value(String),
}

impl QueryError {
    /// All that the database said, values of rows and parameters included: not for logs, but for what stands beside the row.
    pub fn whole(&self) -> String {
        match self {
            Self::Sql { code, message, .. } => format!("the database says: {message} ({code})"),
            other => other.to_string(),
        }
    }

    /// The statement or its values are at fault; another connection would say the same.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Timeout | Self::Lost(_) => false,
            // 40: serialization, 53: resources, 55: locks, 57: operator intervention.
            Self::Sql { code, .. } => !["40", "53", "55", "57"]
                .iter()
                .any(|class| code.starts_with(class)),
            Self::Value(_) => true,
        }
    }
}

/// An error that PostgreSQL found in the SQL, before any value: whoever wrote it has to see what is misspelt.
fn of_statement(error: tokio_postgres::Error) -> QueryError {
    match error.into() {
        QueryError::Sql { code, message, .. } => QueryError::Sql {
            code,
            message,
            quotes: false,
        },
        other => other,
    }
}

fn told(code: &str, message: &str, quotes: bool) -> String {
    if quotes {
        code_told(code)
    } else {
        format!("{message}, SQLSTATE {code}")
    }
}

impl From<&QueryError> for Fault {
    fn from(error: &QueryError) -> Self {
        Self::new(error.to_string(), error.whole())
    }
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // 57014: canceled by statement_timeout; 55P03 by lock_timeout.
            Some(db) if matches!(db.code().code(), "57014" | "55P03") => Self::Timeout,
            Some(db) => {
                let (code, message) = (db.code().code().to_owned(), db.message().to_owned());
                tracing::debug!(code, message, "what the database said of a query");
                Self::Sql {
                    code,
                    message,
                    quotes: true,
                }
            }
            None => Self::Lost(chain(&error)),
        }
    }
}

impl Pool {
    /// Runs SQL with `$1`, `$2`… and gives its rows as JSON objects.
    pub async fn query_json(
        &self,
        sql: &str,
        params: &[serde_json::Value],
    ) -> Result<Vec<serde_json::Value>, QueryError> {
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let rows = self.query_text(&wrap(sql), &params).await?;
        rows.iter()
            .map(|row| parse(&column_text(row, 0)?.unwrap_or_default()))
            .collect()
    }

    /// Runs SQL with `:name` parameters, taken from an object's keys; a missing key is NULL.
    pub async fn query_named(
        &self,
        sql: &NamedSql,
        values: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Vec<serde_json::Value>, QueryError> {
        let params: Vec<_> = sql
            .names()
            .iter()
            .map(|name| values.get(name).cloned().unwrap_or(serde_json::Value::Null))
            .collect();
        self.query_json(&sql.numbered(), &params).await
    }

    /// Runs a prepared statement once; each row's columns are text.
    pub(crate) async fn query_text(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, QueryError> {
        let work = async {
            let mut lease = self.get().await?;
            lease.query(sql, params).await
        };
        tokio::time::timeout(self.patience(), work)
            .await
            .map_err(|_| QueryError::Timeout)?
    }
}

/// The line break keeps a closing `--` comment from swallowing what follows; the star means the row where a column is called `q`.
pub(crate) fn wrap(sql: &str) -> String {
    let sql = sql.trim().trim_end_matches(';');
    format!("SELECT pg_catalog.row_to_json(q.*)::text FROM ({sql}\n) AS q")
}

/// Quotes an identifier.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn column_text(row: &Row, index: usize) -> Result<Option<String>, QueryError> {
    row.try_get(index)
        .map_err(|error| QueryError::Value(chain(&error)))
}

pub(crate) fn parse(json: &str) -> Result<serde_json::Value, QueryError> {
    serde_json::from_str(json)
        .map_err(|error| QueryError::Value(format!("the database gave no JSON: {error}")))
}

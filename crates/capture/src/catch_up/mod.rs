//! Catching up: after each (re)connect a query fetches what was notified meanwhile, and a state file says what was seen.
//!
//! Identity columns are handed out before the commit, so a row may become visible after rows with larger keys. The query
//! therefore starts `overlap` keys before the newest one, and the keys seen in that range are remembered. Order of use:
//! LISTEN first, then [`CatchUp::fetch`], then the live rows; each through [`CatchUp::is_new`], then delivered, then
//! [`CatchUp::delivered`] and [`CatchUp::save`].

mod key;
mod state;

use std::path::PathBuf;

use tokio_postgres::types::{ToSql, Type};

use crate::query::{NamedSql, Pool, QueryError, TextParam, column_text, ident};
pub use key::Key;
use state::State;
pub use state::StateError;

/// The parameter that stands for the last key.
const LAST: &str = "last";

/// Why catching up failed.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    #[error("the catch-up SQL has no :last, so it would fetch everything each time")]
    NoLast,
    #[error("the catch-up SQL has a parameter :{0}; only :last is known")]
    UnknownParameter(String),
    #[error(
        "the catch-up SQL cannot start anywhere: :last has the type {0}; use an integer, text, date or time"
    )]
    UnknownType(String),
    #[error("the catch-up SQL returns a row whose key is null")]
    NullKey,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// What to catch up with.
#[derive(Debug, Clone)]
pub struct CatchUpOptions {
    /// SQL with `:last`, for example `SELECT * FROM registro_entradas WHERE id_entrada > :last`.
    pub sql: String,
    /// The column of its result that rises: an identity, usually.
    pub key: String,
    /// Where the state is kept.
    pub file: PathBuf,
    /// How far back late commits are looked for. Only integers can be counted back.
    pub overlap: u64,
}

/// One row that the query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaughtUp {
    pub key: Key,
    /// The row as JSON text.
    pub row: String,
}

/// Query and state together.
#[derive(Debug)]
pub struct CatchUp {
    sql: NamedSql,
    key: String,
    file: PathBuf,
    /// Absent until the first fetch found the starting point.
    state: Option<State>,
    overlap: u64,
}

impl CatchUp {
    /// Checks the SQL's parameters and reads the state file; a missing one means a first start.
    pub fn open(options: CatchUpOptions) -> Result<Self, CatchUpError> {
        let sql = NamedSql::parse(&options.sql);
        if let Some(other) = sql.names().iter().find(|name| *name != LAST) {
            return Err(CatchUpError::UnknownParameter(other.clone()));
        }
        if sql.names().is_empty() {
            return Err(CatchUpError::NoLast);
        }
        let state = State::load(&options.file, options.overlap)?;
        Ok(Self {
            sql,
            key: options.key,
            file: options.file,
            state,
            overlap: options.overlap,
        })
    }

    /// Fetches what was missed, in the order of the key. The first fetch without a state finds nothing: it marks the present
    /// maximum as the start, saves it, and remembers what lies in the overlap before it.
    pub async fn fetch(&mut self, pool: &Pool) -> Result<Vec<CaughtUp>, CatchUpError> {
        let Some(state) = &self.state else {
            let state = self.start(pool).await?;
            state.save(&self.file)?;
            self.state = Some(state);
            return Ok(Vec::new());
        };
        let from = match state.from() {
            Some(from) => from.to_string(),
            None => self.smallest(pool).await?,
        };
        let rows = self.rows(pool, &from).await?;
        Ok(rows.into_iter().filter(|row| state.is_new(&row.key)).collect())
    }

    /// False for a row that was delivered before.
    pub fn is_new(&self, key: &Key) -> bool {
        self.state.as_ref().is_none_or(|state| state.is_new(key))
    }

    /// Remembers a delivered row.
    pub fn delivered(&mut self, key: Key) {
        if let Some(state) = &mut self.state {
            state.remember(key);
        }
    }

    /// Writes the state; a crash leaves the old one or the new one.
    pub fn save(&self) -> Result<(), StateError> {
        self.state.as_ref().map_or(Ok(()), |state| state.save(&self.file))
    }

    /// The key of a live payload, if it has one.
    pub fn key_of(&self, payload: &[u8]) -> Option<Key> {
        Key::of_field(payload, &self.key)
    }

    async fn start(&self, pool: &Pool) -> Result<State, CatchUpError> {
        let smallest = self.smallest(pool).await?;
        let sql = format!(
            "SELECT max(q.{})::text FROM ({}\n) AS q",
            ident(&self.key),
            self.sql.numbered()
        );
        let rows = pool.query_text(&sql, &[&TextParam(Some(&smallest))]).await?;
        let newest = rows.first().map_or(Ok(None), |row| column_text(row, 0))?;
        let mut state = State::new(newest.map(Key::from_text), self.overlap);
        let Some(from) = state.from() else {
            return Ok(state);
        };
        let from = from.to_string();
        for row in self.rows(pool, &from).await? {
            state.remember(row.key);
        }
        Ok(state)
    }

    async fn rows(&self, pool: &Pool, from: &str) -> Result<Vec<CaughtUp>, CatchUpError> {
        let key = ident(&self.key);
        let sql = format!(
            "SELECT q.{key}::text, pg_catalog.row_to_json(q.*)::text FROM ({}\n) AS q ORDER BY q.{key}",
            self.sql.numbered()
        );
        let params: [&(dyn ToSql + Sync); 1] = [&TextParam(Some(from))];
        let rows = pool.query_text(&sql, &params).await?;
        rows.iter()
            .map(|row| {
                let key = column_text(row, 0)?
                    .map(Key::from_text)
                    .ok_or(CatchUpError::NullKey)?;
                Ok(CaughtUp {
                    key,
                    row: column_text(row, 1)?.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Something below every key, of the type that the SQL compares with.
    async fn smallest(&self, pool: &Pool) -> Result<String, CatchUpError> {
        let types = pool.get().await?.parameters(&self.sql.numbered()).await?;
        let ty = types.first().cloned().unwrap_or(Type::TEXT);
        let smallest = match ty {
            Type::INT2 => i16::MIN.to_string(),
            Type::INT4 => i32::MIN.to_string(),
            Type::INT8 => i64::MIN.to_string(),
            Type::NUMERIC | Type::FLOAT4 | Type::FLOAT8 => "-1e30".to_owned(),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => String::new(),
            Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ => "-infinity".to_owned(),
            Type::UUID => "00000000-0000-0000-0000-000000000000".to_owned(),
            other => return Err(CatchUpError::UnknownType(other.name().to_owned())),
        };
        Ok(smallest)
    }
}

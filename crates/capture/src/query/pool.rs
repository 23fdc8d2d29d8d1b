//! The pool itself: connections are made when needed, kept while they are sound, and never shared by two queries at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use std::sync::Mutex;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::QueryError;
use crate::connect::{Session, Settings};

/// Statements kept prepared per connection. The SQL comes from the configuration, so there are few; the limit only keeps a
/// generated text from growing the server.
const MAX_STATEMENTS: usize = 128;

/// What a pool needs.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    pub settings: Settings,
    /// Most connections at once.
    pub size: usize,
    /// Limit for one statement; a query waits about as long for a free connection.
    pub statement_timeout: Duration,
    /// The search path; the role's own if absent.
    pub search_path: Option<&'static str>,
    /// Whether a pooler that changes the server between transactions stands before it: nothing is prepared, and nothing is set for
    /// the session (the timeout is then the client's alone).
    pub pooler: bool,
}

impl PoolOptions {
    /// Four connections and 5 s: enrichment runs in batches, so few connections go far, and a query that takes longer delays
    /// its whole source.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            size: 4,
            statement_timeout: Duration::from_secs(5),
            search_path: None,
            pooler: false,
        }
    }
}

/// A pool; clones share it.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: PoolOptions,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Slot>>,
}

#[derive(Debug)]
struct Slot {
    session: Session,
    statements: HashMap<String, Statement>,
}

impl Pool {
    /// Makes a pool; connects when first used.
    pub fn new(options: PoolOptions) -> Self {
        let slots = Arc::new(Semaphore::new(options.size.max(1)));
        Self {
            shared: Arc::new(Shared {
                options,
                slots,
                idle: Mutex::new(Vec::new()),
            }),
        }
    }

    /// Takes a connection, waiting for a free one.
    pub async fn get(&self) -> Result<Lease, QueryError> {
        let permit = Arc::clone(&self.shared.slots)
            .acquire_owned()
            .await
            .map_err(|_| QueryError::Timeout)?;
        let slot = match self.take_idle() {
            Some(slot) => slot,
            None => self.open().await?,
        };
        Ok(Lease {
            slot: Some(slot),
            sound: true,
            shared: Arc::clone(&self.shared),
            _permit: permit,
        })
    }

    /// The client's own limit: a bit more than the server's, for the way there and back.
    pub(crate) fn patience(&self) -> Duration {
        self.shared.options.statement_timeout + Duration::from_secs(1)
    }

    fn take_idle(&self) -> Option<Slot> {
        let mut idle = self
            .shared
            .idle
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        while let Some(slot) = idle.pop() {
            if !slot.session.is_closed() {
                return Some(slot);
            }
        }
        None
    }

    async fn open(&self) -> Result<Slot, QueryError> {
        let options = &self.shared.options;
        let session = options.settings.open().await?;
        if options.pooler {
            return Ok(Slot {
                session,
                statements: HashMap::new(),
            });
        }
        let mut setup = format!(
            "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; \
             SET statement_timeout = {}",
            options.statement_timeout.as_millis()
        );
        if let Some(path) = options.search_path {
            setup.push_str("; SET search_path = ");
            setup.push_str(path);
        }
        session.batch_execute(&setup).await?;
        Ok(Slot {
            session,
            statements: HashMap::new(),
        })
    }
}

/// A connection on loan; goes back to the pool when dropped between queries, and is closed when dropped inside one.
#[derive(Debug)]
pub struct Lease {
    slot: Option<Slot>,
    sound: bool,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Runs a statement, prepared at its first use on this connection.
    pub(crate) async fn query(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, QueryError> {
        match self.query_once(sql, params).await {
            // 0A000 "cached plan must not change result type", 26000 "prepared statement does not exist".
            Err(QueryError::Sql { code, .. }) if code == "0A000" || code == "26000" => {
                self.query_once(sql, params).await
            }
            done => done,
        }
    }

    /// Prepares a statement, or finds it prepared.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<Statement, QueryError> {
        let Some(slot) = self.slot.as_mut() else {
            return Err(QueryError::Lost("no connection".to_owned()));
        };
        if let Some(statement) = slot.statements.get(sql) {
            return Ok(statement.clone());
        }
        self.sound = false;
        let prepared = slot.session.prepare(sql).await;
        self.sound = is_sound(&prepared);
        let statement = prepared?;
        if slot.statements.len() >= MAX_STATEMENTS {
            slot.statements.clear();
        }
        slot.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Whether statements may be prepared on this connection.
    pub(crate) fn prepares(&self) -> bool {
        !self.shared.options.pooler
    }

    /// Runs a statement once, in one round trip, without leaving anything behind on the server.
    pub(crate) async fn query_unprepared(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, QueryError> {
        let Some(slot) = self.slot.as_mut() else {
            return Err(QueryError::Lost("no connection".to_owned()));
        };
        self.sound = false;
        let rows = slot.session.query_typed(sql, params).await;
        self.sound = is_sound(&rows);
        Ok(rows?)
    }

    /// Drops what was prepared for this text: its parameters may have other types by now.
    pub(crate) fn forget(&mut self, sql: &str) {
        if let Some(slot) = self.slot.as_mut() {
            slot.statements.remove(sql);
        }
    }

    async fn query_once(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, QueryError> {
        let statement = self.prepare(sql).await?;
        if statement.params().len() != params.len() {
            let (wanted, given) = (statement.params().len(), params.len());
            return Err(QueryError::Value(format!(
                "the SQL has {wanted} parameters, {given} were given"
            )));
        }
        let Some(slot) = self.slot.as_mut() else {
            return Err(QueryError::Lost("no connection".to_owned()));
        };
        self.sound = false;
        let rows = slot.session.query(&statement, params).await;
        self.sound = is_sound(&rows);
        if rows.is_err() {
            slot.statements.remove(sql);
        }
        Ok(rows?)
    }
}

/// A refused statement leaves the connection usable; anything else does not.
fn is_sound<T>(result: &Result<T, tokio_postgres::Error>) -> bool {
    result
        .as_ref()
        .err()
        .is_none_or(|error| error.as_db_error().is_some())
}

impl std::ops::Deref for Lease {
    type Target = Client;

    #[expect(clippy::expect_used, reason = "the slot leaves only in drop")]
    fn deref(&self) -> &Client {
        &self
            .slot
            .as_ref()
            .expect("a lease holds its slot until it is dropped")
            .session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        if self.sound && !slot.session.is_closed() {
            self.shared
                .idle
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(slot);
        }
    }
}

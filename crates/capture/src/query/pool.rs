//! The pool itself: connections are made when needed, kept while they are sound, and never shared by two queries at once.
//!
//! Behind a pooler that changes the server between transactions every query is a transaction that sets for itself what it needs, and
//! nothing stays prepared: whatever stayed would meet the application's next statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use std::sync::Mutex;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement};

use super::{QueryError, of_statement};
use crate::connect::{Seat, Session, Settings};

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
    /// Whether a pooler that changes the server between transactions stands before it, where somebody knows: nothing is prepared then.
    /// Such a pooler is noticed in any case.
    pub pooler: bool,
    /// Whether a commit has to be on the server's disk when it is answered, also where the role's default is otherwise.
    pub durable: bool,
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
            durable: false,
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
    /// The driver believes in statements that are gone: not used again.
    spent: bool,
}

impl Pool {
    /// Makes a pool; connects when first used.
    pub fn new(mut options: PoolOptions) -> Self {
        let timeout = options.statement_timeout.as_millis().to_string();
        options.settings = options
            .settings
            .with_settings(&[("statement_timeout", timeout.as_str())]);
        if let Some(path) = options.search_path {
            options.settings = options.settings.with_settings(&[("search_path", path)]);
        }
        if options.durable {
            options.settings = options.settings.durable();
        }
        let slots = Arc::new(Semaphore::new(options.size.max(1)));
        Self {
            shared: Arc::new(Shared {
                options,
                slots,
                idle: Mutex::new(Vec::new()),
            }),
        }
    }

    /// Another pool of one connection to the same database, whose sessions have this search path.
    pub fn beside(&self, search_path: &'static str) -> Self {
        let mut options = self.shared.options.clone();
        options.size = 1;
        options.search_path = Some(search_path);
        Self::new(options)
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
        Ok(Slot {
            session: self.shared.options.settings.open_any().await?,
            statements: HashMap::new(),
            spent: false,
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

    /// The types of a statement's parameters; prepares it, or finds it prepared.
    pub(crate) async fn parameters(&mut self, sql: &str) -> Result<Vec<Type>, QueryError> {
        if !self.is_shared() {
            return Ok(self.prepare(sql).await?.params().to_vec());
        }
        self.within_transaction(async |slot| {
            let statement = slot.session.prepare(sql).await?;
            let types = statement.params().to_vec();
            drop(statement);
            slot.tidy(&types).await?;
            Ok(types)
        })
        .await
    }

    async fn prepare(&mut self, sql: &str) -> Result<Statement, QueryError> {
        let Some(slot) = self.slot.as_mut() else {
            return Err(QueryError::Lost("no connection".to_owned()));
        };
        if let Some(statement) = slot.statements.get(sql) {
            return Ok(statement.clone());
        }
        self.sound = false;
        let prepared = slot.session.prepare(sql).await;
        self.sound = is_sound(&prepared);
        let statement = prepared.map_err(of_statement)?;
        if slot.statements.len() >= MAX_STATEMENTS {
            slot.statements.clear();
        }
        slot.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Whether statements may be prepared on this connection.
    pub(crate) fn prepares(&self) -> bool {
        !self.shared.options.pooler && !self.is_shared()
    }

    fn is_shared(&self) -> bool {
        self.slot
            .as_ref()
            .is_some_and(|slot| slot.session.seat() == Seat::Shared)
    }

    /// Runs a statement once without leaving anything behind on the server; in one round trip, where the session is ours.
    pub(crate) async fn query_unprepared(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, QueryError> {
        if self.is_shared() {
            return self
                .within_transaction(async |slot| slot.session.query_typed(sql, params).await)
                .await;
        }
        let Some(slot) = self.slot.as_mut() else {
            return Err(QueryError::Lost("no connection".to_owned()));
        };
        self.sound = false;
        let rows = slot.session.query_typed(sql, params).await;
        self.sound = is_sound(&rows);
        Ok(rows?)
    }

    /// Does some work in a transaction that has the settings of our sessions. One that is given up midway ends with its connection.
    async fn within_transaction<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Slot) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, QueryError> {
        let Some(slot) = self.slot.as_mut() else {
            return Err(QueryError::Lost("no connection".to_owned()));
        };
        self.sound = false;
        let begin = self.shared.options.settings.begin_sql();
        slot.session.batch_execute(&begin).await?;
        let done = work(slot).await;
        // After an error this is a ROLLBACK.
        let ended = slot.session.batch_execute("COMMIT").await;
        self.sound = is_sound(&done) && ended.is_ok();
        let value = done?;
        ended?;
        Ok(value)
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
        if self.is_shared() {
            return self.query_shared(sql, params).await;
        }
        let statement = self.prepare(sql).await?;
        as_many(&statement, params)?;
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

    async fn query_shared(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, QueryError> {
        self.within_transaction(async |slot| {
            let statement = slot.session.prepare(sql).await?;
            if let Err(error) = as_many(&statement, params) {
                return Ok(Err(error));
            }
            let rows = slot.session.query(&statement, params).await?;
            let types = statement.params().to_vec();
            // Closed before the COMMIT that follows it, while the server is still ours.
            drop(statement);
            slot.tidy(&types).await?;
            Ok(Ok(rows))
        })
        .await?
    }
}

fn as_many(statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> Result<(), QueryError> {
    let (wanted, given) = (statement.params().len(), params.len());
    if wanted == given {
        return Ok(());
    }
    Err(QueryError::Value(format!(
        "the SQL has {wanted} parameters, {given} were given"
    )))
}

/// The first number of what is not the server's own.
const FIRST_OID: u32 = 16_384;

impl Slot {
    /// Removes what the driver prepares for itself when a parameter's type is not the server's own: it would stay on a server process
    /// that is somebody else's next.
    async fn tidy(&mut self, types: &[Type]) -> Result<(), tokio_postgres::Error> {
        if types.iter().all(|ty| ty.oid() < FIRST_OID) {
            return Ok(());
        }
        const LEFT: &str = "SELECT pg_catalog.format('DEALLOCATE %I', name) FROM pg_catalog.pg_prepared_statements \
             WHERE prepare_time >= pg_catalog.now()";
        self.spent = true;
        for message in self.session.simple_query(LEFT).await? {
            if let SimpleQueryMessage::Row(row) = message
                && let Some(sql) = row.get(0)
            {
                self.session.batch_execute(sql).await?;
            }
        }
        Ok(())
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
        if self.sound && !slot.spent && !slot.session.is_closed() {
            self.shared
                .idle
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(slot);
        }
    }
}

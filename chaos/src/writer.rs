//! Writers: numbered rows in transactions of all kinds, and updates of rows that all of them contend for.
//!
//! A writer numbers what it tries to insert, so that its rows of one room rise; what is rolled back leaves a hole that nobody
//! must ever see. It goes on by itself when its connection breaks.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use pregon_testkit::postgres;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

/// Rooms that rows belong to.
pub(crate) const ROOMS: u32 = 8;
/// Rows that all writers contend for.
pub(crate) const CONTENDED: u32 = 16;

/// Between two transactions of a writer, milliseconds.
const PAUSE: std::ops::Range<u64> = 0..20;
/// How long a transaction of the long kind stays open, milliseconds.
const LONG: std::ops::Range<u64> = 100..1_500;
/// Rows of a statement of the bulk kind.
const BULK: std::ops::Range<i64> = 50..300;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Single,
    Several,
    Bulk,
    RolledBack,
    Savepoint,
    Long,
    Contended,
}

/// Each as often as it is here.
const KINDS: [Kind; 20] = [
    Kind::Single,
    Kind::Single,
    Kind::Single,
    Kind::Single,
    Kind::Single,
    Kind::Single,
    Kind::Several,
    Kind::Several,
    Kind::Several,
    Kind::Several,
    Kind::Bulk,
    Kind::Bulk,
    Kind::RolledBack,
    Kind::RolledBack,
    Kind::Savepoint,
    Kind::Savepoint,
    Kind::Long,
    Kind::Contended,
    Kind::Contended,
    Kind::Contended,
];

/// One writer.
pub(crate) struct Writer {
    number: u32,
    url: String,
    random: StdRng,
    next: i64,
    budget: Arc<Budget>,
}

/// What all writers together may still commit. It is given out in portions between faults, so that they meet writers at work.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    left: AtomicI64,
    /// Nothing more is given out.
    closed: AtomicBool,
}

impl Budget {
    pub(crate) fn add(&self, portion: i64) {
        self.left.fetch_add(portion, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) -> i64 {
        self.left.load(Ordering::Relaxed).max(0)
    }

    fn is_used_up(&self) -> bool {
        self.left() == 0 && self.closed.load(Ordering::Relaxed)
    }
}

impl Writer {
    pub(crate) fn new(number: u32, url: String, seed: u64, budget: Arc<Budget>) -> Self {
        Self {
            number,
            url,
            random: StdRng::seed_from_u64(seed),
            next: 0,
            budget,
        }
    }

    /// Writes until the budget is used up.
    pub(crate) async fn run(mut self) {
        while !self.budget.is_used_up() {
            if let Ok(client) = postgres::connect(&self.url).await {
                self.write(&client).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes until the connection breaks.
    async fn write(&mut self, client: &Client) {
        while self.budget.left() > 0 && !client.is_closed() {
            let kind = KINDS.choose(&mut self.random).copied().unwrap_or(Kind::Single);
            // An error is a deadlock or a server that went; the transaction is over either way.
            if let Ok(rows) = self.transaction(client, kind).await {
                self.budget.add(-rows);
            } else {
                let _ = client.batch_execute("ROLLBACK").await;
            }
            let pause = self.random.random_range(PAUSE);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One transaction; how many rows it committed.
    async fn transaction(&mut self, client: &Client, kind: Kind) -> Result<i64, tokio_postgres::Error> {
        let count = self.random.random_range(2..6);
        match kind {
            Kind::Single => {
                client.batch_execute(&self.insert(1)).await?;
                Ok(1)
            }
            Kind::Several => {
                let mut sql = "BEGIN;".to_owned();
                for _ in 0..count {
                    sql.push_str(&self.insert(1));
                }
                sql.push_str(&self.update());
                sql.push_str("COMMIT");
                client.batch_execute(&sql).await?;
                Ok(count + 1)
            }
            Kind::Bulk => {
                let rows = self.random.random_range(BULK);
                client.batch_execute(&self.insert(rows)).await?;
                Ok(rows)
            }
            Kind::RolledBack => {
                let (insert, update) = (self.insert(count), self.update());
                client
                    .batch_execute(&format!("BEGIN;{insert}{update}ROLLBACK"))
                    .await?;
                Ok(0)
            }
            Kind::Savepoint => {
                let (kept, undone, more) = (self.insert(1), self.insert(2), self.insert(1));
                let sql = format!("BEGIN;{kept}SAVEPOINT half;{undone}ROLLBACK TO half;{more}COMMIT");
                client.batch_execute(&sql).await?;
                Ok(2)
            }
            Kind::Long => self.long(client).await,
            Kind::Contended => {
                let (first, second) = (self.update(), self.update());
                client
                    .batch_execute(&format!("BEGIN;{first}{second}COMMIT"))
                    .await?;
                Ok(2)
            }
        }
    }

    async fn long(&mut self, client: &Client) -> Result<i64, tokio_postgres::Error> {
        client.batch_execute(&format!("BEGIN;{}", self.insert(1))).await?;
        let open = self.random.random_range(LONG);
        tokio::time::sleep(Duration::from_millis(open)).await;
        client.batch_execute(&format!("{}COMMIT", self.insert(1))).await?;
        Ok(2)
    }

    /// An INSERT of so many rows of one room, with payloads of sizes around those that matter to NOTIFY.
    fn insert(&mut self, rows: i64) -> String {
        let (room, from) = (self.random.random_range(0..ROOMS), self.next);
        self.next += rows;
        let pad = match self.random.random_range(0..100) {
            0 => 20_000,
            1..4 => 7_950,
            _ => self.random.random_range(0..200),
        };
        let pad = if rows > 1 { pad.min(200) } else { pad };
        let mut sql = String::new();
        let _ = write!(
            sql,
            "INSERT INTO facts (room, writer, n, pad) SELECT {room}, {}, {from} + g, repeat('x', {pad}) FROM generate_series(0, {}) g;",
            self.number,
            rows - 1
        );
        sql
    }

    fn update(&mut self) -> String {
        let id = self.random.random_range(0..CONTENDED);
        format!("UPDATE contended SET version = version + 1 WHERE id = {id};")
    }
}

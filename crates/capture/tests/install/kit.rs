//! A database with watches installed and a session that listens to them.

use pregon_capture::change::Op;
use pregon_capture::install::{self, InstallError, Plan, Target, WatchSpec};
use pregon_testkit::postgres::{Database, notifications, shared};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::Client;

pub(crate) const ALL: [Op; 4] = [Op::Insert, Op::Update, Op::Delete, Op::Truncate];

/// A database, a superuser's session in it, and everything that arrives on channel `pregon`.
pub(crate) struct Fixture {
    pub(crate) db: Database<'static>,
    pub(crate) admin: Client,
    payloads: UnboundedReceiver<String>,
}

impl Fixture {
    /// Runs the schema, then installs the watches.
    pub(crate) async fn new(schema: &str, watches: Vec<WatchSpec>) -> Self {
        let db = Database::create(shared().await).await.unwrap();
        let admin = db.client().await.unwrap();
        admin.batch_execute(schema).await.unwrap();
        install(
            &admin,
            &Target {
                watches,
                ..Target::default()
            },
        )
        .await
        .unwrap();
        let payloads = listen(&db.url()).await;
        Self { db, admin, payloads }
    }

    /// Runs SQL and returns what it made arrive.
    pub(crate) async fn after(&mut self, sql: &str) -> Vec<Value> {
        self.admin.batch_execute(sql).await.unwrap();
        self.arrived().await
    }

    /// Everything that has been sent until now, as JSON.
    pub(crate) async fn arrived(&mut self) -> Vec<Value> {
        self.texts()
            .await
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    /// Everything that has been sent until now, as it came.
    pub(crate) async fn texts(&mut self) -> Vec<String> {
        self.admin
            .batch_execute("SELECT pg_notify('pregon', 'END')")
            .await
            .unwrap();
        let mut texts = Vec::new();
        loop {
            match self.payloads.recv().await.unwrap() {
                end if end == "END" => return texts,
                text => texts.push(text),
            }
        }
    }

    /// The payload behind a reference.
    pub(crate) async fn stored(&self, payload: &Value) -> Value {
        let id = payload["ref"].as_i64().unwrap();
        let row = self
            .admin
            .query_one("SELECT payload FROM pregon.stored WHERE id = $1", &[&id])
            .await
            .unwrap();
        serde_json::from_str(row.get(0)).unwrap()
    }
}

/// Plans and applies; returns the plan.
pub(crate) async fn install(client: &Client, target: &Target) -> Result<Plan, InstallError> {
    let plan = install::plan(client, target).await?;
    install::apply(client, &plan, &mut |_| {}).await?;
    Ok(plan)
}

/// Listens on `pregon` until the receiver is dropped.
pub(crate) async fn listen(url: &str) -> UnboundedReceiver<String> {
    notifications(url, "pregon").await.unwrap()
}

/// A watch on a table of schema `public`.
pub(crate) fn watch(name: &str, table: &str, operations: &[Op]) -> WatchSpec {
    WatchSpec {
        operations: operations.to_vec(),
        ..WatchSpec::new(name, "public", table)
    }
}

/// Operation and one field of the row, for short assertions.
pub(crate) fn brief(payloads: &[Value], field: &str) -> Vec<String> {
    payloads
        .iter()
        .map(|payload| {
            let row = if payload["n"].is_null() {
                &payload["o"]
            } else {
                &payload["n"]
            };
            format!("{} {}", payload["op"].as_str().unwrap(), row[field])
        })
        .collect()
}

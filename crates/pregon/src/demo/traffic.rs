//! Rows and messages that keep coming, and word of each statement for the page.
//!
//! One task per example; `one_more` may also be called by the page's button. Both tell `statements`, a bounded broadcast:
//! a page that reads too slowly misses statements, never holds traffic up.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use pregon_testkit::Redis;
use serde::Serialize;
use tokio::sync::broadcast;

use super::deed::{APP_SECRET, Deed, Delivery, Message, MessageKey};
use super::example::Example;
use crate::source::webhook::signature::sign;

/// Statements kept for a page that is slow for a moment: about a minute of traffic.
const STATEMENTS: usize = 128;
/// Between two events of an example, milliseconds: lively, and slow enough to read.
const PAUSE: std::ops::Range<u64> = 1_000..2_000;

/// What was said to the database or to Redis, as the page gets it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Statement {
    example: &'static str,
    /// What the event carries under the example's key.
    key: String,
    text: String,
    /// When it was sent, milliseconds since 1970 with a fraction.
    sent: f64,
    /// How long the answer took.
    millis: f64,
}

/// Where an example's traffic goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) example: &'static Example,
    /// Its database.
    pub(super) url: String,
    pub(super) redis: Option<Arc<Redis>>,
    /// Where deliveries are posted.
    pub(super) webhook: Option<String>,
}

/// What makes events; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    targets: Arc<[Target]>,
    key: MessageKey,
    statements: broadcast::Sender<Arc<Statement>>,
}

impl Traffic {
    pub(super) fn new(targets: impl Iterator<Item = Target>, key: MessageKey) -> Self {
        Self {
            targets: targets.collect(),
            key,
            statements: broadcast::channel(STATEMENTS).0,
        }
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.targets.iter().map(|target| target.example.name).collect()
    }

    pub(super) fn statements(&self) -> broadcast::Receiver<Arc<Statement>> {
        self.statements.subscribe()
    }

    /// Lets something happen now and then, for ever.
    pub(super) async fn keep_coming(self, name: &'static str) {
        loop {
            tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE))).await;
            if let Err(error) = self.one_more(name).await {
                // Someone may have stopped this PostgreSQL or Redis to see what happens; the next one will tell.
                tracing::warn!(
                    example = name,
                    error = format!("{error:#}"),
                    "nothing could happen in an example"
                );
            }
        }
    }

    /// Lets one more thing happen; a connection for each, so that a restart of the server needs no care.
    pub(super) async fn one_more(&self, name: &str) -> anyhow::Result<()> {
        let Some(target) = self.targets.iter().find(|target| target.example.name == name) else {
            anyhow::bail!("no example {name}");
        };
        let statement = match target.example.deed {
            Deed::Row(row) => target.insert(&row(&self.key)?).await?,
            Deed::Message(message) => target.publish(&message()).await?,
            Deed::Webhook(delivery) => target.deliver(&delivery()).await?,
        };
        // No page is open: nobody needs to know.
        let _ = self.statements.send(Arc::new(statement));
        Ok(())
    }
}

impl Target {
    async fn insert(&self, sql: &str) -> anyhow::Result<Statement> {
        let client = pregon_testkit::postgres::connect(&self.url).await?;
        let prepared = client.prepare(sql).await?;
        let sent = now();
        let row = client.query_one(&prepared, &[]).await?;
        let key: i32 = row.try_get(0)?;
        let text = sql.split(" RETURNING").next().unwrap_or_default().to_owned();
        Ok(self.said(text, key.to_string(), sent))
    }

    async fn publish(&self, message: &Message) -> anyhow::Result<Statement> {
        let redis = self.redis.as_ref().context("this example has no Redis")?;
        let sent = now();
        redis.publish(message.channel, &message.json).await?;
        let text = format!("PUBLISH {} '{}'", message.channel, message.json);
        Ok(self.said(text, message.key.clone(), sent))
    }

    async fn deliver(&self, delivery: &Delivery) -> anyhow::Result<Statement> {
        let url = self.webhook.as_ref().context("this example has no router")?;
        let signature = sign(APP_SECRET, delivery.json.as_bytes());
        let headers = [("x-hub-signature-256", signature.as_str())];
        let sent = now();
        let answer = pregon_testkit::http::request("POST", url, &headers, delivery.json.as_bytes()).await?;
        anyhow::ensure!(answer.status() == 200, "the router says {}", answer.status());
        Ok(self.said(
            format!("POST /webhook {}", delivery.json),
            delivery.key.clone(),
            sent,
        ))
    }

    fn said(&self, text: String, key: String, sent: f64) -> Statement {
        Statement {
            example: self.example.name,
            key,
            text,
            sent,
            millis: now() - sent,
        }
    }
}

/// Milliseconds since 1970, the clock of browsers.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1_000.0
}

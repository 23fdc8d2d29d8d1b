//! Sends what rules have written down: replies through the Graph API, webhooks to wherever they go.
//!
//! At least once: what was sent is removed afterwards, so that a kill in between sends it again, under the same key
//! (`biz_opaque_callback_data`, `Idempotency-Key`). One person is written to at most every six seconds and in order; a number
//! sends at most 80 messages a second from one process. Only what may pass by itself is tried again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pregon_capture::query::{Pool, QueryError};
use pregon_capture::router::{CLAIM, SENT, UNSENT};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::config::{self, Secret};
use crate::source::webhook::signature::sign;

/// An answer of the Graph API or of a webhook; shorter than the minute that a claim lasts.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks, and how many are sent at once: 16 in 200 ms are the 80 messages a second of a number.
const PAUSE: Duration = Duration::from_millis(200);
const AT_ONCE: &str = "16";
/// Attempts for what may pass by itself: about half an hour.
const ATTEMPTS: u32 = 10;
/// Codes of the Graph API that pass by themselves: rates of number, pair, app and account, and its own trouble.
const PASSING: [i64; 6] = [130_429, 131_056, 4, 80_007, 131_000, 131_016];
/// Most of an answer that is looked at.
const ANSWER: usize = 64 * 1024;

/// What the sender needs.
pub(super) struct Sender {
    pool: Pool,
    metrics: Arc<Metrics>,
    http: reqwest::Client,
    graph: String,
    token: Option<Secret>,
    webhook_secret: Option<Secret>,
}

/// Something to send.
struct Letter {
    id: String,
    kind: &'static str,
    target: String,
    key: String,
    body: String,
    attempts: u32,
    too_late: bool,
}

/// What became of it.
enum Sent {
    /// With the new message's id, where it is a message.
    Well(Option<String>),
    Again(Why),
    Never(Why),
}

/// Why it was not sent.
struct Why {
    /// For the process's log, without a value of anybody.
    told: String,
    /// The words of the Graph API, which may quote the number or the text; they stand beside the letter in the database.
    quoted: String,
}

impl Why {
    /// The whole, for the database.
    fn whole(&self) -> String {
        format!("{} {}", self.told, self.quoted).trim_end().to_owned()
    }
}

impl From<String> for Why {
    fn from(told: String) -> Self {
        Self {
            told,
            quoted: String::new(),
        }
    }
}

impl From<&str> for Why {
    fn from(told: &str) -> Self {
        told.to_owned().into()
    }
}

impl Sender {
    /// Nothing where no rule sends anything.
    pub(super) fn build(
        section: &config::Router,
        pool: Pool,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Option<Self>> {
        let replies = section.rule.iter().any(|rule| rule.reply.is_some());
        anyhow::ensure!(
            !replies || section.token.is_some(),
            "a rule replies, and [router] token is missing: set it or WHATSAPP_TOKEN"
        );
        if !replies && section.rule.iter().all(|rule| rule.webhook.is_none()) {
            return Ok(None);
        }
        // No redirects: they could lead token and messages anywhere.
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Some(Self {
            pool,
            metrics: Arc::clone(metrics),
            http,
            graph: section.graph_url.trim_end_matches('/').to_owned(),
            token: section.token.clone(),
            webhook_secret: section.webhook_secret.clone(),
        }))
    }

    /// Sends until `stop`; what is under way is finished.
    pub(super) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.claim().await {
                Ok(letters) => {
                    join_all(letters.iter().map(|letter| self.send(letter))).await;
                }
                Err(error) => tracing::warn!(%error, "what is to be sent cannot be looked at"),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn claim(&self) -> Result<Vec<Letter>, QueryError> {
        let rows = self
            .pool
            .query_texts(CLAIM, &[Some(AT_ONCE), Some("{reply,webhook}")])
            .await?;
        let letter = |row: Vec<Option<String>>| {
            let mut parts = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || parts.next().unwrap_or_default();
            Letter {
                id: next(),
                kind: if next() == "reply" { "reply" } else { "webhook" },
                target: next(),
                key: next(),
                body: next(),
                attempts: next().parse().unwrap_or(u32::MAX),
                too_late: next() == "true",
            }
        };
        Ok(rows.into_iter().map(letter).collect())
    }

    async fn send(&self, letter: &Letter) {
        let sent = match letter.kind {
            "reply" if letter.too_late => {
                Sent::Never("the 24 hours in which the contact may be answered are over".into())
            }
            "reply" => self.reply(letter).await,
            _ => self.webhook(letter).await,
        };
        let sent = match sent {
            Sent::Again(why) if letter.attempts >= ATTEMPTS => Sent::Never(why),
            sent => sent,
        };
        let (kind, key) = (letter.kind, letter.key.as_str());
        let noted = match sent {
            Sent::Well(wamid) => {
                self.metrics.sent(kind, "sent");
                self.pool
                    .query_texts(SENT, &[Some(&letter.id), wamid.as_deref()])
                    .await
            }
            Sent::Again(why) => {
                self.metrics.sent(kind, "again");
                tracing::info!(
                    kind,
                    key,
                    why = why.told,
                    attempts = letter.attempts,
                    "not sent, again later"
                );
                self.pool
                    .query_texts(UNSENT, &[Some(&letter.id), Some(&why.whole()), Some("false")])
                    .await
            }
            Sent::Never(why) => {
                self.metrics.sent(kind, "dead");
                let attempts = letter.attempts;
                tracing::warn!(kind, key, why = why.told, attempts, "not sent, given up");
                tracing::debug!(kind, key, quoted = why.quoted, "the words of the refusal");
                self.pool
                    .query_texts(UNSENT, &[Some(&letter.id), Some(&why.whole()), Some("true")])
                    .await
            }
        };
        if let Err(error) = noted {
            tracing::warn!(%error, kind, key, "what was sent could not be noted, it may be sent again");
        }
    }

    async fn reply(&self, letter: &Letter) -> Sent {
        let url = format!("{}/{}/messages", self.graph, letter.target);
        let token = self.token.as_ref().map(Secret::reveal).unwrap_or_default();
        let request = self.http.post(url).bearer_auth(token);
        let request = request
            .header("content-type", "application/json")
            .body(letter.body.clone());
        let (status, answer) = match exchange(request).await {
            Ok(answered) => answered,
            Err(why) => return Sent::Again(why.into()),
        };
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            let wamid = answer.pointer("/messages/0/id").and_then(Value::as_str);
            return Sent::Well(wamid.map(str::to_owned));
        }
        let code = answer
            .pointer("/error/code")
            .and_then(Value::as_i64)
            .unwrap_or_default();
        let message = answer
            .pointer("/error/message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let why = Why {
            told: format!("the Graph API says {}: {code}", status.as_u16()),
            quoted: message.to_owned(),
        };
        if status.is_server_error() || PASSING.contains(&code) {
            Sent::Again(why)
        } else {
            Sent::Never(why)
        }
    }

    async fn webhook(&self, letter: &Letter) -> Sent {
        let secret = self
            .webhook_secret
            .as_ref()
            .map(Secret::reveal)
            .unwrap_or_default();
        let request = self
            .http
            .post(&letter.target)
            .header("content-type", "application/json")
            .header("idempotency-key", &letter.key)
            .header("x-pregon-signature-256", sign(secret, letter.body.as_bytes()))
            .body(letter.body.clone());
        match exchange(request).await {
            Ok((status, _)) if status.is_success() => Sent::Well(None),
            Ok((status, _)) => {
                let why = format!("the webhook says {}", status.as_u16()).into();
                if status.is_server_error() || [408, 425, 429].contains(&status.as_u16()) {
                    Sent::Again(why)
                } else {
                    Sent::Never(why)
                }
            }
            Err(why) => Sent::Again(why.into()),
        }
    }
}

/// Status and beginning of the body; an error as text, without the address.
async fn exchange(request: reqwest::RequestBuilder) -> Result<(reqwest::StatusCode, Vec<u8>), String> {
    let say = |error: reqwest::Error| format!("no answer: {}", error.without_url());
    let mut response = request.send().await.map_err(say)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(say)? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER {
            break;
        }
    }
    Ok((status, body))
}

//! One reading of a gateway: whether it is ready, and all of its metrics.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::exposition::Samples;

/// A gateway that does not answer within this is as good as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks one gateway.
#[derive(Debug)]
pub(super) struct Scraper {
    client: reqwest::Client,
    url: String,
}

/// What it said, and when.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) url: String,
    pub(super) at: Instant,
    /// What keeps it from being ready.
    pub(super) missing: Option<String>,
    pub(super) samples: Samples,
}

impl Scraper {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(PATIENCE).build()?,
            url: url.to_owned(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn read(&self) -> anyhow::Result<Reading> {
        let (status, text) = self.get("/readyz").await?;
        let missing = (!status.is_success()).then(|| {
            let words = text.lines().next().unwrap_or_default();
            words.strip_prefix("not ready: ").unwrap_or(words).to_owned()
        });
        let (status, text) = self.get("/metrics").await?;
        let samples = Samples::parse(&text);
        if !status.is_success() || samples.is_empty() {
            let url = &self.url;
            anyhow::bail!(
                "{url}/metrics answered {status} without metrics: is it a pregón that serves, with [metrics] enabled?"
            );
        }
        Ok(Reading {
            url: self.url.clone(),
            at: Instant::now(),
            missing,
            samples,
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<(reqwest::StatusCode, String)> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await;
        let answer = answer.with_context(|| {
            format!(
                "cannot reach the gateway at {}: is it running? --url names another",
                self.url
            )
        })?;
        let status = answer.status();
        Ok((status, answer.text().await.context("the answer broke off")?))
    }
}

//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Api;
use crate::source::Standing;

/// Whether the node can do its work.
#[derive(Debug, Default)]
pub(crate) struct Health {
    standing: Standing,
    draining: AtomicBool,
}

impl Health {
    pub(crate) fn new(standing: Standing) -> Arc<Self> {
        Arc::new(Self {
            standing,
            draining: AtomicBool::new(false),
        })
    }

    /// From now on the node takes nobody new.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Everything that has to be attached, and whether it is.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let standing = self.standing.load();
        let sources: Vec<_> = standing
            .attached
            .iter()
            .map(|(name, attached)| (*name, attached.get()))
            .collect();
        sources.into_iter()
    }

    /// Whether the node takes nobody new.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// What keeps the node from being ready; empty when it is.
    fn missing(&self) -> Vec<String> {
        let standing = self.standing.load();
        let mut missing: Vec<_> = standing
            .attached
            .iter()
            .filter(|(_, attached)| !attached.get())
            .map(|(name, attached)| match attached.why() {
                why if why.is_empty() => (*name).to_owned(),
                why => format!("{name} ({why})"),
            })
            .collect();
        if self.draining.load(Ordering::Acquire) {
            missing.push("draining".to_owned());
        }
        missing
    }
}

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let missing = api.health.missing();
    let findings = api.health.standing.load().degraded.words();
    let degraded: String = findings
        .iter()
        .map(|finding| format!("degraded: {finding}\n"))
        .collect();
    if missing.is_empty() {
        return format!("ready\n{degraded}").into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {}\n{degraded}", missing.join(", ")),
    )
        .into_response()
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    if !api.serve_metrics {
        return StatusCode::NOT_FOUND.into_response();
    }
    let window = api.log.window();
    let (bytes, entries) = window.size();
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    api.metrics.log_newest.set(gauge(window.head()));
    if api.log.history().is_none() {
        api.metrics.log_oldest.set(gauge(window.oldest()));
    }
    api.metrics
        .window_bytes
        .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    api.metrics
        .window_entries
        .set(i64::try_from(entries).unwrap_or(i64::MAX));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(http::header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}

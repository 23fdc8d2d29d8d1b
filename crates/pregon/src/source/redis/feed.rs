//! The way of a task of Redis into the pipeline: events, gaps, whether it is attached, and what is said about bad messages.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::super::Attached;
use super::super::pending::Pending;
use crate::event::Event;
use crate::lines;
use crate::log::{LogError, Position};
use crate::metrics::{Metrics, SourceLabel};
use crate::pipeline::Pipeline;

/// One task's way into the pipeline.
pub(super) struct Feed {
    /// The source in `source_up`.
    label: String,
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    pub(super) attached: Attached,
}

impl Feed {
    pub(super) fn new(label: &str, pipeline: &Arc<Pipeline>, metrics: &Arc<Metrics>) -> Self {
        let feed = Self {
            label: label.into(),
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
            attached: Attached::default(),
        };
        feed.set_attached(false);
        feed
    }

    pub(super) fn position(&self) -> Position {
        self.pipeline.position()
    }

    /// Appends events; returns when the log has them.
    pub(super) async fn ingest(&self, events: Vec<Event>) -> Result<(), LogError> {
        if events.is_empty() {
            return Ok(());
        }
        self.pipeline.ingest(events).await.wait().await.map(drop)
    }

    /// For what is appended in its order.
    pub(super) fn pending(&self) -> Pending {
        Pending::new(&self.pipeline)
    }

    /// Tells the channels of these sources, or with `everything` all channels, that something may be missing since `from`.
    pub(super) async fn gap(&self, sources: &[Arc<str>], everything: bool, from: Position) {
        if let Err(error) = self.pipeline.gap(sources, everything, from).await {
            tracing::warn!(%error, "a gap was not appended");
        }
    }

    pub(super) fn set_attached(&self, attached: bool) {
        self.attached.report(&self.metrics, &self.label, attached);
    }

    /// A message as it goes on: unchanged, unless it is no UTF-8, which no text frame may carry. What begins like JSON and
    /// is none goes on as text and is counted.
    pub(super) fn message(&mut self, source: &Arc<str>, payload: &Bytes) -> Bytes {
        let Ok(text) = std::str::from_utf8(payload) else {
            self.malformed(source, "a message is not UTF-8");
            return String::from_utf8_lossy(payload).into_owned().into();
        };
        if text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<&RawValue>(text).is_err() {
            self.malformed(source, "a message looks like JSON and does not parse");
        }
        payload.clone()
    }

    fn malformed(&mut self, source: &Arc<str>, what: &'static str) {
        let label = SourceLabel {
            source: source.to_string(),
        };
        self.metrics.malformed.get_or_create(&label).inc();
        tracing::warn!(name: lines::EACH_EVENT, source = &**source, "{what}: it goes on as text");
    }
}

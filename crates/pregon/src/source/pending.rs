//! What a source has taken and not yet appended: events that are to be routed and publications that are addressed already, in their
//! order of arrival.

use std::sync::Arc;

use crate::event::{Event, Publication};
use crate::log::Append;
use crate::pipeline::Pipeline;

/// Collects a batch; only one of the two lists holds something at a time.
pub(crate) struct Pending {
    pipeline: Arc<Pipeline>,
    events: Vec<Event>,
    addressed: Vec<Append>,
}

impl Pending {
    pub(crate) fn new(pipeline: &Arc<Pipeline>) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            events: Vec::new(),
            addressed: Vec::new(),
        }
    }

    /// Adds an event; publications before it are appended first.
    pub(crate) async fn event(&mut self, event: Event) {
        if !self.addressed.is_empty() {
            self.flush().await;
        }
        self.events.push(event);
    }

    /// Adds a publication; events before it are appended first.
    pub(crate) async fn publication(&mut self, publication: Publication) {
        if !self.events.is_empty() {
            self.flush().await;
        }
        self.addressed.push(Append::Publication(publication));
    }

    /// Passes on a publication that is not kept, behind everything before it.
    pub(crate) async fn volatile(&mut self, publication: Publication) {
        self.flush().await;
        self.pipeline.pass(publication);
    }

    /// Appends everything; returns when it is on its way to clients. For sources that cannot be asked again: while the log cannot be
    /// written they wait here, and their own queues become gaps when they are full.
    pub(crate) async fn flush(&mut self) {
        let (events, addressed) = (
            std::mem::take(&mut self.events),
            std::mem::take(&mut self.addressed),
        );
        let appended = if !events.is_empty() {
            self.pipeline.ingest_surely(events).await
        } else {
            self.pipeline.append_surely(addressed).await
        };
        // A log that refuses for good has closed, or the node needs a restart and has said so.
        if let Err(error) = appended {
            tracing::warn!(%error, "captured events were not appended");
        }
    }
}

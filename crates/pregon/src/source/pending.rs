//! What a source has taken and not yet appended: events that are to be routed and publications that are addressed already, in their
//! order of arrival.

use std::sync::Arc;

use crate::event::{Event, Publication};
use crate::log::Append;
use crate::pipeline::Pipeline;

/// Collects a batch; only one of the two lists holds something at a time.
pub struct Pending {
    pipeline: Arc<Pipeline>,
    events: Vec<Event>,
    addressed: Vec<Append>,
}

impl Pending {
    pub fn new(pipeline: &Arc<Pipeline>) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            events: Vec::new(),
            addressed: Vec::new(),
        }
    }

    /// Adds an event; publications before it are appended first.
    pub async fn event(&mut self, event: Event) {
        if !self.addressed.is_empty() {
            self.flush().await;
        }
        self.events.push(event);
    }

    /// Adds a publication; events before it are appended first.
    pub async fn publication(&mut self, publication: Publication) {
        if !self.events.is_empty() {
            self.flush().await;
        }
        self.addressed.push(Append::Publication(publication));
    }

    /// Passes on a publication that is not kept, behind everything before it.
    pub async fn passing(&mut self, publication: Publication) {
        self.flush().await;
        self.pipeline.pass(publication);
    }

    /// Appends everything; returns when the log has it. For sources that cannot be asked again.
    pub async fn flush(&mut self) {
        let (events, addressed) = (
            std::mem::take(&mut self.events),
            std::mem::take(&mut self.addressed),
        );
        let receipt = if !events.is_empty() {
            self.pipeline.ingest(events).await
        } else if !addressed.is_empty() {
            self.pipeline.append(addressed)
        } else {
            return;
        };
        // A log that refuses has closed, and the node is stopping.
        if let Err(error) = receipt.wait().await {
            tracing::warn!(%error, "captured events were not appended");
        }
    }
}

//! `GET /admin/api/stream`: the overview every second, as server-sent events; and how all streams of the dashboard end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use http::StatusCode;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Admin, Failure, overview};

/// Time between two pictures.
const EVERY: Duration = Duration::from_secs(1);

/// The stream's turn: one of a bounded number, with its clock.
pub(super) struct Turn {
    pub(super) admin: Arc<Admin>,
    clock: Interval,
    _place: OwnedSemaphorePermit,
}

impl Turn {
    /// A place among the streams, or why there is none.
    pub(super) fn take(admin: Arc<Admin>, every: Duration) -> Result<Self, Failure> {
        let place = Arc::clone(&admin.streams).try_acquire_owned();
        let place = place.map_err(|_| {
            let message = "too many dashboards are open: close one";
            Failure::new(StatusCode::TOO_MANY_REQUESTS, message)
        })?;
        let mut clock = interval(every);
        // A reader that was slow gets the present, not a burst.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            admin,
            clock,
            _place: place,
        })
    }

    /// Waits for the next tick; false once the node stops, so that no dashboard holds it up.
    pub(super) async fn next(&mut self) -> bool {
        self.clock.tick().await;
        !self.admin.health.is_draining()
    }
}

/// An event of these streams.
pub(super) fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

pub(super) async fn stream(
    State(admin): State<Arc<Admin>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let turn = Turn::take(admin, EVERY)?;
    let pictures = futures_util::stream::unfold(turn, |mut turn| async move {
        if !turn.next().await {
            return None;
        }
        let picture = overview::picture(&turn.admin).await;
        Some((Ok(event("overview", &picture)), turn))
    });
    Ok(Sse::new(pictures))
}

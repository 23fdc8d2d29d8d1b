//! What happens to the clients of a node that stands by: they are sent away, because another gateway has what they follow.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// Sends everybody away, spread over `over`, whenever the node begins to stand by; ends with `stop`.
pub(super) fn clear(
    hub: &Arc<Hub>,
    over: Duration,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (hub, stop) = (Arc::clone(hub), stop.clone());
    async move {
        let mut standby = hub.shared().standby.follow();
        let mut awaited = true;
        // Its sender lives as long as the hub.
        while let Some(Ok(_)) = stop
            .run_until_cancelled(standby.wait_for(|stands_by| *stands_by == awaited))
            .await
        {
            hub.shared().metrics.standby.set(i64::from(awaited));
            if awaited {
                tracing::warn!(
                    connections = hub.sessions(),
                    "another gateway reads the database: this one stands by and refuses clients, those that are here are sent away (3007)"
                );
                hub.send_away(over);
            } else {
                tracing::info!("this gateway reads the database and serves clients again");
            }
            awaited = !awaited;
        }
    }
}

//! `[[channel]] recheck`: rights that the database decides are asked for again from time to time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// How often it is looked whose time has come: no period is shorter.
const LOOK: Duration = Duration::from_secs(1);

/// Asks again until `stop`, by the periods of the configuration of the moment.
pub(super) async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    let mut asked: HashMap<Duration, Instant> = HashMap::new();
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let periods = hub.shared().rights.load().rechecks();
        asked.retain(|period, _| periods.contains(period));
        for period in periods {
            let last = asked.entry(period).or_insert_with(Instant::now);
            if last.elapsed() >= period {
                *last = Instant::now();
                hub.recheck(period);
            }
        }
    }
}

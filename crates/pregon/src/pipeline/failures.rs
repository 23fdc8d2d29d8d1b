//! Says and counts what routes could not do with an event: which route, which event, and the expression's own error.
//!
//! A wrong route fails on every row, so each route is told at most once a minute, and apart from it the names that it may not use.

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::event::Event;
use crate::metrics::{Metrics, Reason, SourceLabel};
use crate::route::outcome::{Failed, Routed};

/// Pause between two lines about one route.
const QUIET: Duration = Duration::from_secs(60);

/// Routes that failed, by their place in the configuration and whether it was a name, and what was said of them.
#[derive(Debug, Default)]
pub(super) struct Failures {
    said: Mutex<HashMap<(Option<usize>, bool), Said>>,
}

/// When a route was last spoken of, and its failures since.
#[derive(Debug)]
struct Said {
    at: Instant,
    since: u64,
}

impl Failures {
    /// Counts what failed with an event, and says it where it was not said lately.
    pub(super) fn report(&self, event: &Event, routed: &Routed, metrics: &Metrics) {
        if routed.unreadable > 0 {
            let source = event.source.to_string();
            let unreadable = metrics.unreadable.get_or_create(&SourceLabel { source });
            unreadable.inc_by(routed.unreadable.into());
        }
        if routed.failed.is_empty() {
            return;
        }
        if routed.failed.iter().any(|failed| !failed.ambiguous) {
            metrics.dropped(Reason::Rule);
        }
        for failed in &routed.failed {
            if failed.ambiguous {
                metrics.dropped(Reason::Ambiguous);
            }
            if let Some(failures) = self.due((failed.rule, failed.ambiguous)) {
                say(event, failed, failures);
            }
        }
    }

    /// How many failures of the route a line would tell, if it is time for one.
    fn due(&self, rule: (Option<usize>, bool)) -> Option<u64> {
        let now = Instant::now();
        let mut all = self.said.lock();
        match all.get_mut(&rule) {
            Some(said) if now.duration_since(said.at) < QUIET => {
                said.since += 1;
                None
            }
            Some(said) => {
                let failures = said.since + 1;
                *said = Said { at: now, since: 0 };
                Some(failures)
            }
            None => {
                all.insert(rule, Said { at: now, since: 0 });
                Some(1)
            }
        }
    }
}

fn say(event: &Event, failed: &Failed, failures: u64) {
    let route = failed
        .rule
        .map_or_else(|| "default".into(), |rule| format!("route[{rule}]"));
    tracing::warn!(
        route,
        source = &*event.source,
        op = event.op.as_str(),
        id = event.id.0.as_deref(),
        time = %humantime::format_rfc3339_millis(event.at),
        error = failed.error,
        failures,
        "a route could not be applied to an event; it is said once a minute at most"
    );
}

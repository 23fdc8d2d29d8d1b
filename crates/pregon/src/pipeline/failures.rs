//! Says and counts what routes could not do with an event: which route, which event, and the expression's own error, which quotes no values.

use crate::event::Event;
use crate::lines;
use crate::metrics::{Metrics, Reason, SourceLabel};
use crate::route::outcome::{Failed, Routed};

/// Counts what failed with an event, and says it.
pub(super) fn report(event: &Event, routed: &Routed, metrics: &Metrics) {
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
        say(event, failed);
        if failed.ambiguous {
            metrics.dropped(Reason::Ambiguous);
        }
    }
}

fn say(event: &Event, failed: &Failed) {
    let mut route = failed
        .rule
        .map_or_else(|| "default".into(), |rule| format!("route[{rule}]"));
    if failed.ambiguous {
        // Names that it may not use do not hide what else is wrong with it.
        route.push_str(".to");
    }
    tracing::warn!(
        name: lines::EACH_EVENT,
        route,
        source = &*event.source,
        op = event.word(),
        id = event.id.0.as_deref(),
        time = %humantime::format_rfc3339_millis(event.at),
        error = failed.error,
        "a route could not be applied to an event"
    );
}

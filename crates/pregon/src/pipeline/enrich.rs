//! Publications of a batch of events: routing, and for rules with a query one statement for all their events.
//!
//! The order of the events is kept whatever the queries do; an event whose query fails goes on without its columns and is
//! counted.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use pregon_capture::query::Pool;

use super::unrouted::UnroutedRing;
use super::{count_route, rule_failed};
use crate::event::Event;
use crate::log::Append;
use crate::metrics::{Metrics, Reason};
use crate::route::outcome::Routed;
use crate::route::rule::{Enrichment, Router, Rule};
use crate::route::scope::Scope;

/// One event's turn with one rule that has a query.
struct Turn<'a> {
    event: usize,
    rule: &'a Arc<Rule>,
    columns: Option<Vec<u8>>,
}

/// Routes events and runs the queries that their rules ask for.
pub(super) async fn publications(
    router: &Router,
    events: &[Event],
    pool: Option<&Pool>,
    metrics: &Metrics,
    unrouted: Option<&UnroutedRing>,
) -> Vec<Append> {
    let mut routed: Vec<Routed> = events.iter().map(|event| router.route(event)).collect();
    if routed.iter().any(|routed| !routed.waiting.is_empty()) {
        enrich(events, &mut routed, pool, metrics).await;
    }
    let mut batch = Vec::with_capacity(routed.len());
    for (event, routed) in events.iter().zip(routed) {
        report(event, &routed, metrics);
        if let Some(unrouted) = unrouted.filter(|_| routed.publications.is_empty()) {
            unrouted.note(event);
        }
        batch.extend(routed.publications.into_iter().map(Append::Publication));
    }
    batch
}

fn report(event: &Event, routed: &Routed, metrics: &Metrics) {
    if routed.failed > 0 {
        rule_failed(
            metrics,
            &event.source,
            &"a condition or a value of the payload could not be evaluated",
        );
    }
    if !routed.publications.is_empty() {
        count_route(metrics, &event.source);
    }
}

async fn enrich(events: &[Event], routed: &mut [Routed], pool: Option<&Pool>, metrics: &Metrics) {
    let waiting: Vec<_> = routed
        .iter_mut()
        .map(|routed| std::mem::take(&mut routed.waiting))
        .collect();
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (event, rules) in waiting.iter().enumerate() {
        turns.extend(rules.iter().map(|rule| Turn {
            event,
            rule,
            columns: None,
        }));
    }
    for places in by_rule(&turns) {
        ask(events, &mut turns, &places, pool, metrics).await;
    }
    for turn in turns {
        let (Some(event), Some(routed)) = (events.get(turn.event), routed.get_mut(turn.event)) else {
            continue;
        };
        let made = match (turn.rule.enrich(), &turn.columns) {
            (Some(enrichment), Some(columns)) => turn.rule.publish(&enrichment.merge(event, columns)),
            _ => turn.rule.publish(event),
        };
        routed.take(turn.rule, made);
    }
}

/// The turns of each rule, in the order of the events.
fn by_rule(turns: &[Turn<'_>]) -> Vec<Vec<usize>> {
    let mut places: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (place, turn) in turns.iter().enumerate() {
        places.entry(turn.rule.index).or_default().push(place);
    }
    places.into_values().collect()
}

/// One statement for all events of a rule.
async fn ask(
    events: &[Event],
    turns: &mut [Turn<'_>],
    places: &[usize],
    pool: Option<&Pool>,
    metrics: &Metrics,
) {
    let Some(enrichment) = places.first().and_then(|&place| turns.get(place)?.rule.enrich()) else {
        return;
    };
    let rows: Vec<_> = places
        .iter()
        .filter_map(|&place| events.get(turns.get(place)?.event))
        .map(|event| parameters(enrichment, event))
        .collect();
    match run(enrichment, &rows, pool, enrichment.timeout).await {
        Ok(answers) => {
            for (&place, columns) in places.iter().zip(answers) {
                if let (Some(turn), Some(columns)) = (turns.get_mut(place), columns) {
                    turn.columns = Some(columns.to_string().into_bytes());
                }
            }
        }
        Err(error) => {
            for _ in places {
                metrics.dropped(Reason::Enrich);
            }
            tracing::warn!(
                error,
                events = places.len(),
                "an enrichment query failed: its events go on without it"
            );
        }
    }
}

fn parameters(enrichment: &Enrichment, event: &Event) -> serde_json::Value {
    let scope = Scope::event(event);
    let values = enrichment.params(&scope);
    let pairs = enrichment.sql.names().iter().cloned().zip(values);
    serde_json::Value::Object(
        pairs
            .map(|(name, value)| (name, serde_json::Value::from(value)))
            .collect(),
    )
}

async fn run(
    enrichment: &Enrichment,
    rows: &[serde_json::Value],
    pool: Option<&Pool>,
    patience: Duration,
) -> Result<Vec<Option<serde_json::Value>>, String> {
    let Some(pool) = pool else {
        return Err("there is no database to ask".into());
    };
    let asked = tokio::time::timeout(patience, pool.query_batch(&enrichment.sql, rows)).await;
    asked
        .map_err(|_| format!("no answer in {patience:?}"))?
        .map_err(|error| error.to_string())
}

//! Publications of a batch of events: routing, and for rules with a query one statement for all their events.
//!
//! The order of the events is kept whatever the queries do; an event whose query fails goes on without its columns and is
//! counted.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use pregon_capture::query::{Pool, QueryError};

use super::count_route;
use super::failures;
use super::unrouted::UnroutedRing;
use crate::event::Event;
use crate::log::Append;
use crate::metrics::{Metrics, Reason};
use crate::route::outcome::Routed;
use crate::route::rule::{Enrichment, Routes, Rule};
use crate::route::scope::Scope;

/// One event's turn with one rule that has a query.
struct Turn<'a> {
    event: usize,
    rule: &'a Arc<Rule>,
    columns: Option<Bytes>,
}

/// Where it is told what came of events.
pub(super) struct Aside<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) unrouted: Option<&'a UnroutedRing>,
}

/// Routes events and runs the queries that their rules ask for.
pub(super) async fn publications(
    router: &Routes,
    events: &[Event],
    pool: Option<&Pool>,
    aside: &Aside<'_>,
) -> Vec<Append> {
    let mut routed: Vec<Routed> = events.iter().map(|event| router.route(event)).collect();
    if routed.iter().any(|routed| !routed.waiting.is_empty()) {
        enrich(events, &mut routed, pool, aside.metrics).await;
    }
    let mut batch = Vec::with_capacity(routed.len());
    for (event, routed) in events.iter().zip(routed) {
        failures::report(event, &routed, aside.metrics);
        if !routed.publications.is_empty() {
            count_route(aside.metrics, &event.source);
        }
        if let Some(unrouted) = aside.unrouted.filter(|_| routed.publications.is_empty()) {
            unrouted.note(event);
        }
        batch.extend(routed.publications.into_iter().map(Append::Publication));
    }
    batch
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
    // One event whose values the query cannot take must not cost the others their columns: halves until it stands alone.
    let mut pieces = vec![places];
    while let Some(piece) = pieces.pop() {
        let rows: Vec<String> = piece
            .iter()
            .filter_map(|&place| events.get(turns.get(place)?.event))
            .map(|event| parameters(enrichment, event).to_string())
            .collect();
        match run(enrichment, &rows, pool).await {
            Ok(answers) => {
                for (&place, columns) in piece.iter().zip(answers) {
                    if let Some(turn) = turns.get_mut(place) {
                        turn.columns = columns;
                    }
                }
            }
            Err(failure) if failure.by_value && piece.len() > 1 => {
                let (first, second) = piece.split_at(piece.len() / 2);
                pieces.extend([second, first]);
            }
            Err(failure) => {
                for _ in piece {
                    metrics.dropped(Reason::Enrich);
                }
                tracing::warn!(
                    route = enrichment_route(turns, piece),
                    error = failure.message,
                    events = piece.len(),
                    "an enrichment query failed: its events go on without it"
                );
            }
        }
    }
}

/// The rule whose query it is.
fn enrichment_route(turns: &[Turn<'_>], places: &[usize]) -> Option<String> {
    let index = turns.get(*places.first()?)?.rule.index?;
    Some(format!("route[{index}]"))
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

/// Why a query gave no columns.
struct Failure {
    message: String,
    /// A value of one event is at fault (class 22 of SQLSTATE), so that the others may fare better alone.
    by_value: bool,
}

async fn run(
    enrichment: &Enrichment,
    rows: &[String],
    pool: Option<&Pool>,
) -> Result<Vec<Option<Bytes>>, Failure> {
    let failure = |message, by_value| Failure { message, by_value };
    let Some(pool) = pool else {
        return Err(failure("there is no database to ask".into(), false));
    };
    let patience = enrichment.timeout;
    match tokio::time::timeout(patience, pool.query_batch_raw(&enrichment.sql, rows)).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(error)) => {
            let by_value = matches!(&error, QueryError::Sql { code, .. } if code.starts_with("22"));
            Err(failure(error.to_string(), by_value))
        }
        Err(_) => Err(failure(format!("no answer in {patience:?}"), false)),
    }
}

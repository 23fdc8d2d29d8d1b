//! Routes with what they have done; a try with a sample; and the last events that no route published.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::asked::Body;
use super::{Admin, Answer, Failure, time};
use crate::lenient;
use crate::pipeline::unrouted::Unrouted;
use crate::route::sample::Sample;

/// Every rule of the present configuration.
pub(super) fn list(admin: &Admin) -> Vec<Value> {
    let router = admin.router.load();
    let rules = router.rules().into_iter().map(|(from, rule)| {
        let (to, event) = rule.targets();
        json!({
            "route": rule.index.map_or_else(|| "default".into(), |index| format!("route[{index}]")),
            "from": from,
            "when": rule.condition(),
            "to": to,
            "event": event,
            "enriches": rule.enrich().is_some(),
            "hits": rule.hits().counted(),
        })
    });
    rules.collect()
}

/// `POST /admin/api/try-route`: what every rule would do with a sample, and why. Nothing is published or counted.
pub(super) async fn try_route(State(admin): State<Arc<Admin>>, Body(body): Body<Value>) -> Answer {
    let sample: Sample = serde_json::from_value(body).map_err(|error| Failure::bad(error.to_string()))?;
    let event = sample
        .event(&admin.config)
        .map_err(|wrong| Failure::bad(wrong.to_string()))?;
    let told = admin.router.load().explain(&event);
    Ok(Json(serde_json::to_value(told).unwrap_or_default()))
}

/// `GET /admin/api/unrouted`: the newest first.
pub(super) async fn unrouted(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let list: Vec<Value> = admin.unrouted.list().iter().map(|event| one(event)).collect();
    Json(json!({ "events": list }))
}

/// An event that nobody was sent, as JSON: as it came, so that what is encrypted is encrypted.
pub(super) fn one(unrouted: &Unrouted) -> Value {
    let event = &unrouted.event;
    let part = |bytes: Option<&bytes::Bytes>| {
        bytes.map(|bytes| {
            lenient::read::<Value>(bytes)
                .map(|read| read.value)
                .unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned().into())
        })
    };
    json!({
        "number": unrouted.number,
        "source": &*event.source,
        "op": event.word(),
        "time": time(event.at),
        "row": part(event.new_row()),
        "old": part(event.old_row()),
        "message": part(event.text()),
        "cut": unrouted.cut,
    })
}

//! `GET /admin/api/explain`: why did, or did not, this user get this event?
//!
//! Says what the log, the rules, the rights and the live sessions show, in the order of the data's path, and says what is not known rather
//! than guess: rules and rights are those of now, and what a closed connection's client has read is known to nobody.

mod find;
mod user;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Params;
use super::{Admin, Answer, Failure, entry, routes, time};
use crate::auth::Claims;
use crate::log::{Body, Entry};
use crate::pipeline::unrouted::Unrouted;
use find::Found;

/// Who, and what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The token's `sub`.
    user: String,
    /// A position, an offset, the event's own id, or `unrouted:NUMBER`.
    event: String,
    /// A channel of the event, to find it on the disk when the window no longer has it.
    channel: Option<String>,
    /// What the token says, as a JSON object, for a user who is not connected.
    claims: Option<String>,
}

/// One step on the way of an event.
struct Step {
    name: &'static str,
    /// `yes`, `no` or `unknown`.
    outcome: &'static str,
    at: Value,
    text: String,
    more: Value,
}

impl Step {
    fn new(name: &'static str, outcome: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            outcome,
            at: Value::Null,
            text: text.into(),
            more: Value::Null,
        }
    }

    fn at(self, at: Value) -> Self {
        Self { at, ..self }
    }

    fn with(self, more: Value) -> Self {
        Self { more, ..self }
    }

    fn json(self) -> Value {
        json!({ "step": self.name, "outcome": self.outcome, "at": self.at, "text": self.text, "more": self.more })
    }
}

pub(super) async fn explain(State(admin): State<Arc<Admin>>, Params(question): Params<Question>) -> Answer {
    let claims = claims(&question)?;
    let channel = question.channel.clone().filter(|channel| !channel.is_empty());
    let found = find::event(&admin, question.event.trim(), channel).await?;
    let told = match found {
        Found::Entry(entry) => published(&admin, &question.user, claims, &entry).await,
        Found::Unrouted(event) => unrouted(&admin, &event),
        Found::Nothing(why) => nothing(why),
    };
    Ok(Json(with_question(told, &question)))
}

/// The claims to assume of a user who is not connected: those that are given, otherwise a `sub` and nothing else.
fn claims(question: &Question) -> Result<(Claims, bool), Failure> {
    let mut map = match question.claims.as_deref().filter(|text| !text.trim().is_empty()) {
        None => serde_json::Map::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::bad(format!("claims: give a JSON object: {error}")))?,
    };
    let given = !map.is_empty();
    map.insert("sub".into(), question.user.as_str().into());
    Ok((Claims::new(map, None), given))
}

fn with_question(mut told: Value, question: &Question) -> Value {
    if let Some(fields) = told.as_object_mut() {
        fields.insert("user".into(), question.user.as_str().into());
        fields.insert("query".into(), question.event.as_str().into());
    }
    told
}

async fn published(admin: &Arc<Admin>, user: &str, claims: (Claims, bool), entry: &Arc<Entry>) -> Value {
    let mut steps = vec![
        Step::new("captured", "yes", "by the clock of its source").at(time(entry.at)),
        routed(admin, entry),
        logged(entry),
    ];
    let told = user::sessions(admin, user, claims, entry).await;
    steps.extend(told.steps);
    json!({
        "verdict": told.verdict,
        "event": entry::of(entry),
        "steps": steps.into_iter().map(Step::json).collect::<Vec<_>>(),
        "sessions": told.sessions,
        "closed": told.closed,
    })
}

/// The log says which channels; which rule it was is known by the event's identity, or only by what the rules could render.
fn routed(admin: &Admin, entry: &Entry) -> Step {
    let Body::Publication { channels, id, .. } = &entry.body else {
        let text = "a gap: a source or the log may have lost something, which every follower of its channels is told";
        return Step::new("routed", "yes", text);
    };
    let router = admin.router.load();
    let could = |rule: &crate::route::Rule| {
        let mut patterns = rule.patterns().iter();
        patterns.any(|pattern| channels.iter().any(|channel| pattern.is_match(channel)))
    };
    let named = id
        .as_deref()
        .and_then(|id| id.rsplit_once('/')?.1.parse::<usize>().ok());
    let rules = router.rules();
    let candidates = rules.iter().filter(|(_, rule)| could(rule));
    let rules: Vec<Value> = candidates
        .map(|(from, rule)| {
            let name = rule.index.map_or_else(|| "default".into(), |index| format!("route[{index}]"));
            json!({ "route": name, "from": from, "when": rule.condition(), "surely": rule.index.is_some() && rule.index == named })
        })
        .collect();
    let text = match rules.len() {
        0 => "no current rule produces these channels: it was published with its channel, or before a reload",
        1 => "the only current rule that produces one of these channels",
        _ => "current rules that produce one of these channels; or it was published with its channel",
    };
    Step::new("routed", "yes", text).with(json!({ "rules": rules }))
}

fn logged(entry: &Entry) -> Step {
    let now = std::time::SystemTime::now();
    let at = now.checked_sub(entry.appended.elapsed()).unwrap_or(now);
    let text = format!("at {}", entry.position);
    Step::new("logged", "yes", text).at(time(at))
}

/// The rules of now, asked again about what came.
fn unrouted(admin: &Admin, unrouted: &Unrouted) -> Value {
    let captured =
        Step::new("captured", "yes", format!("from {}", unrouted.event.source)).at(time(unrouted.event.at));
    let text = match unrouted.cut {
        true => {
            "no rule published it; the event was too large to be kept, so that the rules cannot be asked again"
        }
        false => "no rule published it; this is what the current rules say",
    };
    let rules = match unrouted.cut {
        true => Value::Null,
        false => serde_json::to_value(admin.router.load().explain(&unrouted.event)).unwrap_or_default(),
    };
    let routed = Step::new("routed", "no", text).with(rules);
    json!({
        "verdict": "no_route",
        "event": routes::one(unrouted),
        "steps": [captured.json(), routed.json()],
        "sessions": [],
        "closed": [],
    })
}

fn nothing(why: String) -> Value {
    json!({
        "verdict": "not_found",
        "event": null,
        "steps": [Step::new("captured", "unknown", why).json()],
        "sessions": [],
        "closed": [],
    })
}

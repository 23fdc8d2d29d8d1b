//! Sources as the dashboard lists them, and how PostgreSQL captures.

use serde_json::{Value, json};

use super::Admin;
use super::exposition::Exposition;
use crate::config::Capture;
use crate::install::mode;
use crate::route::rule::{CLIENTS, PUBLISH};

/// Every source with its kind, what it leads to, and what came of it.
pub(super) fn list(admin: &Admin, metrics: &Exposition) -> Vec<Value> {
    let config = &admin.config;
    let capture = capture(admin);
    let mut list = Vec::new();
    let mut add = |name: &str, kind: &str, origin: &str, up: Option<bool>| {
        list.push(json!({
            "name": name,
            "kind": kind,
            "origin": origin,
            "up": up,
            "events": metrics.labelled("events_total", name).unwrap_or_default(),
            "routed": metrics.labelled("route_matches_total", name).unwrap_or_default(),
            "gaps": metrics.labelled("source_gaps_total", name).unwrap_or_default(),
        }));
    };
    let up = |label: &str| metrics.labelled("source_up", label).map(|up| up > 0.0);
    let watched = match capture {
        "notify" => up("postgres"),
        capture => up(capture),
    };
    for watch in &config.watch {
        add(&watch.name, capture, &watch.table, watched);
    }
    for listen in &config.listen {
        add(&listen.name, "listen", &listen.channel, up("postgres"));
    }
    if let Some(redis) = &config.redis {
        let streams: Vec<&str> = redis.stream.iter().map(|stream| stream.name.as_str()).collect();
        for name in redis.names() {
            let kind = if streams.contains(&name) {
                "redis stream"
            } else {
                "redis"
            };
            let attached = admin
                .health
                .sources()
                .filter(|(part, _)| part.starts_with("redis"));
            let up = attached.map(|(_, up)| up).reduce(|a, b| a && b);
            add(name, kind, redis.origin(name).unwrap_or_default(), up);
        }
    }
    for webhook in &config.webhook {
        add(&webhook.name, "webhook", &webhook.path, Some(true));
    }
    if config.socketio.is_some() {
        add(CLIENTS, "clients", "", Some(true));
    }
    add(
        PUBLISH,
        "publish",
        "POST /api/publish, pregon.publish()",
        Some(true),
    );
    list
}

fn capture(admin: &Admin) -> &'static str {
    use pregon_capture::install::Mode;
    match mode(&admin.config) {
        Mode::Notify => "notify",
        Mode::Outbox => "outbox",
        Mode::Wal => "wal",
    }
}

/// How PostgreSQL captures, and what waits there.
pub(super) fn postgres(admin: &Admin, metrics: &Exposition) -> Value {
    let Some(postgres) = &admin.config.postgres else {
        return Value::Null;
    };
    let of = |name: &str| metrics.value(name);
    let outbox = (postgres.capture == Capture::Outbox).then(|| {
        json!({
            "rows": of("outbox_rows"),
            "bytes": of("outbox_bytes"),
            "most": postgres.outbox.max.0,
            "lag": of("outbox_lag_seconds"),
            "stalled": of("outbox_stalled_seconds"),
        })
    });
    let slot = (postgres.capture == Capture::Wal).then(|| {
        json!({
            "name": postgres.slot,
            "retained": of("slot_retained_bytes"),
            "alarm": of("slot_alarm") > 0.0,
        })
    });
    json!({ "capture": capture(admin), "outbox": outbox, "slot": slot })
}

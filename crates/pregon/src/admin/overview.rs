//! `GET /admin/api/overview`: the whole node on one page of numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use hashbrown::HashSet;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::exposition::Exposition;
use super::rates::Rates;
use super::{Admin, sources, time};
use crate::hub::inspect::{Numbers, What};

/// Two operators who look at the same time see the same picture.
const FRESH: Duration = Duration::from_millis(400);

/// Channels that are counted; who follows more is told so.
const CHANNELS: usize = 50_000;

/// The last picture.
#[derive(Default)]
pub(super) struct Last(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    taken: Option<(Instant, Arc<Value>)>,
    rates: Rates,
}

pub(super) async fn overview(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(Value::clone(&*picture(&admin).await))
}

/// The picture of now, taken once for all who ask at the same time.
pub(super) async fn picture(admin: &Admin) -> Arc<Value> {
    let mut last = admin.overview.0.lock().await;
    if let Some((taken, picture)) = &last.taken
        && taken.elapsed() < FRESH
    {
        return Arc::clone(picture);
    }
    let metrics = Exposition::of(&admin.metrics);
    let now = Instant::now();
    let picture = Arc::new(json!({
        "at": time(std::time::SystemTime::now()),
        "node": node(admin),
        "connections": connections(admin, &metrics).await,
        "channels": channels(admin).await,
        "rates": last.rates.look(now, &metrics),
        "latency": metrics.histogram("commit_to_write_seconds"),
        "capture": metrics.histogram("capture_lag_seconds"),
        "counts": counts(&metrics),
        "drops": drops(&metrics),
        "refused": metrics.by_two("address_refused", "address", "reason"),
        "attached": attached(admin),
        "sources": sources::list(admin, &metrics),
        "postgres": sources::postgres(admin, &metrics),
        "routes": super::routes::list(admin),
        "log": log(admin, &metrics),
    }));
    last.taken = Some((now, Arc::clone(&picture)));
    picture
}

fn node(admin: &Admin) -> Value {
    let ready = admin.health.sources().all(|(_, attached)| attached) && !admin.health.is_draining();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "address": admin.address,
        "pid": std::process::id(),
        "started": time(admin.started),
        "uptime": admin.started.elapsed().unwrap_or_default().as_secs(),
        "memory": resident(),
        "ready": ready,
        "draining": admin.health.is_draining(),
        "verifies_tokens": admin.desk.verifies(),
        "revoked": admin.revoked.list().len(),
        "limit": admin.config.limits.connections,
    })
}

/// Resident memory in bytes, where the system says so.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

async fn connections(admin: &Admin, metrics: &Exposition) -> Value {
    let mut numbers = Numbers::default();
    let add = |seen: crate::hub::inspect::Seen| {
        numbers += seen.numbers;
        true
    };
    admin.hub.look(What::Numbers, add).await;
    let by: serde_json::Map<_, _> = metrics
        .by_label("sessions")
        .map(|(transport, count)| (transport.to_owned(), json!(count)))
        .collect();
    json!({
        "total": numbers.connections,
        "by_transport": by,
        "behind": numbers.behind,
        "waiting_bytes": numbers.waiting_bytes,
        "subscriptions": numbers.subscriptions,
        "opened": metrics.value("sessions_opened_total"),
    })
}

async fn channels(admin: &Admin) -> Value {
    let mut names = HashSet::new();
    let mut all = true;
    let count = |seen: crate::hub::inspect::Seen| {
        names.extend(seen.channels.into_iter().map(|(name, _)| name));
        all = names.len() < CHANNELS;
        all
    };
    admin.hub.look(What::Channels, count).await;
    json!({ "count": names.len(), "complete": all })
}

fn counts(metrics: &Exposition) -> Value {
    let of = |name: &str| metrics.value(name);
    json!({
        "events": of("events_total"),
        "publications": of("publications_total"),
        "deliveries": of("deliveries_total"),
        "delivered_bytes": of("delivered_bytes_total"),
        "replayed": of("replayed_total"),
        "gaps": of("gaps_total"),
        "decrypt_failures": of("decrypt_failures_total"),
    })
}

fn drops(metrics: &Exposition) -> Value {
    let by = metrics.by_label("drops_total");
    by.map(|(reason, count)| (reason.to_owned(), json!(count)))
        .collect()
}

fn attached(admin: &Admin) -> Value {
    let all = admin.health.sources();
    all.map(|(name, attached)| json!({ "name": name, "up": attached }))
        .collect()
}

fn log(admin: &Admin, metrics: &Exposition) -> Value {
    let (window, config) = (admin.log.window(), &admin.config.log);
    let (bytes, entries) = window.size();
    let on_disk = config.kind.is_on_disk();
    let oldest = match on_disk {
        true => metrics.value("log_oldest"),
        #[allow(clippy::cast_precision_loss)] // Shown, not computed with.
        false => window.oldest() as f64,
    };
    json!({
        "kind": config.kind.as_str(),
        "epoch": format!("{:08x}", window.epoch().0),
        "position": window.position(window.head()).to_string(),
        "oldest": oldest,
        "newest": window.head(),
        "window": { "bytes": bytes, "entries": entries, "most": config.window.0 },
        "disk": on_disk.then(|| json!({
            "bytes": metrics.value("log_bytes"),
            "segments": metrics.value("log_segments"),
            "most": config.size.0,
        })),
        "age": config.age.as_secs(),
        "failures": metrics.value("log_failures_total"),
        "reads": metrics.value("log_reads_total"),
        "sync": metrics.histogram("log_sync_seconds"),
    })
}

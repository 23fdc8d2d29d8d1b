//! Deliveries as Meta sends them, signed, at a rate; for trying a router out and for measuring one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::source::webhook::signature::sign;

/// Requests under way at once.
const AT_ONCE: usize = 256;

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    pub url: String,
    pub secret: String,
    /// Deliveries a second; 0 is as fast as they are answered.
    pub rate: u32,
    pub length: Duration,
    /// Deliveries after which it ends before that.
    pub most: u64,
    /// People who write.
    pub contacts: u64,
    /// Messages in a delivery.
    pub batch: u64,
}

/// What was answered.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub deliveries: u64,
    pub messages: u64,
    pub accepted: u64,
    pub refused: u64,
    pub failed: u64,
    pub seconds: f64,
    pub per_second: f64,
    /// Milliseconds to the answer.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Sends until the time is over, and waits for the answers.
pub async fn run(plan: Plan) -> anyhow::Result<Report> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(AT_ONCE)
        .build()?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    // Its reader only counts, so that senders hardly ever wait for it.
    let (answers, answered) = mpsc::channel(AT_ONCE);
    let counting = tokio::spawn(count(answered));
    let began = Instant::now();
    let run = format!("{:08x}", rand::random::<u32>());
    let mut sent = 0;
    while began.elapsed() < plan.length && sent < plan.most {
        let due = began + Duration::from_secs_f64(sent as f64 / f64::from(plan.rate.max(1)));
        if plan.rate > 0 {
            tokio::time::sleep_until(due.into()).await;
        }
        let place = Arc::clone(&places).acquire_owned().await?;
        let body = delivery(&plan, &run, sent).to_string();
        let request = client
            .post(&plan.url)
            .header("content-type", "application/json")
            .header("x-hub-signature-256", sign(&plan.secret, body.as_bytes()))
            .body(body);
        let answers = answers.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let status = request.send().await.ok().map(|answer| answer.status().as_u16());
            let _ = answers.send((status, began.elapsed())).await; // Nobody may be left to count it.
            drop(place);
        });
        sent += 1;
    }
    drop(answers);
    let (mut report, mut times) = counting.await?;
    report.deliveries = sent;
    report.messages = sent * plan.batch;
    report.seconds = began.elapsed().as_secs_f64();
    report.per_second = report.accepted as f64 * plan.batch as f64 / report.seconds;
    times.sort_by(f64::total_cmp);
    let at = |part: f64| {
        times
            .get((times.len() as f64 * part) as usize)
            .or(times.last())
            .copied()
    };
    (report.p50_ms, report.p99_ms) = (at(0.5).unwrap_or(0.0), at(0.99).unwrap_or(0.0));
    report.max_ms = times.last().copied().unwrap_or(0.0);
    Ok(report)
}

/// Statuses by kind, and milliseconds.
async fn count(mut answered: mpsc::Receiver<(Option<u16>, Duration)>) -> (Report, Vec<f64>) {
    let mut report = Report::default();
    let mut times = Vec::new();
    while let Some((status, took)) = answered.recv().await {
        match status {
            Some(200) => report.accepted += 1,
            Some(_) => report.refused += 1,
            None => report.failed += 1,
        }
        times.push(took.as_secs_f64() * 1000.0);
    }
    (report, times)
}

const TEXTS: [&str; 6] = [
    "Hola, buenas tardes",
    "¿Qué precio tiene?",
    "Quería un turno para el jueves 🙂",
    "Gracias!",
    "¿Están abiertos hoy?",
    "Te mando la foto",
];

/// One delivery: texts, an image now and then, each contact's messages numbered.
fn delivery(plan: &Plan, run: &str, number: u64) -> Value {
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let contact = number % plan.contacts.max(1);
    let from = format!("54911{:08}", contact);
    let messages: Vec<Value> = (0..plan.batch.max(1))
        .map(|part| {
            let order = number * plan.batch.max(1) + part;
            let text = TEXTS.get((order % 6) as usize).copied().unwrap_or_default();
            let id = format!("wamid.SIM.{run}.{order:09}");
            let at = seconds.to_string();
            if order % 10 == 9 {
                json!({ "from": from, "id": id, "timestamp": at, "type": "image",
                    "image": { "id": order.to_string(), "mime_type": "image/jpeg", "sha256": "x", "caption": text } })
            } else {
                json!({ "from": from, "id": id, "timestamp": at, "type": "text", "text": { "body": text } })
            }
        })
        .collect();
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "100000000000001", "changes": [{ "field": "messages", "value": {
        "messaging_product": "whatsapp", "metadata": { "display_phone_number": "15550001111", "phone_number_id": "109" },
        "contacts": [{ "profile": { "name": format!("Contacto {contact}") }, "wa_id": from }], "messages": messages } }] }] })
}

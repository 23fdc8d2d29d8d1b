//! `pregon router`: webhooks in, conversations out, nothing lost between 200 and the row.

mod bullmq;
mod database;
mod deploy;
mod faults;
mod flood;
mod planted;
mod queue;
mod rules;
mod storing;
mod verification;
mod whole_way;

use aws_lc_rs::hmac;
use pregon_testkit::{Database, Node, NodeOptions, Server, http};
use serde_json::{Value, json};

use crate::support::{binary, example, psql};

pub(crate) const APP_SECRET: &str = "secreto-de-la-app";
const VERIFY: &str = "token-de-prueba";

/// The example's database and its router.
async fn start(server: &Server) -> (Database<'_>, Node) {
    let database = Database::create(server).await.unwrap();
    for _ in 0..2 {
        psql(server, &database.url(), &example("whatsapp-router/schema.sql"));
    }
    let router = Node::spawn(options(&database.url())).await.unwrap();
    (database, router)
}

fn options(url: &str) -> NodeOptions {
    with_secrets(NodeOptions::file(example("whatsapp-router/pregon.toml")), url)
}

fn with_secrets(options: NodeOptions, url: &str) -> NodeOptions {
    options
        .binary(binary())
        .command("router")
        .env("DATABASE_URL", url)
        .env("WHATSAPP_APP_SECRET", format!("uno-viejo, {APP_SECRET}"))
        .env("WHATSAPP_VERIFY_TOKEN", VERIFY)
}

fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

async fn post(router: &Node, body: &[u8]) -> anyhow::Result<http::Response> {
    let signature = sign(APP_SECRET, body);
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", &signature),
    ];
    http::request("POST", &router.url("/webhook"), &headers, body).await
}

/// Posts a delivery that must be taken.
async fn deliver(router: &Node, delivery: &Value) {
    let answer = post(router, delivery.to_string().as_bytes()).await.unwrap();
    assert_eq!(
        (answer.status(), answer.json().unwrap()),
        (200, json!({"success": true}))
    );
}

/// A delivery with one change of field `messages`.
fn delivery(value: Value) -> Value {
    let mut value = value;
    value["messaging_product"] = json!("whatsapp");
    value["metadata"] = json!({"display_phone_number": "15550001111", "phone_number_id": "109"});
    json!({"object": "whatsapp_business_account",
        "entry": [{"id": "WABA", "changes": [{"field": "messages", "value": value}]}]})
}

/// A delivery with one text.
fn text(from: &str, wamid: &str, body: &str) -> Value {
    delivery(json!({
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": from}],
        "messages": [{"from": from, "id": wamid, "timestamp": "1780000000", "type": "text", "text": {"body": body},
            "planted": pregon_testkit::PLANTED}]}))
}

/// The single value of a query, as text.
async fn ask(database: &Database<'_>, sql: &str) -> String {
    let client = database.client().await.unwrap();
    let row = client
        .query_one(&format!("SELECT ({sql})::text"), &[])
        .await
        .unwrap();
    row.get::<_, Option<String>>(0).unwrap_or_default()
}

/// Waits until a query gives this.
async fn becomes(database: &Database<'_>, sql: &str, wanted: &str) {
    let reached = pregon_testkit::eventually(std::time::Duration::from_secs(30), || async {
        let is = ask(database, sql).await;
        if is == wanted {
            Ok(())
        } else {
            Err(format!("{is}, not {wanted}"))
        }
    });
    if let Err(error) = reached.await {
        panic!("{sql}: {error:#}");
    }
}

/// Waits until all work is done.
async fn finished(database: &Database<'_>) {
    becomes(database, "SELECT count(*) FROM pregon_router.work", "0").await;
}

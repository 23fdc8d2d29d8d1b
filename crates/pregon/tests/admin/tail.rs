//! The live tail: filters, bounds, and what is encrypted.

use pregon_testkit::{Database, Node, SseClient, http, postgres};
use serde_json::{Value, json};

use super::{TOKEN, bearer, node_with};
use crate::decrypt::encrypt;
use crate::support::{SOON, options, post, publish};

async fn tail(node: &Node, query: &str) -> SseClient {
    let (name, right) = bearer();
    let url = node.url(&format!("/admin/api/tail?{query}"));
    let mut tail = SseClient::connect(&url, &[(name, &right)]).await.unwrap();
    assert_eq!(
        tail.next_event(SOON).await.unwrap().event.as_deref(),
        Some("begin")
    );
    tail
}

async fn entry(tail: &mut SseClient) -> Value {
    let block = tail.next_event(SOON).await.unwrap();
    assert_eq!(block.event.as_deref(), Some("entry"));
    block.json().unwrap()
}

#[tokio::test]
async fn only_what_is_asked_for_comes_and_long_payloads_are_cut() {
    let node = node_with("").await;
    let mut rooms = tail(&node, "channel=room_%7Bid%7D&event=wanted").await;
    let mut all = tail(&node, "").await;
    publish(&node, "news", "wanted", json!(1)).await;
    publish(&node, "room_a", "other", json!(2)).await;
    let position = publish(&node, "room_a", "wanted", json!({"n": 3})).await;
    let seen = entry(&mut rooms).await;
    assert_eq!(
        (&seen["position"], &seen["data"]),
        (&json!(position), &json!({"n": 3}))
    );
    assert_eq!(
        (&seen["channels"], &seen["event"]),
        (&json!(["room_a"]), &json!("wanted"))
    );
    for data in [json!(1), json!(2), json!({"n": 3})] {
        assert_eq!(entry(&mut all).await["data"], data);
    }
    publish(&node, "room_b", "wanted", json!("x".repeat(10_000))).await;
    let cut = entry(&mut rooms).await;
    assert!(cut["excerpt"].as_str().unwrap().len() < 2100 && cut.get("data").is_none());
    assert_eq!(cut["bytes"], 10_002);
}

#[tokio::test]
async fn a_flood_is_shown_in_part_and_the_rest_is_counted() {
    let node = node_with("").await;
    let mut all = tail(&node, "").await;
    let batch: Vec<_> = (0..1000)
        .map(|n| json!({"channel": "news", "event": "n", "data": n}))
        .collect();
    assert_eq!(post(&node, &json!(batch), &[]).await.status(), 200);
    let (mut shown, mut skipped) = (0, 0);
    while shown + skipped < 1000 {
        let block = all.next_event(SOON).await.unwrap();
        match block.event.as_deref() {
            Some("entry") => shown += 1,
            _ => skipped += block.json().unwrap()["entries"].as_u64().unwrap(),
        }
    }
    assert!(
        (20..=200).contains(&shown) && shown + skipped == 1000,
        "{shown} and {skipped}"
    );
}

#[tokio::test]
async fn filters_that_mean_nothing_are_refused() {
    let node = node_with("").await;
    let (name, right) = bearer();
    for query in ["source=nada", "channel=%7B", "who=1"] {
        let url = node.url(&format!("/admin/api/tail?{query}"));
        let answer = http::request("GET", &url, &[(name, &right)], b"").await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
    }
}

const ENCRYPTED: &str = r#"
[postgres]
apply = "auto"
[[watch]]
table = "messages"
[[decrypt]]
from = "messages"
fields = ["message"]
format = "aes-256-gcm"
layout = "iv:tag:data"
encoding = "hex"
iv = 12
key_env = "MESSAGE_KEY"
[[route]]
from = "messages"
to = "inbox"
payload = { id = "row.id", last_message = "row.message" }
[[channel]]
name = "inbox"
"#;

/// An operator is no reader of the users' letters.
#[tokio::test]
async fn what_the_source_encrypts_is_not_shown_and_the_source_filters() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE TABLE messages (id int PRIMARY KEY, message text)")
        .await
        .unwrap();
    let node = options(ENCRYPTED)
        .env("DATABASE_URL", database.url())
        .env("PREGON_ADMIN_TOKEN", TOKEN);
    let node = Node::spawn(node.env("MESSAGE_KEY", hex::encode([7; 32])))
        .await
        .unwrap();
    let mut all = tail(&node, "source=messages").await;
    let secret = encrypt([7; 32], "nadie debe leer esto");
    database
        .execute(&format!("INSERT INTO messages VALUES (1, '{secret}')"))
        .await
        .unwrap();
    let seen = entry(&mut all).await;
    assert_eq!(seen["data"], json!({"id": 1, "last_message": "[encrypted]"}));
    let overview = super::get(&node, "overview").await;
    let source = &overview["sources"][0];
    assert_eq!(
        (&source["name"], &source["kind"], &source["up"]),
        (&json!("messages"), &json!("outbox"), &json!(true))
    );
    assert_eq!(
        (&source["events"], &overview["routes"][0]["hits"]["published"]),
        (&json!(1.0), &json!(1))
    );
    assert_eq!(overview["postgres"]["capture"], "outbox");
}

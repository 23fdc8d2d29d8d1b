//! `[[route]]`: conditions, channels from the row, built payloads, enrichment.

use pregon_testkit::{Database, WsClient, postgres};
use serde_json::json;

use crate::support::{SOON, connect, metric, node_on};

const CONFIG: &str = r#"
[auth]
secret = "una-clave-solo-para-las-pruebas"
join = ["user_{sub}"]
[postgres]
apply = "auto"
[[watch]]
table = "messages"
operations = ["insert"]
[[route]]
from = "messages"
when = "row.sender != 'bot'"
to = ["conversation_{conversation_id}", "user_{user_id}"]
event = "message:{sender}"
payload = { id = "row.id", text = "row.message", long = "size(row.message) > 5", who = "row.nombre" }
enrich = { sql = "SELECT user_id, nombre FROM conversations JOIN users ON users.id = user_id WHERE conversations.id = :conversation_id" }
[[channel]]
name = "conversation_{id}"
"#;

const SCHEMA: &str = "CREATE TABLE users (id int, nombre text); INSERT INTO users VALUES (7, 'Ana'), (8, 'Luz'); \
    CREATE TABLE conversations (id int, user_id int); INSERT INTO conversations VALUES (1, 7), (2, 8); \
    CREATE TABLE messages (id int GENERATED ALWAYS AS IDENTITY, conversation_id int, sender text, message text)";

async fn write(database: &Database<'_>, conversation: &str, sender: &str, text: &str) {
    let sql = format!(
        "INSERT INTO messages (conversation_id, sender, message) VALUES ({conversation}, '{sender}', '{text}')"
    );
    database.execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_row_becomes_the_event_that_the_route_describes() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    let mut owner = connect(&node, &json!({"sub": 7})).await;
    let mut other = connect(&node, &json!({"sub": 8})).await;
    owner.subscribe("conversation_1").await.unwrap();
    write(&database, "1", "bot", "no").await;
    write(&database, "1", "user", "hola a todos").await;
    let event = owner.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["event"], "message:user");
    assert!(
        event["channel"] == "conversation_1" || event["channel"] == "user_7",
        "{event}"
    );
    assert_eq!(
        event["data"],
        json!({"id": 2, "text": "hola a todos", "long": true, "who": "Ana"})
    );
    owner.expect_silence().await.unwrap(); // once, though two of its channels were addressed
    other.expect_silence().await.unwrap();
}

#[tokio::test]
async fn order_survives_enrichment() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    let mut client = connect(&node, &json!({"sub": 7})).await;
    let sql = "INSERT INTO messages (conversation_id, sender, message) SELECT 1, 'user', n FROM generate_series(1, 500) n";
    database.execute(sql).await.unwrap();
    for n in 1..=500 {
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"]["id"], n);
    }
}

#[tokio::test]
async fn a_row_without_a_channel_value_reaches_nobody() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    let mut client: WsClient = connect(&node, &json!({"sub": 7})).await;
    client.subscribe("conversation_1").await.unwrap();
    write(&database, "NULL", "user", "perdido").await;
    write(&database, "1", "user", "visto").await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"]["text"],
        "visto"
    );
    metric(&node, "pregon_events_total", |events| events == 2.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn sighup_takes_over_routes_without_dropping_a_socket() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    let mut node = node_on(&database, CONFIG).await;
    let mut client = connect(&node, &json!({"sub": 7})).await;
    write(&database, "1", "user", "antes").await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["event"],
        "message:user"
    );
    node.rewrite_config(&CONFIG.replace("message:{sender}", "nuevo:{sender}"))
        .unwrap();
    node.sighup();
    node.wait_for_log("configuration reloaded", SOON).await.unwrap();
    write(&database, "1", "user", "después").await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["event"],
        "nuevo:user"
    );
}

#[tokio::test]
async fn a_bare_endpoint_may_follow_the_claims_own_channel() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    let endpoint = "[[endpoint]]\npath = \"/mine\"\nchannels = [\"user_{sub}\"]\n";
    let node = node_on(&database, &format!("{CONFIG}\n{endpoint}")).await;
    let open = |claims| node.ws_url(&format!("/mine?token={}", crate::support::token(&claims)));
    let mut ana = WsClient::connect(&open(json!({"sub": 7})), &[]).await.unwrap();
    let mut luz = WsClient::connect(&open(json!({"sub": 8})), &[]).await.unwrap();
    write(&database, "2", "user", "para Luz").await;
    assert_eq!(luz.next_json(SOON).await.unwrap()["text"], "para Luz");
    ana.expect_bare_silence().await.unwrap();
    assert_eq!(crate::support::refusal(&open(json!({"otro": 1})), &[]).await, 403);
}

#[tokio::test]
async fn an_event_that_finds_nobody_is_said_once_in_a_while() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    for _ in 0..20 {
        write(&database, "1", "user", "a nadie").await;
    }
    metric(&node, "pregon_drops_total{reason=\"nobody\"}", |nobody| {
        nobody == 20.0
    })
    .await
    .unwrap();
    let said = node
        .lines()
        .iter()
        .filter(|line| line.contains("found nobody"))
        .count();
    assert!((1..=2).contains(&said), "{said} of 20");
}

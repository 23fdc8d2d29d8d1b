//! `[[decrypt]]`: what the application stored encrypted reaches clients decrypted, and its ciphertext nobody.

use std::process::Command;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use pregon_testkit::{Database, Node, SseClient, WsClient, http, postgres};
use serde_json::{Value, json};

use crate::support::{SOON, binary, metric, options};

const TABLE: &str =
    "CREATE TABLE messages (id int PRIMARY KEY, conversation_id int, total numeric(10,2), message text)";

const CONFIG: &str = r#"
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
plain = "pass"
key_env = "MESSAGE_KEY"
[[route]]
from = "messages"
to = "conversation_{conversation_id}"
event = "message:new"
[[route]]
from = "messages"
to = "inbox"
event = "conversation:updated"
payload = { id = "row.conversation_id", last_message = "row.message" }
[[channel]]
name = "conversation_{id}"
[[channel]]
name = "inbox"
"#;

/// Hex `iv:tag:data`, as seed 000 stores it.
pub(crate) fn encrypt(key: [u8; 32], text: &str) -> String {
    let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let iv: [u8; 12] = rand::random();
    let mut data = text.as_bytes().to_vec();
    let nonce = Nonce::assume_unique_for_key(iv);
    let tag = sealing
        .seal_in_place_separate_tag(nonce, Aad::empty(), &mut data)
        .unwrap();
    format!(
        "{}:{}:{}",
        hex::encode(iv),
        hex::encode(tag.as_ref()),
        hex::encode(data)
    )
}

async fn insert(database: &Database<'_>, id: i32, message: &str) {
    let sql = format!("INSERT INTO messages VALUES ({id}, 42, 10.50, {message})");
    database.execute(&sql).await.unwrap();
}

/// A node on a database with the table, and a key.
async fn inbox(key: [u8; 32]) -> (Database<'static>, Node) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = options(CONFIG).env("DATABASE_URL", database.url());
    let node = Node::spawn(node.env("MESSAGE_KEY", hex::encode(key)))
        .await
        .unwrap();
    (database, node)
}

async fn follow(node: &Node, channel: &str) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    client.subscribe(channel).await.unwrap();
    client
}

async fn data(client: &mut WsClient) -> Value {
    client.next_of_type("event", SOON).await.unwrap()["data"].clone()
}

#[tokio::test]
async fn a_message_arrives_decrypted_on_every_wire_and_in_built_payloads() {
    let key = rand::random();
    let (database, node) = inbox(key).await;
    let mut room = follow(&node, "conversation_42").await;
    let mut list = follow(&node, "inbox").await;
    let mut sse = SseClient::connect(&node.url("/sse?channel=conversation_42"), &[])
        .await
        .unwrap();
    let text = "¿Qué tal? \"así\": 👋";
    let cipher = encrypt(key, text);
    insert(&database, 1, &format!("'{cipher}'")).await;

    let live = room.next_text(SOON).await.unwrap();
    let written = json!(text).to_string();
    let expected = format!(r#""data":{{"id":1,"conversation_id":42,"total":10.50,"message":{written}}}"#);
    assert!(live.contains(&expected), "{live}");
    assert_eq!(data(&mut list).await, json!({"id": 42, "last_message": text}));
    assert_eq!(
        sse.next_event(SOON).await.unwrap().json().unwrap()["message"],
        text
    );
    let history = http::get(&node.url("/api/history?channel=conversation_42&last=10"))
        .await
        .unwrap();
    assert!(history.body.contains(&expected), "{}", history.body);
    let body = cipher.rsplit(':').next().unwrap();
    for seen in [live.as_str(), sse.raw(), &history.body] {
        assert!(!seen.contains(body), "{seen}");
    }
    assert!(!node.log().contains("Qué tal"), "{}", node.log());
}

#[tokio::test]
async fn a_replay_is_decrypted_too() {
    let key = rand::random();
    let (database, node) = inbox(key).await;
    let mut room = follow(&node, "conversation_42").await;
    for id in 1..=3 {
        insert(
            &database,
            id,
            &format!("'{}'", encrypt(key, &format!("texto {id}"))),
        )
        .await;
        data(&mut room).await;
    }
    let mut late = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let asked = json!({"id": 1, "type": "subscribe", "channel": "conversation_42", "last": 2});
    late.send_json(&asked).await.unwrap();
    for id in 2..=3 {
        assert_eq!(data(&mut late).await["message"], format!("texto {id}"));
    }
}

#[tokio::test]
async fn a_tag_that_fails_is_null_and_counted_and_its_ciphertext_stays_here() {
    let key = rand::random();
    let (database, node) = inbox(key).await;
    let mut room = follow(&node, "conversation_42").await;
    let mut list = follow(&node, "inbox").await;
    let foreign = encrypt([7; 32], "de otra llave");
    insert(&database, 1, &format!("'{foreign}'")).await;
    let live = room.next_text(SOON).await.unwrap();
    let expected =
        r#""data":{"id":1,"conversation_id":42,"total":10.50,"message":null,"decrypt_error":true}"#;
    assert!(live.contains(expected), "{live}");
    assert_eq!(
        data(&mut list).await,
        json!({"id": 42, "last_message": null, "decrypt_error": true})
    );
    metric(
        &node,
        "pregon_decrypt_failures_total{decrypt=\"messages\"}",
        |value| value == 2.0,
    )
    .await
    .unwrap();
    let history = http::get(&node.url("/api/history?channel=conversation_42&last=10"))
        .await
        .unwrap()
        .body;
    let log = node
        .wait_for_log("a field could not be decrypted", SOON)
        .await
        .unwrap();
    let log = format!("{log}{}", node.log());
    for piece in foreign.split(':') {
        assert!(
            !live.contains(piece) && !history.contains(piece) && !log.contains(piece),
            "{piece}"
        );
    }
    // Nothing else suffers.
    insert(&database, 2, &format!("'{}'", encrypt(key, "sigue"))).await;
    assert_eq!(data(&mut room).await["message"], "sigue");
}

#[tokio::test]
async fn rows_from_before_the_encryption_and_nulls_are_what_they_were() {
    let (database, node) = inbox(rand::random()).await;
    let mut room = follow(&node, "conversation_42").await;
    insert(&database, 1, "'son las 10:30:45'").await;
    insert(&database, 2, "''").await;
    insert(&database, 3, "NULL").await;
    for expected in [json!("son las 10:30:45"), json!(""), Value::Null] {
        let row = data(&mut room).await;
        assert_eq!((&row["message"], row.get("decrypt_error")), (&expected, None));
    }
}

#[tokio::test]
async fn a_new_key_is_taken_over_without_a_restart() {
    let (old, new) = ([1; 32], [2; 32]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, hex::encode(old)).unwrap();
    let config = CONFIG.replace(
        "key_env = \"MESSAGE_KEY\"",
        &format!("key_file = \"{}\"", file.display()),
    );
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = options(&config).env("DATABASE_URL", database.url());
    let mut node = Node::spawn(node).await.unwrap();
    let mut room = follow(&node, "conversation_42").await;
    std::fs::write(&file, format!("{}\n{}\n", hex::encode(new), hex::encode(old))).unwrap();
    node.sighup();
    node.wait_for_log("configuration reloaded", SOON).await.unwrap();
    assert!(
        !node.log().contains("restart for the other changes"),
        "{}",
        node.log()
    );
    for (id, key) in [(1, old), (2, new)] {
        insert(&database, id, &format!("'{}'", encrypt(key, "texto"))).await;
        assert_eq!(data(&mut room).await["message"], "texto");
    }
}

#[test]
fn check_names_a_key_that_is_missing_or_wrong_without_showing_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pregon.toml");
    std::fs::write(&file, CONFIG).unwrap();
    let check = |key: Option<&str>| {
        let mut command = Command::new(binary());
        command.args(["check", "--json", "--config"]).arg(&file);
        command
            .env("DATABASE_URL", "postgres://h/d")
            .env_remove("MESSAGE_KEY");
        command.envs(key.map(|key| ("MESSAGE_KEY", key)));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (code, told) = check(None);
    let problem = serde_json::from_str::<Value>(&told).unwrap()["problems"][0].clone();
    assert_eq!(
        (code, &problem["key"]),
        (Some(1), &json!("decrypt[0].key_env")),
        "{told}"
    );
    assert_eq!(problem["remedy"], "set MESSAGE_KEY, or use `key_file`");
    let (code, told) = check(Some("c0ffee"));
    assert!(
        code == Some(1) && told.contains("32 bytes") && !told.contains("c0ffee"),
        "{told}"
    );
    let (code, told) = check(Some(&"0f".repeat(32)));
    assert_eq!(code, Some(0), "{told}");
}

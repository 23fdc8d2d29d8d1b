//! Coming back: `since`, `last`, replay in order and once, or a gap.

use pregon_testkit::{Database, Node, SseClient, WsClient, postgres};
use serde_json::{Value, json};

use crate::support::{PLAIN, SOON, connect, node, node_on, publish, token};

async fn say(node: &Node, numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let mut positions = Vec::new();
    for n in numbers {
        positions.push(publish(node, "news", "n", json!(n)).await);
    }
    positions
}

/// The next so many events: their data, and which of them were marked as replayed.
async fn read(client: &mut WsClient, count: usize) -> (Vec<u64>, Vec<bool>) {
    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..count {
        let event = client.next_of_type("event", SOON).await.unwrap();
        seen.0.push(event["data"].as_u64().unwrap());
        seen.1.push(event["replayed"] == true);
    }
    seen
}

async fn since(client: &mut WsClient, position: &str) -> Value {
    client
        .request(json!({"type": "subscribe", "channel": "news", "since": position}))
        .await
        .unwrap()
}

#[tokio::test]
async fn since_a_position_everything_after_it_comes_once_and_then_what_is_live() {
    let node = node(PLAIN).await;
    let positions = say(&node, 1..=5).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    let reply = since(&mut client, &positions[1]).await;
    assert_eq!(
        (&reply["recovered"], &reply["type"]),
        (&json!(true), &json!("ok"))
    );
    say(&node, 6..=7).await;
    let (data, replayed) = read(&mut client, 5).await;
    assert_eq!(
        (data, replayed),
        (vec![3, 4, 5, 6, 7], vec![true, true, true, false, false])
    );
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn since_now_nothing_is_repeated() {
    let node = node(PLAIN).await;
    let positions = say(&node, 1..=3).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut client, &positions[2]).await["recovered"], true);
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn since_some_minutes_and_the_last_few() {
    let node = node(PLAIN).await;
    say(&node, 1..=4).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    since(&mut client, "5m").await;
    assert_eq!(read(&mut client, 4).await.0, [1, 2, 3, 4]);
    let mut other = connect(&node, &json!({"sub": 1})).await;
    other
        .request(json!({"type": "subscribe", "channel": "news", "last": 2}))
        .await
        .unwrap();
    assert_eq!(read(&mut other, 2).await.0, [3, 4]);
    other.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_position_of_an_earlier_life_of_the_log_is_a_gap() {
    let mut node = node(&format!("{PLAIN}\n[log]\nkind = \"memory\"\n")).await;
    let positions = say(&node, 1..=2).await;
    node.restart().await.unwrap();
    let mut client = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut client, &positions[1]).await["recovered"], false);
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("news"), &json!("restart"))
    );
    assert_eq!(gap["from"], json!(positions[1]));
    assert!(gap["to"].is_string(), "{gap}");
    say(&node, 3..=3).await;
    assert_eq!(read(&mut client, 1).await.0, [3]);
}

#[tokio::test]
async fn what_the_window_no_longer_holds_is_a_gap() {
    let node = node(&format!(
        "{PLAIN}\n[log]\nkind = \"memory\"\nwindow = \"16KiB\"\n"
    ))
    .await;
    let first = publish(&node, "news", "n", json!(1)).await;
    let long = "x".repeat(2000);
    for _ in 0..30 {
        publish(&node, "news", "n", json!(long)).await;
    }
    let mut client = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut client, &first).await["recovered"], false);
    assert_eq!(
        client.next_of_type("gap", SOON).await.unwrap()["reason"],
        "pruned"
    );
}

#[tokio::test]
async fn pruning_of_one_channel_is_no_gap_for_another() {
    let node = node(&format!(
        "{PLAIN}\n[log]\nkind = \"memory\"\nwindow = \"16KiB\"\n"
    ))
    .await;
    let first = publish(&node, "user_9", "n", json!(1)).await;
    for _ in 0..30 {
        publish(&node, "user_9", "n", json!("x".repeat(2000))).await;
    }
    let mut client = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut client, &first).await["recovered"], true);
    client.expect_silence().await.unwrap();
}

const WATCHED: &str = r#"
[postgres]
capture = "notify"
apply = "auto"
[[watch]]
table = "ventas"
[[route]]
from = "ventas"
to = "sala_{sala}"
[[channel]]
name = "sala_{id}"
[[channel]]
name = "libre"
"#;

#[tokio::test]
async fn a_lost_connection_is_a_gap_for_every_channel_that_may_have_missed_something() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE TABLE ventas (id int PRIMARY KEY, sala int)")
        .await
        .unwrap();
    let node = node_on(&database, WATCHED).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    for channel in ["sala_1", "sala_2", "libre"] {
        client.subscribe(channel).await.unwrap();
    }
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%/listen' AND datname = current_database()")
        .await
        .unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let gap = client.next_of_type("gap", SOON).await.unwrap();
        assert_eq!(gap["reason"], "source");
        told.push(gap["channel"].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!(
        told,
        ["libre", "sala_1", "sala_2"],
        "also what only pregon.publish feeds"
    );
}

#[tokio::test]
async fn since_on_the_request_counts_with_a_first_message_token_too() {
    let node = node(PLAIN).await;
    let first = publish(&node, "user_1", "n", json!(1)).await;
    publish(&node, "user_1", "n", json!(2)).await;
    let mut client = WsClient::connect(&node.ws_url(&format!("/ws?since={first}")), &[])
        .await
        .unwrap();
    client
        .send_json(&json!({"id": 1, "type": "auth", "token": token(&json!({"sub": 1}))}))
        .await
        .unwrap();
    assert_eq!(
        client.next_of_type("welcome", SOON).await.unwrap()["position"],
        first,
        "what follows begins there"
    );
    assert_eq!(read(&mut client, 1).await, (vec![2], vec![true]));
}

#[tokio::test]
async fn a_gap_of_one_channel_does_not_move_the_position_past_the_replay_of_another() {
    let node = node("[server]\napi_key = \"llave-de-prueba\"\n[log]\nkind = \"memory\"\nwindow = \"8KiB\"\n[[channel]]\nname = \"news\"\n[[channel]]\nname = \"old\"\n").await;
    publish(&node, "old", "n", json!(0)).await;
    let since = publish(&node, "old", "n", json!(1)).await;
    publish(&node, "old", "n", json!(2)).await;
    say(&node, 3..=40).await;
    let url = node.url(&format!("/sse?channel=old&channel=news&since={since}"));
    let mut client = SseClient::connect(&url, &[]).await.unwrap();
    // The window holds neither all of `old` nor all of `news`; whatever is replayed, positions only rise.
    let mut last = 0;
    for _ in 0..2 {
        let block = client.next_event(SOON).await.unwrap();
        let id = block
            .id
            .as_deref()
            .and_then(|id| id.rsplit('-').next()?.parse::<u64>().ok())
            .unwrap();
        assert!(id >= last, "{id} after {last}");
        last = id;
    }
}

#[tokio::test]
async fn the_last_few_are_counted_for_each_channel() {
    let node = node(PLAIN).await;
    publish(&node, "news", "n", json!(0)).await;
    for n in 1..=10 {
        publish(&node, "room_a", "n", json!(n)).await;
    }
    let token = token(&json!({"sub": 1, "rooms": ["a"]}));
    let url = node.url(&format!("/sse?channel=news&channel=room_a&last=1&token={token}"));
    let mut client = SseClient::connect(&url, &[]).await.unwrap();
    for wanted in ["0", "10"] {
        assert_eq!(
            client.next_event(SOON).await.unwrap().data.as_deref(),
            Some(wanted)
        );
    }
}

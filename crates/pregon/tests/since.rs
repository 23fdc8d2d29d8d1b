//! How far back a log can tell: "the last five minutes" of a log that began two minutes ago are not complete, and it says so.

use pregon_testkit::{Node, SseClient, WsClient, eventually, http};
use serde_json::{Value, json};

use crate::support::{PLAIN, SOON, connect, node, publish, token};

const KINDS: [&str; 2] = ["memory", "disk"];

fn config(kind: &str) -> String {
    format!("{PLAIN}[socketio]\n[log]\nkind = \"{kind}\"\n")
}

fn claims() -> Value {
    json!({"sub": 1, "rooms": []})
}

async fn subscribe(client: &mut WsClient, channel: &str, since: &str) -> Value {
    let asked = json!({"type": "subscribe", "channel": channel, "since": since});
    client.request(asked).await.unwrap()
}

async fn numbers(client: &mut WsClient, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let event = client.next_of_type("event", SOON).await.unwrap();
        seen.push(event["data"].as_u64().unwrap());
    }
    seen
}

async fn history(node: &Node, query: &str) -> Value {
    let url = node.url(&format!("/api/history?{query}&token={}", token(&claims())));
    http::get(&url).await.unwrap().json().unwrap()
}

/// Since when the log can tell: until it is as old as what is asked for.
async fn is_as_old_as(node: &Node, age: &str) {
    let old = eventually(SOON, || async {
        let mut client = connect(node, &claims()).await;
        let reply = subscribe(&mut client, "news", age).await;
        anyhow::ensure!(reply["recovered"] == true, "{reply}");
        Ok(())
    });
    old.await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_younger_than_what_is_asked_for_says_so_on_a_socket() {
    for kind in KINDS {
        let node = node(&config(kind)).await;
        let mut client = connect(&node, &claims()).await;
        // Nothing came yet; what was before nobody knows.
        assert_eq!(
            subscribe(&mut client, "news", "5m").await["recovered"],
            false,
            "{kind}"
        );
        assert_eq!(
            client.next_of_type("gap", SOON).await.unwrap()["reason"],
            "restart"
        );
        for n in 1..=2 {
            publish(&node, "news", "n", json!(n)).await;
        }
        let mut client = connect(&node, &claims()).await;
        let reply = subscribe(&mut client, "news", "5m").await;
        assert_eq!(reply["recovered"], false, "{kind}: {reply}");
        let gap = client.next_json(SOON).await.unwrap();
        assert_eq!(
            (&gap["type"], &gap["channel"], &gap["from"], &gap["reason"]),
            (&json!("gap"), &json!("news"), &json!(null), &json!("restart")),
            "{kind}: before what there is: {gap}"
        );
        assert_eq!(numbers(&mut client, 2).await, [1, 2]);
        // Who has heard the gap and nothing more goes on behind it.
        for from in [&gap["to"], &reply["position"]] {
            let mut again = connect(&node, &claims()).await;
            let reply = subscribe(&mut again, "news", from.as_str().unwrap()).await;
            assert_eq!(reply["recovered"], true, "{kind}: {reply}");
            assert_eq!(numbers(&mut again, 2).await, [1, 2]);
        }
        is_as_old_as(&node, "1s").await;
    }
}

#[tokio::test]
async fn a_log_that_is_younger_than_what_is_asked_for_says_so_on_every_other_way() {
    for kind in KINDS {
        let node = node(&config(kind)).await;
        for n in 1..=2 {
            publish(&node, "news", "n", json!(n)).await;
        }
        let query = format!("channel=news&since=5m&token={}", token(&claims()));
        let mut stream = SseClient::connect(&node.url(&format!("/sse?{query}")), &[])
            .await
            .unwrap();
        let gap = stream.next_event(SOON).await.unwrap();
        assert_eq!(gap.event.as_deref(), Some("gap"), "{kind}: {gap:?}");
        assert_eq!(gap.json().unwrap()["reason"], "restart");
        for n in 1..=2 {
            assert_eq!(stream.next_event(SOON).await.unwrap().json().unwrap(), json!(n));
        }
        let mut stream = SseClient::connect(&node.url(&format!("/sse?format=protocol&{query}")), &[])
            .await
            .unwrap();
        let mut told = Vec::new();
        while told.len() < 3 {
            let message = stream.next_event(SOON).await.unwrap().json().unwrap();
            if message["type"] == "gap" || message["type"] == "event" {
                told.push(
                    message["reason"]
                        .as_str()
                        .map_or(message["data"].clone(), |reason| json!(reason)),
                );
            }
        }
        assert_eq!(json!(told), json!(["restart", 1, 2]), "{kind}");
        publish(&node, "user_1", "n", json!(3)).await;
        let url = node.ws_url(&format!("/ws?since=5m&token={}", token(&claims())));
        let mut socket = WsClient::connect(&url, &[]).await.unwrap();
        let gap = socket.next_of_type("gap", SOON).await.unwrap();
        assert_eq!(
            (&gap["channel"], &gap["reason"]),
            (&json!("user_1"), &json!("restart")),
            "{kind}"
        );
        assert_eq!(numbers(&mut socket, 1).await, [3]);
        let answer = history(&node, "channel=news&since=5m").await;
        assert_eq!(answer["complete"], false, "{kind}: {answer}");
        assert_eq!(answer["events"].as_array().unwrap().len(), 2, "{kind}: {answer}");
        let mut official =
            crate::socketio::client(&node, "socketio/client.mjs", &["websocket"], &claims()).await;
        let ack = official.ask("subscribe", &json!(["news", {"since": "5m"}])).await;
        assert_eq!(ack[0]["recovered"], false, "{kind}: {ack}");
        assert_eq!(ack[0]["history"].as_array().unwrap().len(), 2, "{kind}: {ack}");
        is_as_old_as(&node, "1s").await;
        assert_eq!(
            history(&node, "channel=news&since=1s").await["complete"],
            true,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_log_on_a_disk_is_as_old_as_its_folder() {
    let mut node = node(&config("disk")).await;
    // Longer than a restart takes.
    is_as_old_as(&node, "4s").await;
    for kill in [false, true] {
        if kill {
            node.kill9().await.unwrap();
        }
        node.restart().await.unwrap();
        let mut client = connect(&node, &claims()).await;
        assert_eq!(subscribe(&mut client, "news", "4s").await["recovered"], true);
        assert_eq!(subscribe(&mut client, "user_1", "1h").await["recovered"], false);
    }
}

/// What was removed by age or size is another reason, and only a channel that has lost something has it.
#[tokio::test]
async fn what_retention_has_removed_is_not_called_a_restart() {
    for (kind, more) in [
        ("memory", "window = \"16KiB\""),
        ("disk", "window = \"8KiB\"\nsegment = \"8KiB\"\nsize = \"32KiB\""),
    ] {
        let node = node(&format!(
            "{}{more}\n[[channel]]\nname = \"quiet\"\n",
            config(kind)
        ))
        .await;
        let long = json!("x".repeat(2000));
        let mut client = connect(&node, &claims()).await;
        let removed = eventually(SOON, || async {
            for _ in 0..30 {
                publish(&node, "news", "n", long.clone()).await;
            }
            let mut client = connect(&node, &claims()).await;
            assert_eq!(
                subscribe(&mut client, "news", "5m").await["recovered"],
                false,
                "{kind}"
            );
            let gap = client.next_of_type("gap", SOON).await?;
            anyhow::ensure!(gap["reason"] == "pruned", "{kind}: {gap}");
            Ok(())
        });
        removed.await.unwrap();
        publish(&node, "quiet", "n", json!(1)).await;
        assert_eq!(
            subscribe(&mut client, "quiet", "5m").await["recovered"],
            false,
            "{kind}"
        );
        assert_eq!(
            client.next_of_type("gap", SOON).await.unwrap()["reason"],
            "restart",
            "{kind}"
        );
        assert_eq!(numbers(&mut client, 1).await, [1], "{kind}");
    }
}

//! Every limit has a code, and nobody else suffers.

use pregon_testkit::{WsClient, eventually, http};
use serde_json::{Value, json};

use crate::support::{PLAIN, SOON, connect, node, publish, refusal, token};

fn limited(limits: &str) -> String {
    format!("{PLAIN}\n[limits]\n{limits}\n")
}

#[tokio::test]
async fn subscriptions() {
    let node = node(&limited("subscriptions = 2")).await;
    let mut client = connect(&node, &json!({"rooms": ["a", "b", "c"]})).await;
    client.subscribe("room_a").await.unwrap();
    client.subscribe("room_b").await.unwrap();
    let reply = client
        .request(json!({"type": "subscribe", "channel": "room_c"}))
        .await
        .unwrap();
    assert_eq!(reply["code"], 107);
    client
        .request(json!({"type": "unsubscribe", "channel": "room_a"}))
        .await
        .unwrap();
    client.subscribe("room_c").await.unwrap();
}

#[tokio::test]
async fn message_size() {
    let node = node(&limited("message = \"1KiB\"")).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.send_text(&"x".repeat(2000)).await.unwrap();
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 1009);
}

#[tokio::test]
async fn connections_of_one_address() {
    let node = node(&limited("per_address = 2")).await;
    let url = node.ws_url(&format!("/ws?token={}", token(&json!({"sub": 1}))));
    // Each comes when the connection before it has been closed on the server's side too.
    let another = || async { WsClient::connect(&url, &[]).await };
    let mut first = eventually(SOON, another).await.unwrap();
    let _second = eventually(SOON, another).await.unwrap();
    assert!(matches!(refusal(&url, &[]).await, 429 | 503));
    first.close().await.unwrap();
    eventually(SOON, another).await.unwrap();
}

/// Their addresses are not known yet, but they take a place.
#[tokio::test]
async fn connections_of_a_proxy_that_say_nothing() {
    let config =
        limited("connections = 2").replace("[server]", "[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let node = node(&config).await;
    let silent = std::sync::Mutex::new(Vec::new());
    // One that comes while an earlier connection is still being closed is refused, so that it takes a few.
    let full = || async {
        let another = tokio::net::TcpStream::connect(node.address()).await?;
        silent.lock().unwrap().push(another);
        let seen = http::get(&node.url("/healthz")).await?.status();
        anyhow::ensure!(seen == 503, "{seen}");
        anyhow::Ok(())
    };
    eventually(SOON, full).await.unwrap();
    silent.lock().unwrap().clear();
    let free = || async {
        let seen = http::get(&node.url("/healthz")).await?.status();
        anyhow::ensure!(seen == 200, "{seen}");
        anyhow::Ok(())
    };
    eventually(SOON, free).await.unwrap();
}

#[tokio::test]
async fn publish_rate() {
    let node = node(&limited("publishes_per_second = 5")).await;
    let mut client = connect(&node, &json!({"sub": 1, "rooms": ["a"]})).await;
    let mut refused: Vec<Value> = Vec::new();
    for n in 0..40 {
        let publish = json!({"type": "publish", "channel": "room_a", "event": "n", "data": n});
        let reply = client.request(publish).await.unwrap();
        refused.extend((reply["type"] == "error").then_some(reply));
    }
    assert!(refused.len() > 10, "{}", refused.len());
    assert!(refused.iter().all(|reply| reply["code"] == 201), "{refused:?}");
}

#[tokio::test]
async fn a_client_that_does_not_authenticate_in_time_is_closed() {
    let node = node(&limited("auth = \"1s\"")).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3501);
}

#[tokio::test]
async fn a_slow_client_is_told_to_resume_and_loses_nothing() {
    const COUNT: u64 = 400;
    let node = node(&limited("queue = \"64KiB\"")).await;
    let mut slow = connect(&node, &json!({"sub": 1})).await;
    slow.subscribe("news").await.unwrap();
    let long = "x".repeat(50_000); // 20 MB in all: more than the sockets' buffers and the queue hold, less than the window
    for n in 0..COUNT {
        publish(&node, "news", "n", json!([n, long])).await;
    }
    let (code, _) = slow.close_code(SOON).await.unwrap().unwrap();
    assert_eq!(code, 3001);
    let (mut next, mut position) = (0, String::new());
    while let Ok(event) = slow.next_of_type("event", SOON).await {
        assert_eq!(event["data"][0], next);
        (next, position) = (next + 1, event["position"].as_str().unwrap().to_owned());
    }
    assert!(next < COUNT, "all were read, so it was not slow");
    let mut back = connect(&node, &json!({"sub": 1})).await;
    let resume = json!({"type": "subscribe", "channel": "news", "since": position});
    assert_eq!(back.request(resume).await.unwrap()["recovered"], true);
    for n in next..COUNT {
        assert_eq!(back.next_of_type("event", SOON).await.unwrap()["data"][0], n);
    }
}

#[tokio::test]
async fn a_full_node_still_says_how_it_is() {
    let node = node(&format!("{PLAIN}\n[limits]\nconnections = 2\n")).await;
    let _first = connect(&node, &json!({"sub": 1})).await;
    let _second = connect(&node, &json!({"sub": 2})).await;
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/api/history", 503),
    ] {
        assert_eq!(
            http::get(&node.url(path)).await.unwrap().status(),
            status,
            "{path}"
        );
    }
}

//! `POST /api/publish` and `GET /api/history`.

use pregon_testkit::{Node, http};
use serde_json::{Value, json};

use crate::support::{API_KEY, PLAIN, SOON, connect, node, post, publish, token};

async fn history(node: &Node, claims: &Value, query: &str) -> (u16, Value) {
    let url = node.url(&format!("/api/history?token={}&{query}", token(claims)));
    let answer = http::get(&url).await.unwrap();
    (answer.status(), answer.json().unwrap_or_default())
}

#[tokio::test]
async fn a_batch_arrives_whole_and_in_its_order() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let batch: Vec<_> = (0..100)
        .map(|n| json!({"channel": "news", "event": "n", "data": n}))
        .collect();
    let positions = post(&node, &json!(batch), &[]).await.json().unwrap();
    assert_eq!(positions["positions"].as_array().unwrap().len(), 100);
    for n in 0..100 {
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(
            (&event["data"], &event["position"]),
            (&json!(n), &positions["positions"][n])
        );
    }
}

#[tokio::test]
async fn an_idempotency_key_publishes_once() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let body =
        json!([{"channel": "news", "event": "n", "data": 1}, {"channel": "news", "event": "n", "data": 2}]);
    let first = post(&node, &body, &[("idempotency-key", "pedido-7")]).await;
    let again = post(&node, &body, &[("idempotency-key", "pedido-7")]).await;
    assert_eq!((again.status(), &again.body), (200, &first.body));
    post(&node, &body, &[("idempotency-key", "pedido-8")]).await;
    for data in [1, 2, 1, 2] {
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], data);
    }
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_whole() {
    let node = node(&format!("{PLAIN}\n[limits]\nbody = \"64KiB\"\nbatch = 10\n")).await;
    let item = json!({"channel": "news", "event": "n", "data": 1});
    let status = async |body: Value| post(&node, &body, &[]).await.status();
    for wrong in [
        json!({}),
        json!({"channel": "news"}),
        json!([item, {"channel": "", "event": "n", "data": 1}]),
        json!(7),
    ] {
        assert_eq!(status(wrong.clone()).await, 400, "{wrong}");
    }
    assert_eq!(status(json!(vec![&item; 11])).await, 413);
    assert_eq!(
        status(json!({"channel": "news", "event": "n", "data": "x".repeat(70_000)})).await,
        413
    );
    assert_eq!(status(json!(vec![&item; 10])).await, 200);
    let kept = history(&node, &json!({"sub": 1}), "channel=news").await.1;
    assert_eq!(kept["events"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn only_the_api_key_publishes() {
    let node = node(PLAIN).await;
    let body = json!({"channel": "news", "event": "n", "data": 1});
    let client_token = format!("Bearer {}", token(&json!({"sub": 1})));
    let wrong = format!("Bearer {API_KEY}x");
    for headers in [
        vec![],
        vec![("authorization", client_token.as_str())],
        vec![("authorization", wrong.as_str())],
    ] {
        let answer = http::post_json(&node.url("/api/publish"), &headers, &body)
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{headers:?}");
    }
    assert_eq!(http::get(&node.url("/api/publish")).await.unwrap().status(), 405);
}

#[tokio::test]
async fn history_is_for_those_who_may_follow() {
    let node = node(PLAIN).await;
    let first = publish(&node, "room_a", "n", json!({"n": 1})).await;
    publish(&node, "news", "n", json!(0)).await;
    let second = publish(&node, "room_a", "n", json!({"n": 2})).await;
    let member = json!({"sub": 1, "rooms": ["a"]});
    let (status, all) = history(&node, &member, "channel=room_a").await;
    assert_eq!((status, all["events"].as_array().unwrap().len()), (200, 2));
    let (_, after) = history(&node, &member, &format!("channel=room_a&since={first}")).await;
    assert_eq!(
        (&after["events"][0]["position"], &after["events"][0]["data"]),
        (&json!(second), &json!({"n": 2}))
    );
    let (_, last) = history(&node, &member, "channel=room_a&last=1").await;
    assert_eq!(last["events"][0]["data"], json!({"n": 2}));
    assert_eq!(history(&node, &json!({"sub": 2}), "channel=room_a").await.0, 403);
    assert_eq!(history(&node, &member, "").await.0, 400);
    assert_eq!(
        http::get(&node.url("/api/history?channel=news"))
            .await
            .unwrap()
            .status(),
        401
    );
}

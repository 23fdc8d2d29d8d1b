//! What it says of the node, its sessions, channels and routes.

use pregon_testkit::{SseClient, WsClient, eventually};
use serde_json::{Value, json};

use super::{HOOK, ask, bearer, get, node_with, post};
use crate::support::{SOON, connect, publish};

#[tokio::test]
async fn the_overview_counts_what_happened() {
    let node = node_with("").await;
    let mut client = connect(&node, &json!({"sub": 7, "rooms": ["a"]})).await;
    client.subscribe("room_a").await.unwrap();
    let position = publish(&node, "room_a", "n", json!(1)).await;
    client.next_of_type("event", SOON).await.unwrap();
    let seen = get(&node, "overview").await;
    assert_eq!(seen["connections"]["total"], 1);
    assert_eq!(seen["connections"]["by_transport"]["websocket"], 1.0);
    assert_eq!(seen["connections"]["subscriptions"], 2);
    assert_eq!(seen["channels"], json!({"count": 2, "complete": true}));
    assert_eq!(seen["counts"]["deliveries"], 1.0);
    assert_eq!(seen["latency"]["count"], 1.0);
    assert_eq!(seen["log"]["position"], json!(position));
    assert_eq!(
        (&seen["log"]["kind"], &seen["node"]["ready"]),
        (&json!("disk"), &json!(true))
    );
    assert!(
        seen["attached"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "log", "up": true}))
    );
}

#[tokio::test]
async fn the_stream_says_how_fast() {
    let node = node_with("").await;
    let (name, right) = bearer();
    let mut stream = SseClient::connect(&node.url("/admin/api/stream"), &[(name, &right)])
        .await
        .unwrap();
    assert_eq!(
        stream.next_event(SOON).await.unwrap().json().unwrap()["rates"],
        Value::Null
    );
    let batch: Vec<_> = (0..50)
        .map(|n| json!({"channel": "news", "event": "n", "data": n}))
        .collect();
    crate::support::post(&node, &json!(batch), &[]).await;
    let mut published = 0.0;
    while published == 0.0 {
        let block = stream.next_event(SOON).await.unwrap();
        assert_eq!(block.event.as_deref(), Some("overview"));
        published = block.json().unwrap()["rates"]["publications"].as_f64().unwrap();
    }
    assert!(
        (5.0..=100.0).contains(&published),
        "50 in a second or a few: {published}"
    );
}

#[tokio::test]
async fn sessions_are_found_and_bounded() {
    let node = node_with("").await;
    let mut client = connect(&node, &json!({"sub": 7, "rooms": ["a"]})).await;
    client.subscribe("room_a").await.unwrap();
    let _other = connect(&node, &json!({"sub": "ana"})).await;
    let found = get(&node, "sessions?user=7").await;
    let session = &found["sessions"][0];
    assert_eq!(session["channels"], json!(["user_7", "room_a"]));
    assert_eq!(
        (&session["state"], &session["transport"]),
        (&json!("live"), &json!("websocket"))
    );
    assert_eq!(session["address"], "127.0.0.1");
    assert_eq!(
        get(&node, "sessions?channel=user_ana").await["sessions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let one = get(&node, "sessions?limit=1").await;
    assert_eq!(
        (one["sessions"].as_array().unwrap().len(), &one["complete"]),
        (1, &json!(false))
    );
    assert_eq!(ask(&node, "sessions?state=dead").await.0, 400);
    assert_eq!(ask(&node, "sessions?unknown=1").await.0, 400);
    let channels = get(&node, "channels?q=room").await;
    assert_eq!(
        channels["channels"],
        json!([{"channel": "room_a", "followers": 1}])
    );
}

/// More than one page of a shard's places.
#[tokio::test]
async fn many_sessions_are_looked_at_page_by_page() {
    let node = node_with("[limits]\nper_address = 0\n").await;
    let mut clients = Vec::new();
    for _ in 0..1200 {
        let url = node.ws_url(&format!(
            "/ws?token={}",
            crate::support::token(&json!({"sub": clients.len()}))
        ));
        clients.push(WsClient::connect(&url, &[]).await.unwrap());
        if clients.len() == 900 {
            assert_eq!(
                get(&node, "sessions").await["sessions"].as_array().unwrap().len(),
                200
            );
        }
    }
    clients
        .last_mut()
        .unwrap()
        .next_of_type("welcome", SOON)
        .await
        .unwrap();
    assert_eq!(get(&node, "overview").await["connections"]["total"], 1200);
    assert_eq!(
        get(&node, "sessions?user=1199").await["sessions"][0]["user"],
        "1199"
    );
    let channels = get(&node, "channels?q=user_&limit=5").await;
    assert_eq!(
        (&channels["total"], &channels["complete"]),
        (&json!(1200), &json!(false))
    );
}

#[tokio::test]
async fn an_operator_ends_a_session_and_sees_why_others_ended() {
    let node = node_with("").await;
    let mut left = connect(&node, &json!({"sub": "left"})).await;
    let mut ended = connect(&node, &json!({"sub": "ended"})).await;
    left.close().await.unwrap();
    let session = get(&node, "sessions?user=ended").await["sessions"][0]["session"].clone();
    let (status, answer) = post(&node, "disconnect", &json!({"session": session})).await;
    assert_eq!((status, &answer["code"]), (200, &json!(3505)));
    assert_eq!(ended.close_code(SOON).await.unwrap().unwrap().0, 3505);
    assert_eq!(
        post(&node, "disconnect", &json!({"session": "nobody"})).await.0,
        404
    );
    assert_eq!(post(&node, "disconnect", &json!({"who": 1})).await.0, 400);
    let closed = eventually(SOON, || async {
        let closed = get(&node, "sessions?state=closed").await["sessions"].clone();
        let all = closed.as_array().is_some_and(|closed| closed.len() == 2);
        if all { Ok(closed) } else { Err(closed) }
    });
    let closed = closed.await.unwrap();
    let reason = |user: &str| {
        let of = closed.as_array().unwrap().iter().find(|one| one["user"] == user);
        of.unwrap()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (reason("left").as_str(), reason("ended").as_str()),
        ("left", "disconnected")
    );
}

#[tokio::test]
async fn a_slow_session_is_seen_waiting_and_then_closed() {
    let node = node_with("[limits]\nqueue = \"8MiB\"\n").await;
    let mut slow = connect(&node, &json!({"sub": "slow"})).await;
    slow.subscribe("news").await.unwrap();
    let long = "x".repeat(200_000);
    let is_slow = || async {
        publish(&node, "news", "n", json!(long)).await;
        let found = get(&node, "sessions?state=slow").await["sessions"][0].clone();
        if found["state"] == "slow" {
            Ok(found)
        } else {
            Err(found)
        }
    };
    let found = eventually(SOON, is_slow).await.unwrap();
    let behind = &found["behind"];
    assert!(
        behind["blocked"] == true && behind["queued"].as_u64().unwrap() > 0,
        "{found}"
    );
    assert!(
        get(&node, "overview").await["connections"]["waiting_bytes"]
            .as_u64()
            .unwrap()
            > 0
    );
    let is_closed = || async {
        publish(&node, "news", "n", json!(long)).await;
        let closed = get(&node, "sessions?state=closed&user=slow").await["sessions"][0].clone();
        if closed["reason"] == "slow" {
            Ok(closed)
        } else {
            Err(closed)
        }
    };
    assert_eq!(eventually(SOON, is_closed).await.unwrap()["code"], 3001);
}

#[tokio::test]
async fn a_sample_says_which_rules_take_it_and_publishes_nothing() {
    let node = node_with(&format!(
        "{HOOK}event = \"pedido\"\npayload = {{ total = \"message.total\" }}\n"
    ))
    .await;
    let sample = |total: u32| json!({"source": "pedidos", "row": {"total": total, "room": "a"}});
    let (_, taken) = post(&node, "try-route", &sample(150)).await;
    assert_eq!(taken["rules"][0]["channels"], json!(["room_a"]));
    assert_eq!(taken["rules"][0]["data"], json!({"total": 150}));
    let (_, left) = post(&node, "try-route", &sample(50)).await;
    assert_eq!(left["rules"][0]["publishes"], false);
    assert_eq!(left["rules"][0]["reason"], "the condition is false");
    for wrong in [
        json!({}),
        json!({"source": "nada"}),
        json!({"source": "pedidos", "x": 1}),
        json!([]),
    ] {
        assert_eq!(post(&node, "try-route", &wrong).await.0, 400, "{wrong}");
    }
    let seen = get(&node, "overview").await;
    assert_eq!(
        (&seen["log"]["newest"], &seen["routes"][0]["hits"]["published"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(seen["routes"][0]["when"], "message.total > 100");
}

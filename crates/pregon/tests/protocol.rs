//! The full protocol: welcome, subscribe, publish, unsubscribe, ping, errors, a token as first message.

use pregon_testkit::WsClient;
use serde_json::{Value, json};

use crate::support::{PLAIN, SOON, connect, node, publish, refusal, token};

fn name(reply: &Value) -> (&str, u64) {
    (
        reply["name"].as_str().unwrap_or_default(),
        reply["code"].as_u64().unwrap_or_default(),
    )
}

#[tokio::test]
async fn welcome_names_the_session_the_position_and_the_joined_channels() {
    let node = node(PLAIN).await;
    let url = node.ws_url(&format!("/ws?token={}", token(&json!({"sub": 7}))));
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    let welcome = client.next_json(SOON).await.unwrap();
    assert_eq!(
        (&welcome["type"], &welcome["channels"]),
        (&json!("welcome"), &json!(["user_7"]))
    );
    assert!(
        !welcome["session"].as_str().unwrap().is_empty() && !welcome["position"].as_str().unwrap().is_empty()
    );
    publish(&node, "user_7", "hola", json!({"a": 1})).await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        json!({"a": 1})
    );
}

#[tokio::test]
async fn a_subscriber_gets_its_channels_events_and_no_others() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1, "rooms": ["a"]})).await;
    let reply = client.subscribe("room_a").await.unwrap();
    assert!(
        reply["position"].is_string() && reply["recovered"] == false,
        "{reply}"
    );
    publish(&node, "room_b", "x", json!("no")).await;
    publish(&node, "user_2", "x", json!("no")).await;
    let position = publish(&node, "room_a", "message:new", json!({"text": "sí"})).await;
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(
        (&event["channel"], &event["event"]),
        (&json!("room_a"), &json!("message:new"))
    );
    assert_eq!(
        (&event["data"], &event["position"]),
        (&json!({"text": "sí"}), &json!(position))
    );
    assert!(
        event["time"].as_str().unwrap().ends_with('Z') && event.get("replayed").is_none(),
        "{event}"
    );
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn unsubscribing_ends_the_events() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let reply = client
        .request(json!({"type": "unsubscribe", "channel": "news"}))
        .await
        .unwrap();
    assert_eq!(reply["type"], "ok");
    publish(&node, "news", "x", json!(1)).await;
    client.expect_silence().await.unwrap();
    let again = client
        .request(json!({"type": "unsubscribe", "channel": "news"}))
        .await
        .unwrap();
    assert_eq!(name(&again), ("not_subscribed", 106));
}

#[tokio::test]
async fn a_client_publishes_where_the_rights_say_so() {
    let node = node(PLAIN).await;
    let mut writer = connect(&node, &json!({"sub": 1, "rooms": ["a"]})).await;
    let mut reader = connect(&node, &json!({"sub": 2, "rooms": ["a"]})).await;
    reader.subscribe("room_a").await.unwrap();
    let data = json!({"texto": "hola", "n": [1, null, 2.50]});
    let publish =
        |channel: &str| json!({"type": "publish", "channel": channel, "event": "dicho", "data": data});
    let reply = writer.request(publish("room_a")).await.unwrap();
    let event = reader.next_of_type("event", SOON).await.unwrap();
    assert_eq!((&event["data"], &event["position"]), (&data, &reply["position"]));
    for channel in ["room_b", "news", "user_1", "unknown"] {
        assert_eq!(
            name(&writer.request(publish(channel)).await.unwrap()),
            ("forbidden", 103),
            "{channel}"
        );
    }
}

/// What comes with one write is appended together; every command still takes effect in its place, and is answered in its place.
#[tokio::test]
async fn publishes_that_come_together_keep_their_order_among_other_commands() {
    let node = node(&format!("{PLAIN}\n[limits]\npublishes_per_second = 100\n")).await;
    let mut reader = connect(&node, &json!({"sub": 2, "rooms": ["a"]})).await;
    reader.subscribe("room_a").await.unwrap();
    let mut writer = connect(&node, &json!({"sub": 1, "rooms": ["a"]})).await;
    let publish = |id: u64, channel: &str| {
        json!({"id": id, "type": "publish", "channel": channel, "event": "said", "data": id}).to_string()
    };
    let mut texts: Vec<String> = (1..=40).map(|id| publish(id, "room_a")).collect();
    texts.push(publish(41, "room_b"));
    texts.push(publish(42, "room_a"));
    texts.push(json!({"id": 43, "type": "dance"}).to_string());
    texts.push(json!({"id": 44, "type": "subscribe", "channel": "room_a"}).to_string());
    texts.push(publish(45, "room_a"));
    texts.push(json!({"id": 46, "type": "unsubscribe", "channel": "room_a"}).to_string());
    texts.extend((47..=60).map(|id| publish(id, "room_a")));
    writer.send_texts(&texts).await.unwrap();

    let (mut replies, mut heard) = (Vec::new(), Vec::new());
    while replies.len() < 60 {
        let message = writer.next_json(SOON).await.unwrap();
        match message["type"].as_str() {
            Some("event") => heard.push(message["data"].as_u64().unwrap()),
            _ => replies.push((message["id"].as_u64().unwrap(), message["type"] == "ok")),
        }
    }
    let expected: Vec<_> = (1..=60).map(|id| (id, !matches!(id, 41 | 43))).collect();
    assert_eq!(replies, expected);
    assert_eq!(
        heard,
        [45],
        "only the publish between the subscribe and the unsubscribe"
    );
    let published = (1..=60).filter(|id| !matches!(id, 41 | 43 | 44 | 46));
    for id in published {
        assert_eq!(reader.next_of_type("event", SOON).await.unwrap()["data"], id);
    }
}

/// A publish counts as soon as it is said, whatever its client does then.
#[tokio::test]
async fn a_client_that_publishes_and_leaves_has_published() {
    let node = node(PLAIN).await;
    let mut reader = connect(&node, &json!({"sub": 2, "rooms": ["a"]})).await;
    reader.subscribe("room_a").await.unwrap();
    for round in 0..20 {
        let mut writer = connect(&node, &json!({"sub": 1, "rooms": ["a"]})).await;
        let texts: Vec<String> = (0..10)
            .map(|n| json!({"type": "publish", "channel": "room_a", "event": "said", "data": round * 10 + n}))
            .map(|command| command.to_string())
            .collect();
        writer.send_texts(&texts).await.unwrap();
        drop(writer);
        let first = reader.next_of_type("event", SOON).await.unwrap();
        assert_eq!(first["data"], round * 10);
        let rest = (1..10).map(|n| round * 10 + n);
        for data in rest {
            assert_eq!(reader.next_of_type("event", SOON).await.unwrap()["data"], data);
        }
    }
}

#[tokio::test]
async fn what_is_no_command_is_answered_and_the_session_goes_on() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    for wrong in [
        "{",
        "[]",
        "null",
        r#"{"type":"dance"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","channel":7}"#,
    ] {
        client.send_text(wrong).await.unwrap();
        assert_eq!(
            name(&client.next_of_type("error", SOON).await.unwrap()),
            ("bad_request", 100),
            "{wrong}"
        );
    }
    let subscribe = |channel: &str| json!({"type": "subscribe", "channel": channel});
    assert_eq!(
        name(&client.request(subscribe("")).await.unwrap()),
        ("bad_channel", 104)
    );
    assert_eq!(
        name(&client.request(subscribe(&"x".repeat(300))).await.unwrap()),
        ("bad_channel", 104)
    );
    assert_eq!(
        name(&client.request(subscribe("room_a")).await.unwrap()),
        ("forbidden", 103)
    );
    let since = json!({"type": "subscribe", "channel": "news", "since": "ayer"});
    assert_eq!(name(&client.request(since).await.unwrap()), ("bad_position", 105));
    assert_eq!(
        client.request(json!({"type": "ping"})).await.unwrap()["type"],
        "ok"
    );
}

#[tokio::test]
async fn a_token_may_come_as_the_first_message() {
    let node = node(PLAIN).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let reply = client
        .request(json!({"type": "auth", "token": token(&json!({"sub": 9}))}))
        .await
        .unwrap();
    assert_eq!(reply["type"], "ok");
    assert_eq!(
        client.next_of_type("welcome", SOON).await.unwrap()["channels"],
        json!(["user_9"])
    );
    publish(&node, "user_9", "x", json!(1)).await;
    client.next_of_type("event", SOON).await.unwrap();
}

#[tokio::test]
async fn a_bad_first_message_is_an_error_and_a_close() {
    let node = node(PLAIN).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let auth = json!({"type": "auth", "token": "no.es.uno"});
    assert_eq!(name(&client.request(auth).await.unwrap()), ("invalid_token", 102));
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3500);
    let mut hasty = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let reply = hasty
        .request(json!({"type": "subscribe", "channel": "news"}))
        .await
        .unwrap();
    assert_eq!(name(&reply), ("unauthorized", 101));
    assert!((3500..4000).contains(&hasty.close_code(SOON).await.unwrap().unwrap().0));
}

#[tokio::test]
async fn a_token_comes_by_query_header_or_subprotocol_and_a_bad_one_is_401() {
    let node = node(PLAIN).await;
    let good = token(&json!({"sub": 1}));
    let bearer = format!("Bearer {good}");
    WsClient::connect(&node.ws_url("/ws"), &[("authorization", &bearer)])
        .await
        .unwrap();
    let offered = format!("pregon, token.{good}");
    let client = WsClient::connect(&node.ws_url("/ws"), &[("sec-websocket-protocol", &offered)])
        .await
        .unwrap();
    assert_eq!(client.header("sec-websocket-protocol"), Some("pregon"));
    assert_eq!(refusal(&node.ws_url("/ws?token=malo"), &[]).await, 401);
    assert_eq!(
        refusal(&node.ws_url("/ws"), &[("authorization", "Bearer malo")]).await,
        401
    );
    assert_eq!(refusal(&node.ws_url("/otra"), &[]).await, 404);
}

#[tokio::test]
async fn an_event_of_several_kinds_of_json_arrives_unchanged() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    for data in [
        json!(null),
        json!("á\u{1F600}\"\\\n"),
        json!([]),
        json!({"": {"a": 1e-7}}),
        json!(9007199254740993_u64),
    ] {
        publish(&node, "news", "x", data.clone()).await;
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], data);
    }
}

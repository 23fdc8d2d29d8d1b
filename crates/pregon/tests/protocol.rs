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

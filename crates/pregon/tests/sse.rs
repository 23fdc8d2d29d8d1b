//! Server-sent events: id, event, data; resuming, gaps, refusals, other origins.

use pregon_testkit::{Node, SseClient, http};
use serde_json::json;

use crate::support::{API_KEY, PLAIN, SOON, node, publish, token};

fn url(node: &Node, query: &str) -> String {
    node.url(&format!(
        "/sse?token={}&{query}",
        token(&json!({"sub": 7, "rooms": ["a"]}))
    ))
}

async fn open(node: &Node, query: &str) -> SseClient {
    let client = SseClient::connect(&url(node, query), &[]).await.unwrap();
    assert_eq!(client.status(), 200);
    client
}

/// The next line of a response as JSON; `pending` has the bytes that came and were not asked for yet.
async fn next_line(body: &mut http::Body, pending: &mut Vec<u8>) -> serde_json::Value {
    loop {
        if let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            return serde_json::from_slice(&line).unwrap();
        }
        let piece = tokio::time::timeout(SOON, body.next_piece()).await.unwrap();
        pending.extend(piece.unwrap().unwrap());
    }
}

#[tokio::test]
async fn an_event_has_its_position_its_name_and_its_data() {
    let node = node(PLAIN).await;
    let mut client = open(&node, "channel=news&channel=room_a").await;
    assert!(
        client
            .head()
            .header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    publish(&node, "user_1", "no", json!(0)).await;
    let position = publish(&node, "room_a", "message:new", json!({"t": "línea\notra"})).await;
    let event = client.next_event(SOON).await.unwrap();
    assert_eq!(event.event.as_deref(), Some("message:new"));
    assert_eq!(event.id.as_deref(), Some(position.as_str()));
    assert_eq!(event.json().unwrap(), json!({"t": "línea\notra"}));
}

#[tokio::test]
async fn without_channels_it_follows_those_that_the_claims_join() {
    let node = node(PLAIN).await;
    let mut client = open(&node, "").await;
    publish(&node, "user_7", "x", json!(1)).await;
    assert_eq!(client.next_event(SOON).await.unwrap().data.as_deref(), Some("1"));
}

#[tokio::test]
async fn in_the_format_of_the_protocol_messages_name_their_channels() {
    let node = node(PLAIN).await;
    let first = publish(&node, "news", "n", json!(1)).await;
    publish(&node, "room_a", "n", json!(2)).await;
    let query = format!("format=protocol&channel=news&channel=room_a&since={first}");
    let mut client = open(&node, &query).await;
    let welcome = client.next_event(SOON).await.unwrap().json().unwrap();
    assert_eq!(
        (&welcome["type"], &welcome["channels"]),
        (&json!("welcome"), &json!(["news", "room_a"]))
    );
    publish(&node, "news", "n", json!(3)).await;
    for (channel, data, replayed) in [("room_a", json!(2), json!(true)), ("news", json!(3), json!(null))] {
        let event = client.next_event(SOON).await.unwrap();
        assert_eq!((event.id, event.event), (None, None));
        let message: serde_json::Value = serde_json::from_str(&event.data.unwrap()).unwrap();
        assert_eq!(message["type"], "event");
        assert_eq!(
            (&message["channel"], &message["data"], &message["replayed"]),
            (&json!(channel), &data, &replayed)
        );
    }
}

#[tokio::test]
async fn in_the_format_of_ndjson_each_message_is_a_line() {
    let node = node(PLAIN).await;
    let first = publish(&node, "news", "n", json!(1)).await;
    // Line breaks between the values of a payload are none of the stream.
    let spread = r#"{"channel":"room_a","event":"n","data":{"a":
 [1,"línea\notra"]}}"#;
    let key = format!("Bearer {API_KEY}");
    let headers = [
        ("authorization", key.as_str()),
        ("content-type", "application/json"),
    ];
    let published = http::request("POST", &node.url("/api/publish"), &headers, spread.as_bytes())
        .await
        .unwrap();
    assert_eq!(published.status(), 200, "{}", published.body);
    let query = format!("format=ndjson&channel=news&channel=room_a&since={first}");
    let (head, mut body) = http::open("GET", &url(&node, &query), &[], b"").await.unwrap();
    assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
    let mut pending = Vec::new();
    let welcome = next_line(&mut body, &mut pending).await;
    assert_eq!(
        (&welcome["type"], &welcome["channels"]),
        (&json!("welcome"), &json!(["news", "room_a"]))
    );
    publish(&node, "news", "n", json!(3)).await;
    for (channel, data, replayed) in [
        ("room_a", json!({"a": [1, "línea\notra"]}), json!(true)),
        ("news", json!(3), json!(null)),
    ] {
        let message = next_line(&mut body, &mut pending).await;
        assert_eq!(
            (&message["channel"], &message["data"], &message["replayed"]),
            (&json!(channel), &data, &replayed)
        );
    }
}

#[tokio::test]
async fn a_refused_channel_and_an_unknown_format_are_named() {
    let node = node(PLAIN).await;
    let forbidden = http::get(&url(&node, "channel=news&channel=room_b"))
        .await
        .unwrap();
    assert_eq!(forbidden.status(), 403);
    let body: serde_json::Value = serde_json::from_str(&forbidden.body).unwrap();
    assert_eq!(body["channel"], "room_b");
    let unknown = http::get(&url(&node, "channel=news&format=xml")).await.unwrap();
    assert_eq!(unknown.status(), 400);
}

#[tokio::test]
async fn last_event_id_brings_what_was_missed_in_order() {
    let node = node(PLAIN).await;
    let first = publish(&node, "news", "n", json!(1)).await;
    publish(&node, "news", "n", json!(2)).await;
    publish(&node, "room_a", "n", json!(3)).await;
    let address = url(&node, "channel=news&channel=room_a");
    let mut client = SseClient::connect(&address, &[("last-event-id", &first)])
        .await
        .unwrap();
    publish(&node, "news", "n", json!(4)).await;
    for expected in ["2", "3", "4"] {
        assert_eq!(
            client.next_event(SOON).await.unwrap().data.as_deref(),
            Some(expected)
        );
    }
    let mut by_query = open(&node, &format!("channel=news&since={first}")).await;
    assert_eq!(
        by_query.next_event(SOON).await.unwrap().data.as_deref(),
        Some("2")
    );
}

#[tokio::test]
async fn an_id_of_an_earlier_life_is_a_gap_event() {
    let mut node = node(&format!("{PLAIN}\n[log]\nkind = \"memory\"\n")).await;
    let first = publish(&node, "news", "n", json!(1)).await;
    node.restart().await.unwrap();
    let address = url(&node, "channel=news");
    let mut client = SseClient::connect(&address, &[("last-event-id", &first)])
        .await
        .unwrap();
    let gap = client.next_event(SOON).await.unwrap();
    assert_eq!(gap.event.as_deref(), Some("gap"));
    let told = gap.json().unwrap();
    assert_eq!(
        (&told["reason"], &told["channel"], &told["from"]),
        (&json!("restart"), &json!("news"), &json!(first))
    );
    assert_eq!(gap.id.as_deref(), told["to"].as_str());
}

#[tokio::test]
async fn refusals_are_plain_http() {
    let node = node(PLAIN).await;
    let status = async |url: String| http::get(&url).await.unwrap().status();
    assert_eq!(status(node.url("/sse?channel=news")).await, 401);
    assert_eq!(status(node.url("/sse?channel=news&token=malo")).await, 401);
    assert_eq!(status(url(&node, "channel=room_b")).await, 403);
    assert_eq!(status(url(&node, "channel=news&since=ayer")).await, 400);
    let stopped = http::request(
        "GET",
        &url(&node, "channel=news"),
        &[("last-event-id", "stop")],
        b"",
    )
    .await
    .unwrap();
    assert_eq!(stopped.status(), 204);
}

#[tokio::test]
async fn only_allowed_origins_may_read() {
    let node = node(PLAIN).await;
    let address = url(&node, "channel=news");
    let from = async |origin: &str| {
        let client = SseClient::connect(&address, &[("origin", origin)]).await.unwrap();
        client
            .head()
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(
        from("https://app.example").await.as_deref(),
        Some("https://app.example")
    );
    assert_eq!(from("https://evil.example").await, None);
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_say_where_they_were() {
    let node = node(PLAIN).await;
    let ask = async |path: &str, headers: &str, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", headers),
        ];
        http::request("OPTIONS", &node.url(path), &headers, b"")
            .await
            .unwrap()
    };
    let own = "https://app.example";
    for path in ["/sse?channel=news", "/api/history?channel=news"] {
        let answer = ask(path, "cache-control,last-event-id,authorization", own).await;
        let allowed = answer
            .header("access-control-allow-headers")
            .unwrap_or_default()
            .to_lowercase();
        for header in ["cache-control", "last-event-id", "authorization"] {
            assert!(allowed.contains(header), "{path}: {allowed}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), Some(own));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let other = ask(path, "last-event-id", "https://evil.example").await;
        assert_eq!(other.header("access-control-allow-origin"), None);
        assert_eq!(other.header("access-control-allow-credentials"), None);
    }
    let headers = [("origin", own)];
    let read = http::request("GET", &node.url("/api/history?channel=news"), &headers, b"")
        .await
        .unwrap();
    assert_eq!(
        read.header("access-control-allow-credentials"),
        Some("true"),
        "{}",
        read.body
    );
}

#[tokio::test]
async fn pages_without_an_origin_may_read_where_they_are_named() {
    let node = node(&PLAIN.replace("https://app.example", "null")).await;
    let client = SseClient::connect(&url(&node, "channel=news"), &[("origin", "null")])
        .await
        .unwrap();
    assert_eq!(client.head().header("access-control-allow-origin"), Some("null"));
    assert_eq!(client.head().header("access-control-allow-credentials"), None);
    let history = node.url("/api/history?channel=news");
    let read = http::request("GET", &history, &[("origin", "null")], b"")
        .await
        .unwrap();
    assert_eq!(
        read.header("access-control-allow-origin"),
        Some("null"),
        "{}",
        read.body
    );
    assert_eq!(read.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_with_the_present_position() {
    let node = node(&PLAIN.replace("[server]", "[server]\nping = \"200ms\"")).await;
    let mut client = open(&node, "channel=news").await;
    let elsewhere = publish(&node, "user_1", "x", json!(1)).await;
    while client.last_id() != Some(&elsewhere) {
        client.next_block(SOON).await.unwrap();
    }
    assert!(!client.raw().contains("data:"), "{}", client.raw());
}

//! `pregon demo`: the page, its feeds, and that nothing stays behind.

use pregon_testkit::{SseClient, WsClient, eventually, http, process};
use serde_json::{Value, json};

use crate::support::{Running, SOON};

#[tokio::test]
async fn the_page_shows_feeds_that_run_and_nothing_stays() {
    let mut demo = Running::start(&["demo", "--port", "0", "--seconds", "120"]);
    let patience = std::time::Duration::from_secs(60);
    let address = eventually(patience, || async {
        demo.lines()
            .iter()
            .find_map(|line| Some(line.split_once("pregón demo: ")?.1.to_owned()))
    });
    let address = address
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", demo.errors()));
    let page = http::get(&format!("{address}/")).await.unwrap().body;
    let facts = page
        .lines()
        .find_map(|line| line.strip_prefix("const FEEDS = ")?.strip_suffix(';'))
        .unwrap();
    let feeds: Vec<Value> = serde_json::from_str(facts).unwrap();
    let mut statements = SseClient::connect(&format!("{address}/statements"), &[])
        .await
        .unwrap();
    let names: Vec<_> = feeds.iter().map(|feed| feed["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "live-sales",
            "turnstile",
            "chat-inbox",
            "marketplace",
            "whatsapp-router"
        ]
    );
    for feed in &feeds {
        let event = first_event(feed).await;
        let path = format!("/{}", feed["key"].as_str().unwrap().replace('.', "/"));
        assert!(event.pointer(&path).is_some_and(Value::is_number), "{event}");
    }
    for (example, origin, status) in [
        ("turnstile", address.as_str(), 204),
        ("turnstile", "https://evil.example", 403),
        ("turnstile", "null", 403),
        ("nada", address.as_str(), 404),
    ] {
        let url = format!("{address}/insert/{example}");
        let answer = http::request("POST", &url, &[("origin", origin)], b"")
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{example} {origin}: {}", answer.body);
    }
    let mut said = Vec::new();
    while !["INSERT INTO messages", "PUBLISH events", "POST /webhook"]
        .iter()
        .all(|start| said.iter().any(|text: &String| text.starts_with(start)))
    {
        let statement = statements.next_event(SOON).await.unwrap().json().unwrap();
        said.push(statement["text"].as_str().unwrap().to_owned());
    }
    assert!(demo.stop(process::SIGINT).await.success(), "{}", demo.errors());
    assert!(http::get(&address).await.is_err());
}

/// What a feed shows first, as the page hears it: by the bare endpoint, or by Socket.IO after it has subscribed.
async fn first_event(feed: &Value) -> Value {
    let mut client = WsClient::connect(feed["url"].as_str().unwrap(), &[])
        .await
        .unwrap();
    let Some(socketio) = feed.get("socketio") else {
        return client.next_json(SOON).await.unwrap();
    };
    loop {
        let packet = client.next_text(SOON).await.unwrap();
        if packet.starts_with('0') {
            let connect = format!("40{}", json!({"token": socketio["token"]}));
            client.send_text(&connect).await.unwrap();
        } else if packet.starts_with("40") {
            for room in socketio["rooms"].as_array().unwrap() {
                let subscribe = format!("42{}", json!(["subscribe", room]));
                client.send_text(&subscribe).await.unwrap();
            }
        } else if let Some(event) = packet.strip_prefix("42") {
            let event: Value = serde_json::from_str(event).unwrap();
            if event[0] == socketio["event"] {
                let text = event[1]["message"]
                    .as_str()
                    .or(event[1]["mensaje"].as_str())
                    .unwrap();
                assert!(!text.contains(':'), "it is decrypted: {text}");
                return event[1].clone();
            }
        }
    }
}

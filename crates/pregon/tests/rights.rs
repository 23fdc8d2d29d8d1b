//! Who may follow what: claims, templates, the database's word, cookies and origins.

use pregon_testkit::{Database, Node, SseClient, WsClient, postgres};
use serde_json::{Value, json};

use crate::support::{PLAIN, SOON, connect, metric, node, node_on, publish, refusal, socketio, token};

#[tokio::test]
async fn a_missing_or_empty_claim_addresses_nobody() {
    let node = node(PLAIN).await;
    for claims in [json!({}), json!({"sub": ""}), json!({"sub": null})] {
        let url = node.ws_url(&format!("/ws?token={}", token(&claims)));
        let mut client = WsClient::connect(&url, &[]).await.unwrap();
        assert_eq!(
            client.next_of_type("welcome", SOON).await.unwrap()["channels"],
            json!([]),
            "{claims}"
        );
    }
}

#[tokio::test]
async fn a_number_and_its_text_are_the_same_claim() {
    let node = node(PLAIN).await;
    let mut number = connect(&node, &json!({"sub": 123})).await;
    let mut text = connect(&node, &json!({"sub": "123"})).await;
    publish(&node, "user_123", "x", json!(1)).await;
    number.next_of_type("event", SOON).await.unwrap();
    text.next_of_type("event", SOON).await.unwrap();
}

#[tokio::test]
async fn nobody_follows_anothers_channel() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1, "rooms": ["a", "b"]})).await;
    for channel in ["user_2", "room_c", "room_", "rooms", "*", "user_{sub}"] {
        let reply = client
            .request(json!({"type": "subscribe", "channel": channel}))
            .await
            .unwrap();
        assert_eq!(reply["code"], 103, "{channel}: {reply}");
    }
    client.subscribe("room_b").await.unwrap();
}

const OWNED: &str = r#"
[auth]
secret = "una-clave-solo-para-las-pruebas"
[postgres]
[[channel]]
name = "conversation_{id}"
allow_sql = "SELECT true FROM conversations WHERE id = :channel.id AND user_id = :claims.sub"
"#;

#[tokio::test]
async fn the_database_may_decide() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database.execute("CREATE TABLE conversations (id int, user_id int); INSERT INTO conversations VALUES (1, 7), (2, 8)").await.unwrap();
    let node = node_on(&database, OWNED).await;
    let mut client = connect(&node, &json!({"sub": 7})).await;
    let code = async |client: &mut WsClient, channel: &str| {
        let reply: Value = client
            .request(json!({"type": "subscribe", "channel": channel}))
            .await
            .unwrap();
        reply["code"].as_u64()
    };
    assert_eq!(code(&mut client, "conversation_1").await, None);
    assert_eq!(code(&mut client, "conversation_2").await, Some(103));
    assert_eq!(code(&mut client, "conversation_3").await, Some(103));
    for none in ["conversation_1 OR true", "conversation_99999999999999999999"] {
        assert_eq!(code(&mut client, none).await, Some(103), "{none}: no such row");
    }
}

#[tokio::test]
async fn a_cookie_counts_only_from_an_allowed_origin() {
    let node = node(&PLAIN.replace("[auth]", "[auth]\ncookie = \"sesion\"")).await;
    let cookie = format!("sesion={}", token(&json!({"sub": 1})));
    let url = node.ws_url("/ws");
    assert_eq!(refusal(&url, &[("cookie", &cookie)]).await, 403);
    assert_eq!(
        refusal(&url, &[("cookie", &cookie), ("origin", "https://evil.example")]).await,
        403
    );
    let allowed = [("cookie", cookie.as_str()), ("origin", "https://app.example")];
    let mut client = WsClient::connect(&url, &allowed).await.unwrap();
    assert_eq!(
        client.next_of_type("welcome", SOON).await.unwrap()["channels"],
        json!(["user_1"])
    );
}

/// `history = false` is about the past itself, whatever way somebody asks for it.
#[tokio::test]
async fn a_channel_without_history_gives_nothing_of_its_past_on_any_way() {
    let config = format!(
        "{}[socketio]\nrecovery = true\n[[channel]]\nname = \"user_{{id}}\"\nhistory = false\n\
         [[channel]]\nname = \"mine\"\nfollow = [\"user_{{sub}}\"]\n",
        PLAIN.replace(
            "[[channel]]\nname = \"news\"",
            "[[channel]]\nname = \"news\"\nhistory = false"
        )
    );
    let node = node(&config).await;
    let begin = publish(&node, "news", "x", json!("antes")).await;
    publish(&node, "user_1", "x", json!("antes")).await;
    publish(&node, "news", "x", json!("antes")).await;
    let token = token(&json!({"sub": 1}));
    let asked = [format!("since={begin}"), "since=5m".into(), "last=5".into()];
    let mut streams = Vec::new();
    let mut sockets = Vec::new();
    for asked in &asked {
        for channels in ["", "&channel=news&channel=user_1", "&channel=mine&channel=news"] {
            let url = node.url(&format!("/sse?{asked}&token={token}{channels}"));
            streams.push(SseClient::connect(&url, &[]).await.unwrap());
        }
        let url = node.ws_url(&format!("/ws?{asked}&token={token}"));
        let mut socket = WsClient::connect(&url, &[]).await.unwrap();
        for channel in ["mine", "news"] {
            let (key, value) = asked.split_once('=').unwrap();
            let value = value.parse::<u64>().map_or(json!(value), |n| json!(n));
            let subscribe = json!({"type": "subscribe", "channel": channel, key: value});
            let reply = socket.request(subscribe).await.unwrap();
            assert_eq!(
                (&reply["type"], &reply["recovered"]),
                (&json!("ok"), &json!(false)),
                "{reply}"
            );
        }
        sockets.push(socket);
    }
    for channel in ["mine", "news", "user_1"] {
        let url = node.url(&format!(
            "/api/history?channel={channel}&since={begin}&token={token}"
        ));
        assert_eq!(
            pregon_testkit::http::get(&url).await.unwrap().status(),
            403,
            "{channel}"
        );
    }
    let mut engine = socketio(&node, &token).await;
    for asked in [json!({"since": begin}), json!({"last": 5})] {
        let subscribe = json!(["subscribe", "mine", asked]);
        engine.send_text(&format!("421{subscribe}")).await.unwrap();
        let ack = engine.next_text(SOON).await.unwrap();
        assert!(ack.contains("\"ok\":true") && !ack.contains("antes"), "{ack}");
    }
    publish(&node, "user_1", "x", json!("ahora")).await;
    for stream in &mut streams {
        let event = loop {
            let event = stream.next_event(SOON).await.unwrap();
            if event.event.as_deref() != Some("gap") {
                break event;
            }
        };
        assert_eq!(event.json().unwrap(), "ahora");
    }
    for socket in &mut sockets {
        assert_eq!(socket.next_of_type("event", SOON).await.unwrap()["data"], "ahora");
    }
}

/// A session comes back and says that it had nothing yet: it is not told the past of a room that gives none.
#[tokio::test]
async fn recovery_is_no_way_to_a_past_that_is_not_given() {
    let config =
        format!("{PLAIN}[socketio]\nrecovery = true\n[[channel]]\nname = \"user_{{id}}\"\nhistory = false\n");
    let node = node(&config).await;
    let begin = publish(&node, "news", "x", json!(0)).await;
    publish(&node, "user_1", "x", json!("antes")).await;
    let url = node.ws_url("/socket.io/?EIO=4&transport=websocket");
    let token = token(&json!({"sub": 1}));
    let connect = async |auth: serde_json::Value| {
        let mut socket = WsClient::connect(&url, &[]).await.unwrap();
        socket.next_text(SOON).await.unwrap();
        socket.send_text(&format!("40{auth}")).await.unwrap();
        let answer = socket.next_text(SOON).await.unwrap();
        (socket, answer)
    };
    let (first, answer) = connect(json!({ "token": token })).await;
    let told: Value = serde_json::from_str(&answer[2..]).unwrap();
    drop(first);
    metric(&node, "pregon_sessions{transport=\"socketio\"}", |n| n == 0.0)
        .await
        .unwrap();
    let back = json!({"token": token, "pid": told["pid"], "offset": begin});
    let (mut socket, answer) = connect(back).await;
    assert!(answer.starts_with("40"), "{answer}");
    publish(&node, "user_1", "x", json!("ahora")).await;
    let event = socket.next_text(SOON).await.unwrap();
    assert!(event.contains("ahora"), "{event}");
}

/// A request that is sent and left at once: its session ends while it begins.
async fn open_and_leave(node: &Node, path: &str) {
    let mut stream = tokio::net::TcpStream::connect(node.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_gets_the_channels_of_a_session_that_left_while_it_began() {
    let node = node(PLAIN).await;
    let path = format!(
        "/sse?channel=room_a&token={}",
        token(&json!({"sub": 1, "rooms": ["a"]}))
    );
    for _ in 0..30 {
        open_and_leave(&node, &path).await;
    }
    metric(&node, "pregon_sessions_opened_total{transport=\"sse\"}", |n| {
        n >= 1.0
    })
    .await
    .unwrap();
    metric(&node, "pregon_sessions{transport=\"sse\"}", |n| n == 0.0)
        .await
        .unwrap();
    let mut strangers = Vec::new();
    for sub in 2..12 {
        strangers.push(connect(&node, &json!({"sub": sub})).await);
    }
    publish(&node, "room_a", "x", json!("secreto")).await;
    for stranger in &mut strangers {
        stranger.expect_silence().await.unwrap();
    }
}

#[tokio::test]
async fn a_refreshed_token_takes_away_what_it_does_not_grant() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1, "rooms": ["a", "b"]})).await;
    client.subscribe("room_a").await.unwrap();
    client.subscribe("room_b").await.unwrap();
    let fresh = token(&json!({"sub": 2, "rooms": ["b"]}));
    let reply = client
        .request(json!({"type": "auth", "token": fresh}))
        .await
        .unwrap();
    assert_eq!(reply["type"], "ok");
    for channel in ["user_1", "room_a", "room_b", "user_2"] {
        publish(&node, channel, "x", json!(channel)).await;
    }
    let heard = [
        client.next_of_type("event", SOON).await.unwrap(),
        client.next_of_type("event", SOON).await.unwrap(),
    ];
    assert_eq!(
        [&heard[0]["data"], &heard[1]["data"]],
        [&json!("room_b"), &json!("user_2")]
    );
    client.expect_silence().await.unwrap();
}

//! examples/marketplace: seed 002's table for every pair of role and event, on every wire, with kills of Redis and of the gateway.

use pregon_testkit::{Node, NodeOptions, Redis, SseClient, WsClient};
use serde_json::{Value, json};

use crate::socketio::client;
use crate::support::official::{CLIENTS, TRANSPORTS};
use crate::support::{SECRET, SOON, binary, example, refusal, token};

const ADMIN: &str = r#"{"type": "ADMIN_STATS_UPDATED", "metadata": {"total": 10.50}}"#;
const SELLER: &str = r#"{"type":"SELLER_STATS_UPDATED","seller_id":"123","metadata":{"order_id":456}}"#;
const END: &str = r#"{"type":"fin"}"#;

async fn shop(redis: &Redis) -> Node {
    let options = NodeOptions::file(example("marketplace/pregon.toml")).binary(binary());
    let options = options.env("JWT_SECRET", SECRET).env("REDIS_URL", redis.url());
    Node::spawn(options).await.unwrap()
}

/// Who they are, and which of the two events they get.
fn table() -> [(Value, &'static [&'static str]); 5] {
    [
        (
            json!({"sub": 1, "role": "ADMIN", "seller_id": 123, "rooms": ["fin"]}),
            &[ADMIN],
        ),
        (
            json!({"sub": 2, "role": "SELLER", "seller_id": 123, "rooms": ["fin"]}),
            &[SELLER],
        ),
        (
            json!({"sub": 3, "role": "SELLER", "seller_id": "124", "rooms": ["fin"]}),
            &[],
        ),
        (
            json!({"sub": 4, "role": "CLIENT", "seller_id": "123", "rooms": ["fin"]}),
            &[],
        ),
        (json!({"sub": 5, "role": "SELLER", "rooms": ["fin"]}), &[]),
    ]
}

#[tokio::test]
async fn every_role_gets_what_the_table_says_on_every_wire() {
    let redis = Redis::start().await.unwrap();
    let node = shop(&redis).await;
    for (claims, gets) in table() {
        let token = token(&claims);
        let mut bare = WsClient::connect(&node.ws_url(&format!("/ws?token={token}&rooms=fin")), &[])
            .await
            .unwrap();
        bare.expect_bare_silence().await.unwrap();
        let url = node.url(&format!("/sse?token={token}&channel=events&channel=ws:room:fin"));
        let mut sse = SseClient::connect(&url, &[]).await.unwrap();
        let mut socket = client(&node, CLIENTS[0], &["polling"], &claims).await;
        assert_eq!(socket.ask("subscribe", &json!(["events"])).await[0]["ok"], true);
        assert_eq!(
            socket.ask("subscribe", &json!(["ws:room:fin"])).await[0]["ok"],
            true
        );
        for message in [ADMIN, SELLER] {
            redis.publish("events", message).await.unwrap();
        }
        redis.publish("ws:room:fin", END).await.unwrap();
        let wanted: Vec<&str> = gets.iter().copied().chain([END]).collect();
        for message in wanted {
            assert_eq!(bare.next_text(SOON).await.unwrap(), message, "{claims}");
            let event = loop {
                let event = sse.next_event(SOON).await.unwrap();
                if !matches!(event.event.as_deref(), Some("join" | "leave")) {
                    break event;
                }
            };
            assert_eq!(event.data.as_deref(), Some(message), "{claims}");
            let json: Value = serde_json::from_str(message).unwrap();
            let heard = socket.wait_for(message, |line| line["args"][0] == json).await;
            assert_eq!(heard["on"], "event");
        }
        let events = socket
            .lines()
            .into_iter()
            .filter(|line| line["on"] == "event" && line["event"] != "join" && line["event"] != "leave");
        assert_eq!(events.count(), gets.len() + 1, "{claims}");
    }
    assert_eq!(refusal(&node.ws_url("/ws"), &[]).await, 401);
}

#[tokio::test]
async fn rooms_are_for_those_whom_the_token_names_and_outlive_a_kill_of_redis() {
    let mut redis = Redis::start().await.unwrap();
    let node = shop(&redis).await;
    let claims = json!({"sub": 1, "role": "CLIENT", "rooms": ["soporte", 7]});
    let url = node.ws_url(&format!("/ws?token={}", token(&claims)));
    let mut ana = WsClient::connect(&url, &[]).await.unwrap();
    let mut luis = WsClient::connect(&format!("{url}&rooms=soporte,7"), &[])
        .await
        .unwrap();
    ana.send_text(r#"{"type":"join","room":"soporte"}"#)
        .await
        .unwrap();
    for client in [&mut ana, &mut luis] {
        client.expect_bare_silence().await.unwrap();
    }
    redis.publish("ws:room:soporte", "{ \"n\" : 1 }").await.unwrap();
    for client in [&mut ana, &mut luis] {
        assert_eq!(client.next_text(SOON).await.unwrap(), "{ \"n\" : 1 }");
    }
    let said = r#"{"type":"message","room":"soporte","text":"hola"}"#;
    ana.send_text(said).await.unwrap();
    assert_eq!(luis.next_text(SOON).await.unwrap(), said);
    let mut stranger = WsClient::connect(&format!("{url}&rooms=ventas"), &[])
        .await
        .unwrap();
    assert_eq!(
        stranger.close_code(SOON).await.unwrap().map(|close| close.0),
        Some(3503)
    );
    redis.kill9().await.unwrap();
    redis.restart().await.unwrap();
    pregon_testkit::eventually(SOON, || async {
        let heard = redis.publish("ws:room:soporte", "2").await?;
        anyhow::ensure!(heard > 0, "nobody listens yet");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(luis.next_text(SOON).await.unwrap(), "2");
}

#[tokio::test]
async fn every_wire_works_again_after_a_kill_of_the_gateway() {
    let redis = Redis::start().await.unwrap();
    let mut node = shop(&redis).await;
    let claims = json!({"sub": 1, "role": "ADMIN"});
    let token = token(&claims);
    let mut sockets = Vec::new();
    for driver in CLIENTS {
        for transports in TRANSPORTS {
            let mut socket = client(&node, driver, transports, &claims).await;
            socket.ask("subscribe", &json!(["events"])).await;
            sockets.push(socket);
        }
    }
    node.kill9().await.unwrap();
    for socket in &mut sockets {
        socket.wait("disconnect").await;
    }
    node.restart().await.unwrap();
    let bare = node.ws_url(&format!("/ws?token={token}"));
    let mut bare = WsClient::connect(&bare, &[]).await.unwrap();
    bare.expect_bare_silence().await.unwrap();
    let sse = node.url(&format!("/sse?token={token}&channel=events"));
    let mut sse = SseClient::connect(&sse, &[]).await.unwrap();
    for socket in &mut sockets {
        socket.wait("connect").await;
        socket.ask("subscribe", &json!(["events"])).await;
    }
    redis.publish("events", ADMIN).await.unwrap();
    assert_eq!(bare.next_text(SOON).await.unwrap(), ADMIN);
    let event = sse.next_event(SOON).await.unwrap();
    assert_eq!(event.data.as_deref(), Some(ADMIN));
    for socket in &mut sockets {
        socket.event("ADMIN_STATS_UPDATED").await;
    }
}

#[tokio::test]
async fn a_name_that_stands_for_channels_tells_by_which_names_events_arrive() {
    let redis = Redis::start().await.unwrap();
    let node = shop(&redis).await;
    let url = node.ws_url(&format!(
        "/connect?token={}",
        token(&json!({"sub": 1, "role": "ADMIN", "rooms": ["fin"]}))
    ));
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    let events = client.subscribe("events").await.unwrap();
    assert_eq!(events["channels"], json!(["admin:ADMIN"]));
    redis.publish("events", ADMIN).await.unwrap();
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["channel"], "admin:ADMIN");
    let room = client.subscribe("ws:room:fin").await.unwrap();
    assert_eq!((&room["recovered"], room.get("channels")), (&json!(false), None));
}

//! What one transport was mended for holds on all of them: names for several channels, the limit of subscriptions, foreign issuers.

use pregon_testkit::{SseClient, WsClient};
use serde_json::json;

use super::anyone::{Anyone, Kind};
use super::{OPEN, members, reload};
use crate::support::{SECRET, SOON, connect, node, node_on, publish, refusal, token};

#[tokio::test]
async fn a_name_for_several_channels_follows_the_database_on_every_transport() {
    let config = |more: &str| {
        format!(
            "{OPEN}[[channel]]\nname = \"mine_{{n}}\"\nfollow = [\"inbox_{{sub}}\", \"area_{{sub}}\"]\n\
             allow_sql = \"SELECT true FROM members WHERE member = :claims.sub\"\n{more}"
        )
    };
    let database = members().await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana')")
        .await
        .unwrap();
    let mut node = node_on(&database, &config("")).await;
    let mut followers = Vec::new();
    for kind in Kind::ALL {
        let mut anyone = Anyone::open(&node, kind, "ana").await;
        assert!(anyone.follow(&node, "mine_7").await, "{kind:?}");
        followers.push(anyone);
    }
    for more in ["volatile = [\"typing\"]\n", "presence = true\n"] {
        reload(&mut node, &config(more)).await;
        publish(&node, "inbox_ana", "x", json!(more)).await;
        publish(&node, "area_ana", "x", json!("área")).await;
        publish(&node, "inbox_eva", "x", json!("secreto")).await;
        for anyone in &mut followers {
            assert_eq!(
                anyone.heard(&node).await,
                [json!(more), json!("área")],
                "{:?}",
                anyone.kind()
            );
        }
    }
    database.execute("DELETE FROM members").await.unwrap();
    reload(&mut node, &config("")).await;
    publish(&node, "inbox_ana", "x", json!("secreto")).await;
    for anyone in &mut followers {
        assert_eq!(anyone.heard(&node).await, [json!(null); 0], "{:?}", anyone.kind());
    }
}

#[tokio::test]
async fn at_the_limit_every_transport_resumes_what_it_follows() {
    let config = format!("{OPEN}[[channel]]\nname = \"mine\"\nfollow = [\"c_1\", \"c_{{sub}}\"]\n");
    let node = node(
        &config
            .replace("[limits]", "[limits]\nsubscriptions = 3")
            .replace("[postgres]\npool = 12\nstatement_timeout = \"60s\"\n", ""),
    )
    .await;
    // The barrier is the third.
    for kind in [Kind::Bare, Kind::SocketIo, Kind::Polling, Kind::Full] {
        let mut anyone = Anyone::open(&node, kind, "9").await;
        for channel in ["mine", "c_1", "c_9", "mine"] {
            assert!(anyone.follow(&node, channel).await, "{kind:?} {channel}");
        }
        publish(&node, "c_9", "x", json!("propio")).await;
        assert_eq!(anyone.heard(&node).await, [json!("propio")], "{kind:?}");
        assert!(!anyone.follow(&node, "c_2").await, "{kind:?}");
    }
    let position = publish(&node, "c_9", "x", json!("antes")).await;
    publish(&node, "c_9", "x", json!("perdido")).await;
    let token = token(&json!({"sub": "9"}));
    let url = node.url(&format!(
        "/sse?channel=barrier&channel=c_1&channel=c_9&token={token}"
    ));
    let mut sse = SseClient::connect(&url, &[("last-event-id", &position)])
        .await
        .unwrap();
    assert_eq!(sse.status(), 200);
    assert_eq!(sse.next_event(SOON).await.unwrap().json().unwrap(), "perdido");
    let socket = node.ws_url("/socket.io/?EIO=4&transport=websocket");
    let mut socket = WsClient::connect(&socket, &[]).await.unwrap();
    socket.next_text(SOON).await.unwrap();
    socket
        .send_text(&format!("40{}", json!({"token": token})))
        .await
        .unwrap();
    assert!(socket.next_text(SOON).await.unwrap().starts_with("40"));
    let mut acks = Vec::new();
    for (number, channel) in ["c_1", "c_9", "c_3"].iter().enumerate() {
        let subscribe = format!("42{number}{}", json!(["subscribe", channel]));
        socket.send_text(&subscribe).await.unwrap();
    }
    let resume = json!(["subscribe", "c_9", {"since": position}]);
    socket.send_text(&format!("423{resume}")).await.unwrap();
    while acks.len() < 4 {
        // Members that come are events beside.
        let text = socket.next_text(SOON).await.unwrap();
        acks.extend(text.starts_with("43").then_some(text));
    }
    assert!(acks.iter().all(|ack| ack.contains("\"ok\":true")), "{acks:?}");
    assert!(
        acks[3].contains("\"recovered\":true") && acks[3].contains("perdido"),
        "{acks:?}"
    );
}

/// Another issuer stands beside the right one, or the right one in something that is no text.
#[tokio::test]
async fn a_token_of_several_issuers_is_refused_on_every_transport() {
    let config = OPEN.replace(
        "[auth]",
        "[auth]\nissuer = \"https://id.example\"\nrequired = true",
    );
    let node = node(&config.replace("[postgres]\npool = 12\nstatement_timeout = \"60s\"\n", "")).await;
    for iss in [
        json!(["https://id.example"]),
        json!(["x", "https://id.example"]),
        json!({"https://id.example": 1}),
        json!(null),
        json!("x"),
    ] {
        let token = pregon_testkit::token(&json!({"sub": "1", "iss": iss}), SECRET);
        for path in ["/ws", "/rooms"] {
            let url = node.ws_url(&format!("{path}?token={token}"));
            assert_eq!(refusal(&url, &[]).await, 401, "{path} {iss}");
        }
        for path in ["/sse", "/api/history", "/api/presence"] {
            let url = node.url(&format!("{path}?channel=c_1&token={token}"));
            let answer = pregon_testkit::http::get(&url).await.unwrap();
            assert_eq!(answer.status(), 401, "{path} {iss}");
        }
        for query in [String::new(), format!("&token={token}")] {
            let socket = node.ws_url(&format!("/socket.io/?EIO=4&transport=websocket{query}"));
            let mut socket = WsClient::connect(&socket, &[]).await.unwrap();
            socket.next_text(SOON).await.unwrap();
            let auth = if query.is_empty() {
                json!({"token": token}).to_string()
            } else {
                String::new()
            };
            socket.send_text(&format!("40{auth}")).await.unwrap();
            let answer = socket.next_text(SOON).await.unwrap();
            assert!(answer.starts_with("44"), "{answer}");
        }
        let mut first = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
        first
            .send_json(&json!({"type": "auth", "id": 1, "token": token}))
            .await
            .unwrap();
        assert_eq!(first.next_of_type("error", SOON).await.unwrap()["code"], 102);
        let mut live = connect(&node, &json!({"sub": "1", "iss": "https://id.example"})).await;
        let fresh = json!({"type": "auth", "token": token});
        assert_eq!(live.request(fresh).await.unwrap()["code"], 102);
    }
}

//! What one transport was mended for holds on all of them: names for several channels, the limit of subscriptions, foreign issuers.

use pregon_testkit::{SseClient, WsClient};
use serde_json::json;

use super::anyone::{Anyone, Kind};
use super::{OPEN, for_members, members, reload, with_ana};
use crate::support::{SECRET, SOON, connect, node, node_on, publish, refusal, socketio, token};

#[tokio::test]
async fn a_name_for_several_channels_follows_the_database_on_every_transport() {
    let config = |more: &str| {
        format!(
            "{OPEN}{}{more}",
            for_members("mine_{n}", "inbox_{sub}, area_{sub}")
        )
    };
    let (database, mut node) = with_ana(&config("")).await;
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
    let mut socket = socketio(&node, &token).await;
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

/// Whatever takes a right away, it is gone on every transport: a name that stands for nothing any more, for another channel, or whose
/// channel belongs to a stricter section from now on.
#[tokio::test]
async fn every_kind_of_change_takes_a_followed_channel_away_on_every_transport() {
    let without = |text: &str| text.replace("[postgres]\npool = 12\nstatement_timeout = \"60s\"\n", "");
    let mine = "[[channel]]\nname = \"mine\"\nfollow = [\"inbox_{sub}\"]\n";
    let before = without(&format!("{OPEN}{mine}"));
    let strict = "[[channel]]\nname = \"inbox_{x}\"\nsubscribe = \"channel.x != claims.sub\"\n";
    let changes = [
        without(OPEN),
        before.replace("inbox_{sub}", "inbox_{sub}_{role}"),
        before.replace("follow =", "subscribe = \"claims.role == 'x'\"\nfollow ="),
        without(&OPEN.replace(
            "[[channel]]\nname = \"barrier\"",
            &format!("{strict}[[channel]]\nname = \"barrier\""),
        )),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut node = node(&before).await;
        let mut followers = Vec::new();
        for kind in Kind::ALL {
            let mut anyone = Anyone::open(&node, kind, "ana").await;
            assert!(anyone.follow(&node, "mine").await, "{kind:?}");
            followers.push(anyone);
        }
        reload(&mut node, change).await;
        publish(&node, "inbox_ana", "x", json!("secreto")).await;
        for anyone in &mut followers {
            assert_eq!(
                anyone.heard(&node).await,
                [json!(null); 0],
                "{number} {:?}",
                anyone.kind()
            );
        }
    }
}

/// With a token of somebody else the name stands for other channels: those of before are lost, although the name is still granted.
#[tokio::test]
async fn a_fresh_token_of_somebody_else_leaves_the_channels_of_the_first() {
    let mine = "[[channel]]\nname = \"mine\"\nfollow = [\"inbox_{sub}\"]\n";
    let config = format!("{OPEN}{mine}").replace("[postgres]\npool = 12\nstatement_timeout = \"60s\"\n", "");
    let node = node(&config).await;
    for claims in [
        json!({"sub": "eva"}),
        json!({"role": "x"}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": ["ana"]}),
    ] {
        let mut client = Anyone::open(&node, Kind::Full, "ana").await;
        assert!(client.follow(&node, "mine").await);
        client.refresh(&token(&claims)).await;
        publish(&node, "inbox_ana", "x", json!("secreto")).await;
        assert_eq!(client.heard(&node).await, [json!(null); 0], "{claims}");
    }
}

/// Two people on one connection, each in a namespace: what one loses the other keeps, and none gets what is the other's.
#[tokio::test]
async fn a_namespace_loses_its_channel_alone() {
    let database = members().await;
    database
        .execute("INSERT INTO members VALUES ('1', 'ana'), ('1', 'eva')")
        .await
        .unwrap();
    let rule =
        "allow_sql = \"SELECT true FROM members WHERE channel = :channel.id AND member = :claims.sub\"\n";
    let config = |more: &str| {
        let namespaces = OPEN.replace("[socketio]", "[socketio]\nnamespaces = [\"/admin\"]");
        format!("{namespaces}{rule}{more}[[channel]]\nname = \"/admin#c_{{id}}\"\n{rule}")
    };
    let mut node = node_on(&database, &config("")).await;
    let url = node.ws_url("/socket.io/?EIO=4&transport=websocket");
    let mut socket = WsClient::connect(&url, &[]).await.unwrap();
    socket.next_text(SOON).await.unwrap();
    for (packet, sub) in [("40", "ana"), ("40/admin,", "eva")] {
        let auth = json!({"token": token(&json!({"sub": sub}))});
        socket.send_text(&format!("{packet}{auth}")).await.unwrap();
        assert!(socket.next_text(SOON).await.unwrap().starts_with(packet));
    }
    for packet in ["420", "42/admin,0"] {
        let subscribe = json!(["subscribe", "c_1"]);
        socket.send_text(&format!("{packet}{subscribe}")).await.unwrap();
        let ack = next(&mut socket, "ok").await;
        assert!(ack.contains("\"ok\":true"), "{ack}");
    }
    database
        .execute("DELETE FROM members WHERE member = 'eva'")
        .await
        .unwrap();
    reload(&mut node, &config("history = true\n")).await;
    let error = next(&mut socket, "error").await;
    assert!(
        error.starts_with("42/admin,") && error.contains("forbidden"),
        "{error}"
    );
    publish(&node, "/admin#c_1", "x", json!("secreto")).await;
    publish(&node, "c_1", "x", json!("propio")).await;
    let event = next(&mut socket, "[\"x\"").await;
    assert_eq!(event, "42[\"x\",\"propio\"]");
}

/// The next packet that has a text in it; members come and go beside.
async fn next(socket: &mut WsClient, text: &str) -> String {
    loop {
        let packet = socket.next_text(SOON).await.unwrap();
        if packet.contains(text) {
            return packet;
        }
    }
}

/// The protocol's frames as a stream of events have words for one channel of several: it is lost alone, and resumed at the limit.
#[tokio::test]
async fn the_protocol_as_a_stream_loses_one_channel_alone() {
    let config = |more: &str| {
        let limited = OPEN.replace("[limits]", "[limits]\nsubscriptions = 2");
        format!("{limited}{}{more}", for_members("mine", "inbox_{sub}"))
    };
    let (database, mut node) = with_ana(&config("")).await;
    let position = publish(&node, "c_1", "x", json!(0)).await;
    publish(&node, "inbox_ana", "x", json!("perdido")).await;
    let token = token(&json!({"sub": "ana"}));
    let url = node.url(&format!(
        "/sse?format=protocol&channel=mine&channel=c_1&token={token}"
    ));
    let mut stream = SseClient::connect(&url, &[("last-event-id", &position)])
        .await
        .unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(frame(&mut stream, "event").await["data"], "perdido");
    reload(&mut node, &config("presence = true\n")).await;
    publish(&node, "inbox_ana", "x", json!("propio")).await;
    assert_eq!(frame(&mut stream, "event").await["data"], "propio");
    database.execute("DELETE FROM members").await.unwrap();
    reload(&mut node, &config("")).await;
    let lost = frame(&mut stream, "error").await;
    assert_eq!(
        (&lost["code"], &lost["channel"]),
        (&json!(103), &json!("inbox_ana")),
        "{lost}"
    );
    publish(&node, "inbox_ana", "x", json!("secreto")).await;
    publish(&node, "c_1", "x", json!("de todos")).await;
    assert_eq!(frame(&mut stream, "event").await["data"], "de todos");
}

/// The next frame of a kind; an error is passed over by nobody who does not wait for it.
async fn frame(stream: &mut SseClient, kind: &str) -> serde_json::Value {
    loop {
        let frame = stream.next_event(SOON).await.unwrap().json().unwrap();
        if frame["type"] == kind {
            return frame;
        }
        assert!(frame["type"] != "event" && frame["type"] != "error", "{frame}");
    }
}

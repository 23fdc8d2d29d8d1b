//! Socket.IO as its official clients meet it: rooms, rights, publishing, emits of their own, namespaces, errors.

use pregon_testkit::{Node, NodeOptions, WsClient, http};
use serde_json::{Value, json};

use crate::support::official::{CLIENTS, Official, TRANSPORTS, pass_suite};
use crate::support::{
    PLAIN, Running, SOON, binary, connect, in_seconds, metric, node, post, publish, refusal, token,
};

/// Rooms by claims, a route for what clients emit, and a namespace.
pub(crate) const ROOMS: &str = r#"
[socketio]
namespaces = ["/admin"]
[[channel]]
name = "/admin#alerts"
subscribe = "claims.role == 'admin'"
[[channel]]
name = "chat_{id}"
publish = "true"
presence = true
volatile = ["typing"]
[[route]]
from = "clients"
when = "event in ['say', 'typing']"
to = "chat_{room}"
event = "{event}"
[[route]]
from = "clients"
when = "event == 'renamed'"
to = "chat_{room}"
event = "connect"
"#;

pub(crate) async fn rooms() -> Node {
    node(&format!("{PLAIN}{ROOMS}")).await
}

/// A client with a token, behind its connect.
pub(crate) async fn client(node: &Node, driver: &str, transports: &[&str], claims: &Value) -> Official {
    let more = json!({"auth": {"token": token(claims)}});
    let mut client = Official::client(driver, &node.url(""), transports, &more);
    client.wait("connect").await;
    if transports.len() == 2 {
        client.wait("upgrade").await;
    }
    client
}

/// Somebody who is in no room from the start.
async fn person(node: &Node, name: &str, driver: &str, transport: &str) -> Official {
    client(node, driver, &[transport], &json!({"sub": name, "rooms": []})).await
}

#[tokio::test]
async fn the_binary_passes_the_suites() {
    let server = Running::start(&["conformance", "--port", "0"]);
    let lines = server.wait_lines(1).await;
    let url = lines[0].rsplit(' ').next().unwrap().to_owned();
    tokio::join!(
        pass_suite("engineio", &url, &[]),
        pass_suite("socketio", &url, &[])
    );
}

#[tokio::test]
async fn every_client_follows_rooms_on_every_transport() {
    let node = rooms().await;
    for driver in CLIENTS {
        for transports in TRANSPORTS {
            let claims = json!({"sub": 7, "rooms": ["1"]});
            let mut client = client(&node, driver, transports, &claims).await;
            publish(&node, "user_7", "hola", json!({"n": 10.5})).await;
            assert_eq!(
                client.event("hola").await,
                json!([{"n": 10.5}]),
                "joined from the start"
            );
            let answer = client.ask("subscribe", &json!(["room_1"])).await;
            assert_eq!(
                (&answer[0]["ok"], &answer[0]["recovered"]),
                (&json!(true), &json!(false))
            );
            publish(&node, "room_1", "nuevo", json!([1, "dos"])).await;
            assert_eq!(client.event("nuevo").await, json!([[1, "dos"]]));
            let answer = client.ask("subscribe", &json!(["room_2"])).await;
            assert_eq!(answer[0]["error"], "forbidden");
            assert!(answer[0]["message"].as_str().unwrap().contains("condition"));
            assert_eq!(
                client.ask("unsubscribe", &json!(["room_1"])).await,
                json!([{"ok": true}])
            );
            assert_eq!(
                client.ask("unsubscribe", &json!(["room_1"])).await[0]["error"],
                "not_subscribed"
            );
            publish(&node, "room_1", "callado", json!(1)).await;
            publish(&node, "user_7", "luego", json!(2)).await;
            client.event("luego").await;
            let heard = client.lines();
            assert!(!heard.iter().any(|line| line["event"] == "callado"), "{heard:?}");
        }
    }
}

#[tokio::test]
async fn clients_publish_into_rooms_and_emit_where_routes_say() {
    let node = rooms().await;
    let mut ana = person(&node, "ana", CLIENTS[0], "websocket").await;
    let mut luis = person(&node, "luis", CLIENTS[1], "polling").await;
    for client in [&mut ana, &mut luis] {
        client.ask("subscribe", &json!(["chat_x"])).await;
    }
    let answer = ana
        .ask("publish", &json!(["chat_x", "mensaje", {"t": "hola"}]))
        .await;
    assert!(answer[0]["position"].is_string(), "{answer}");
    assert_eq!(luis.event("mensaje").await, json!([{"t": "hola"}]));
    let bytes = json!({"base64": "AAEC/w=="});
    let answer = luis
        .ask("say", &json!([{"room": "x", "file": bytes}, "más"]))
        .await;
    assert_eq!(answer[0]["ok"], true, "{answer}");
    assert_eq!(
        ana.event("say").await,
        json!([{"room": "x", "file": bytes}, "más"])
    );
    assert_eq!(
        ana.ask("say", &json!([{"room": ""}])).await[0]["error"],
        "unknown_event"
    );
    assert_eq!(ana.ask("dance", &json!([])).await[0]["error"], "unknown_event");
    let answer = ana.ask("publish", &json!(["room_1", "e", 1])).await;
    assert_eq!(answer[0]["error"], "forbidden");
    assert_eq!(ana.ask("publish", &json!([7])).await[0]["error"], "bad_request");
}

/// What Socket.IO clients say reaches the other protocols, bytes as base64.
#[tokio::test]
async fn other_protocols_hear_what_socketio_clients_say() {
    let node = rooms().await;
    let mut listener = crate::support::connect(&node, &json!({"sub": "ws", "rooms": []})).await;
    listener.subscribe("chat_x").await.unwrap();
    let mut ana = person(&node, "ana", CLIENTS[0], "websocket").await;
    ana.ask("say", &json!([{"room": "x", "file": {"base64": "AAEC/w=="}}]))
        .await;
    let event = listener.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["data"], json!({"room": "x", "file": "AAEC/w=="}));
    ana.ask("say", &json!([{"room": "x"}, 2])).await;
    let event = listener.next_of_type("event", SOON).await.unwrap();
    assert_eq!(
        (&event["event"], &event["data"]),
        (&json!("say"), &json!([{"room": "x"}, 2]))
    );
}

#[tokio::test]
async fn the_past_travels_in_the_ack() {
    let node = rooms().await;
    let claims = json!({"sub": "7", "rooms": ["1"]});
    let since = publish(&node, "room_1", "uno", json!(1)).await;
    publish(&node, "room_1", "dos", json!(2)).await;
    publish(&node, "room_1", "tres", json!(3)).await;
    let mut client = client(&node, CLIENTS[0], &["websocket"], &claims).await;
    let answer = client
        .ask("subscribe", &json!(["room_1", {"since": since}]))
        .await;
    let names = |answer: &Value| -> Vec<String> {
        let history = answer[0]["history"].as_array().unwrap();
        history
            .iter()
            .map(|event| event["event"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (names(&answer), &answer[0]["recovered"]),
        (vec!["dos".into(), "tres".into()], &json!(true))
    );
    let answer = client.ask("subscribe", &json!(["room_1", {"last": 1}])).await;
    assert_eq!(
        (names(&answer), &answer[0]["recovered"]),
        (vec!["tres".into()], &json!(false))
    );
    let answer = client
        .ask("subscribe", &json!(["room_1", {"since": "ffffffff-1"}]))
        .await;
    assert_eq!((names(&answer), &answer[0]["recovered"]), (vec![], &json!(false)));
    let answer = client
        .ask("subscribe", &json!(["room_1", {"since": "ayer"}]))
        .await;
    assert_eq!(answer[0]["error"], "bad_position");
    publish(&node, "room_1", "cuatro", json!(4)).await;
    client.event("cuatro").await;
    let events = client
        .lines()
        .into_iter()
        .filter(|line| line["on"] == "event")
        .count();
    assert_eq!(events, 1, "history is no event");
}

#[tokio::test]
async fn namespaces_have_rooms_and_rights_of_their_own() {
    let node = rooms().await;
    for driver in CLIENTS {
        let connect = |role: &str| {
            let auth = json!({"token": token(&json!({"sub": 1, "role": role}))});
            let more = json!({"namespace": "/admin", "auth": auth});
            Official::client(driver, &node.url(""), &["websocket"], &more)
        };
        let mut admin = connect("admin");
        admin.wait("connect").await;
        assert_eq!(admin.ask("subscribe", &json!(["alerts"])).await[0]["ok"], true);
        publish(&node, "alerts", "fuera", json!(0)).await;
        publish(&node, "/admin#alerts", "dentro", json!(1)).await;
        assert_eq!(admin.event("dentro").await, json!([1]));
        assert!(!admin.lines().iter().any(|line| line["event"] == "fuera"));
        let mut guest = connect("guest");
        guest.wait("connect").await;
        assert_eq!(
            guest.ask("subscribe", &json!(["alerts"])).await[0]["error"],
            "forbidden"
        );
        let more = json!({"namespace": "/nadie", "auth": {"token": token(&json!({"sub": 1}))}});
        let mut lost = Official::client(driver, &node.url(""), &["polling"], &more);
        assert_eq!(lost.wait("connect_error").await["message"], "Invalid namespace");
    }
}

#[tokio::test]
async fn tokens_come_by_auth_query_and_header_and_bad_ones_are_told() {
    let node = rooms().await;
    let good = token(&json!({"sub": "ana"}));
    for driver in CLIENTS {
        for more in [
            json!({"query": {"token": good}}),
            json!({"headers": {"Authorization": format!("Bearer {good}")}}),
            json!({"auth": {"token": good}, "query": {"token": "no.es.nada"}}),
        ] {
            for transports in [&["polling"][..], &["websocket"]] {
                let mut client = Official::client(driver, &node.url(""), transports, &more);
                client.wait("connect").await;
                publish(&node, "user_ana", "hola", json!(null)).await;
                client.event("hola").await;
            }
        }
        for (more, name) in [
            (json!({}), "unauthorized"),
            (json!({"auth": {"token": "no.es.nada"}}), "invalid_token"),
            (json!({"query": {"token": "no.es.nada"}}), "unauthorized"),
            (
                json!({"auth": {"token": pregon_testkit::token(&json!({"sub": 1}), "otra-clave")}}),
                "invalid_token",
            ),
            (
                json!({"auth": {"token": token(&json!({"sub": 1, "exp": 1}))}}),
                "invalid_token",
            ),
        ] {
            let mut client = Official::client(driver, &node.url(""), &["websocket"], &more);
            let error = client.wait("connect_error").await;
            assert_eq!(error["data"]["error"], name, "{more} {error}");
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("token")),
                "{error}"
            );
        }
    }
    metric(&node, "pregon_drops_total{reason=\"token\"}", |count| {
        count >= 8.0
    })
    .await
    .unwrap();
}

/// A cookie is sent by the browser without being asked: it counts from an allowed origin alone.
#[tokio::test]
async fn a_cookie_counts_from_allowed_origins_alone() {
    let config = PLAIN.replace("join =", "cookie = \"sesion\"\njoin =");
    let node = node(&format!("{config}{ROOMS}")).await;
    let cookie = format!("sesion={}", token(&json!({"sub": "ana"})));
    let url = node.url("/socket.io/?EIO=4&transport=polling");
    let headers = |origin| [("cookie", cookie.as_str()), ("origin", origin)];
    let refused = http::request("GET", &url, &headers("https://evil.example"), b"")
        .await
        .unwrap();
    assert_eq!(
        (refused.status(), refused.body.as_str()),
        (403, r#"{"code":4,"message":"Forbidden"}"#)
    );
    let taken = http::request("GET", &url, &headers("https://app.example"), b"")
        .await
        .unwrap();
    assert_eq!(taken.status(), 200);
    assert_eq!(
        taken.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(taken.header("access-control-allow-credentials"), Some("true"));
    let socket = node.ws_url("/socket.io/?EIO=4&transport=websocket");
    let headers = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    assert_eq!(refusal(&socket, &headers).await, 403);
}

#[tokio::test]
async fn a_token_that_ends_closes_the_connection_so_that_the_client_brings_a_fresh_one() {
    let node = node(&format!(
        "{}{ROOMS}",
        PLAIN.replace("join =", "leeway = \"0s\"\njoin =")
    ))
    .await;
    for transports in [&["polling"][..], &["websocket"]] {
        let short = token(&json!({"sub": "ana", "exp": in_seconds(2)}));
        let mut client = Official::client(
            CLIENTS[0],
            &node.url(""),
            transports,
            &json!({"auth": {"token": short}}),
        );
        client.wait("connect").await;
        client.send(&json!({"do": "auth", "auth": {"token": token(&json!({"sub": "ana"}))}}));
        let gone = client.wait("disconnect").await;
        assert_eq!(
            (&gone["reason"], &gone["again"]),
            (&json!("transport close"), &json!(true))
        );
        client.wait("connect").await;
    }
}

#[tokio::test]
async fn limits_hold_and_neighbours_go_on() {
    let node = node(&format!(
        "{PLAIN}{ROOMS}[limits]\nmessage = \"2KiB\"\npublishes_per_second = 3\nsubscriptions = 2\n"
    ))
    .await;
    let claims = json!({"sub": "ana", "rooms": ["1", "2", "3"]});
    let mut neighbour = client(&node, CLIENTS[0], &["websocket"], &claims).await;
    neighbour.ask("subscribe", &json!(["chat_x"])).await;
    for transports in [&["polling"][..], &["websocket"]] {
        let mut big = client(&node, CLIENTS[0], transports, &claims).await;
        big.emit("say", &json!([{"room": "x", "text": "a".repeat(4096)}]));
        big.wait("disconnect").await;
    }
    assert_eq!(
        neighbour.ask("subscribe", &json!(["room_1"])).await[0]["error"],
        "too_many_subscriptions"
    );
    let mut answers = Vec::new();
    for n in 0..5 {
        answers.push(neighbour.ask("publish", &json!(["chat_x", "e", n])).await[0].take());
    }
    assert!(
        answers.iter().any(|answer| answer["error"] == "rate_limited"),
        "{answers:?}"
    );
    assert_eq!(neighbour.event("e").await, json!([0]));
}

#[tokio::test]
async fn names_and_sessions_that_do_not_exist_are_refused() {
    let node = rooms().await;
    let mut client = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": "7"})).await;
    assert_eq!(
        client.ask("subscribe", &json!([""])).await[0]["error"],
        "bad_channel"
    );
    assert_eq!(
        client.ask("subscribe", &json!(["/#"])).await[0]["error"],
        "forbidden"
    );
    for sid in ["nadie", &"0".repeat(52)] {
        let url = node.ws_url(&format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"));
        assert_eq!(refusal(&url, &[]).await, 400);
        let url = node.url(&format!("/socket.io/?EIO=4&transport=polling&sid={sid}"));
        assert_eq!(
            http::get(&url).await.unwrap().body,
            r#"{"code":1,"message":"Session ID unknown"}"#
        );
    }
}

#[tokio::test]
async fn draining_lets_clients_go_to_another_node() {
    let mut node = Node::spawn(NodeOptions::text(format!("{PLAIN}{ROOMS}")).binary(binary()))
        .await
        .unwrap();
    let mut waiting = client(&node, CLIENTS[0], &["polling"], &json!({"sub": "7"})).await;
    let mut socket = client(&node, CLIENTS[1], &["websocket"], &json!({"sub": "7"})).await;
    node.sigterm().await.unwrap();
    for client in [&mut waiting, &mut socket] {
        let gone = client.wait("disconnect").await;
        assert_ne!(
            gone["reason"], "io server disconnect",
            "clients come back by themselves"
        );
    }
}

/// A client of Socket.IO takes such a name for a broken packet and goes; one that recovers would meet it again and again.
#[tokio::test]
async fn names_of_the_protocol_reach_no_client_and_are_refused_where_somebody_can_be_told() {
    let node = rooms().await;
    let mut ana = person(&node, "ana", CLIENTS[0], "websocket").await;
    let mut luis = person(&node, "luis", CLIENTS[1], "polling").await;
    let mut plain = connect(&node, &json!({"sub": "plana"})).await;
    plain.subscribe("chat_x").await.unwrap();
    for client in [&mut ana, &mut luis] {
        client.ask("subscribe", &json!(["chat_x"])).await;
    }
    for event in ["connect", "disconnect", "connect_error", "gap", "error", "join"] {
        let publish = json!({"type": "publish", "channel": "chat_x", "event": event, "data": 1});
        assert_eq!(plain.request(publish).await.unwrap()["type"], "error", "{event}");
    }
    let body = json!({"channel": "chat_x", "event": "disconnect", "data": 1});
    assert_eq!(post(&node, &body, &[]).await.status(), 400);
    // By a route, where nobody can be told: others get it.
    let say = json!([{"room": "x"}]);
    let routed = ana.ask("renamed", &say).await;
    assert!(routed[0]["position"].is_string(), "{routed}");
    assert_eq!(
        plain.next_of_type("event", SOON).await.unwrap()["event"],
        "connect"
    );
    ana.ask("say", &say).await;
    for client in [&mut ana, &mut luis] {
        client.event("say").await;
        let heard = client.lines();
        assert!(!heard.iter().any(|line| line["on"] == "disconnect"), "{heard:?}");
    }
}

#[tokio::test]
async fn who_only_tries_to_connect_is_sent_away() {
    let node = rooms().await;
    let url = node.ws_url("/socket.io/?EIO=4&transport=websocket");
    let mut socket = WsClient::connect(&url, &[]).await.unwrap();
    for _ in 0..50 {
        // What is sent behind the end is lost.
        let _ = socket.send_text(r#"40{"token":"no.es.nada"}"#).await;
    }
    assert!(socket.close_code(SOON).await.unwrap().is_some());
}

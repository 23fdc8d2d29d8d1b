//! The drivers and suites of `conformance/` do what the tests rely on: against the official server, not ours.

use serde_json::{Value, json};

use crate::support::official::{CLIENTS, Official, TRANSPORTS, pass_suite};

/// The official server with the behaviours of `pregon conformance`, and its URL.
async fn reference(arguments: &[&str]) -> (Official, String) {
    let mut server = Official::start("reference/server.mjs", arguments);
    let url = server.address().await;
    (server, url)
}

#[tokio::test]
async fn the_suites_agree_with_the_official_server() {
    let (_server, url) = reference(&[]).await;
    tokio::join!(
        pass_suite("engineio", &url, &["--reference"]),
        pass_suite("socketio", &url, &["--reference"])
    );
}

#[tokio::test]
async fn both_clients_talk_on_every_transport() {
    let (_server, url) = reference(&[]).await;
    let every = async |client: &str| {
        for (number, transports) in TRANSPORTS.into_iter().enumerate() {
            let namespace = if number == 1 { "/custom" } else { "/" };
            let more = json!({"auth": {"token": "una"}, "namespace": namespace});
            talk(Official::client(client, &url, transports, &more), transports).await;
        }
    };
    tokio::join!(every(CLIENTS[0]), every(CLIENTS[1]));
}

async fn talk(mut client: Official, transports: &[&str]) {
    let bytes = json!({"base64": "AAEC/w=="});
    let connect = client.wait("connect").await;
    assert!(
        connect["id"].as_str().is_some_and(|id| !id.is_empty()),
        "{connect}"
    );
    assert_eq!(connect["recovered"], false);
    assert_eq!(client.event("auth").await, json!([{"token": "una"}]));
    if transports.len() == 2 {
        assert_eq!(client.wait("upgrade").await["transport"], "websocket");
    }
    client.emit("message", &json!([1, "dos", {"tres": bytes}]));
    assert_eq!(
        client.event("message-back").await,
        json!([1, "dos", {"tres": bytes}])
    );
    assert_eq!(
        client.ask("message-with-ack", &json!([bytes, null])).await,
        json!([bytes, null])
    );
    client.send(&json!({"do": "status"}));
    let status = client.wait("status").await;
    assert_eq!(status["connected"], true);
    assert_eq!(status["transport"], *transports.last().unwrap());

    client.send(&json!({"do": "disconnect"}));
    client.wait("disconnect").await;
    client.send(&json!({"do": "auth", "auth": {"token": "otra"}}));
    client.send(&json!({"do": "connect_again"}));
    assert_ne!(client.wait("connect").await["id"], connect["id"]);
    assert_eq!(client.event("auth").await, json!([{"token": "otra"}]));
}

#[tokio::test]
async fn both_clients_come_back_after_a_cut() {
    let (_server, url) = reference(&[]).await;
    let every = async |client: &str| {
        for transports in TRANSPORTS {
            let mut client = Official::client(client, &url, transports, &Value::Null);
            let before = client.wait("connect").await;
            if transports.len() == 2 {
                client.wait("upgrade").await;
            }
            client.send(&json!({"do": "drop"}));
            client.wait("disconnect").await;
            let after = client.wait("connect").await;
            assert_ne!(after["id"], before["id"]);
            assert_eq!(
                client.ask("message-with-ack", &json!(["vive"])).await,
                json!(["vive"])
            );
        }
    };
    tokio::join!(every(CLIENTS[0]), every(CLIENTS[1]));
}

#[tokio::test]
async fn both_clients_tell_a_refusal() {
    let (_server, url) = reference(&[]).await;
    for client in CLIENTS {
        let more = json!({"auth": {"refuse": "bad token"}});
        let mut refused = Official::client(client, &url, &["websocket"], &more);
        let error = refused.wait("connect_error").await;
        assert_eq!(error["message"], "bad token");
        assert_eq!(error["data"], json!({"refuse": "bad token"}));
        let more = json!({"namespace": "/nadie"});
        let mut unknown = Official::client(client, &url, &["polling"], &more);
        assert_eq!(
            unknown.wait("connect_error").await["message"],
            "Invalid namespace"
        );
    }
}

#[tokio::test]
async fn the_node_client_recovers_what_it_missed() {
    let (_server, url) = reference(&["--recovery"]).await;
    for transports in TRANSPORTS {
        let mut away = Official::client(CLIENTS[0], &url, transports, &Value::Null);
        let mut other = Official::client(CLIENTS[0], &url, &["websocket"], &Value::Null);
        other.wait("connect").await;
        let before = away.wait("connect").await;
        if transports.len() == 2 {
            away.wait("upgrade").await;
        }
        assert_eq!(
            away.ask("subscribe", &json!(["sala"])).await,
            json!([{"ok": true}])
        );
        other.emit("publish", &json!(["sala", "uno", 1]));
        assert_eq!(away.event("uno").await[0], 1);
        away.send(&json!({"do": "drop"}));
        away.wait("disconnect").await;
        other.emit("publish", &json!(["sala", "dos", 2]));
        let after = away.wait("connect").await;
        assert_eq!((&after["recovered"], &after["id"]), (&json!(true), &before["id"]));
        assert_eq!(away.event("dos").await[0], 2);
    }
}

//! Connection state recovery of Socket.IO: the unmodified client gets its session back with what it missed, or learns that it did not.

use pregon_testkit::{Database, Node, NodeOptions, Proxy, postgres};
use serde_json::{Value, json};

use crate::socketio::ROOMS;
use crate::support::official::{CLIENTS, Official, TRANSPORTS};
use crate::support::{PLAIN, binary, metric, node, publish, token};

fn config() -> String {
    format!(
        "{PLAIN}{}",
        ROOMS.replace("[socketio]", "[socketio]\nrecovery = true")
    )
}

async fn connect(node: &Node, transports: &[&str], claims: &Value) -> (Official, Value) {
    let more = json!({"auth": {"token": token(claims)}});
    let mut client = Official::client(CLIENTS[0], &node.url(""), transports, &more);
    let connect = client.wait("connect").await;
    if transports.len() == 2 {
        client.wait("upgrade").await;
    }
    (client, connect)
}

#[tokio::test]
async fn what_was_missed_comes_before_the_rest_in_order_and_once() {
    let node = node(&config()).await;
    for transports in TRANSPORTS {
        let (mut client, before) = connect(&node, transports, &json!({"sub": "ana", "rooms": ["1"]})).await;
        client.ask("subscribe", &json!(["room_1"])).await;
        publish(&node, "room_1", "n", json!(0)).await;
        assert_eq!(client.event("n").await[0], 0);
        client.send(&json!({"do": "drop"}));
        client.wait("disconnect").await;
        for n in 1..=20 {
            let channel = if n % 2 == 0 { "room_1" } else { "user_ana" };
            publish(&node, channel, "n", json!(n)).await;
        }
        let after = client.wait("connect").await;
        assert_eq!(
            (&after["recovered"], &after["id"]),
            (&json!(true), &before["id"]),
            "{transports:?}"
        );
        publish(&node, "room_1", "n", json!(21)).await;
        for n in 1..=21 {
            let args = client.event("n").await;
            assert_eq!(
                (&args[0], args[1].is_string()),
                (&json!(n), true),
                "in order, with its position"
            );
        }
        let all = client
            .lines()
            .into_iter()
            .filter(|line| line["event"] == "n")
            .count();
        assert_eq!(all, 22, "each once");
    }
}

#[tokio::test]
async fn rights_are_asked_again_and_one_refusal_begins_anew() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database
        .execute("CREATE TABLE conversations (id int, user_id int); INSERT INTO conversations VALUES (1, 7), (2, 7)")
        .await
        .unwrap();
    let config = format!(
        "{}\n[postgres]\n[[channel]]\nname = \"conversation_{{id}}\"\n\
         allow_sql = \"SELECT true FROM conversations WHERE id = :channel.id AND user_id = :claims.sub\"",
        config()
    );
    let options = NodeOptions::text(&config).binary(binary());
    let node = Node::spawn(options.env("DATABASE_URL", database.url()))
        .await
        .unwrap();
    let (mut client, before) = connect(&node, &["websocket"], &json!({"sub": 7})).await;
    for conversation in ["conversation_1", "conversation_2"] {
        let answer = client.ask("subscribe", &json!([conversation])).await;
        assert_eq!(answer[0]["ok"], true, "{answer}");
    }
    publish(&node, "conversation_1", "m", json!("uno")).await;
    client.event("m").await;
    client.send(&json!({"do": "drop"}));
    client.wait("disconnect").await;
    let again = client.wait("connect").await;
    assert_eq!((&again["recovered"], &again["id"]), (&json!(true), &before["id"]));
    database
        .execute("UPDATE conversations SET user_id = 8 WHERE id = 2")
        .await
        .unwrap();
    publish(&node, "conversation_1", "m", json!("dos")).await;
    client.event("m").await;
    client.send(&json!({"do": "drop"}));
    client.wait("disconnect").await;
    publish(&node, "conversation_2", "ajeno", json!("de otro")).await;
    let anew = client.wait("connect").await;
    assert_eq!(anew["recovered"], false);
    assert_ne!(anew["id"], before["id"]);
    publish(&node, "user_7", "fin", json!(null)).await;
    client.event("fin").await;
    assert!(!client.lines().iter().any(|line| line["event"] == "ajeno"));
}

/// Whoever has the secret but another token gets nothing of the session.
#[tokio::test]
async fn another_user_does_not_get_the_session() {
    let node = node(&config()).await;
    let (mut client, before) = connect(&node, &["websocket"], &json!({"sub": "ana"})).await;
    publish(&node, "user_ana", "privado", json!(1)).await;
    client.event("privado").await;
    client.send(&json!({"do": "auth", "auth": {"token": token(&json!({"sub": "luis"}))}}));
    client.send(&json!({"do": "drop"}));
    client.wait("disconnect").await;
    publish(&node, "user_ana", "privado", json!(2)).await;
    let after = client.wait("connect").await;
    assert_eq!(after["recovered"], false);
    assert_ne!(after["id"], before["id"]);
    publish(&node, "user_luis", "fin", json!(null)).await;
    client.event("fin").await;
    let heard = client
        .lines()
        .into_iter()
        .filter(|line| line["event"] == "privado")
        .count();
    assert_eq!(heard, 1);
}

/// With the log in memory a process that was killed has forgotten everything: the client learns it and begins anew.
#[tokio::test]
async fn a_killed_process_with_its_log_in_memory_recovers_nobody_and_serves_everybody() {
    let mut node = node(&format!("{}\n[log]\nkind = \"memory\"\n", config())).await;
    for transports in TRANSPORTS {
        let (mut client, _) = connect(&node, transports, &json!({"sub": "ana"})).await;
        publish(&node, "user_ana", "antes", json!(1)).await;
        client.event("antes").await;
        node.kill9().await.unwrap();
        node.restart().await.unwrap();
        client.wait("disconnect").await;
        let after = client.wait("connect").await;
        assert_eq!(after["recovered"], false);
        publish(&node, "user_ana", "después", json!(2)).await;
        client.event("después").await;
    }
}

/// With the log on the disk any later process of it gives the session back, with what was missed.
#[tokio::test]
async fn after_a_kill_the_next_process_recovers_sessions_with_what_they_missed() {
    let mut node = node(&config()).await;
    let proxy = Proxy::start(node.address()).await.unwrap();
    for transports in TRANSPORTS {
        let more = json!({"auth": {"token": token(&json!({"sub": "ana", "rooms": ["1"]}))}});
        let url = format!("http://{}", proxy.address());
        let mut client = Official::client(CLIENTS[0], &url, transports, &more);
        let before = client.wait("connect").await;
        client.ask("subscribe", &json!(["room_1"])).await;
        publish(&node, "room_1", "n", json!(0)).await;
        assert_eq!(client.event("n").await[0], 0);
        metric(&node, "pregon_recovery_unsaved", |unsaved| unsaved == 0.0)
            .await
            .unwrap();
        proxy.refuse(true).await;
        proxy.cut().await;
        client.wait("disconnect").await;
        for n in 1..=5 {
            publish(&node, "room_1", "n", json!(n)).await;
        }
        node.kill9().await.unwrap();
        node.restart().await.unwrap();
        publish(&node, "user_ana", "n", json!(6)).await;
        proxy.restore().await;
        let after = client.wait("connect").await;
        assert_eq!(
            (&after["recovered"], &after["id"]),
            (&json!(true), &before["id"]),
            "{transports:?}"
        );
        for n in 1..=6 {
            assert_eq!(client.event("n").await[0], n);
        }
        let all = client.lines();
        assert_eq!(
            all.iter().filter(|line| line["event"] == "n").count(),
            7,
            "each once"
        );
    }
}

#[tokio::test]
async fn a_client_that_said_farewell_begins_anew_and_without_recovery_nothing_is_appended() {
    let with = node(&config()).await;
    let (mut client, before) = connect(&with, &["websocket"], &json!({"sub": "ana"})).await;
    publish(&with, "user_ana", "e", json!("último")).await;
    assert_eq!(client.event("e").await.as_array().unwrap().len(), 2);
    client.send(&json!({"do": "disconnect"}));
    client.wait("disconnect").await;
    client.send(&json!({"do": "connect_again"}));
    let after = client.wait("connect").await;
    assert_ne!(after["id"], before["id"]);
    let without = node(&format!("{PLAIN}{ROOMS}")).await;
    let (mut client, _) = connect(&without, &["websocket"], &json!({"sub": "ana"})).await;
    publish(&without, "user_ana", "e", json!("texto")).await;
    assert_eq!(client.event("e").await, json!(["texto"]));
}

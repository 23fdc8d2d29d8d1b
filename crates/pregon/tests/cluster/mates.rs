//! What nodes tell each other: members, what is not kept, orders of back ends, revoked users.

use pregon_testkit::{Database, Node, WsClient, eventually, http, postgres};
use serde_json::{Value, json};

use super::of_cluster;
use crate::support::{PLAIN, SOON, connect, refusal, socketio, token};

const OPERATOR: &str = "un-token-de-operador";

/// Channels with members and with events that are not kept, and rooms of Socket.IO that an emitter fills.
fn config() -> String {
    format!(
        "{PLAIN}[log]\nkind = \"postgres\"\n[postgres]\napply = \"auto\"\n[socketio]\nemitters = [\"postgres\"]\n\
         [[channel]]\nname = \"chat_{{id}}\"\npresence = true\npublish = \"true\"\nvolatile = [\"typing\"]\n"
    )
}

async fn nodes(database: &Database<'_>, count: usize) -> Vec<Node> {
    let mut nodes = Vec::new();
    for n in 0..count {
        let options = of_cluster(database, &config(), &format!("n{n}")).env("PREGON_ADMIN_TOKEN", OPERATOR);
        nodes.push(Node::spawn(options).await.unwrap());
    }
    nodes
}

async fn database() -> Database<'static> {
    Database::create(postgres::shared().await).await.unwrap()
}

async fn member(node: &Node, sub: &str) -> WsClient {
    let mut client = connect(node, &json!({"sub": sub})).await;
    client.subscribe("chat_x").await.unwrap();
    client
}

async fn said(client: &mut WsClient, kind: &str) -> Value {
    client.next_of_type(kind, SOON).await.unwrap()["client"].clone()
}

async fn members(node: &Node) -> Vec<Value> {
    let url = node.url(&format!(
        "/api/presence?channel=chat_x&token={}",
        token(&json!({"sub": "x"}))
    ));
    let answer = http::get(&url).await.unwrap().json().unwrap();
    answer["clients"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .clone()
}

#[tokio::test]
async fn members_are_those_of_all_nodes_and_leave_with_a_node_that_is_killed() {
    let database = database().await;
    let mut nodes = nodes(&database, 2).await;
    let mut ana = member(&nodes[0], "ana").await;
    assert_eq!(said(&mut ana, "join").await, "ana");
    let luis = member(&nodes[1], "luis").await;
    assert_eq!(said(&mut ana, "join").await, "luis");
    // On two nodes it is one member: who has been there is not told again, and leaves with the last.
    let twice = member(&nodes[0], "luis").await;
    drop(luis);
    for node in &nodes {
        eventually(SOON, || async {
            let there = members(node).await;
            anyhow::ensure!(there == ["ana", "luis"], "{there:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
    ana.expect_silence().await.unwrap();
    drop(twice);
    assert_eq!(said(&mut ana, "leave").await, "luis");
    // A node that comes later knows who is there.
    let late = Node::spawn(of_cluster(&database, &config(), "late"))
        .await
        .unwrap();
    eventually(SOON, || async {
        let there = members(&late).await;
        anyhow::ensure!(there == ["ana"], "{there:?}");
        Ok(())
    })
    .await
    .unwrap();
    let _gone = member(&nodes[1], "eva").await;
    assert_eq!(said(&mut ana, "join").await, "eva");
    let killed = std::time::Instant::now();
    nodes[1].kill9().await.unwrap();
    assert_eq!(said(&mut ana, "leave").await, "eva");
    assert!(
        killed.elapsed() < std::time::Duration::from_secs(8),
        "{:?}",
        killed.elapsed()
    );
    ana.expect_silence().await.unwrap();
}

#[tokio::test]
async fn what_is_not_kept_reaches_every_node_once() {
    let database = database().await;
    let nodes = nodes(&database, 2).await;
    let mut ana = connect(&nodes[0], &json!({"sub": "ana"})).await;
    let mut luis = connect(&nodes[1], &json!({"sub": "luis"})).await;
    for client in [&mut ana, &mut luis] {
        client.subscribe("chat_x").await.unwrap();
    }
    for n in 0..20 {
        let typing = json!({"type": "publish", "channel": "chat_x", "event": "typing", "data": n});
        assert_eq!(ana.request(typing).await.unwrap()["type"], "ok");
    }
    for client in [&mut ana, &mut luis] {
        for n in 0..20 {
            assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], n);
        }
    }
    // Behind what was typed, on every node.
    let message = json!({"type": "publish", "channel": "chat_x", "event": "message", "data": "hola"});
    luis.request(message).await.unwrap();
    for client in [&mut ana, &mut luis] {
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], "hola");
        client.expect_silence().await.unwrap();
    }
}

/// An order of a back end reaches the sockets of all nodes, whichever of them hears the back end, and before what comes after it.
#[tokio::test]
async fn an_order_of_a_back_end_is_carried_out_on_all_nodes() {
    let database = database().await;
    let nodes = nodes(&database, 2).await;
    let mut sockets = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        sockets.push(socketio(node, &token(&json!({"sub": n.to_string()}))).await);
    }
    let tell = async |message: Value| {
        let client = database.client().await.unwrap();
        let sql = "SELECT pg_notify('socket.io#/', $1)";
        client.execute(sql, &[&message.to_string()]).await.unwrap();
    };
    tell(json!({"uid": "emitter", "type": 4, "data": {"opts": {"rooms": [], "except": []}, "rooms": ["sala"]}})).await;
    for data in ["uno", "dos"] {
        let packet = json!({"type": 2, "data": ["aviso", data], "nsp": "/"});
        tell(json!({"uid": "emitter", "type": 3, "data": {"opts": {"rooms": ["sala"], "except": []}, "packet": packet}})).await;
    }
    for socket in &mut sockets {
        for data in ["uno", "dos"] {
            let text = socket.next_text(SOON).await.unwrap();
            assert!(text.starts_with("42[\"aviso\"") && text.contains(data), "{text}");
        }
    }
}

#[tokio::test]
async fn a_user_that_is_revoked_at_one_node_is_out_of_all_also_of_later_ones() {
    let database = database().await;
    let nodes = nodes(&database, 2).await;
    let old = json!({"sub": "7"});
    let mut here = connect(&nodes[0], &old).await;
    let mut there = connect(&nodes[1], &old).await;
    let mut other = connect(&nodes[1], &json!({"sub": "8"})).await;
    let bearer = format!("Bearer {OPERATOR}");
    let headers = [("authorization", bearer.as_str())];
    let url = nodes[0].url("/admin/api/revoke");
    let revoked = std::time::Instant::now();
    let answer = http::post_json(&url, &headers, &json!({"user": "7"}))
        .await
        .unwrap();
    assert_eq!(
        (answer.status(), &answer.json().unwrap()["warning"]),
        (200, &Value::Null),
        "{}",
        answer.body
    );
    for client in [&mut here, &mut there] {
        assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3506);
    }
    assert!(
        revoked.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        revoked.elapsed()
    );
    other.expect_silence().await.unwrap();
    let late = Node::spawn(of_cluster(&database, &config(), "late"))
        .await
        .unwrap();
    let url = |node: &Node| node.ws_url(&format!("/ws?token={}", token(&old)));
    for node in [&nodes[1], &late] {
        assert_eq!(refusal(&url(node), &[]).await, 401);
    }
    // Taken back at another node.
    let restore = nodes[1].url("/admin/api/restore");
    let answer = http::post_json(&restore, &headers, &json!({"user": "7"}))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.body);
    eventually(SOON, || async {
        let answer = WsClient::connect(&url(&nodes[0]), &[]).await;
        anyhow::ensure!(answer.is_ok(), "still refused");
        Ok(())
    })
    .await
    .unwrap();
}

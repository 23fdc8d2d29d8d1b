//! A revoked user is out at once, stays out with the old tokens, and comes back with a newer one.

use pregon_testkit::{Node, SseClient, eventually, http};
use serde_json::json;

use super::{get, node_with, post};
use crate::support::{PLAIN, SOON, connect, in_seconds, options, refusal, token};

fn url(node: &Node, claims: &serde_json::Value) -> String {
    node.ws_url(&format!("/ws?token={}", token(claims)))
}

#[tokio::test]
async fn sessions_end_old_tokens_are_refused_and_newer_ones_are_not() {
    let node = node_with("").await;
    let old = json!({"sub": 7, "iat": in_seconds(0) - 60});
    let mut first = connect(&node, &old).await;
    let mut second = connect(&node, &json!({"sub": "7"})).await;
    let stream = node.url(&format!("/sse?channel=news&token={}", token(&old)));
    let mut third = SseClient::connect(&stream, &[]).await.unwrap();
    third.next_block(SOON).await.unwrap();
    let mut other = connect(&node, &json!({"sub": 8})).await;
    let (status, answer) = post(&node, "revoke", &json!({"user": "7"})).await;
    assert_eq!((status, &answer["closed"]), (200, &json!(3)), "{answer}");
    assert_eq!(first.close_code(SOON).await.unwrap().unwrap().0, 3506);
    assert_eq!(second.close_code(SOON).await.unwrap().unwrap().0, 3506);
    third.ended(SOON).await.unwrap();
    assert_eq!(
        other.request(json!({"type": "ping"})).await.unwrap()["type"],
        "ok"
    );
    assert_eq!(refusal(&url(&node, &old), &[]).await, 401);
    assert_eq!(
        refusal(&url(&node, &json!({"sub": 7})), &[]).await,
        401,
        "it does not say when"
    );
    connect(&node, &json!({"sub": 7, "iat": in_seconds(2)})).await;
    assert_eq!(get(&node, "revoke").await["users"][0]["user"], "7");
}

/// A token of the first message, and one that a session is refreshed with, are looked at too.
#[tokio::test]
async fn an_old_token_does_not_come_in_by_a_message() {
    let node = node_with("").await;
    post(&node, "revoke", &json!({"user": "7"})).await;
    let mut client = pregon_testkit::WsClient::connect(&node.ws_url("/ws"), &[])
        .await
        .unwrap();
    let auth = json!({"id": 1, "type": "auth", "token": token(&json!({"sub": 7}))});
    client.send_json(&auth).await.unwrap();
    let answer = client.next_of_type("error", SOON).await.unwrap();
    assert!(
        answer["message"].as_str().unwrap().contains("revoked"),
        "{answer}"
    );
}

#[tokio::test]
async fn it_outlives_a_restart_and_can_be_taken_back() {
    let mut node = node_with("").await;
    post(&node, "revoke", &json!({"user": "7"})).await;
    node.restart().await.unwrap();
    assert_eq!(refusal(&url(&node, &json!({"sub": 7})), &[]).await, 401);
    assert_eq!(post(&node, "restore", &json!({"user": "7"})).await.0, 200);
    assert_eq!(post(&node, "restore", &json!({"user": "7"})).await.0, 404);
    connect(&node, &json!({"sub": 7})).await;
    for wrong in [json!({}), json!({"user": ""}), json!({"user": "x".repeat(2000)})] {
        assert_eq!(post(&node, "revoke", &wrong).await.0, 400);
    }
}

#[tokio::test]
async fn nobody_can_be_revoked_where_everybody_is_anonymous() {
    let open = PLAIN.replace(
        "[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n",
        "[auth]\n",
    );
    let node = options(&open).env("PREGON_ADMIN_TOKEN", super::TOKEN);
    let node = Node::spawn(node).await.unwrap();
    assert_eq!(post(&node, "revoke", &json!({"user": "7"})).await.0, 409);
}

/// There is no socket that could be closed: the next request learns it.
#[tokio::test]
async fn a_client_that_polls_is_out_too() {
    let node = node_with("[socketio]\n").await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = http::get(&node.url(path)).await.unwrap().body;
    let opened: serde_json::Value = serde_json::from_str(&opened[1..]).unwrap();
    let url = node.url(&format!("{path}&sid={}", opened["sid"].as_str().unwrap()));
    let connect = format!("40{}", json!({"token": token(&json!({"sub": 7}))}));
    http::request("POST", &url, &[], connect.as_bytes())
        .await
        .unwrap();
    assert!(http::get(&url).await.unwrap().body.starts_with("40"));
    let found = get(&node, "sessions?user=7").await;
    assert_eq!(found["sessions"][0]["transport"], "polling");
    let (_, answer) = post(&node, "revoke", &json!({"user": "7"})).await;
    assert_eq!(answer["closed"], 1);
    let gone = eventually(SOON, || async {
        let status = http::get(&url).await?.status();
        anyhow::ensure!(status == 400, "{status}");
        anyhow::Ok(())
    });
    gone.await.unwrap();
    let closed = get(&node, "sessions?state=closed&user=7").await;
    assert_eq!(closed["sessions"][0]["reason"], "revoked");
}

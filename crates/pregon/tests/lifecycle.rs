//! Starting, reloading, losing PostgreSQL, expiring, stopping, and what is told about it all.

use std::time::Duration;

use pregon_testkit::{Database, Node, Proxy, SseClient, WsClient, eventually, http, postgres};
use serde_json::json;

use crate::support::{
    PLAIN, RECOVERY, SOON, connect, in_seconds, metric, node, options, publish, readiness, token,
};

const LISTENER: &str = "[postgres]\nheartbeat = \"500ms\"\n[[listen]]\nchannel = \"avisos\"\n[[channel]]\nname = \"avisos\"\n\
    [[endpoint]]\npath = \"/bare\"\nchannels = [\"avisos\"]\n";

/// A node whose PostgreSQL is behind a proxy.
async fn behind_proxy(database: &Database<'_>) -> (Proxy, Node) {
    let proxy = Proxy::start(database.server().address()).await.unwrap();
    let url = database
        .server()
        .url_at(proxy.port(), "postgres", database.name());
    let node = Node::spawn(options(LISTENER).env("DATABASE_URL", url))
        .await
        .unwrap();
    (proxy, node)
}

#[tokio::test]
async fn readyz_follows_the_source_and_healthz_the_process() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (proxy, node) = behind_proxy(&database).await;
    proxy.refuse(true).await;
    proxy.cut().await;
    readiness(&node, 503, "", SOON).await;
    assert_eq!(http::get(&node.url("/healthz")).await.unwrap().status(), 200);
    metric(&node, "pregon_source_up", |up| up == 0.0).await.unwrap();
    proxy.restore().await;
    readiness(&node, 200, "", RECOVERY).await;
}

#[tokio::test]
async fn a_source_that_was_away_is_a_gap_to_its_followers_and_nothing_to_bare_ones() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (proxy, node) = behind_proxy(&database).await;
    let mut full = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let mut bare = WsClient::connect(&node.ws_url("/bare"), &[]).await.unwrap();
    let mut sse = SseClient::connect(&node.url("/sse?channel=avisos"), &[])
        .await
        .unwrap();
    full.subscribe("avisos").await.unwrap();
    proxy.cut().await;
    let gap = full.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("avisos"), &json!("source"))
    );
    assert_eq!(sse.next_event(SOON).await.unwrap().event.as_deref(), Some("gap"));
    readiness(&node, 200, "", RECOVERY).await;
    database.execute("NOTIFY avisos, 'sin JSON'").await.unwrap();
    assert_eq!(
        full.next_of_type("event", SOON).await.unwrap()["data"],
        "sin JSON"
    );
    assert_eq!(bare.next_text(SOON).await.unwrap(), "sin JSON");
}

#[tokio::test]
async fn a_connection_that_no_longer_answers_is_noticed() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (proxy, node) = behind_proxy(&database).await;
    proxy.black_hole(true);
    readiness(&node, 503, "", Duration::from_secs(20)).await;
    proxy.restore().await;
    readiness(&node, 200, "", Duration::from_secs(20)).await;
}

#[tokio::test]
async fn it_starts_without_a_database_and_attaches_when_there_is_one() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let proxy = Proxy::start(database.server().address()).await.unwrap();
    proxy.refuse(true).await;
    let url = database
        .server()
        .url_at(proxy.port(), "postgres", database.name());
    let node = Node::spawn(options(LISTENER).env("DATABASE_URL", url).not_ready())
        .await
        .unwrap();
    readiness(&node, 503, "", SOON).await;
    proxy.restore().await;
    readiness(&node, 200, "", SOON).await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_a_refreshed_one_stays() {
    let node = node(&PLAIN.replace("[auth]", "[auth]\nleeway = \"0s\"")).await;
    let mut dying = connect(&node, &json!({"sub": 1, "exp": in_seconds(2)})).await;
    let mut refreshed = connect(&node, &json!({"sub": 2, "exp": in_seconds(2)})).await;
    let renewed = token(&json!({"sub": 2, "exp": in_seconds(600)}));
    assert_eq!(
        refreshed
            .request(json!({"type": "auth", "token": renewed}))
            .await
            .unwrap()["type"],
        "ok"
    );
    assert_eq!(dying.close_code(SOON).await.unwrap().unwrap().0, 3002);
    publish(&node, "user_2", "x", json!(1)).await;
    refreshed.next_of_type("event", SOON).await.unwrap();
}

/// Clocks differ: whom the leeway lets in stays as long as it would let others in.
#[tokio::test]
async fn a_session_within_the_leeway_lives_until_it_ends() {
    let node = node(&PLAIN.replace("[auth]", "[auth]\nleeway = \"4s\"")).await;
    let mut client = connect(&node, &json!({"sub": 1, "exp": in_seconds(0) - 1})).await;
    client.subscribe("news").await.unwrap();
    publish(&node, "news", "x", json!(1)).await;
    client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3002);
}

#[tokio::test]
async fn sigterm_lets_sessions_go_and_ends_with_zero() {
    let mut node = node(&PLAIN.replace("[server]", "[server]\ndrain = \"1s\"")).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    let mut sse = SseClient::connect(
        &node.url(&format!("/sse?token={}", token(&json!({"sub": 1})))),
        &[],
    )
    .await
    .unwrap();
    let position = publish(&node, "user_1", "x", json!("última")).await;
    let status = node.sigterm().await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{}", node.log());
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["position"],
        json!(position)
    );
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3000);
    assert_eq!(
        sse.next_event(SOON).await.unwrap().data.as_deref(),
        Some("\"última\"")
    );
    sse.ended(SOON).await.unwrap();
}

#[tokio::test]
async fn sighup_takes_over_rights_without_dropping_a_socket() {
    let mut node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    let subscribe = json!({"type": "subscribe", "channel": "fresh"});
    assert_eq!(client.request(subscribe.clone()).await.unwrap()["code"], 103);
    node.rewrite_config(&format!("{PLAIN}\n[[channel]]\nname = \"fresh\"\n"))
        .unwrap();
    node.sighup();
    node.wait_for_log("configuration reloaded", SOON).await.unwrap();
    assert_eq!(client.request(subscribe).await.unwrap()["type"], "ok");
    publish(&node, "fresh", "x", json!(1)).await;
    client.next_of_type("event", SOON).await.unwrap();
}

#[tokio::test]
async fn a_broken_file_at_sighup_changes_nothing() {
    let mut node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    node.rewrite_config("[server]\nlisen = 1\n").unwrap();
    node.sighup();
    node.wait_for_log("the old one stays", SOON).await.unwrap();
    client.subscribe("news").await.unwrap();
}

#[tokio::test]
async fn sighup_takes_away_rights_of_those_who_follow_already() {
    let mut node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    node.rewrite_config(&PLAIN.replace("[[channel]]\nname = \"news\"\n", ""))
        .unwrap();
    node.sighup();
    node.wait_for_log("configuration reloaded", SOON).await.unwrap();
    let gone = eventually(SOON, || async {
        let reply = http::get(&node.url(&format!(
            "/api/history?channel=news&token={}",
            token(&json!({"sub": 1}))
        )))
        .await?;
        anyhow::ensure!(reply.status() == 403, "{}", reply.status());
        Ok(())
    });
    gone.await.unwrap();
    publish(&node, "news", "x", json!("secreto")).await;
    publish(&node, "user_1", "x", json!("propio")).await;
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        "propio"
    );
}

#[tokio::test]
async fn metrics_count_sessions_deliveries_and_refusals() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    publish(&node, "user_1", "x", json!(1)).await;
    client.next_of_type("event", SOON).await.unwrap();
    client
        .request(json!({"type": "subscribe", "channel": "room_z"}))
        .await
        .unwrap();
    metric(&node, "pregon_deliveries_total", |n| n >= 1.0)
        .await
        .unwrap();
    metric(&node, "pregon_publications_total", |n| n == 1.0)
        .await
        .unwrap();
    let sessions = "pregon_sessions{transport=\"websocket\"}";
    metric(&node, sessions, |n| n == 1.0).await.unwrap();
    metric(&node, "pregon_drops_total{reason=\"forbidden\"}", |n| n == 1.0)
        .await
        .unwrap();
    client.close().await.unwrap();
    metric(&node, sessions, |n| n == 0.0).await.unwrap();
}

#[tokio::test]
async fn logs_hold_no_tokens_and_no_payloads() {
    let mut node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1, "correo": "ana@example.com"})).await;
    publish(&node, "user_1", "x", json!("dato-reservado")).await;
    client.next_of_type("event", SOON).await.unwrap();
    publish(&node, "user_2", "x", json!("dato-reservado")).await;
    node.sigterm().await.unwrap();
    for secret in [
        "dato-reservado",
        "ana@example.com",
        "eyJ",
        crate::support::SECRET,
        crate::support::API_KEY,
    ] {
        assert!(!node.log().contains(secret), "{secret}: {}", node.log());
    }
}

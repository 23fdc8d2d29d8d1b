//! examples/live-sales, with the seed's SQL and a client as the seed's: it only listens.

use std::time::{Duration, Instant};

use pregon_testkit::{Server, WsClient, postgres};
use serde_json::Value;

use crate::support::{RECOVERY, SOON, refusal, run_example};

const SALE: &str = "INSERT INTO ventas (producto, cantidad, total) VALUES ('Café de olla', 2, 64.50)";

#[tokio::test]
async fn every_client_gets_the_exact_row() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "live-sales").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap());
    }
    database.execute(SALE).await.unwrap();
    let sql = "SELECT row_to_json(ventas)::text FROM ventas";
    let row: String = database
        .client()
        .await
        .unwrap()
        .query_one(sql, &[])
        .await
        .unwrap()
        .get(0);
    for client in &mut clients {
        assert_eq!(client.next_text(SOON).await.unwrap(), row);
        client.expect_bare_silence().await.unwrap();
    }
}

#[tokio::test]
async fn updates_deletes_and_rolled_back_sales_say_nothing() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "live-sales").await;
    let mut client = WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap();
    database
        .execute(&format!("BEGIN; {SALE}; ROLLBACK"))
        .await
        .unwrap();
    database.execute(SALE).await.unwrap();
    database
        .execute("UPDATE ventas SET total = 0; DELETE FROM ventas")
        .await
        .unwrap();
    database
        .execute("INSERT INTO ventas (producto) VALUES ('última')")
        .await
        .unwrap();
    let first: Value = client.next_json(SOON).await.unwrap();
    assert_eq!(
        (&first["id"], &first["producto"]),
        (&2.into(), &"Café de olla".into())
    );
    assert_eq!(client.next_json(SOON).await.unwrap()["producto"], "última");
}

#[tokio::test]
async fn a_thousand_rows_arrive_in_their_order() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "live-sales").await;
    let mut client = WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap();
    database
        .execute("INSERT INTO ventas (producto, cantidad, total) SELECT 'lote', n, n FROM generate_series(1, 900) n")
        .await
        .unwrap();
    let writer = database.client().await.unwrap();
    for _ in 0..100 {
        writer.batch_execute(SALE).await.unwrap();
    }
    for id in 1..=1000 {
        assert_eq!(client.next_json(SOON).await.unwrap()["id"], id);
    }
    client.expect_bare_silence().await.unwrap();
}

#[tokio::test]
async fn what_a_client_says_is_ignored_and_other_paths_are_not_found() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "live-sales").await;
    let mut client = WsClient::connect(
        &node.ws_url("/ws/sales"),
        &[("origin", "http://elsewhere.example")],
    )
    .await
    .unwrap();
    client.send_text("hola").await.unwrap();
    client.send_text(r#"{"id":1,"type":"ping"}"#).await.unwrap();
    client.expect_bare_silence().await.unwrap();
    database.execute(SALE).await.unwrap();
    assert_eq!(client.next_json(SOON).await.unwrap()["id"], 1);
    assert_eq!(refusal(&node.ws_url("/ws/ventas"), &[]).await, 404);
}

#[tokio::test]
async fn a_sale_too_large_for_the_triggers_own_notify_fails_by_itself() {
    let server = postgres::shared().await;
    let (database, node) = run_example(server, "live-sales").await;
    let mut client = WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap();
    let sale = |length: u32| format!("INSERT INTO ventas (producto) VALUES (repeat('x', {length}))");
    assert!(database.execute(&sale(8000)).await.is_err());
    database.execute(&sale(7800)).await.unwrap();
    assert_eq!(
        client.next_json(SOON).await.unwrap()["producto"]
            .as_str()
            .unwrap()
            .len(),
        7800
    );
    client.expect_bare_silence().await.unwrap();
}

#[tokio::test]
async fn a_kill_of_postgres_keeps_the_socket_and_later_sales_arrive() {
    let mut server = Server::start(postgres::Options {
        fsync: true,
        ..Default::default()
    })
    .await
    .unwrap();
    let (url, node) = {
        let (database, node) = run_example(&server, "live-sales").await;
        let url = database.url();
        // The database outlives its handle here: the server goes as a whole.
        std::mem::forget(database);
        (url, node)
    };
    let mut client = WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap();
    for round in 1..=2 {
        server.kill9().await.unwrap();
        server.restart().await.unwrap();
        let back = Instant::now();
        // What is sold before it listens again is lost to a bare endpoint: sell until one arrives.
        let sale = loop {
            postgres::connect(&url)
                .await
                .unwrap()
                .batch_execute(SALE)
                .await
                .unwrap();
            match client.next_json(Duration::from_millis(200)).await {
                Ok(sale) => break sale,
                Err(error) => assert!(back.elapsed() < RECOVERY, "round {round}: {error:#}"),
            }
        };
        assert_eq!(sale["producto"], "Café de olla");
    }
}

#[tokio::test]
async fn after_a_kill_of_pregon_a_new_connection_works() {
    let server = postgres::shared().await;
    let (database, mut node) = run_example(server, "live-sales").await;
    let mut before = WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap();
    node.kill9().await.unwrap();
    before.close_code(SOON).await.unwrap();
    database.execute(SALE).await.unwrap();
    node.restart().await.unwrap();
    let mut after = WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap();
    database.execute(SALE).await.unwrap();
    assert_eq!(after.next_json(SOON).await.unwrap()["id"], 2);
}

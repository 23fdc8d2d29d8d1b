//! Who may do what: writers need nothing, the gateway reads the outbox and no table, nobody else gets near it.

use pregon_capture::install::{Target, WatchSpec, plan, status};
use pregon_capture::outbox::Item;
use tokio_postgres::error::SqlState;

use crate::kit::{ALL, Session, database, install, options, target};

const TABLE: &str = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, secret text)";

async fn refused(client: &tokio_postgres::Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    assert_eq!(
        error.code(),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "{sql}: {error}"
    );
}

#[tokio::test]
async fn the_least_is_enough() {
    let (database, admin) = database(TABLE, vec![]).await;
    let (gateway, writer, publisher) = (
        database.create_role("gateway").await.unwrap(),
        database.create_role("writer").await.unwrap(),
        database.create_role("shop").await.unwrap(),
    );
    let spec = WatchSpec {
        operations: ALL.to_vec(),
        condition: Some("id > 0".into()),
        ..WatchSpec::new("t", "app", "t")
    };
    let target = Target {
        gateway_role: Some(gateway.clone()),
        ..target(vec![spec])
    };
    install(&admin, &target).await;
    admin
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA app TO {writer}; GRANT INSERT, UPDATE, DELETE, SELECT ON app.t TO {writer};
             GRANT pregon_publisher TO {publisher}"
        ))
        .await
        .unwrap();
    let mut session = Session::start(options(&database.url_as(&gateway), &["t"]), None).await;
    let writer = database.client_as(&writer).await.unwrap();
    writer
        .batch_execute("INSERT INTO app.t VALUES (1, 's'); UPDATE app.t SET secret = 'x'; DELETE FROM app.t")
        .await
        .unwrap();
    let publisher = database.client_as(&publisher).await.unwrap();
    publisher
        .batch_execute("SELECT pregon.publish('c', 'e', '1')")
        .await
        .unwrap();
    for op in ["insert", "update", "delete"] {
        assert_eq!(session.change().await.0, op);
    }
    assert!(matches!(session.next().await.1, Item::Published { .. }));
    session.stop().await;
    for forbidden in [
        "SELECT pregon.publish('c', 'e', '1')",
        "SELECT * FROM pregon.outbox",
        "INSERT INTO pregon.outbox (op) VALUES ('X')",
        "SELECT pregon.trim(1)",
        "SELECT pregon.ring(1)",
        "UPDATE pregon.bell SET asleep = true",
    ] {
        refused(&writer, forbidden).await;
    }
    refused(&publisher, "SELECT * FROM pregon.outbox").await;
    let gateway = database.client_as(&gateway).await.unwrap();
    for forbidden in [
        "SELECT * FROM app.t",
        "INSERT INTO pregon.outbox (op) VALUES ('P')",
        "UPDATE pregon.outbox SET row = ''",
        "TRUNCATE pregon.outbox",
        "DELETE FROM pregon.cursor",
        "SELECT pregon.publish('c', 'e', '1')",
    ] {
        refused(&gateway, forbidden).await;
    }
    // It can see by itself that all is well.
    assert!(plan(&gateway, &target).await.unwrap().is_empty());
    assert!(status(&gateway).await.unwrap().is_sound());
}

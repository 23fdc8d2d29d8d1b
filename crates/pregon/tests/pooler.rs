//! A real PgBouncer between the gateway and the database: the application that shares its server processes meets nothing of ours, and
//! whoever needs a session of its own says so.

use pregon_testkit::{Database, Node, WsClient, postgres};
use serde_json::json;

use crate::support::pgbouncer::PgBouncer;
use crate::support::{SOON, options};

const TABLE: &str = "CREATE TABLE orders (id int PRIMARY KEY, item text)";
const CHANNEL: &str = "[[channel]]\nname = \"orders\"\n";

/// What needs a session of its own, by its configuration.
fn feeds() -> [(&'static str, String); 3] {
    let watch = "[[watch]]\ntable = \"orders\"\n";
    let of =
        |capture: &str| format!("[postgres]\ncapture = \"{capture}\"\napply = \"auto\"\n{CHANNEL}{watch}");
    let listen = format!("[postgres]\n{CHANNEL}[[listen]]\nchannel = \"orders\"\n");
    [
        ("outbox", of("outbox")),
        ("notify", of("notify")),
        ("listen", listen),
    ]
}

/// All settings, session-wide locks and listened channels of the one server process behind the pooler.
async fn left_behind(pooled: &str) -> Vec<String> {
    let application = postgres::connect(pooled).await.unwrap();
    let rows = application
        .query(
            "SELECT name || ' = ' || setting FROM pg_settings WHERE source = 'session' AND name <> 'application_name'
              AND name NOT IN ('client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')
             UNION ALL SELECT 'lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
             UNION ALL SELECT 'listens to ' || pg_listening_channels()
             UNION ALL SELECT 'prepared ' || statement FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_settings%'",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_transaction_pooler_is_named_and_its_other_clients_meet_nothing_of_ours() {
    for (feed, config) in feeds() {
        let server = postgres::shared().await;
        let database = Database::create(server).await.unwrap();
        database.execute(TABLE).await.unwrap();
        // One server process: what we left would be met at once.
        let bouncer = PgBouncer::start(server, &database, "transaction", 1).await;
        let wrong = options(&config)
            .env("DATABASE_URL", bouncer.url())
            .env("PREGON_ADMIN_URL", database.url())
            .not_ready();
        let node = Node::spawn(wrong).await.unwrap();
        let said = node.wait_for_log("a pooler stands at", SOON).await.unwrap();
        assert!(said.contains("session mode"), "{feed}: {said}");
        // While it is there, and when it has gone.
        assert_eq!(left_behind(bouncer.url()).await, Vec::<String>::new(), "{feed}");
        drop(node);
        assert_eq!(left_behind(bouncer.url()).await, Vec::<String>::new(), "{feed}");
        let right = options(&config).env("DATABASE_URL", database.url());
        let node = Node::spawn(right).await.unwrap();
        drop(node);
    }
}

#[tokio::test]
async fn a_session_pooler_carries_a_gateway_and_gets_its_sessions_back_clean() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let bouncer = PgBouncer::start(server, &database, "session", 12).await;
    let (_, config) = feeds().into_iter().next().unwrap();
    let options = options(&config)
        .env("DATABASE_URL", bouncer.url())
        .env("PREGON_ADMIN_URL", database.url());
    let mut node = Node::spawn(options).await.unwrap();
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("orders").await.unwrap();
    database
        .execute("INSERT INTO orders VALUES (1, 'café')")
        .await
        .unwrap();
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["data"], json!({"id": 1, "item": "café"}));
    node.sigterm().await.unwrap();
    for _ in 0..12 {
        assert_eq!(left_behind(bouncer.url()).await, Vec::<String>::new());
    }
}

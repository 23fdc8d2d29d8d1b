//! What others do to our slot: stopped standbys, a neighbour's open transaction, a partner of a failover that comes back. Each is named in
//! the log, the metrics, `/readyz` and `pregon doctor`.

use std::process::Command;

use pregon_testkit::{Database, Node, Server, WsClient, http, postgres};
use serde_json::{Value, json};

use crate::support::{SOON, binary, metric, node_on, options, readiness};

const TABLE: &str = "CREATE TABLE pedidos (id int PRIMARY KEY)";

const CONFIG: &str = "[postgres]\napply = \"auto\"\ncapture = \"wal\"\nheartbeat = \"200ms\"\n[[channel]]\nname = \"pedidos\"\n\
    [[watch]]\ntable = \"pedidos\"\n";

async fn server(settings: &[(&str, &str)]) -> Server {
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let options = postgres::Options {
        settings: settings.collect(),
        ..postgres::Options::default()
    };
    Server::start(options).await.unwrap()
}

async fn follow(node: &Node) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    client
}

/// What `pregon doctor` says of a check.
fn doctor(url: &str, id: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pregon.toml");
    std::fs::write(&file, CONFIG).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["doctor", "--json", "--sample", "0s", "--config"])
        .arg(&file);
    let output = command
        .env("DATABASE_URL", url)
        .current_dir(&folder)
        .output()
        .unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let found = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["id"] == id);
    found.unwrap_or_else(|| panic!("{findings}")).clone()
}

/// Since PostgreSQL 17 a slot that goes over to standbys waits for those of `synchronized_standby_slots`.
#[tokio::test]
async fn a_stopped_standby_is_named_wherever_somebody_looks() {
    if postgres::shared().await.binaries().major() < 17 {
        return;
    }
    let server = server(&[]).await;
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    let mut client = follow(&node).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        json!({"id": 1})
    );
    let admin = server.admin("postgres").await.unwrap();
    let wait_for = async |slots: &str| {
        let set = format!("ALTER SYSTEM SET synchronized_standby_slots = '{slots}'");
        admin.batch_execute(&set).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    admin
        .batch_execute("SELECT pg_create_physical_replication_slot('parado')")
        .await
        .unwrap();
    // One that was dropped holds up as one that is stopped.
    for (nr, slots) in [(2, "parado"), (3, "ninguno"), (4, "ninguno, parado")] {
        wait_for(slots).await;
        let name = slots.split(',').next().unwrap();
        readiness(&node, 503, name, 6 * SOON).await;
        let awaited = slots.split(',').count();
        #[expect(clippy::cast_precision_loss, reason = "one or two")]
        metric(&node, "pregon_slot_standbys_awaited", |count| {
            count == awaited as f64
        })
        .await
        .unwrap();
        node.wait_for_log("streams nothing until standbys have it", SOON)
            .await
            .unwrap();
        let found = doctor(&database.url(), "L7");
        assert!(
            found["status"] == "fail" && found["detail"].as_str().unwrap().contains(name),
            "{found}"
        );
        database
            .execute(&format!("INSERT INTO pedidos VALUES ({nr})"))
            .await
            .unwrap();
        client.expect_silence().await.unwrap();
        wait_for("").await;
        // Nothing is lost, and nobody is told so.
        assert_eq!(
            client.next_json(3 * SOON).await.unwrap()["data"],
            json!({"id": nr})
        );
        readiness(&node, 200, "ready", 6 * SOON).await;
        metric(&node, "pregon_slot_standbys_awaited", |count| count == 0.0)
            .await
            .unwrap();
    }
}

/// Writes more than the slot may keep.
async fn write(database: &Database<'_>, times: u32) {
    for _ in 0..times {
        for sql in [
            "SELECT pg_logical_emit_message(false, 'x', repeat('x', 12000000))",
            "SELECT pg_switch_wal()",
            "CHECKPOINT",
        ] {
            database.execute(sql).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_neighbours_open_transaction_is_named_before_and_after_it_costs_the_slot() {
    let limits = [
        ("max_slot_wal_keep_size", "64MB"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "64MB"),
    ];
    let server = server(&limits).await;
    let (database, neighbour) = (
        Database::create(&server).await.unwrap(),
        Database::create(&server).await.unwrap(),
    );
    database.execute(TABLE).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    let mut client = follow(&node).await;
    let open = neighbour.client().await.unwrap();
    open.batch_execute("BEGIN; CREATE TABLE ajena (id int)")
        .await
        .unwrap();
    let pid: i32 = open
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let named = format!("pid {pid}");
    let who = format!("{named} in database {}", neighbour.name());
    write(&database, 3).await;
    metric(&node, "pregon_slot_alarm", |alarm| alarm == 1.0)
        .await
        .unwrap();
    node.wait_for_log(&who, SOON).await.unwrap();
    let found = doctor(&database.url(), "L4");
    assert!(
        found["status"] == "warn" && found["detail"].as_str().unwrap().contains(&who),
        "{found}"
    );
    write(&database, 6).await;
    node.wait_for_log("is lost", SOON).await.unwrap();
    // A new slot waits until the neighbour has ended: said in the meantime, also to whoever asks the port.
    readiness(&node, 503, "waits for running writes", 6 * SOON).await;
    let waits = format!("{named} of postgres in database {}", neighbour.name());
    node.wait_for_log(&waits, SOON).await.unwrap();
    let found = doctor(&database.url(), "L4");
    assert!(
        found["status"] == "fail" && found["detail"].as_str().unwrap().contains(&who),
        "{found}"
    );
    open.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(
        client.next_of_type("gap", 3 * SOON).await.unwrap()["reason"],
        "source"
    );
    readiness(&node, 200, "ready", 6 * SOON).await;
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        json!({"id": 2})
    );
}

#[tokio::test]
async fn a_first_slot_that_waits_for_a_neighbour_keeps_the_gateway_waiting_and_not_ending() {
    let server = server(&[]).await;
    let (database, neighbour) = (
        Database::create(&server).await.unwrap(),
        Database::create(&server).await.unwrap(),
    );
    database.execute(TABLE).await.unwrap();
    let open = neighbour.client().await.unwrap();
    open.batch_execute("BEGIN; CREATE TABLE ajena (id int)")
        .await
        .unwrap();
    let mut node = Node::spawn(options(CONFIG).env("DATABASE_URL", database.url()).not_ready())
        .await
        .unwrap();
    readiness(&node, 503, "waits for running writes", 6 * SOON).await;
    assert_eq!(http::get(&node.url("/healthz")).await.unwrap().status(), 200);
    node.wait_for_log(neighbour.name(), SOON).await.unwrap();
    open.batch_execute("ROLLBACK").await.unwrap();
    node.wait_ready(3 * SOON).await.unwrap();
    let mut client = follow(&node).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        json!({"id": 1})
    );
}

/// It keeps the slot of the time when it was the primary, and the synchronisation from the new primary finds it in its way.
#[tokio::test]
async fn a_failover_partner_that_comes_back_is_told_to_drop_its_old_slot() {
    let mut server = server(&[]).await;
    if server.binaries().major() < 17 {
        return;
    }
    let admin = server.admin("postgres").await.unwrap();
    admin.batch_execute("CREATE DATABASE tienda").await.unwrap();
    let url = server.url_for("postgres", "tienda");
    server
        .admin("tienda")
        .await
        .unwrap()
        .batch_execute(TABLE)
        .await
        .unwrap();
    let mut node = Node::spawn(options(CONFIG).env("DATABASE_URL", &url))
        .await
        .unwrap();
    node.sigterm().await.unwrap();
    server.stop_fast().await.unwrap();
    let data = server.socket_dir().join("data");
    std::fs::write(data.join("standby.signal"), "").unwrap();
    server.restart().await.unwrap();
    let found = doctor(&url, "L7");
    let slot = String::from("pg_drop_replication_slot('pregon_tienda')");
    assert!(
        found["status"] == "fail" && found["remedy"].as_str().unwrap().contains(&slot),
        "{found}"
    );
    let node = Node::spawn(options(CONFIG).env("DATABASE_URL", &url).not_ready()).await;
    // A gateway whose address leads there says that it is a standby, and which slot is in the way.
    let told = format!("{:#}", node.unwrap_err());
    assert!(told.contains("standby"), "{told}");
    server
        .admin("tienda")
        .await
        .unwrap()
        .batch_execute(&format!("SELECT {slot}"))
        .await
        .unwrap();
    assert_eq!(doctor(&url, "L7")["status"], "ok");
}

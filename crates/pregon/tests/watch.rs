//! `[[watch]]`: from a changed row to a client, with triggers that `serve` installs.

use pregon_testkit::{Database, Node, WsClient, postgres};
use serde_json::{Value, json};

use crate::support::{SOON, metric, node_on, readiness};

const TABLE: &str =
    "CREATE TABLE pedidos (id int PRIMARY KEY, estado text, total numeric(10,2), nota text, secreto text)";

fn config(watch: &str) -> String {
    format!(
        "[postgres]\napply = \"auto\"\ncapture = \"notify\"\n[[channel]]\nname = \"pedidos\"\n[[channel]]\nname = \"avisos\"\n\
         [[watch]]\ntable = \"pedidos\"\n{watch}\n"
    )
}

/// A gateway that looks often at what is installed.
fn quick() -> String {
    config("").replace("[postgres]\n", "[postgres]\nheartbeat = \"200ms\"\n")
}

async fn shop(watch: &str) -> (Database<'static>, Node, WsClient) {
    followed(&config(watch)).await
}

async fn followed(config: &str) -> (Database<'static>, Node, WsClient) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_on(&database, config).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    (database, node, client)
}

async fn next(client: &mut WsClient) -> (String, Value) {
    let event = client.next_of_type("event", SOON).await.unwrap();
    (event["event"].as_str().unwrap().to_owned(), event["data"].clone())
}

#[tokio::test]
async fn each_operation_arrives_under_its_name_with_its_row() {
    let (database, _node, mut client) =
        shop("operations = [\"insert\", \"update\", \"delete\", \"truncate\"]").await;
    database
        .execute("INSERT INTO pedidos VALUES (1, 'nuevo', 10.50, 'ñ', 's')")
        .await
        .unwrap();
    database
        .execute("UPDATE pedidos SET estado = 'pagado'")
        .await
        .unwrap();
    database.execute("DELETE FROM pedidos").await.unwrap();
    database.execute("TRUNCATE pedidos").await.unwrap();
    let row = |estado: &str| json!({"id": 1, "estado": estado, "total": 10.5, "nota": "ñ", "secreto": "s"});
    assert_eq!(next(&mut client).await, ("insert".into(), row("nuevo")));
    assert_eq!(next(&mut client).await, ("update".into(), row("pagado")));
    let (event, deleted) = next(&mut client).await;
    assert_eq!((event.as_str(), &deleted["id"]), ("delete", &json!(1)));
    assert_eq!(next(&mut client).await.0, "truncate");
}

#[tokio::test]
async fn the_payload_is_the_text_that_row_to_json_gives() {
    let (database, node, _client) = shop("columns = [\"id\", \"total\"]").await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_text(SOON).await.unwrap(); // the welcome
    client.subscribe("pedidos").await.unwrap();
    database
        .execute("INSERT INTO pedidos VALUES (1, 'nuevo', 10.50, 'x', 'oculto')")
        .await
        .unwrap();
    let text = client.next_text(SOON).await.unwrap();
    assert!(text.contains(r#""data":{"id":1,"total":10.50}"#), "{text}");
}

#[tokio::test]
async fn a_condition_makes_updates_into_inserts_and_deletes() {
    let (database, _node, mut client) =
        shop("where = \"estado = 'pagado'\"\ncolumns = [\"id\", \"estado\"]").await;
    database
        .execute("INSERT INTO pedidos (id, estado) VALUES (1, 'nuevo'), (2, NULL)")
        .await
        .unwrap();
    database
        .execute("UPDATE pedidos SET estado = 'pagado' WHERE id = 1")
        .await
        .unwrap();
    database
        .execute("UPDATE pedidos SET nota = 'x' WHERE id = 1")
        .await
        .unwrap();
    database
        .execute("UPDATE pedidos SET estado = 'devuelto' WHERE id = 1")
        .await
        .unwrap();
    database.execute("DELETE FROM pedidos").await.unwrap();
    for expected in ["insert", "update", "delete"] {
        let (event, row) = next(&mut client).await;
        assert_eq!((event.as_str(), &row["estado"]), (expected, &json!("pagado")));
    }
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_row_too_large_for_notify_is_read_by_its_key() {
    let (database, _node, mut client) = shop("").await;
    database
        .execute("INSERT INTO pedidos VALUES (1, 'nuevo', 1, repeat('ñ', 150000), 's')")
        .await
        .unwrap();
    database
        .execute("INSERT INTO pedidos VALUES (2, 'nuevo', 2, 'corta', 's')")
        .await
        .unwrap();
    let (_, large) = next(&mut client).await;
    assert_eq!(
        (&large["id"], large["nota"].as_str().unwrap().chars().count()),
        (&json!(1), 150_000)
    );
    assert_eq!(next(&mut client).await.1["id"], 2);
}

/// A delete cannot be read again: it carries its whole row, and a row that has gone is a gap, never half a row.
#[tokio::test]
async fn a_large_row_that_is_gone_is_a_gap_and_its_delete_is_whole() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let routed = config("")
        + "[[route]]\nfrom = \"pedidos\"\nto = \"estado_{estado}\"\n[[channel]]\nname = \"estado_{e}\"\n";
    let node = node_on(&database, &routed).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("estado_nuevo").await.unwrap();
    database
        .execute("BEGIN; INSERT INTO pedidos VALUES (1, 'nuevo', 1, repeat('x', 9000), 's'); DELETE FROM pedidos; COMMIT")
        .await
        .unwrap();
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(gap["channel"], "estado_nuevo");
    let (event, deleted) = next(&mut client).await;
    assert_eq!(
        (
            event.as_str(),
            &deleted["estado"],
            deleted["nota"].as_str().unwrap().len()
        ),
        ("delete", &json!("nuevo"), 9000)
    );
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn many_rows_of_many_transactions_keep_their_order() {
    let (database, _node, mut client) = shop("columns = [\"id\"]").await;
    database
        .execute("INSERT INTO pedidos (id) SELECT generate_series(1, 900)")
        .await
        .unwrap();
    let writer = database.client().await.unwrap();
    for id in 901..=1000 {
        writer
            .execute("INSERT INTO pedidos (id) VALUES ($1)", &[&id])
            .await
            .unwrap();
    }
    for id in 1..=1000 {
        assert_eq!(next(&mut client).await.1, json!({"id": id}));
    }
}

#[tokio::test]
async fn serve_names_what_it_installed_and_a_manual_one_refuses_to_start() {
    let (database, node, _client) =
        shop("trigger = \"trigger_pedidos\"\nfunction = \"notify_pedidos\"").await;
    assert!(
        node.log().contains("trigger_pedidos") && node.log().contains("notify_pedidos"),
        "{}",
        node.log()
    );
    let other = config("trigger = \"otro\"").replace("apply = \"auto\"", "apply = \"manual\"");
    let options = crate::support::options(&other)
        .env("DATABASE_URL", database.url())
        .not_ready();
    let refused = pregon_testkit::Node::spawn(options).await.unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("pregon db apply") && refused.contains("trigger"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_manual_one_says_what_an_empty_database_lacks() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let manual = config("").replace("apply = \"auto\"", "apply = \"manual\"");
    let options = crate::support::options(&manual)
        .env("DATABASE_URL", database.url())
        .not_ready();
    let refused = format!("{:#}", pregon_testkit::Node::spawn(options).await.unwrap_err());
    for words in ["schema pregon, ", "3 functions", "2 triggers"] {
        assert!(refused.contains(words), "{words} in {refused}");
    }
}

#[tokio::test]
async fn readyz_is_down_while_a_trigger_is_disabled_and_the_time_is_a_gap() {
    let (database, node, mut client) = followed(&quick()).await;
    let up = "pregon_source_up{source=\"triggers\"}";
    metric(&node, up, |up| up == 1.0).await.unwrap();
    for name in ["\"!pregon_pedidos\"", "ALL"] {
        let alter = async |verb: &str| {
            let sql = format!("ALTER TABLE pedidos {verb} TRIGGER {name}");
            database.execute(&sql).await.unwrap();
        };
        alter("DISABLE").await;
        let seen = readiness(&node, 503, "", SOON).await;
        assert!(seen.contains("postgres triggers"), "{seen}");
        metric(&node, up, |up| up == 0.0).await.unwrap();
        alter("ENABLE").await;
        readiness(&node, 200, "", SOON).await;
        let gap = client.next_of_type("gap", SOON).await.unwrap();
        assert_eq!(gap["channel"], "pedidos");
    }
    assert_eq!(node.log().matches("pregon db apply").count(), 2, "{}", node.log());
}

/// PostgreSQL 18: a trigger computes virtual columns itself. A new expression is noticed, and what was computed by the former one is a gap.
#[tokio::test]
async fn a_new_expression_of_a_virtual_column_is_followed() {
    let server = postgres::shared().await;
    if server.binaries().major() < 18 {
        eprintln!("skipped: virtual columns are of PostgreSQL 18");
        return;
    }
    for capture in ["notify", "outbox"] {
        let database = Database::create(server).await.unwrap();
        let table =
            "CREATE TABLE pedidos (id int PRIMARY KEY, n int, doble int GENERATED ALWAYS AS (n * 2) VIRTUAL)";
        database.execute(table).await.unwrap();
        let config = config("").replace(
            "capture = \"notify\"",
            &format!("capture = \"{capture}\"\nheartbeat = \"200ms\""),
        );
        let node = node_on(&database, &config).await;
        let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
        client.subscribe("pedidos").await.unwrap();
        database
            .execute("INSERT INTO pedidos VALUES (1, 5)")
            .await
            .unwrap();
        assert_eq!(next(&mut client).await.1["doble"], 10, "{capture}");
        database
            .execute("ALTER TABLE pedidos ALTER COLUMN doble SET EXPRESSION AS (n * 3)")
            .await
            .unwrap();
        let gap = client.next_of_type("gap", SOON).await.unwrap();
        assert_eq!(gap["channel"], "pedidos", "{capture}");
        database
            .execute("INSERT INTO pedidos VALUES (2, 5)")
            .await
            .unwrap();
        assert_eq!(next(&mut client).await.1["doble"], 15, "{capture}");
    }
}

#[tokio::test]
async fn sql_publishes_small_and_large_data() {
    let (database, _node, mut client) = shop("").await;
    client.subscribe("avisos").await.unwrap();
    database
        .execute("SELECT pregon.publish('avisos', 'cierre', '{\"hora\": \"22:00\"}')")
        .await
        .unwrap();
    assert_eq!(
        next(&mut client).await,
        ("cierre".into(), json!({"hora": "22:00"}))
    );
    database
        .execute("SELECT pregon.publish('avisos', 'largo', to_jsonb(repeat('x', 300000)))")
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1.as_str().unwrap().len(), 300_000);
    database
        .execute("BEGIN; SELECT pregon.publish('avisos', 'no', '1'); ROLLBACK")
        .await
        .unwrap();
    client.expect_silence().await.unwrap();
}

/// Any role that may connect can notify; it must not make the gateway read what the watch keeps back.
#[tokio::test]
async fn a_forged_key_reads_no_row_that_the_condition_excludes() {
    let (database, _node, mut client) = shop("where = \"estado = 'nuevo'\"").await;
    database
        .execute(
            "INSERT INTO pedidos VALUES (1, 'nuevo', 1, 'visible', 's'), (2, 'interno', 2, 'x', 'oculto')",
        )
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1["id"], 1);
    for id in [2, 1] {
        database
            .execute(&format!(
                r#"SELECT pg_notify('pregon', '{{"w":"pedidos","s":1,"op":"I","k":{{"id":{id}}}}}')"#
            ))
            .await
            .unwrap();
    }
    // As if it had gone.
    assert_eq!(
        client.next_of_type("gap", SOON).await.unwrap()["reason"],
        "source"
    );
    assert_eq!(next(&mut client).await.1["nota"], "visible");
}

/// Somebody moves what notifications need out of the way, and back after a while.
#[tokio::test]
async fn what_is_done_to_what_notify_needs_is_named_and_told() {
    let (database, node, mut client) = followed(&quick()).await;
    for (harm, cure, reason) in [
        (
            "ALTER TABLE pregon.stored ENABLE ROW LEVEL SECURITY; ALTER TABLE pregon.stored FORCE ROW LEVEL SECURITY",
            "ALTER TABLE pregon.stored DISABLE ROW LEVEL SECURITY; ALTER TABLE pregon.stored NO FORCE ROW LEVEL SECURITY",
            "pregon.stored: row level security is on",
        ),
        (
            "ALTER SEQUENCE pregon.seq RENAME TO other",
            "ALTER SEQUENCE pregon.other RENAME TO seq",
            "sequence pregon.seq is missing",
        ),
    ] {
        database.execute(harm).await.unwrap();
        let seen = readiness(&node, 503, "", SOON).await;
        assert!(
            seen.contains(reason) || node.log().contains(reason),
            "{seen} {}",
            node.log()
        );
        database
            .execute("INSERT INTO pedidos VALUES (7, 'x'); DELETE FROM pedidos")
            .await
            .unwrap();
        database.execute(cure).await.unwrap();
        readiness(&node, 200, "", SOON).await;
        client.next_of_type("gap", SOON).await.unwrap();
    }
}

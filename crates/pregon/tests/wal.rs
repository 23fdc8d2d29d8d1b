//! `capture = "wal"`: from the write-ahead log to a client, with a slot and a publication that `serve` installs.

use pregon_testkit::{Database, Node, Server, WsClient, eventually, http, postgres};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{SOON, metric, node_on, readiness};

const TABLE: &str =
    "CREATE TABLE pedidos (id int PRIMARY KEY, estado text, total numeric(10,2), nota text, secreto text)";

fn config(watch: &str) -> String {
    format!(
        "[postgres]\napply = \"auto\"\ncapture = \"wal\"\nheartbeat = \"200ms\"\n[[channel]]\nname = \"pedidos\"\n[[channel]]\nname = \"avisos\"\n\
         [[watch]]\ntable = \"pedidos\"\n{watch}\n"
    )
}

async fn shop(watch: &str) -> (Database<'static>, Node, WsClient) {
    shop_with(TABLE, watch).await
}

async fn shop_with(table: &str, watch: &str) -> (Database<'static>, Node, WsClient) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(table).await.unwrap();
    let node = node_on(&database, &config(watch)).await;
    let client = follow(&node, "pedidos").await;
    (database, node, client)
}

async fn follow(node: &Node, channel: &str) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    client.subscribe(channel).await.unwrap();
    client
}

async fn next(client: &mut WsClient) -> (String, Value) {
    let event = client.next_of_type("event", SOON).await.unwrap();
    (event["event"].as_str().unwrap().to_owned(), event["data"].clone())
}

/// The payload of the next event as it was written.
async fn next_text(client: &mut WsClient) -> String {
    loop {
        let text = client.next_text(SOON).await.unwrap();
        if let Some((_, data)) = text.split_once("\"data\":") {
            return data
                .rsplit_once(",\"position\"")
                .map_or(data, |(data, _)| data)
                .to_owned();
        }
    }
}

async fn told_a_gap(client: &mut WsClient) {
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("pedidos"), &json!("source"))
    );
}

#[tokio::test]
async fn each_operation_arrives_under_its_name_with_its_row() {
    let (database, _node, mut client) =
        shop("operations = [\"insert\", \"update\", \"delete\", \"truncate\"]").await;
    for sql in [
        "INSERT INTO pedidos VALUES (1, 'nuevo', 10.50, 'ñ', 's')",
        "UPDATE pedidos SET estado = 'pagado'",
        "DELETE FROM pedidos",
        "TRUNCATE pedidos",
    ] {
        database.execute(sql).await.unwrap();
    }
    let row = |estado: &str| json!({"id": 1, "estado": estado, "total": 10.5, "nota": "ñ", "secreto": "s"});
    assert_eq!(next(&mut client).await, ("insert".into(), row("nuevo")));
    assert_eq!(next(&mut client).await, ("update".into(), row("pagado")));
    // The WAL has the key of a deleted row.
    assert_eq!(next(&mut client).await, ("delete".into(), json!({"id": 1})));
    assert_eq!(next(&mut client).await.0, "truncate");
}

#[tokio::test]
async fn the_payload_is_the_text_that_row_to_json_gives() {
    let (database, _node, mut client) = shop("columns = [\"total\", \"id\"]").await;
    database
        .execute("INSERT INTO pedidos VALUES (1, 'nuevo', 10.50, 'x', 'oculto')")
        .await
        .unwrap();
    assert_eq!(next_text(&mut client).await, r#"{"total":10.50,"id":1}"#);
}

#[tokio::test]
async fn what_is_rolled_back_never_arrives() {
    let (database, _node, mut client) = shop("columns = [\"id\"]").await;
    database
        .execute(
            "BEGIN; INSERT INTO pedidos VALUES (1); SELECT pregon.publish('pedidos', 'no', '1'); ROLLBACK;
             BEGIN; INSERT INTO pedidos VALUES (2); SAVEPOINT a; INSERT INTO pedidos VALUES (3); ROLLBACK TO a;
             INSERT INTO pedidos VALUES (4); COMMIT",
        )
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 2}));
    assert_eq!(next(&mut client).await.1, json!({"id": 4}));
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_condition_makes_updates_into_inserts_and_deletes() {
    let (database, _node, mut client) =
        shop("where = \"estado = 'pagado'\"\ncolumns = [\"id\", \"estado\"]").await;
    for sql in [
        "INSERT INTO pedidos (id, estado) VALUES (1, 'nuevo'), (2, NULL)",
        "UPDATE pedidos SET estado = 'pagado' WHERE id = 1",
        "UPDATE pedidos SET nota = 'x' WHERE id = 1",
        "UPDATE pedidos SET estado = 'devuelto' WHERE id = 1",
        "DELETE FROM pedidos",
    ] {
        database.execute(sql).await.unwrap();
    }
    for expected in ["insert", "update", "delete"] {
        let (event, row) = next(&mut client).await;
        assert_eq!((event.as_str(), &row["estado"]), (expected, &json!("pagado")));
    }
    client.expect_silence().await.unwrap();
}

/// A condition over the key alone needs no old rows, so that the table stays as it is.
#[tokio::test]
async fn a_condition_over_the_key_is_decided_from_the_key() {
    let (database, _node, mut client) = shop("where = \"id % 2 = 0\"\ncolumns = [\"id\"]").await;
    database
        .execute("INSERT INTO pedidos VALUES (1), (2); UPDATE pedidos SET nota = 'x'; UPDATE pedidos SET id = id + 1 WHERE id = 2; DELETE FROM pedidos")
        .await
        .unwrap();
    for (event, id) in [("insert", 2), ("update", 2), ("delete", 2)] {
        assert_eq!(next(&mut client).await, (event.into(), json!({"id": id})));
    }
    client.expect_silence().await.unwrap();
    let admin = database.client().await.unwrap();
    let identity = "SELECT relreplident::text FROM pg_class WHERE relname = 'pedidos'";
    assert_eq!(
        admin.query_one(identity, &[]).await.unwrap().get::<_, String>(0),
        "d"
    );
}

/// One row for which the condition fails is a gap; those around it arrive.
#[tokio::test]
async fn a_condition_that_fails_for_a_row_is_a_gap_and_no_more() {
    let (database, _node, mut client) = shop("where = \"100 / total > 1\"\ncolumns = [\"id\"]").await;
    database
        .execute("INSERT INTO pedidos (id, total) VALUES (1, 10), (2, 0), (3, 20)")
        .await
        .unwrap();
    let (mut gaps, mut rows) = (0, Vec::new());
    while gaps + rows.len() < 3 {
        let message = client.next_json(SOON).await.unwrap();
        match message["type"].as_str() {
            Some("gap") if message["channel"] == "pedidos" => gaps += 1,
            Some("event") => rows.push(message["data"]["id"].clone()),
            _ => {}
        }
    }
    assert_eq!((gaps, rows), (1, vec![json!(1), json!(3)]));
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_value_of_a_megabyte_arrives_and_is_read_when_an_update_leaves_it_alone() {
    let (database, _node, mut client) = shop("columns = [\"id\", \"estado\", \"nota\"]").await;
    database
        .execute("ALTER TABLE pedidos ALTER nota SET STORAGE EXTERNAL; INSERT INTO pedidos VALUES (1, 'nuevo', 1, repeat('ñ', 1000000), 's')")
        .await
        .unwrap();
    database
        .execute("UPDATE pedidos SET estado = 'pagado'")
        .await
        .unwrap();
    for estado in ["nuevo", "pagado"] {
        let (_, row) = next(&mut client).await;
        assert_eq!(row["estado"], estado);
        assert_eq!(row["nota"].as_str().unwrap().chars().count(), 1_000_000);
    }
}

#[tokio::test]
async fn old_rows_come_whole_where_the_watch_wants_them() {
    let routed = "old = true\n[[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\npayload = { antes = \"old.estado\", ahora = \"row.estado\" }";
    let (database, _node, mut client) = shop(routed).await;
    database
        .execute("ALTER TABLE pedidos ALTER nota SET STORAGE EXTERNAL; INSERT INTO pedidos VALUES (1, 'nuevo', 1, repeat('x', 100000), 's'); UPDATE pedidos SET estado = 'pagado'")
        .await
        .unwrap();
    next(&mut client).await;
    assert_eq!(
        next(&mut client).await.1,
        json!({"antes": "nuevo", "ahora": "pagado"})
    );
}

#[tokio::test]
async fn a_bulk_of_a_hundred_thousand_rows_and_a_copy_keep_their_order() {
    let room = "columns = [\"id\"]\n[limits]\nqueue = \"256MiB\"\n[log]\nwindow = \"256MiB\"";
    let (database, _node, mut client) = shop(room).await;
    let writer = database.client().await.unwrap();
    let insert = tokio::spawn(async move {
        writer
            .batch_execute(
                "INSERT INTO pedidos (id) SELECT generate_series(1, 100000);
                 COPY pedidos (id) FROM PROGRAM 'seq 100001 101000'",
            )
            .await
    });
    for id in 1..=101_000 {
        assert_eq!(next(&mut client).await.1, json!({"id": id}));
    }
    insert.await.unwrap().unwrap();
}

#[tokio::test]
async fn partitions_report_through_their_root_and_names_may_be_odd() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute(
            "CREATE SCHEMA \"Mi Tienda\"; CREATE TABLE \"Mi Tienda\".\"Pedidos.1\" (\"Id\" int PRIMARY KEY, \"el \"\"total\"\"\" int) PARTITION BY RANGE (\"Id\");
             CREATE TABLE \"Mi Tienda\".uno (\"el \"\"total\"\"\" int, \"Id\" int NOT NULL);
             ALTER TABLE \"Mi Tienda\".\"Pedidos.1\" ATTACH PARTITION \"Mi Tienda\".uno FOR VALUES FROM (0) TO (10);
             CREATE TABLE \"Mi Tienda\".dos PARTITION OF \"Mi Tienda\".\"Pedidos.1\" FOR VALUES FROM (10) TO (20)",
        )
        .await
        .unwrap();
    let odd = config("").replace(
        "table = \"pedidos\"",
        "name = \"pedidos\"\ntable = '\"Mi Tienda\".\"Pedidos.1\"'",
    );
    let node = node_on(&database, &odd).await;
    let mut client = follow(&node, "pedidos").await;
    database
        .execute(
            "INSERT INTO \"Mi Tienda\".\"Pedidos.1\" VALUES (1, 5); INSERT INTO \"Mi Tienda\".dos VALUES (11, 6);
             UPDATE \"Mi Tienda\".\"Pedidos.1\" SET \"Id\" = 12 WHERE \"Id\" = 1",
        )
        .await
        .unwrap();
    let row = |id: i32, total: i32| json!({"Id": id, "el \"total\"": total});
    assert_eq!(next(&mut client).await, ("insert".into(), row(1, 5)));
    assert_eq!(next(&mut client).await, ("insert".into(), row(11, 6)));
    // A row that moves between partitions leaves one and enters the other.
    assert_eq!(next(&mut client).await, ("delete".into(), json!({"Id": 1})));
    assert_eq!(next(&mut client).await, ("insert".into(), row(12, 5)));
}

#[tokio::test]
async fn each_row_has_the_shape_of_its_moment() {
    let (database, _node, mut client) =
        shop_with("CREATE TABLE pedidos (id int PRIMARY KEY, a text)", "").await;
    database
        .execute(
            "BEGIN; INSERT INTO pedidos VALUES (1, 'x'); ALTER TABLE pedidos ADD b int DEFAULT 7; INSERT INTO pedidos VALUES (2, 'y');
             ALTER TABLE pedidos RENAME a TO c; INSERT INTO pedidos VALUES (3, 'z'); ALTER TABLE pedidos DROP c; INSERT INTO pedidos VALUES (4); COMMIT;
             ALTER TABLE pedidos ALTER b TYPE text; INSERT INTO pedidos VALUES (5, '8')",
        )
        .await
        .unwrap();
    for row in [
        json!({"id": 1, "a": "x"}),
        json!({"id": 2, "a": "y", "b": 7}),
        json!({"id": 3, "c": "z", "b": 7}),
        json!({"id": 4, "b": 7}),
        json!({"id": 5, "b": "8"}),
    ] {
        assert_eq!(next(&mut client).await.1, row);
    }
}

#[tokio::test]
async fn generated_columns_are_computed_and_tables_that_inherit_report_as_their_parent() {
    let table = "CREATE TABLE pedidos (id int PRIMARY KEY, precio int, doble int GENERATED ALWAYS AS (precio * 2) STORED, nota text);
         CREATE TABLE urgentes (plazo int, PRIMARY KEY (id)) INHERITS (pedidos)";
    let (database, _node, mut client) = shop_with(table, "").await;
    database
        .execute(
            "INSERT INTO pedidos VALUES (1, 21); INSERT INTO urgentes (id, precio, plazo) VALUES (2, 4, 9)",
        )
        .await
        .unwrap();
    assert_eq!(
        next_text(&mut client).await,
        r#"{"id":1,"precio":21,"doble":42,"nota":null}"#
    );
    assert_eq!(
        next_text(&mut client).await,
        r#"{"id":2,"precio":4,"doble":8,"nota":null}"#
    );
}

#[tokio::test]
async fn sql_publishes_in_order_with_the_rows_and_at_any_size() {
    let (database, _node, mut client) = shop("columns = [\"id\"]").await;
    database
        .execute("BEGIN; INSERT INTO pedidos VALUES (1); SELECT pregon.publish('pedidos', 'cierre', '{\"hora\": \"22:00\"}'); INSERT INTO pedidos VALUES (2); COMMIT")
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 1}));
    assert_eq!(
        next(&mut client).await,
        ("cierre".into(), json!({"hora": "22:00"}))
    );
    assert_eq!(next(&mut client).await.1, json!({"id": 2}));
    database
        .execute("SELECT pregon.publish('pedidos', 'largo', to_jsonb(repeat('x', 3000000)))")
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1.as_str().unwrap().len(), 3_000_000);
    let admin = database.client().await.unwrap();
    let stored = admin
        .query_one("SELECT count(*) FROM pregon.stored", &[])
        .await
        .unwrap();
    assert_eq!(stored.get::<_, i64>(0), 0);
}

/// Every enrichment sees at least the change that it belongs to.
#[tokio::test]
async fn enrichment_never_sees_the_time_before_the_change() {
    let routed = "[[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nenrich = { sql = \"SELECT count(*) AS filas FROM pedidos\" }";
    let (database, _node, mut client) = shop(routed).await;
    let writer = database.client().await.unwrap();
    for id in 1..=200_i32 {
        writer
            .execute("INSERT INTO pedidos (id) VALUES ($1)", &[&id])
            .await
            .unwrap();
    }
    for id in 1..=200 {
        let row = next(&mut client).await.1;
        assert!(
            row["id"] == json!(id) && row["filas"].as_i64().unwrap() >= id,
            "{row}"
        );
    }
}

/// The log forgets, and the slot remembers: nothing that is committed while no gateway runs is lost, and nothing comes twice after an
/// orderly stop.
#[tokio::test]
async fn what_is_written_while_no_gateway_runs_arrives_afterwards() {
    let forgetful = "columns = [\"id\"]\n[log]\nkind = \"memory\"";
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let mut node = node_on(&database, &config(forgetful)).await;
    let mut client = follow(&node, "pedidos").await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 1}));
    node.sigterm().await.unwrap();
    database
        .execute("INSERT INTO pedidos SELECT generate_series(2, 1000)")
        .await
        .unwrap();
    node.restart().await.unwrap();
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client
        .send_json(&json!({"id": 1, "type": "subscribe", "channel": "pedidos", "last": 2000}))
        .await
        .unwrap();
    for id in 2..=1000 {
        assert_eq!(next(&mut client).await.1, json!({"id": id}));
    }
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_restart_and_a_kill_of_postgres_lose_and_repeat_nothing() {
    let mut server = Server::start(postgres::Options {
        fsync: true,
        ..postgres::Options::default()
    })
    .await
    .unwrap();
    let url = {
        let database = Database::create(&server).await.unwrap();
        database.execute(TABLE).await.unwrap();
        let url = database.url();
        std::mem::forget(database);
        url
    };
    let name = url.rsplit('/').next().unwrap().to_owned();
    let options = crate::support::options(&config("columns = [\"id\"]")).env("DATABASE_URL", &url);
    let node = Node::spawn(options).await.unwrap();
    let mut client = follow(&node, "pedidos").await;
    let mut expected = 0;
    for round in 0..4 {
        let writer = server.admin(&name).await.unwrap();
        for _ in 0..50 {
            expected += 1;
            writer
                .execute("INSERT INTO pedidos (id) VALUES ($1)", &[&expected])
                .await
                .unwrap();
        }
        if round % 2 == 0 {
            server.restart().await.unwrap();
        } else {
            server.kill9().await.unwrap();
            server.restart().await.unwrap();
        }
    }
    for id in 1..=expected {
        let message = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(message["data"], json!({"id": id}), "{}", node.log());
    }
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_made_anew_and_is_a_gap() {
    let (database, node, mut client) = shop("columns = [\"id\"]").await;
    let slot = format!("pregon_{}", database.name());
    // The gateway is quick to take it again: each attempt ends its reader first.
    eventually(SOON, || async {
        let drop = format!(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active; \
             SELECT pg_drop_replication_slot('{slot}')"
        );
        database.execute(&drop).await
    })
    .await
    .unwrap();
    told_a_gap(&mut client).await;
    database.execute("INSERT INTO pedidos VALUES (9)").await.unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 9}), "{}", node.log());
}

#[tokio::test]
async fn a_publication_that_was_dropped_is_made_anew_and_is_a_gap() {
    let (database, node, mut client) = shop("columns = [\"id\"]").await;
    database
        .execute(&format!(
            "DROP PUBLICATION pregon_{}; INSERT INTO pedidos VALUES (1)",
            database.name()
        ))
        .await
        .unwrap();
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(gap["channel"], "pedidos");
    database.execute("INSERT INTO pedidos VALUES (9)").await.unwrap();
    let mut seen = next(&mut client).await.1;
    while seen != json!({"id": 9}) {
        seen = next(&mut client).await.1;
    }
    assert!(node.log().contains("publication"), "{}", node.log());
}

/// A gateway that runs no DDL, where another one has installed.
async fn manual(table: &str) -> (Database<'static>, Node, WsClient) {
    let (database, mut first, _) = shop_with(table, "columns = [\"id\"]").await;
    first.sigterm().await.unwrap();
    let text = config("columns = [\"id\"]").replace("apply = \"auto\"", "apply = \"manual\"");
    let node = node_on(&database, &text).await;
    let client = follow(&node, "pedidos").await;
    (database, node, client)
}

#[tokio::test]
async fn a_table_that_leaves_the_publication_holds_readyz_down() {
    let (database, node, mut client) = manual(TABLE).await;
    let publication = format!("pregon_{}", database.name());
    database
        .execute(&format!("ALTER PUBLICATION {publication} DROP TABLE pedidos"))
        .await
        .unwrap();
    assert!(
        readiness(&node, 503, "", SOON)
            .await
            .contains("postgres publication")
    );
    // Once when it is found, once when it is over.
    assert_eq!(
        client.next_of_type("gap", SOON).await.unwrap()["channel"],
        "pedidos"
    );
    database
        .execute(&format!("ALTER PUBLICATION {publication} ADD TABLE pedidos"))
        .await
        .unwrap();
    readiness(&node, 200, "", SOON).await;
    assert_eq!(
        client.next_of_type("gap", SOON).await.unwrap()["channel"],
        "pedidos"
    );
    database.execute("INSERT INTO pedidos VALUES (9)").await.unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 9}));
}

#[tokio::test]
async fn a_table_that_leaves_the_publication_is_taken_in_again_where_the_gateway_installs() {
    let (database, _node, mut client) = shop("columns = [\"id\"]").await;
    let publication = format!("pregon_{}", database.name());
    database
        .execute(&format!("ALTER PUBLICATION {publication} DROP TABLE pedidos"))
        .await
        .unwrap();
    assert_eq!(
        client.next_of_type("gap", SOON).await.unwrap()["channel"],
        "pedidos"
    );
    eventually(SOON, || {
        database.execute("DO $$ BEGIN ASSERT (SELECT count(*) FROM pg_publication_tables) > 0; END $$")
    })
    .await
    .unwrap();
    database.execute("INSERT INTO pedidos VALUES (9)").await.unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 9}));
}

/// A gateway that may run DDL takes in children that come later, as chunks of a hypertable do.
#[tokio::test]
async fn a_child_that_comes_later_is_taken_in_and_the_time_before_is_a_gap() {
    let (database, node, mut client) = shop("columns = [\"id\"]").await;
    database
        .execute("CREATE SCHEMA trozos; CREATE TABLE trozos.uno (PRIMARY KEY (id)) INHERITS (pedidos); INSERT INTO trozos.uno VALUES (1)")
        .await
        .unwrap();
    told_a_gap(&mut client).await;
    node.wait_for_log("are mended", SOON).await.unwrap();
    database
        .execute("INSERT INTO trozos.uno VALUES (2)")
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 2}), "{}", node.log());
    readiness(&node, 200, "", SOON).await;
}

/// What somebody alters and alters back is a gap, because nobody knows what was not published meanwhile.
#[tokio::test]
async fn operations_that_were_left_out_for_a_moment_are_a_gap() {
    let (database, _node, mut client) = manual(TABLE).await;
    let publication = format!("pregon_{}", database.name());
    database
        .execute(&format!(
            "ALTER PUBLICATION {publication} SET (publish = 'insert'); INSERT INTO pedidos VALUES (1); UPDATE pedidos SET nota = 'x';
             ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')"
        ))
        .await
        .unwrap();
    told_a_gap(&mut client).await;
    database.execute("INSERT INTO pedidos VALUES (9)").await.unwrap();
    let mut seen = next(&mut client).await.1;
    while seen != json!({"id": 9}) {
        seen = next(&mut client).await.1;
    }
}

#[tokio::test]
async fn a_second_gateway_waits_for_the_slot_and_takes_over() {
    let (database, mut first, mut client) = shop("columns = [\"id\"]").await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 1}));
    let options = crate::support::options(&config("columns = [\"id\"]"))
        .env("DATABASE_URL", database.url())
        .not_ready();
    let mut second = Node::spawn(options).await.unwrap();
    second.wait_for_log("waiting to take over", SOON).await.unwrap();
    assert_eq!(http::get(&second.url("/readyz")).await.unwrap().status(), 503);
    first.kill9().await.unwrap();
    second.wait_ready(2 * SOON).await.unwrap();
    let mut client = follow(&second, "pedidos").await;
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    let mut seen = next(&mut client).await.1;
    if seen == json!({"id": 1}) {
        // The first one was killed before it confirmed, and the second has a log of its own.
        seen = next(&mut client).await.1;
    }
    assert_eq!(seen, json!({"id": 2}));
}

/// An idle database next to a busy one retains nothing.
#[tokio::test]
async fn an_idle_database_keeps_no_wal() {
    let (database, node, _client) = shop("").await;
    let busy = Database::create(postgres::shared().await).await.unwrap();
    busy.execute("CREATE TABLE carga AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
        .await
        .unwrap();
    let admin = database.client().await.unwrap();
    let before: String = admin
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .unwrap()
        .get(0);
    let confirmed = format!(
        "SELECT confirmed_flush_lsn >= '{before}' FROM pg_replication_slots WHERE slot_name = 'pregon_{}'",
        database.name()
    );
    eventually(SOON, || async {
        let row = admin.query_one(&confirmed, &[]).await?;
        anyhow::ensure!(row.get::<_, bool>(0), "not confirmed");
        Ok(())
    })
    .await
    .unwrap();
    metric(&node, "pregon_slot_retained_bytes", |bytes| bytes >= 0.0)
        .await
        .unwrap();
    metric(&node, "pregon_slot_alarm", |alarm| alarm == 0.0)
        .await
        .unwrap();
}

/// A gateway of the table in the schema `app` with a role that has only what it was given, its role, and a client.
async fn with_few_rights(database: &Database<'_>, config: &str) -> (String, Node, WsClient) {
    let role = database.create_role("gateway").await.unwrap();
    let text = config.replace("table = \"pedidos\"", "table = \"app.pedidos\"");
    let options = crate::support::options(&text)
        .env("DATABASE_URL", database.url_as(&role))
        .env("PREGON_ADMIN_URL", database.url());
    let node = Node::spawn(options).await.unwrap();
    let client = follow(&node, "pedidos").await;
    (role, node, client)
}

/// The gateway's role has REPLICATION and SELECT on the watched table, and nothing more.
#[tokio::test]
async fn the_least_privileged_role_is_enough() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE SCHEMA app; CREATE TABLE app.pedidos (id int PRIMARY KEY, estado text, doble int GENERATED ALWAYS AS (id * 2) STORED)")
        .await
        .unwrap();
    let (role, _node, mut client) = with_few_rights(&database, &config("where = \"estado = 'x'\"")).await;
    database
        .execute("INSERT INTO app.pedidos VALUES (1, 'x'), (2, 'y'); DELETE FROM app.pedidos")
        .await
        .unwrap();
    let row = json!({"id": 1, "estado": "x", "doble": 2});
    assert_eq!(next(&mut client).await, ("insert".into(), row.clone()));
    assert_eq!(next(&mut client).await, ("delete".into(), row));
    let client = database.client_as(&role).await.unwrap();
    for forbidden in [
        "INSERT INTO app.pedidos VALUES (9)",
        "DELETE FROM pregon.meta",
        "SELECT pregon.publish('a', 'b', '1')",
    ] {
        client.batch_execute(forbidden).await.unwrap_err();
    }
}

/// Without a primary key too: a large value that an update left alone is read by the replica identity, with what `db apply` granted.
#[tokio::test]
async fn the_least_privileged_role_reads_large_values_by_any_identity() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute(
            "CREATE SCHEMA app; CREATE TABLE app.pedidos (codigo text NOT NULL UNIQUE, n int, nota text);
             ALTER TABLE app.pedidos ALTER nota SET STORAGE EXTERNAL, REPLICA IDENTITY USING INDEX pedidos_codigo_key",
        )
        .await
        .unwrap();
    let (_role, _node, mut client) = with_few_rights(&database, &config("operations = [\"update\"]")).await;
    database
        .execute("INSERT INTO app.pedidos VALUES ('a', 1, repeat('x', 9000))")
        .await
        .unwrap();
    database.execute("UPDATE app.pedidos SET n = 2").await.unwrap();
    let row = json!({"codigo": "a", "n": 2, "nota": "x".repeat(9000)});
    assert_eq!(next(&mut client).await, ("update".into(), row));
}

#[tokio::test]
async fn a_table_without_identity_is_refused_and_its_updates_go_on() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute("CREATE TABLE pedidos (id int)").await.unwrap();
    let options = crate::support::options(&config(""))
        .env("DATABASE_URL", database.url())
        .not_ready();
    let refused = format!("{:#}", Node::spawn(options).await.unwrap_err());
    for words in [
        "no replica identity",
        "add a primary key",
        "REPLICA IDENTITY FULL",
    ] {
        assert!(refused.contains(words), "{words} in {refused}");
    }
    database
        .execute("INSERT INTO pedidos VALUES (1); UPDATE pedidos SET id = 2; DELETE FROM pedidos")
        .await
        .unwrap();
}

/// Since PostgreSQL 18 a table with whole old rows refuses UPDATE and DELETE while a generated column is not published, and a virtual one
/// cannot be.
#[tokio::test]
async fn generated_columns_never_make_the_applications_writes_fail() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    let version = "SELECT current_setting('server_version_num')::int";
    let virtuals = admin.query_one(version, &[]).await.unwrap().get::<_, i32>(0) >= 180_000;
    let kind = if virtuals { "VIRTUAL" } else { "STORED" };
    database
        .execute(&format!(
            "CREATE TABLE pedidos (id int PRIMARY KEY, precio int, doble int GENERATED ALWAYS AS (precio * 2) {kind})"
        ))
        .await
        .unwrap();
    let options = crate::support::options(&config("where = \"precio > 1\""))
        .env("DATABASE_URL", database.url())
        .not_ready();
    match Node::spawn(options).await {
        Err(refused) if virtuals => {
            let refused = format!("{refused:#}");
            for words in [
                "virtually generated columns",
                "UPDATE and DELETE would fail",
                "capture = \"outbox\"",
            ] {
                assert!(refused.contains(words), "{words} in {refused}");
            }
        }
        started => assert!(!virtuals && started.is_ok(), "{started:?}"),
    }
    database
        .execute("INSERT INTO pedidos VALUES (1, 5); UPDATE pedidos SET precio = 2; DELETE FROM pedidos")
        .await
        .unwrap();
}

/// Rows of large and of small transactions, written while the gateway is killed: with the log on the disk each comes once, in order.
#[tokio::test]
async fn a_gateway_that_is_killed_again_and_again_loses_and_repeats_nothing() {
    let (database, mut node, mut client) = shop("columns = [\"id\"]").await;
    database.execute("INSERT INTO pedidos VALUES (0)").await.unwrap();
    let first = client.next_of_type("event", SOON).await.unwrap()["position"].clone();
    let writer = database.client().await.unwrap();
    let writing = tokio::spawn(async move {
        let mut next = 1;
        for turn in 0..120 {
            let upto = next + if turn % 10 == 0 { 3_000 } else { 3 };
            let insert = format!(
                "INSERT INTO pedidos (id) SELECT generate_series({next}, {})",
                upto - 1
            );
            writer.batch_execute(&insert).await.unwrap();
            next = upto;
        }
        next
    });
    for _ in 0..4 {
        let before = metric(&node, "pregon_log_newest", |_| true).await.unwrap();
        // In the midst of a transaction as often as not.
        let some = |newest: f64| newest > before + 700.0;
        if metric(&node, "pregon_log_newest", some).await.is_err() {
            break;
        }
        node.kill9().await.unwrap();
        node.restart().await.unwrap();
    }
    let end: i64 = writing.await.unwrap();
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let since = json!({"type": "subscribe", "channel": "pedidos", "since": first});
    let answer = client.request(since).await.unwrap();
    assert_eq!(answer["recovered"], true, "{answer}");
    for id in 1..end {
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"], json!({"id": id}), "{}", node.log());
    }
    client.expect_silence().await.unwrap();
}

/// A transaction that stays open keeps the WAL from being removed: first that is an alarm, then the slot is lost, and a gap says so.
#[tokio::test]
async fn an_alarm_comes_before_the_slot_is_lost_and_a_gap_after_it() {
    let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let server = Server::start(postgres::Options {
        settings: vec![
            setting("max_slot_wal_keep_size", "64MB"),
            setting("min_wal_size", "32MB"),
            setting("max_wal_size", "64MB"),
        ],
        ..postgres::Options::default()
    })
    .await
    .unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_on(&database, &config("columns = [\"id\"]")).await;
    let mut client = follow(&node, "pedidos").await;
    metric(&node, "pregon_slot_alarm", |alarm| alarm == 0.0)
        .await
        .unwrap();
    let open = database.client().await.unwrap();
    open.batch_execute("BEGIN; INSERT INTO pedidos VALUES (1)")
        .await
        .unwrap();
    let write = async |times: u32| {
        for _ in 0..times {
            for sql in [
                "SELECT pg_logical_emit_message(false, 'x', repeat('x', 12000000))",
                "SELECT pg_switch_wal()",
                "CHECKPOINT",
            ] {
                database.execute(sql).await.unwrap();
            }
        }
    };
    write(3).await;
    metric(&node, "pregon_slot_alarm", |alarm| alarm == 1.0)
        .await
        .unwrap();
    assert!(
        node.log().contains("more than half of max_slot_wal_keep_size"),
        "{}",
        node.log()
    );
    write(6).await;
    node.wait_for_log("is lost", SOON).await.unwrap();
    // The new slot waits for it.
    open.batch_execute("ROLLBACK").await.unwrap();
    let gap = client.next_of_type("gap", SOON * 3).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("pedidos"), &json!("source"))
    );
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    assert_eq!(next(&mut client).await.1, json!({"id": 2}));
}

/// Lets commits wait for a standby that is not there, or (with an empty name) no longer.
async fn standby(admin: &tokio_postgres::Client, name: &str) {
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
    admin.batch_execute(&set).await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

/// Begins a commit that is in the WAL, which the gateway has, and that no query shows until `standby("")`.
async fn invisible_commit(
    database: &Database<'_>,
    sql: &'static str,
) -> (tokio_postgres::Client, JoinHandle<()>) {
    let admin = database.client().await.unwrap();
    admin
        .batch_execute("SET synchronous_commit = local")
        .await
        .unwrap();
    standby(&admin, "nadie").await;
    let writer = database.client().await.unwrap();
    let shown = "SELECT current_setting('synchronous_standby_names')";
    eventually(SOON, || async {
        let seen: String = writer.query_one(shown, &[]).await?.get(0);
        anyhow::ensure!(seen == "nadie", "{seen}");
        Ok(())
    })
    .await
    .unwrap();
    // The checkpointer tells the others whether commits wait; it reads the settings before it does anything else.
    admin.batch_execute("CHECKPOINT").await.unwrap();
    let writing = tokio::spawn(async move { writer.batch_execute(sql).await.unwrap() });
    let asks = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pregon%' AND query LIKE '%pg_visible_in_snapshot%'";
    for (what, query) in [
        (
            "the commit waits",
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
        ),
        (
            "the gateway has it",
            "SELECT count(*) FROM pg_stat_replication WHERE sent_lsn >= pg_current_wal_flush_lsn()",
        ),
        ("and asks whether queries show it", asks),
    ] {
        eventually(SOON, || async {
            let count: i64 = admin.query_one(query, &[]).await?.get(0);
            anyhow::ensure!(count > 0, "{what}");
            Ok(())
        })
        .await
        .unwrap();
    }
    (admin, writing)
}

/// A commit that waits for a synchronous standby is in the WAL and not visible yet. Whoever hears of it and reads the table would find the
/// old rows.
#[tokio::test]
async fn nobody_hears_of_a_change_that_no_query_shows_yet() {
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let routed = "[[route]]\nfrom = \"pedidos\"\nto = \"pedidos\"\nenrich = { sql = \"SELECT count(*) AS filas FROM pedidos\" }";
    for (watch, rows) in [("", 1), (routed, 2)] {
        let mut node = node_on(&database, &config(watch)).await;
        let mut client = follow(&node, "pedidos").await;
        let sql = "INSERT INTO pedidos (id) SELECT count(*) + 1 FROM pedidos";
        let (admin, writing) = invisible_commit(&database, sql).await;
        client.expect_silence().await.unwrap();
        standby(&admin, "").await;
        let row = next(&mut client).await.1;
        assert_eq!(row["id"], rows);
        metric(&node, "pregon_wal_invisible_total", |count| count >= 1.0)
            .await
            .unwrap();
        if !watch.is_empty() {
            assert_eq!(row["filas"], rows);
        }
        writing.await.unwrap();
        node.sigterm().await.unwrap();
    }
}

/// What is published by a transaction becomes known with it.
#[tokio::test]
async fn a_publish_of_sql_waits_for_its_commit_to_be_visible_too() {
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_on(&database, &config("")).await;
    let mut client = follow(&node, "avisos").await;
    let (admin, writing) = invisible_commit(&database, "SELECT pregon.publish('avisos', 'aviso', '1')").await;
    client.expect_silence().await.unwrap();
    standby(&admin, "").await;
    assert_eq!(next(&mut client).await, ("aviso".into(), json!(1)));
    writing.await.unwrap();
}

/// A gateway that stops does not wait for a standby: what no query shows stays in the WAL, and the next one tells it once.
#[tokio::test]
async fn a_gateway_that_stops_leaves_what_is_not_visible_to_the_next() {
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let mut node = node_on(&database, &config("")).await;
    let mut client = follow(&node, "pedidos").await;
    let (admin, writing) = invisible_commit(&database, "INSERT INTO pedidos (id) VALUES (1)").await;
    client.expect_silence().await.unwrap();
    let before = client.subscribe("avisos").await.unwrap()["position"].take();
    node.sigterm().await.unwrap();
    standby(&admin, "").await;
    writing.await.unwrap();
    node.restart().await.unwrap();
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let again = json!({"type": "subscribe", "channel": "pedidos", "since": before});
    assert_eq!(client.request(again).await.unwrap()["recovered"], true);
    assert_eq!(next(&mut client).await.1["id"], 1);
    database
        .execute("INSERT INTO pedidos (id) VALUES (2)")
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.1["id"], 2);
}

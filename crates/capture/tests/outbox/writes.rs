//! What each kind of write puts into the outbox, as its reader gets it.

use pregon_capture::change::Op;
use pregon_capture::install::WatchSpec;
use pregon_capture::outbox::Item;

use crate::kit::{ALL, Session, database, options, watch_of};

const SALES: &str = "CREATE TABLE ventas (id int PRIMARY KEY, producto text, total numeric(10,2))";

/// A schema, one watch named `v` and a reader.
async fn reading(
    schema: &str,
    spec: WatchSpec,
) -> (pregon_testkit::Database<'static>, tokio_postgres::Client, Session) {
    let (database, admin) = database(schema, vec![spec]).await;
    let session = Session::start(options(&database.url(), &["v"]), None).await;
    (database, admin, session)
}

#[tokio::test]
async fn every_operation_carries_its_row() {
    let spec = WatchSpec {
        old: true,
        ..watch_of("v", "ventas", &ALL)
    };
    let (_database, admin, mut session) = reading(SALES, spec).await;
    admin
        .batch_execute(
            "INSERT INTO ventas VALUES (1, 'pan', 2.50); UPDATE ventas SET total = 3; DELETE FROM ventas; TRUNCATE ventas",
        )
        .await
        .unwrap();
    let mut got = Vec::new();
    for _ in 0..4 {
        let Item::Change(change) = session.next().await.1 else {
            panic!()
        };
        got.push((change.op, change.row.is_some(), change.old.is_some()));
        if change.op == Op::Update {
            assert_eq!(change.row.unwrap(), r#"{"id":1,"producto":"pan","total":3.00}"#);
            assert_eq!(change.old.unwrap(), r#"{"id":1,"producto":"pan","total":2.50}"#);
        }
    }
    let expected = [
        (Op::Insert, true, false),
        (Op::Update, true, true),
        (Op::Delete, false, true),
        (Op::Truncate, false, false),
    ];
    assert_eq!(got, expected);
}

#[tokio::test]
async fn on_conflict_copy_and_savepoints_say_what_was_written() {
    let (_database, admin, mut session) = reading(SALES, watch_of("v", "ventas", &ALL)).await;
    admin
        .batch_execute(
            "INSERT INTO ventas VALUES (1, 'pan', 1); INSERT INTO ventas VALUES (1, 'x', 1) ON CONFLICT DO NOTHING;
             UPDATE ventas SET total = 9 WHERE id = 7; INSERT INTO ventas SELECT * FROM ventas WHERE false;
             INSERT INTO ventas VALUES (1, 'pan', 4), (2, 'sal', 5) ON CONFLICT (id) DO UPDATE SET total = excluded.total;
             BEGIN; INSERT INTO ventas VALUES (3, 'si', 1); SAVEPOINT s; INSERT INTO ventas VALUES (4, 'no', 1);
             UPDATE ventas SET total = 0; ROLLBACK TO s; INSERT INTO ventas VALUES (5, 'si', 1); COMMIT;
             BEGIN; INSERT INTO ventas VALUES (6, 'no', 1); ROLLBACK",
        )
        .await
        .unwrap();
    let copy = admin
        .copy_in::<_, bytes::Bytes>("COPY ventas FROM STDIN")
        .await
        .unwrap();
    let mut copy = std::pin::pin!(copy);
    futures_util::SinkExt::send(&mut copy, bytes::Bytes::from_static(b"7\ta\t1\n8\tb\t2\n"))
        .await
        .unwrap();
    copy.as_mut().finish().await.unwrap();
    let mut got = Vec::new();
    for _ in 0..7 {
        let (op, row) = session.change().await;
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        got.push(format!("{op} {}", row["id"]));
    }
    let expected = [
        "insert 1", "update 1", "insert 2", "insert 3", "insert 5", "insert 7", "insert 8",
    ];
    assert_eq!(got, expected);
}

/// More rows than are rendered before they are written, in one statement, and the writer is not slowed to a crawl.
#[tokio::test]
async fn a_hundred_thousand_rows_of_one_statement_arrive_in_order() {
    let (_database, admin, mut session) =
        reading(SALES, watch_of("v", "ventas", &[Op::Insert, Op::Update])).await;
    admin
        .batch_execute("INSERT INTO ventas SELECT g, 'x', g FROM generate_series(1, 100000) g; UPDATE ventas SET total = 0 WHERE id <= 1000")
        .await
        .unwrap();
    // Rows of a guarded block carry its number. Other tests take numbers of the same server.
    let numbers: i64 = admin
        .query_one("SELECT count(DISTINCT xmin::text) FROM pregon.outbox", &[])
        .await
        .unwrap()
        .get(0);
    assert!(numbers < 4, "{numbers} transaction numbers");
    for id in 1..=100_000 {
        assert_eq!(
            session.change().await,
            (
                "insert",
                format!(r#"{{"id":{id},"producto":"x","total":{id}.00}}"#)
            )
        );
    }
    for id in 1..=1000 {
        assert_eq!(
            session.change().await,
            ("update", format!(r#"{{"id":{id},"producto":"x","total":0.00}}"#))
        );
    }
}

#[tokio::test]
async fn a_megabyte_and_odd_names_pass_whole() {
    let schema = r#"CREATE SCHEMA "Mi App"; CREATE TABLE "Mi App"."Año ""1""" ("id.x" int PRIMARY KEY, "Ñ ""q""" text)"#;
    let spec = WatchSpec {
        columns: Some(vec!["Ñ \"q\"".into()]),
        ..WatchSpec::new("v", "Mi App", "Año \"1\"")
    };
    let (_database, admin, mut session) = reading(schema, spec).await;
    admin
        .batch_execute(
            r#"INSERT INTO "Mi App"."Año ""1""" VALUES (1, repeat('ñ', 1000000)); UPDATE "Mi App"."Año ""1""" SET "id.x" = 2;
               DELETE FROM "Mi App"."Año ""1""""#,
        )
        .await
        .unwrap();
    for op in ["insert", "update", "delete"] {
        let (got, row) = session.change().await;
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        assert_eq!(
            (got, row["Ñ \"q\""].as_str().unwrap().chars().count()),
            (op, 1_000_000)
        );
        assert_eq!(row.as_object().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn partitions_report_through_their_root() {
    let schema = "CREATE TABLE t (id int, p int, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 (p int, id int, PRIMARY KEY (id, p))";
    let (_database, admin, mut session) = reading(schema, watch_of("v", "t", &ALL)).await;
    admin
        .batch_execute(
            "ALTER TABLE t2 ALTER id SET NOT NULL; ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2);
             INSERT INTO t VALUES (1, 1); INSERT INTO t1 VALUES (2, 1); INSERT INTO t2 (id, p) VALUES (3, 2); UPDATE t SET p = 2 WHERE id = 1",
        )
        .await
        .unwrap();
    let mut got = Vec::new();
    for _ in 0..5 {
        let (op, row) = session.change().await;
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        got.push(format!("{op} {}/{}", row["id"], row["p"]));
    }
    assert_eq!(
        got,
        [
            "insert 1/1",
            "insert 2/1",
            "insert 3/2",
            "delete 1/1",
            "insert 1/2"
        ]
    );
}

#[tokio::test]
async fn a_condition_makes_rows_enter_and_leave() {
    let spec = WatchSpec {
        condition: Some(
            "producto = 'pan' -- only bread\n AND v.total > 0".replace("v.total", "ventas.total"),
        ),
        ..watch_of("v", "ventas", &ALL)
    };
    let (_database, admin, mut session) = reading(SALES, spec).await;
    admin
        .batch_execute(
            "INSERT INTO ventas VALUES (1, 'sal', 1), (2, 'pan', 1), (3, NULL, 1); UPDATE ventas SET producto = 'pan' WHERE id = 1;
             UPDATE ventas SET total = 2 WHERE id = 1; UPDATE ventas SET producto = NULL WHERE id = 1; DELETE FROM ventas",
        )
        .await
        .unwrap();
    let mut got = Vec::new();
    for _ in 0..5 {
        let (op, row) = session.change().await;
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        got.push(format!("{op} {} {}", row["id"], row["producto"]));
    }
    let expected = [
        "insert 2 \"pan\"",
        "insert 1 \"pan\"",
        "update 1 \"pan\"",
        "delete 1 \"pan\"",
        "delete 2 \"pan\"",
    ];
    assert_eq!(got, expected);
}

/// What cannot be rendered is written all the same, alone, in a few rows and in bulk.
#[tokio::test]
async fn a_row_that_cannot_be_rendered_is_an_error_and_written() {
    let spec = WatchSpec {
        condition: Some("10 / id > 0".into()),
        ..watch_of("v", "ventas", &ALL)
    };
    let (_database, admin, mut session) = reading(SALES, spec).await;
    admin
        .batch_execute(
            "INSERT INTO ventas VALUES (0); INSERT INTO ventas VALUES (1); UPDATE ventas SET id = 0 WHERE id = 1 AND false;
             DELETE FROM ventas WHERE id = 0; INSERT INTO ventas SELECT g FROM generate_series(0, 999) g WHERE g <> 1",
        )
        .await
        .unwrap();
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(match session.next().await.1 {
            Item::RenderError { fault, .. } => fault.whole().to_owned(),
            Item::Change(change) => change.op.as_str().to_owned(),
            other => panic!("{other:?}"),
        });
    }
    let failed = "22012 division by zero";
    assert_eq!(got, [failed, "insert", failed, failed]);
    let count: i64 = admin
        .query_one("SELECT count(*) FROM ventas", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 1000);
}

#[tokio::test]
async fn sql_publishes_anything_in_its_transaction() {
    let (_database, admin, mut session) = reading(SALES, watch_of("v", "ventas", &ALL)).await;
    admin
        .batch_execute(
            "SELECT pregon.publish('avisos', 'cierre', '{\"hora\": \"22:00\"}'); SELECT pregon.publish('avisos', 'nada', NULL); COMMIT;
             BEGIN; SELECT pregon.publish('avisos', 'no', '1'); ROLLBACK;
             BEGIN; INSERT INTO ventas VALUES (1); SELECT pregon.publish('avisos', 'largo', to_jsonb(repeat('x', 2000000))); COMMIT",
        )
        .await
        .unwrap();
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(match session.next().await.1 {
            Item::Published {
                channel, event, data, ..
            } => format!("{channel} {event} {}", data.len()),
            other => format!("{}", matches!(other, Item::Change(_))),
        });
    }
    assert_eq!(
        got,
        [
            "avisos cierre 17",
            "avisos nada 4",
            "true",
            "avisos largo 2000002"
        ]
    );
    for wrong in [
        "SELECT pregon.publish('', 'e', '1')",
        "SELECT pregon.publish('c', E'a\\nb', '1')",
    ] {
        assert!(admin.batch_execute(wrong).await.is_err(), "{wrong}");
    }
}

/// Rendering does not depend on the writer's session, and a type that `to_jsonb` cannot show passes.
#[tokio::test]
async fn the_payload_is_the_same_whatever_the_session_says() {
    let schema =
        "CREATE TABLE t (at timestamptz, span interval, bytes bytea, days daterange, j json, f float8)";
    let (_database, admin, mut session) = reading(schema, watch_of("v", "t", &ALL)).await;
    admin
        .batch_execute(
            r#"SET timezone = 'America/New_York'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape';
               SET extra_float_digits = -10;
               INSERT INTO t VALUES ('2024-03-01 12:00:00+00', '1 day 2 hours', '\xdead', '[2024-03-01,2024-03-02)', '{"a":"\u0000"}', 0.1);
               UPDATE t SET f = 0.3"#,
        )
        .await
        .unwrap();
    for f in ["0.1", "0.3"] {
        let expected = format!(
            r#"{{"at":"2024-03-01T12:00:00+00:00","span":"1 day 02:00:00","bytes":"\\xdead","days":"[2024-03-01,2024-03-02)","j":{{"a":"\u0000"}},"f":{f}}}"#
        );
        assert_eq!(session.change().await.1, expected);
    }
}

//! What arrives for each kind of write.

use pregon_capture::change::Op;
use pregon_capture::install::WatchSpec;

use serde_json::{Value, json};

use crate::kit::{ALL, Fixture, brief, watch};

const SALES: &str = "CREATE TABLE ventas (id int PRIMARY KEY, producto text, total numeric(10,2))";

#[tokio::test]
async fn every_operation_carries_its_row() {
    let mut f = Fixture::new(
        SALES,
        vec![WatchSpec {
            old: true,
            ..watch("ventas", "ventas", &ALL)
        }],
    )
    .await;
    let got = f
        .after(
            "INSERT INTO ventas VALUES (1, 'pan', 2.50); UPDATE ventas SET total = 3; DELETE FROM ventas; TRUNCATE ventas",
        )
        .await;
    assert_eq!(brief(&got, "total"), ["I 2.5", "U 3.0", "D 3.0", "T null"]);
    assert_eq!(got[1]["o"]["total"], 2.5);
    assert!(got[2]["n"].is_null() && got[3]["n"].is_null() && got[3]["o"].is_null());
    assert!(got.iter().all(|payload| payload["w"] == "ventas"));
    let seqs: Vec<i64> = got.iter().map(|payload| payload["s"].as_i64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    let now = f
        .admin
        .query_one(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint",
            &[],
        )
        .await
        .unwrap();
    let age = now.get::<_, i64>(0) - got[0]["t"].as_i64().unwrap();
    assert!((0..60_000_000).contains(&age), "{age}");
}

#[tokio::test]
async fn the_fields_stand_in_the_agreed_order() {
    let mut f = Fixture::new(SALES, vec![watch("ventas", "ventas", &ALL)]).await;
    f.admin
        .batch_execute("INSERT INTO ventas VALUES (1, 'pan', 2.50); UPDATE ventas SET id = 1")
        .await
        .unwrap();
    let texts = f.texts().await;
    for (text, op) in texts.iter().zip(["I", "U"]) {
        let (head, row) = text.split_once(",\"op\":").unwrap();
        assert!(head.starts_with("{\"w\":\"ventas\",\"s\":"), "{text}");
        assert_eq!(
            row,
            format!("\"{op}\",\"n\":{{\"id\":1,\"producto\":\"pan\",\"total\":2.50}}}}")
        );
    }
}

#[tokio::test]
async fn statements_that_change_nothing_send_nothing() {
    let mut f = Fixture::new(
        SALES,
        vec![watch("ventas", "ventas", &[Op::Insert, Op::Update, Op::Delete])],
    )
    .await;
    assert_eq!(f.after("INSERT INTO ventas VALUES (1, 'pan', 1)").await.len(), 1);
    let got = f
        .after(
            "INSERT INTO ventas VALUES (1, 'x', 1) ON CONFLICT DO NOTHING; UPDATE ventas SET total = 9 WHERE id = 7;
             DELETE FROM ventas WHERE false; INSERT INTO ventas SELECT * FROM ventas WHERE false",
        )
        .await;
    assert_eq!(got.len(), 0, "{got:?}");
    let got = f
        .after(
            "INSERT INTO ventas VALUES (1, 'pan', 4), (2, 'sal', 5) ON CONFLICT (id) DO UPDATE SET total = excluded.total",
        )
        .await;
    assert_eq!(brief(&got, "id"), ["U 1", "I 2"]);
}

#[tokio::test]
async fn equal_changes_in_one_transaction_all_arrive() {
    let mut f = Fixture::new(SALES, vec![watch("v", "ventas", &[Op::Update])]).await;
    f.admin
        .batch_execute("INSERT INTO ventas VALUES (1, 'a', 1)")
        .await
        .unwrap();
    let got = f
        .after(
            "BEGIN; UPDATE ventas SET producto = 'B'; UPDATE ventas SET producto = 'A'; UPDATE ventas SET producto = 'B'; COMMIT",
        )
        .await;
    assert_eq!(brief(&got, "producto"), ["U \"B\"", "U \"A\"", "U \"B\""]);
}

#[tokio::test]
async fn a_row_too_big_sends_its_key() {
    let schema = "CREATE TABLE t (region text, id int, body text, PRIMARY KEY (region, id))";
    let mut f = Fixture::new(schema, vec![watch("t", "t", &ALL)]).await;
    // 9000 bytes; 3000 characters of three bytes; then the update and the delete of such rows.
    let got = f
        .after(
            "INSERT INTO t VALUES ('eu', 1, repeat('x', 9000)), ('eu', 2, repeat('€', 3000)), ('eu', 3, 'small');
             UPDATE t SET id = id WHERE id = 1; DELETE FROM t WHERE id = 2",
        )
        .await;
    let ops: Vec<&str> = got.iter().filter_map(|payload| payload["op"].as_str()).collect();
    assert_eq!(ops, ["I", "I", "I", "U"]);
    assert_eq!(got[0]["k"], serde_json::json!({"region": "eu", "id": 1}));
    assert_eq!(got[1]["k"]["id"], 2);
    assert_eq!(got[2]["n"]["body"], "small");
    assert!(got[3]["k"]["id"] == 1 && got[3]["n"].is_null());
    // What was deleted cannot be read again, so it is kept whole.
    let deleted = f.stored(&got[4]).await;
    assert_eq!((&deleted["op"], &deleted["o"]["id"]), (&"D".into(), &2.into()));
    assert_eq!(deleted["o"]["body"].as_str().unwrap().chars().count(), 3000);
}

#[tokio::test]
async fn an_old_row_too_big_is_stored_with_the_new_one() {
    let spec = WatchSpec {
        old: true,
        condition: Some("n < 3".into()),
        ..watch("t", "t", &ALL)
    };
    let schema = "CREATE TABLE t (id int PRIMARY KEY, n int, body text)";
    let mut f = Fixture::new(schema, vec![spec]).await;
    let got = f
        .after(
            "INSERT INTO t VALUES (1, 1, repeat('x', 9000)); UPDATE t SET n = 2, body = 'y';
             UPDATE t SET body = repeat('z', 9000); UPDATE t SET n = 3",
        )
        .await;
    assert_eq!(got[0]["k"]["id"], 1);
    let (first, second, left) = (
        f.stored(&got[1]).await,
        f.stored(&got[2]).await,
        f.stored(&got[3]).await,
    );
    assert_eq!(first["o"]["body"].as_str().unwrap().len(), 9000);
    assert_eq!((&first["op"], &first["n"]["body"]), (&"U".into(), &"y".into()));
    assert_eq!(
        (&second["o"]["body"], &second["n"]["n"]),
        (&"y".into(), &2.into())
    );
    assert_eq!((&left["op"], &left["o"]["n"]), (&"D".into(), &2.into()));
}

#[tokio::test]
async fn every_size_around_the_limit_passes() {
    let mut f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY, body text)",
        vec![watch("t", "t", &[Op::Insert])],
    )
    .await;
    let got = f
        .after(
            "DO $$ BEGIN FOR i IN 7700..8020 LOOP INSERT INTO t VALUES (i, repeat('y', i)); END LOOP; END $$",
        )
        .await;
    assert_eq!(got.len(), 321);
    assert!(!got[0]["n"].is_null() && got[320]["k"]["id"] == 8020);
}

#[tokio::test]
async fn a_row_too_big_without_a_key_is_stored() {
    let schema = "CREATE TABLE t (id int, body text); CREATE TABLE long (id text PRIMARY KEY)";
    let mut f = Fixture::new(schema, vec![watch("t", "t", &ALL), watch("long", "long", &ALL)]).await;
    // Random text, because an index entry is limited after compression.
    let got = f
        .after("INSERT INTO t VALUES (5, repeat('x', 9000)); UPDATE t SET id = 6; INSERT INTO long VALUES (repeat('z', 8000))")
        .await;
    assert_eq!(got.len(), 3);
    let (first, second, third) = (
        f.stored(&got[0]).await,
        f.stored(&got[1]).await,
        f.stored(&got[2]).await,
    );
    assert_eq!(
        (&first["w"], &first["op"], &first["n"]["id"]),
        (&"t".into(), &"I".into(), &5.into())
    );
    assert_eq!((&second["op"], &second["n"]["id"]), (&"U".into(), &6.into()));
    assert_eq!(third["n"]["id"].as_str().unwrap().len(), 8000);
    assert_eq!((&got[0]["s"], &got[0]["t"]), (&first["s"], &first["t"]));
}

#[tokio::test]
async fn stored_payloads_go_away_after_a_while() {
    let mut f = Fixture::new("CREATE TABLE t (body text)", vec![watch("t", "t", &ALL)]).await;
    f.admin
        .batch_execute(
            "INSERT INTO t SELECT repeat('x', 9000) FROM generate_series(1, 30);
             UPDATE pregon.stored SET created = created - interval '11 minutes'",
        )
        .await
        .unwrap();
    f.after("INSERT INTO t SELECT repeat('x', 9000) FROM generate_series(1, 2)")
        .await;
    let left: i64 = f
        .admin
        .query_one("SELECT count(*) FROM pregon.stored", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 2);
}

#[tokio::test]
async fn chosen_columns_are_all_that_leaves() {
    let schema = r#"CREATE TABLE t (id int PRIMARY KEY, secret text, "Weird ""col" int)"#;
    let spec = WatchSpec {
        columns: Some(vec!["Weird \"col".into(), "id".into()]),
        old: true,
        ..watch("it's a \"watch\" \\", "t", &ALL)
    };
    let mut f = Fixture::new(schema, vec![spec]).await;
    let got = f
        .after(r#"INSERT INTO t VALUES (1, 'shh', 5); UPDATE t SET "Weird ""col" = 6; DELETE FROM t"#)
        .await;
    assert_eq!(got[0]["w"], "it's a \"watch\" \\");
    assert_eq!(got[0]["n"].to_string(), r#"{"Weird \"col":5,"id":1}"#);
    assert_eq!(got[1]["o"].to_string(), r#"{"Weird \"col":5,"id":1}"#);
    assert_eq!(got[2]["o"].to_string(), r#"{"Weird \"col":6,"id":1}"#);
}

#[tokio::test]
async fn a_condition_makes_rows_enter_and_leave() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, estado text, n int)";
    let spec = |name: &str, condition: &str| WatchSpec {
        condition: Some(condition.into()),
        old: true,
        ..watch(name, "t", &ALL)
    };
    let mut f = Fixture::new(
        schema,
        vec![spec("a", "estado = 'abierto' -- only these\n AND t.n > 0")],
    )
    .await;
    let got = f
        .after("INSERT INTO t VALUES (1, 'cerrado', 1), (2, 'abierto', 1), (3, NULL, 1), (4, 'abierto', 0)")
        .await;
    assert_eq!(brief(&got, "id"), ["I 2"]);
    let got = f.after("UPDATE t SET estado = 'abierto' WHERE id = 1").await;
    assert_eq!(brief(&got, "id"), ["I 1"]);
    assert!(got[0]["o"].is_null());
    let got = f.after("UPDATE t SET n = 2 WHERE id = 1").await;
    assert_eq!(
        (brief(&got, "n"), got[0]["o"]["n"].clone()),
        (vec!["U 2".to_owned()], 1.into())
    );
    let got = f.after("UPDATE t SET estado = NULL WHERE id = 1").await;
    assert_eq!(
        (brief(&got, "estado"), got[0]["n"].is_null()),
        (vec!["D \"abierto\"".to_owned()], true)
    );
    let got = f
        .after("UPDATE t SET n = 7 WHERE id IN (1, 3); DELETE FROM t WHERE id IN (2, 3); TRUNCATE t")
        .await;
    assert_eq!(brief(&got, "id"), ["D 2", "T null"]);
}

#[tokio::test]
async fn a_row_that_cannot_be_rendered_is_reported_and_written() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, n int)";
    let spec = WatchSpec {
        condition: Some("10 / n > 1".into()),
        ..watch("t", "t", &ALL)
    };
    let mut f = Fixture::new(schema, vec![spec]).await;
    let got = f
        .after("INSERT INTO t VALUES (1, 0); INSERT INTO t VALUES (2, 2); UPDATE t SET n = 0 WHERE id = 2")
        .await;
    assert_eq!(got.len(), 3);
    assert_eq!(got[0]["err"], "22012 division by zero");
    assert_eq!(got[1]["n"]["id"], 2);
    assert_eq!((&got[2]["op"], &got[2]["w"]), (&"U".into(), &"t".into()));
    assert!(got[2]["err"].as_str().unwrap().starts_with("22012"));
    let rows: i64 = f
        .admin
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn types_render_alike_whatever_the_session() {
    let schema = "CREATE TYPE mood AS ENUM ('ok', 'so \"so\"'); CREATE TYPE pair AS (a int, b timestamptz);
        CREATE TABLE t (id int PRIMARY KEY, tz timestamptz, d date, ts timestamp, iv interval, b bytea, f float8, r float4,
          n numeric, j json, jb jsonb, u uuid, a int[], ta timestamptz[], m mood, p pair, rg tstzrange, ip inet, bo bool, x text)";
    let insert = "VALUES (%, '2024-03-10 12:00:00+02', '2024-03-10', '2024-03-10 01:02:03.456', '1 day 02:03:04', '\\xDEAD',
          0.1::float8 + 0.2, 1.1, 'NaN', '{\"a\" : \"\\u0000\"}', '{\"b\":1}', '7f1e2a7e-0000-4000-8000-000000000001', '{1,NULL}',
          ARRAY['2024-01-01 00:00+00'::timestamptz], 'so \"so\"', ROW(1, '2024-01-01 00:00+00'),
          tstzrange('2024-01-01 00:00+00', NULL), '10.0.0.1/8', true, E'tab\\t\"q\" ñ')";
    let mut f = Fixture::new(schema, vec![watch("t", "t", &[Op::Insert, Op::Delete])]).await;
    let session = |sets: &str, id: u8| {
        format!(
            "{sets}; INSERT INTO t {}; DELETE FROM t WHERE id = {id}; RESET ALL",
            insert.replace('%', &id.to_string())
        )
    };
    f.admin
        .batch_execute(&session("SET timezone = 'UTC'", 1))
        .await
        .unwrap();
    let odd = "SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'iso_8601';
        SET bytea_output = 'escape'; SET extra_float_digits = -5; SET search_path = 'public'";
    f.admin.batch_execute(&session(odd, 2)).await.unwrap();
    let rows: Vec<String> = f
        .texts()
        .await
        .iter()
        .map(|text| {
            let (_, row) = text
                .split_once(",\"id\":")
                .or_else(|| text.split_once("{\"id\":"))
                .unwrap();
            row.split_once(',').unwrap().1.to_owned()
        })
        .collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:#?}");
    for part in [
        r#""tz":"2024-03-10T10:00:00+00:00""#,
        r#""iv":"1 day 02:03:04""#,
        r#""b":"\\xdead""#,
        r#""f":0.30000000000000004"#,
        r#""j":{"a" : "\u0000"}"#,
        r#""n":"NaN""#,
        r#""p":{"a":1,"b":"2024-01-01T00:00:00+00:00"}"#,
    ] {
        assert!(rows[0].contains(part), "{part} in {}", rows[0]);
    }
}

/// PostgreSQL 18: such a column is null in a trigger, and is computed there. Before 18 a stored one must say the same.
#[tokio::test]
async fn a_virtual_column_has_its_value_in_rows_and_conditions() {
    let mut f = Fixture::new("CREATE TABLE probe (id int)", vec![]).await;
    let version: i32 = f
        .admin
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .unwrap()
        .get(0);
    let kind = if version >= 180_000 { "VIRTUAL" } else { "STORED" };
    f.admin
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int, \"Doble n\" int GENERATED ALWAYS AS (n * 2) {kind},
                             parte int GENERATED ALWAYS AS (12 / n) {kind}) PARTITION BY RANGE (id);
             CREATE TABLE t_1 PARTITION OF t DEFAULT"
        ))
        .await
        .unwrap();
    let narrow = |name: &str, condition: Option<&str>| WatchSpec {
        columns: Some(vec!["id".to_owned(), "Doble n".to_owned()]),
        condition: condition.map(str::to_owned),
        old: true,
        ..watch(name, "t", &ALL)
    };
    let target = pregon_capture::install::Target {
        watches: vec![
            watch("whole", "t", &ALL),
            narrow("narrow", None),
            narrow("some", Some("\"Doble n\" > 10")),
        ],
        ..Default::default()
    };
    crate::kit::install(&f.admin, &target).await.unwrap();
    let of = |payloads: &[Value], name: &str| -> Vec<Value> {
        let mut found = payloads.iter().filter(|payload| payload["w"] == name);
        found.by_ref().cloned().collect()
    };
    let got = f.after("INSERT INTO t VALUES (1, 4)").await;
    assert_eq!(
        of(&got, "whole")[0]["n"],
        json!({"id": 1, "n": 4, "Doble n": 8, "parte": 3})
    );
    assert_eq!(of(&got, "narrow")[0]["n"], json!({"id": 1, "Doble n": 8}));
    assert!(of(&got, "some").is_empty());
    let got = f.after("UPDATE t SET n = 6").await;
    assert_eq!(of(&got, "narrow")[0]["n"], json!({"id": 1, "Doble n": 12}));
    assert_eq!(of(&got, "narrow")[0]["o"], json!({"id": 1, "Doble n": 8}));
    assert_eq!(of(&got, "some")[0]["op"], "I");
    let got = f.after("DELETE FROM t; TRUNCATE t").await;
    assert_eq!(
        of(&got, "whole")[0]["o"],
        json!({"id": 1, "n": 6, "Doble n": 12, "parte": 2})
    );
    assert_eq!(of(&got, "some")[0]["o"], json!({"id": 1, "Doble n": 12}));
    assert_eq!(of(&got, "whole")[1]["op"], "T");
    if version >= 180_000 {
        // Such a row can be written and not be read: it is told as a gap, to the watch that would read that column.
        let got = f.after("INSERT INTO t VALUES (2, 0)").await;
        assert!(
            of(&got, "whole")[0]["err"].as_str().unwrap().contains("22012"),
            "{got:?}"
        );
        assert_eq!(of(&got, "narrow")[0]["n"], json!({"id": 2, "Doble n": 0}));
    }
}

#[tokio::test]
async fn publish_passes_any_size() {
    let mut f = Fixture::new("SELECT 1", vec![]).await;
    let got = f
        .after(
            "SELECT pregon.publish('area \"1\"', 'message:new', '{\"a\": [1, 2]}');
             SELECT pregon.publish(channel => 'c', event => 'e', data => NULL);
             SELECT pregon.publish('c', 'big', to_jsonb(repeat('x', 1000000)))",
        )
        .await;
    assert_eq!(
        (&got[0]["c"], &got[0]["e"]),
        (&"area \"1\"".into(), &"message:new".into())
    );
    assert_eq!(got[0]["d"].to_string(), r#"{"a":[1,2]}"#);
    assert!(got[1]["d"].is_null() && got[1].as_object().unwrap().contains_key("d"));
    let stored = f.stored(&got[2]).await;
    assert_eq!(
        (&stored["e"], stored["d"].as_str().unwrap().len()),
        (&"big".into(), 1_000_000)
    );
}

#[tokio::test]
async fn publish_refuses_names_that_nobody_could_follow() {
    let mut f = Fixture::new("SELECT 1", vec![]).await;
    for (names, word) in [
        ("'', 'e'", "needs a channel"),
        ("'c', NULL", "needs a channel"),
        ("repeat('ñ', 128), 'e'", "255 bytes, this has 256"),
        ("'c', repeat('x', 300)", "255 bytes, this has 300"),
        ("E'a\\nb', 'e'", "control"),
        ("'c', E'a\\x7f'", "control"),
    ] {
        let call = format!("SELECT pregon.publish({names}, '1')");
        let refused = f.admin.batch_execute(&call).await.expect_err(names);
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "22023", "{names}");
        assert!(refused.message().contains(word), "{refused}");
    }
    let got = f
        .after("SELECT pregon.publish(repeat('ñ', 127), 'día ñ', '1')")
        .await;
    assert_eq!(got[0]["e"], "día ñ");
}

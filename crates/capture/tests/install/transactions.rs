//! Partitions, bulk loads, schema changes inside transactions, two-phase commit and replication sessions.

use pregon_capture::change::Op;
use pregon_capture::install::WatchSpec;
use pregon_testkit::postgres::{Database, Options, Server};
use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::kit::{ALL, Fixture, brief, install, watch};

const PARTITIONED: &str = "
    CREATE TABLE t (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu');
    CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us')";

#[tokio::test]
async fn partitions_report_through_their_root() {
    let mut f = Fixture::new(PARTITIONED, vec![watch("t", "t", &ALL)]).await;
    let got = f
        .after("INSERT INTO t VALUES (1, 'eu'); INSERT INTO t_us VALUES (2, 'us')")
        .await;
    assert_eq!(brief(&got, "id"), ["I 1", "I 2"]);
    assert!(got.iter().all(|payload| payload["w"] == "t"));
    // A row that moves is a delete and an insert; the last one is the row as it stands.
    let got = f.after("UPDATE t SET region = 'us' WHERE id = 1").await;
    assert_eq!(brief(&got, "region"), ["D \"eu\"", "I \"us\""]);
    // A partition made later reports too.
    let got = f
        .after("CREATE TABLE t_as PARTITION OF t FOR VALUES IN ('as'); INSERT INTO t_as VALUES (3, 'as')")
        .await;
    assert_eq!(brief(&got, "id"), ["I 3"]);
    // TRUNCATE of one partition is silent, of the root it is not.
    let got = f.after("TRUNCATE t_us; TRUNCATE t").await;
    assert_eq!(brief(&got, "id"), ["T null"]);
}

#[tokio::test]
async fn a_leaf_and_an_inheritance_parent_can_be_watched() {
    let schema =
        format!("{PARTITIONED}; CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (x int) INHERITS (p)");
    let mut f = Fixture::new(
        &schema,
        vec![watch("leaf", "t_eu", &ALL), watch("parent", "p", &ALL)],
    )
    .await;
    let got = f
        .after("INSERT INTO t VALUES (1, 'eu'), (2, 'us'); INSERT INTO p VALUES (3)")
        .await;
    assert_eq!(brief(&got, "id"), ["I 1", "I 3"]);
}

const FAMILY: &str = "
    CREATE SCHEMA app; CREATE TABLE app.p (id int PRIMARY KEY, n int, body text);
    CREATE TABLE app.c (x int) INHERITS (app.p); CREATE TABLE public.g (y int) INHERITS (app.c)";

#[tokio::test]
async fn tables_that_inherit_report_through_their_parent_once_each() {
    let spec = WatchSpec {
        condition: Some("n > 0".into()),
        operations: ALL.to_vec(),
        ..WatchSpec::new("p", "app", "p")
    };
    let mut f = Fixture::new(FAMILY, vec![spec.clone()]).await;
    let got = f
        .after("INSERT INTO app.p VALUES (1, 1); INSERT INTO app.c VALUES (2, 1, NULL, 9); INSERT INTO g VALUES (3, 1)")
        .await;
    assert_eq!(brief(&got, "id"), ["I 1", "I 2", "I 3"]);
    // As `SELECT * FROM app.p` shows them.
    assert_eq!(got[1]["n"], json!({"id": 2, "n": 1, "body": null}));
    let got = f
        .after("UPDATE app.p SET n = 2; UPDATE app.c SET n = 0 WHERE id = 2; DELETE FROM app.p WHERE id <> 2")
        .await;
    assert_eq!(brief(&got, "id"), ["U 1", "U 2", "U 3", "D 2", "D 1", "D 3"]);
    assert_eq!(brief(&f.after("TRUNCATE app.p").await, "id"), ["T null"]);
    // A key may be there twice, so a big row comes whole.
    let got = f.after("INSERT INTO g VALUES (1, 1, repeat('x', 9000))").await;
    assert_eq!(f.stored(&got[0]).await["n"]["body"].as_str().unwrap().len(), 9000);
    // A child that is made later is missing until the next installation.
    let target = pregon_capture::install::Target {
        watches: vec![spec],
        ..Default::default()
    };
    f.admin
        .batch_execute("CREATE TABLE app.later () INHERITS (app.p)")
        .await
        .unwrap();
    let planned = install(&f.admin, &target).await.unwrap();
    let objects: Vec<&str> = planned.steps.iter().map(|step| step.object.as_str()).collect();
    assert_eq!(objects, ["trigger !pregon_p on app.later", "gap of watch p"]);
    let got = f.after("INSERT INTO app.later VALUES (5, 1)").await;
    assert_eq!(
        got[0]["err"],
        "its triggers were missing or did not fire until now"
    );
    assert_eq!(brief(&got[1..], "id"), ["I 5"]);
    let removal = pregon_capture::install::drop(&f.admin).await.unwrap();
    pregon_capture::install::apply(&f.admin, &removal, &mut |_| {})
        .await
        .unwrap();
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pregon%'";
    assert_eq!(f.admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_cascading_truncate_and_delete_report_the_child() {
    let schema = "CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE)";
    let mut f = Fixture::new(schema, vec![watch("child", "child", &ALL)]).await;
    f.after("INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2)")
        .await;
    let got = f
        .after("DELETE FROM parent WHERE id = 1; TRUNCATE parent CASCADE")
        .await;
    assert_eq!(brief(&got, "id"), ["D 10", "T null"]);
}

#[tokio::test]
async fn a_bulk_load_arrives_whole_and_in_order() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, body text)";
    let mut f = Fixture::new(schema, vec![watch("t", "t", &[Op::Insert])]).await;
    let sink = f.admin.copy_in("COPY t FROM STDIN").await.unwrap();
    let lines: String = (0..100_000).map(|id| format!("{id}\trow {id}\n")).collect();
    let mut sink = std::pin::pin!(sink);
    futures_util::SinkExt::send(&mut sink, bytes::Bytes::from(lines))
        .await
        .unwrap();
    assert_eq!(sink.finish().await.unwrap(), 100_000);
    let got = f.arrived().await;
    assert_eq!(got.len(), 100_000);
    let mut last = 0;
    for (id, payload) in got.iter().enumerate() {
        assert_eq!(payload["n"]["id"], id);
        let seq = payload["s"].as_i64().unwrap();
        assert!(seq > last);
        last = seq;
    }
}

#[tokio::test]
async fn a_bulk_update_takes_one_transaction_id() {
    let spec = WatchSpec {
        condition: Some("id >= 0".into()),
        ..watch("t", "t", &ALL)
    };
    let mut f = Fixture::new("CREATE TABLE t (id int PRIMARY KEY, n int)", vec![spec]).await;
    f.after("INSERT INTO t SELECT g, 0 FROM generate_series(1, 1000) g")
        .await;
    let xid = "SELECT (pg_current_xact_id()::text)::bigint";
    let before: i64 = f.admin.query_one(xid, &[]).await.unwrap().get(0);
    let got = f
        .after("UPDATE t SET n = 1; INSERT INTO t SELECT g, 0 FROM generate_series(2001, 3000) g")
        .await;
    let after: i64 = f.admin.query_one(xid, &[]).await.unwrap().get(0);
    assert_eq!(got.len(), 2000);
    // Other tests use ids of the same server; one per row would be 2000 more.
    assert!(after - before < 1500, "{}", after - before);
}

#[tokio::test]
async fn each_event_has_the_shape_of_its_moment() {
    let mut f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY, a int)",
        vec![watch("t", "t", &ALL)],
    )
    .await;
    let got = f
        .after(
            "BEGIN; INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD COLUMN b int DEFAULT 5; INSERT INTO t VALUES (2, 2);
             UPDATE t SET a = 9 WHERE id = 1; ALTER TABLE t RENAME COLUMN a TO z; INSERT INTO t VALUES (3, 3);
             UPDATE t SET z = 8 WHERE id = 1; ALTER TABLE t DROP COLUMN b; INSERT INTO t VALUES (4, 4); DELETE FROM t; COMMIT",
        )
        .await;
    let rows: Vec<&serde_json::Value> = got.iter().map(|payload| &payload["n"]).collect();
    assert_eq!(
        rows[..6],
        [
            &json!({"id": 1, "a": 1}),
            &json!({"id": 2, "a": 2, "b": 5}),
            &json!({"id": 1, "a": 9, "b": 5}),
            &json!({"id": 3, "z": 3, "b": 5}),
            &json!({"id": 1, "z": 8, "b": 5}),
            &json!({"id": 4, "z": 4}),
        ]
    );
    assert_eq!(rows.len(), 10);
}

#[tokio::test]
async fn a_dropped_column_neither_blocks_the_migration_nor_the_writes() {
    let spec = WatchSpec {
        condition: Some("estado = 'x'".into()),
        columns: Some(vec!["id".into(), "nota".into()]),
        ..watch("t", "t", &ALL)
    };
    let mut f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY, estado text, nota text)",
        vec![spec.clone()],
    )
    .await;
    f.after("INSERT INTO t VALUES (1, 'x', 'y')").await;
    let got = f
        .after("ALTER TABLE t DROP COLUMN estado; INSERT INTO t VALUES (2, 'n'); UPDATE t SET nota = 'z'")
        .await;
    assert_eq!(got.len(), 3, "{got:?}");
    assert!(
        got.iter()
            .all(|payload| payload["err"].as_str().unwrap().starts_with("42703")),
        "{got:?}"
    );
    let target = pregon_capture::install::Target {
        watches: vec![spec],
        ..Default::default()
    };
    let refused = install(&f.admin, &target).await.unwrap_err().to_string();
    assert!(refused.contains("estado"), "{refused}");
}

#[tokio::test]
async fn sessions_that_replicate_fire_nothing() {
    let mut f = Fixture::new("CREATE TABLE t (id int PRIMARY KEY)", vec![watch("t", "t", &ALL)]).await;
    let got = f.after("SET session_replication_role = replica; INSERT INTO t VALUES (1); RESET session_replication_role").await;
    assert_eq!(got.len(), 0);
}

#[tokio::test]
async fn two_phase_commit_is_refused_by_the_server() {
    let server = Server::start(Options {
        max_prepared_transactions: 5,
        ..Options::default()
    })
    .await
    .unwrap();
    let db = Database::create(&server).await.unwrap();
    let admin = db.client().await.unwrap();
    admin
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .unwrap();
    let target = pregon_capture::install::Target {
        watches: vec![watch("t", "t", &ALL)],
        ..Default::default()
    };
    install(&admin, &target).await.unwrap();
    let error = admin
        .batch_execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'g'")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
}

#[tokio::test]
async fn writes_survive_the_loss_of_our_objects() {
    let mut f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY, b text)",
        vec![watch("t", "t", &ALL)],
    )
    .await;
    let got = f
        .after("DROP SEQUENCE pregon.seq; INSERT INTO t VALUES (1); UPDATE t SET b = 'x'; DELETE FROM t")
        .await;
    assert_eq!(got.len(), 3);
    assert!(
        got.iter()
            .all(|payload| payload["err"].as_str().unwrap().starts_with("42P01")),
        "{got:?}"
    );
}

#[tokio::test]
async fn a_trigger_that_changes_the_new_row_does_not_overtake_it() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN UPDATE t SET n = n + 1 WHERE id = NEW.id; RETURN NULL; END';
        CREATE TRIGGER zz_touch AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch()";
    let mut f = Fixture::new(schema, vec![watch("t", "t", &ALL)]).await;
    let got = f.after("INSERT INTO t (id) VALUES (1)").await;
    assert_eq!(brief(&got, "n"), ["I 0", "U 1"]);
}

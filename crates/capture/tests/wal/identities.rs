//! What an old row tells, and what a replica identity must never cost the application.

use pregon_capture::change::{Change, Op};
use pregon_capture::install::{self, Target, WatchSpec, plan};
use pregon_capture::listen::Captured;
use pregon_testkit::{Database, postgres};
use serde_json::{Value, json};

use crate::kit::{Memory, Stream, install, installed, target};

fn values(change: &Change) -> (Op, Value, Value) {
    let read = |bytes: &Option<bytes::Bytes>| {
        bytes
            .as_ref()
            .map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap())
    };
    (change.op, read(&change.row), read(&change.old))
}

/// A database with these tables and watches, and their stream.
async fn streaming(schema: &str, watches: Vec<WatchSpec>) -> (Database<'static>, Target, Stream) {
    let (database, _, target) = installed(schema, watches).await;
    let stream = Stream::start(&database.url(), &target, &Memory::default());
    (database, target, stream)
}

fn when(condition: &str) -> WatchSpec {
    WatchSpec {
        condition: Some(condition.into()),
        ..WatchSpec::new("t", "public", "t")
    }
}

const INCLUDING: &str = "CREATE TABLE t (id int, estado text, nota text, PRIMARY KEY (id) INCLUDE (estado))";

/// The columns of INCLUDE are in the index of the primary key and not in the WAL.
#[tokio::test]
async fn included_columns_are_no_part_of_the_key() {
    let (database, _, mut stream) = streaming(INCLUDING, vec![WatchSpec::new("t", "public", "t")]).await;
    database
        .execute("INSERT INTO t VALUES (1, 'x', 'n'); UPDATE t SET id = 2; DELETE FROM t")
        .await
        .unwrap();
    let changes = stream.changes(3).await;
    let row = |id: i32| json!({"id": id, "estado": "x", "nota": "n"});
    assert_eq!(values(&changes[1]), (Op::Update, row(2), Value::Null));
    assert_eq!(values(&changes[2]), (Op::Delete, Value::Null, json!({"id": 2})));
}

#[tokio::test]
async fn a_condition_over_an_included_column_is_decided_for_every_change() {
    let (database, _, mut stream) = streaming(INCLUDING, vec![when("estado = 'x'")]).await;
    database
        .execute(
            "INSERT INTO t VALUES (1, 'x'), (2, 'y'); UPDATE t SET nota = 'n' WHERE id = 1; UPDATE t SET estado = 'y' WHERE id = 1;
             UPDATE t SET estado = 'x' WHERE id = 2; DELETE FROM t",
        )
        .await
        .unwrap();
    let changes = stream.changes(5).await;
    let operations: Vec<Op> = changes.iter().map(|change| change.op).collect();
    assert_eq!(
        operations,
        [Op::Insert, Op::Update, Op::Delete, Op::Insert, Op::Delete]
    );
    assert_eq!(
        values(&changes[4]).2,
        json!({"id": 2, "estado": "x", "nota": null})
    );
}

/// The same with an index that somebody chose as the identity.
#[tokio::test]
async fn included_columns_of_a_chosen_index_are_no_part_of_the_key_either() {
    let schema = "CREATE TABLE t (id int NOT NULL, estado text NOT NULL);
         CREATE UNIQUE INDEX t_id ON t (id) INCLUDE (estado); ALTER TABLE t REPLICA IDENTITY USING INDEX t_id";
    let (database, _, mut stream) = streaming(schema, vec![WatchSpec::new("t", "public", "t")]).await;
    database
        .execute("INSERT INTO t VALUES (1, 'x'); DELETE FROM t")
        .await
        .unwrap();
    let changes = stream.changes(2).await;
    assert_eq!(values(&changes[1]), (Op::Delete, Value::Null, json!({"id": 1})));
}

const PARTITIONED: &str =
    "CREATE TABLE t (id int PRIMARY KEY, estado text, nota text) PARTITION BY RANGE (id);
     CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)";
const LATER: &str = "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200)";

/// A partition that was made later logs keys, while the stream says that they are whole rows.
#[tokio::test]
async fn a_key_of_a_later_partition_is_never_taken_for_a_whole_row() {
    let whole = WatchSpec {
        old: true,
        ..WatchSpec::new("todo", "public", "t")
    };
    let plain = WatchSpec {
        operations: vec![Op::Delete],
        ..WatchSpec::new("clave", "public", "t")
    };
    let (database, target, mut stream) = streaming(
        PARTITIONED,
        vec![
            whole,
            plain,
            WatchSpec {
                name: "donde".into(),
                ..when("estado = 'x'")
            },
        ],
    )
    .await;
    let admin = database.client().await.unwrap();
    admin.batch_execute(LATER).await.unwrap();
    // What the plan would do is what the status says.
    let planned = plan(&admin, &target).await.unwrap();
    let objects: Vec<&str> = planned.steps.iter().map(|step| step.object.as_str()).collect();
    assert_eq!(objects, ["replica identity of public.t2"]);
    let status = install::status_of(&admin, &target).await.unwrap();
    let told = status.schema.iter().find(|object| object.name == objects[0]);
    assert!(told.is_some() && !status.is_sound(), "{status:?}");
    admin
        .batch_execute(
            "INSERT INTO t VALUES (1, 'x', NULL), (101, 'x', 'n'); UPDATE t SET nota = 'm'; UPDATE t SET id = id + 1; DELETE FROM t",
        )
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut gaps = Vec::new();
    while !seen
        .iter()
        .any(|(name, (op, _, old)): &(String, (Op, Value, Value))| {
            name == "clave" && *op == Op::Delete && old["id"] == json!(102)
        })
    {
        for captured in stream.next(true).await {
            match captured {
                Captured::Change(change) => seen.push((change.watch.to_string(), values(&change))),
                Captured::RenderError { watch, fault } => {
                    assert!(fault.to_string().contains("REPLICA IDENTITY FULL"), "{fault}");
                    gaps.push(watch.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let of = |watch: &str, wanted: Op| -> Vec<Value> {
        let found = seen
            .iter()
            .filter(|(name, (op, ..))| name == watch && *op == wanted);
        found.map(|(_, (_, row, old))| json!([row, old])).collect()
    };
    let row = |id: i32, nota: Value| json!({"id": id, "estado": "x", "nota": nota});
    // The first partition is whole, and nothing of the second one is invented.
    assert_eq!(
        of("todo", Op::Update),
        [
            json!([row(1, json!("m")), row(1, Value::Null)]),
            json!([row(2, json!("m")), row(1, json!("m"))])
        ]
    );
    assert_eq!(
        of("clave", Op::Delete),
        [json!([null, row(2, json!("m"))]), json!([null, {"id": 102}])]
    );
    assert_eq!(of("donde", Op::Delete), [json!([null, row(2, json!("m"))])]);
    let count = |name: &str| gaps.iter().filter(|gap| *gap == name).count();
    assert_eq!((count("todo"), count("donde"), count("clave")), (2, 3, 0));
    // Once it is applied the rows are whole again.
    install(&admin, &target).await.unwrap();
    assert!(install::status_of(&admin, &target).await.unwrap().is_sound());
    admin
        .batch_execute("INSERT INTO t VALUES (150, 'x'); DELETE FROM t")
        .await
        .unwrap();
    for change in stream.changes(5).await {
        let (op, _, old) = values(&change);
        assert!(
            op == Op::Insert || old == json!({"id": 150, "estado": "x", "nota": null}),
            "{old}"
        );
    }
}

/// With whole old rows and somebody's list of columns the server would refuse the application's UPDATE and DELETE.
#[tokio::test]
async fn whole_old_rows_are_refused_beside_somebodys_list_of_columns() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    let version = "SELECT current_setting('server_version_num')::int";
    if admin.query_one(version, &[]).await.unwrap().get::<_, i32>(0) < 150_000 {
        return;
    }
    admin
        .batch_execute(&format!(
            "CREATE TABLE u (id int PRIMARY KEY, estado text, nota text); CREATE PUBLICATION analitica FOR TABLE u (id, nota);
             {PARTITIONED}; CREATE PUBLICATION raiz FOR TABLE t (id) WITH (publish_via_partition_root = true)"
        ))
        .await
        .unwrap();
    let spec = |table: &str| WatchSpec {
        name: table.into(),
        table: table.into(),
        ..when("estado = 'x'")
    };
    for (table, publication) in [("u", "analitica"), ("t", "raiz")] {
        let refused = plan(&admin, &target(&database, vec![spec(table)]))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(publication) && refused.contains("UPDATE and DELETE would fail"),
            "{refused}"
        );
    }
    // Where the key is enough it stands in nobody's way.
    let simple = target(
        &database,
        vec![
            WatchSpec::new("u", "public", "u"),
            WatchSpec::new("t", "public", "t"),
        ],
    );
    install(&admin, &simple).await.unwrap();
    admin
        .batch_execute(
            "INSERT INTO u VALUES (1); UPDATE u SET nota = 'x'; DELETE FROM u; INSERT INTO t VALUES (1); UPDATE t SET nota = 'x'; DELETE FROM t",
        )
        .await
        .unwrap();
}

/// Since PostgreSQL 18 a publication that leaves generated columns out does the same.
#[tokio::test]
async fn whole_old_rows_are_refused_beside_a_publication_without_generated_columns() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, estado text, doble int GENERATED ALWAYS AS (id * 2) STORED);
             CREATE PUBLICATION todas FOR ALL TABLES",
        )
        .await
        .unwrap();
    let target = target(&database, vec![when("estado = 'x'")]);
    let version = "SELECT current_setting('server_version_num')::int";
    let planned = plan(&admin, &target).await;
    if admin.query_one(version, &[]).await.unwrap().get::<_, i32>(0) >= 180_000 {
        let refused = planned.unwrap_err().to_string();
        assert!(refused.contains("todas"), "{refused}");
    } else {
        install::apply(&admin, &planned.unwrap(), &mut |_| {})
            .await
            .unwrap();
    }
    admin
        .batch_execute("INSERT INTO t VALUES (1, 'x'); UPDATE t SET estado = 'y'; DELETE FROM t")
        .await
        .unwrap();
}

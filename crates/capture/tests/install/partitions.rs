//! Partitions that the application makes of a watched table.

use pregon_capture::install::{Mode, Target, WatchSpec, plan};

use crate::kit::{ALL, Fixture, brief, install, watch};

/// `pg_partman` and migrations run as the table's owner, who is no superuser.
#[tokio::test]
async fn the_owner_of_a_partitioned_table_makes_partitions_of_it() {
    for mode in [Mode::Notify, Mode::Outbox] {
        let f = Fixture::new("", vec![]).await;
        let (owner, second) = (
            f.db.create_role("owner").await.unwrap(),
            f.db.create_role("part").await.unwrap(),
        );
        let schema = format!(
            "CREATE SCHEMA app; GRANT USAGE, CREATE ON SCHEMA app TO {owner}, {second};
             CREATE TABLE app.t (id int, zone int, PRIMARY KEY (id, zone)) PARTITION BY LIST (zone);
             CREATE TABLE app.t_1 PARTITION OF app.t FOR VALUES IN (1) PARTITION BY HASH (id);
             ALTER TABLE app.t OWNER TO {owner}; ALTER TABLE app.t_1 OWNER TO {second}"
        );
        f.admin.batch_execute(&schema).await.unwrap();
        let target = Target {
            mode,
            watches: vec![WatchSpec {
                operations: ALL.to_vec(),
                ..WatchSpec::new("t", "app", "t")
            }],
            ..Target::default()
        };
        install(&f.admin, &target).await.unwrap();
        let again = plan(&f.admin, &target).await.unwrap();
        assert!(again.steps.is_empty(), "{mode:?}: {again:?}");
        for (role, sql) in [
            (
                &owner,
                "CREATE TABLE app.t_2 PARTITION OF app.t FOR VALUES IN (2)",
            ),
            (
                &owner,
                "CREATE TABLE app.t_3 (LIKE app.t INCLUDING ALL); ALTER TABLE app.t ATTACH PARTITION app.t_3 FOR VALUES IN (3)",
            ),
            (
                &second,
                "CREATE TABLE app.t_1_0 PARTITION OF app.t_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            ),
            (&owner, "INSERT INTO app.t VALUES (1, 1), (1, 2), (1, 3)"),
        ] {
            let session = f.db.client_as(role).await.unwrap();
            let done = session.batch_execute(sql).await;
            assert!(done.is_ok(), "{mode:?}: {sql}: {done:?}");
        }
    }
}

/// No transition table has what MERGE moves between partitions, and no row is captured by one there.
#[tokio::test]
async fn what_merge_moves_between_partitions_is_captured() {
    let mut f = Fixture::new(
        "CREATE TABLE t (id int, zone int) PARTITION BY LIST (zone);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2);
         INSERT INTO t VALUES (1, 1), (2, 1)",
        vec![watch("t", "t", &ALL)],
    )
    .await;
    if f.db.server().binaries().major() < 15 {
        println!("skipped: MERGE came with 15");
        return;
    }
    let got = f
        .after("MERGE INTO t USING (VALUES (1), (3)) AS n (id) ON t.id = n.id WHEN MATCHED THEN UPDATE SET zone = 2 WHEN NOT MATCHED THEN INSERT VALUES (n.id, 2)")
        .await;
    assert_eq!(brief(&got, "id"), ["D 1", "I 1", "I 3"]);
    assert_eq!(brief(&got, "zone"), ["D 1", "I 2", "I 2"]);
}

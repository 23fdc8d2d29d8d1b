//! A reader that is killed again and again, while changes are written: every committed change once, in order of the commits.

use pregon_capture::install::WatchSpec;
use pregon_capture::listen::Captured;

use crate::kit::{Memory, Stream, install, installed};

fn id(captured: &Captured) -> i64 {
    let Captured::Change(change) = captured else {
        panic!("{captured:?}")
    };
    let row: serde_json::Value = serde_json::from_slice(change.row.as_ref().unwrap()).unwrap();
    row["id"].as_i64().unwrap()
}

/// One transaction of many rows is taken piece by piece, and a kill in its midst continues inside of it.
#[tokio::test]
async fn a_kill_inside_of_a_large_transaction_repeats_and_loses_nothing() {
    let (database, admin, target) = installed(
        "CREATE TABLE t (id int PRIMARY KEY, x text)",
        vec![WatchSpec::new("t", "public", "t")],
    )
    .await;
    admin
        .batch_execute("INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 20000) i; INSERT INTO t VALUES (20001)")
        .await
        .unwrap();
    let memory = Memory::default();
    let mut seen = Vec::new();
    let mut kills = 0;
    while seen.len() < 20_001 {
        let mut stream = Stream::start(&database.url(), &target, &memory);
        // A few batches, never confirmed: the server sends all of it again.
        for _ in 0..5 {
            if seen.len() < 20_001 {
                let batch = stream.next(false).await;
                assert!(batch.len() <= 512, "a batch of {}", batch.len());
                seen.extend(batch.iter().map(id));
            }
        }
        assert_eq!(stream.gaps, Vec::<&str>::new());
        kills += 1;
    }
    assert!(kills > 5, "{kills} kills");
    assert_eq!(seen, (1..=20_001).collect::<Vec<i64>>());
}

/// Writers beside each other, some of which roll back; the reader dies at random and confirms at random.
#[tokio::test]
async fn kills_at_random_under_concurrent_writers() {
    let (database, admin, target) = installed(
        "CREATE TABLE t (id serial PRIMARY KEY, writer int, n int)",
        vec![WatchSpec::new("t", "public", "t")],
    )
    .await;
    let mut writers = Vec::new();
    for writer in 0..4_i32 {
        let client = database.client().await.unwrap();
        writers.push(tokio::spawn(async move {
            for n in 0..150_i32 {
                let end = if n % 7 == 0 { "ROLLBACK" } else { "COMMIT" };
                let sql = format!(
                    "BEGIN; INSERT INTO t (writer, n) VALUES ({writer}, {n}); SAVEPOINT s; INSERT INTO t (writer, n) VALUES (-1, 0);
                     ROLLBACK TO s; INSERT INTO t (writer, n) VALUES ({writer}, {n} + 1000); {end}"
                );
                client.batch_execute(&sql).await.unwrap();
            }
        }));
    }
    let expected: usize = 4 * 2 * (0..150).filter(|n| n % 7 != 0).count();
    let memory = Memory::default();
    let mut seen = Vec::new();
    let mut round = 0_usize;
    while seen.len() < expected {
        round += 1;
        let mut stream = Stream::start(&database.url(), &target, &memory);
        for step in 0..=round % 9 {
            if seen.len() < expected {
                seen.extend(stream.next((round + step).is_multiple_of(3)).await.iter().map(id));
            }
        }
        assert_eq!(stream.gaps, Vec::<&str>::new());
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let rows = admin
        .query("SELECT id::bigint, writer FROM t", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), expected);
    let mut committed: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    committed.sort_unstable();
    assert_eq!(sorted, committed);
    // Each writer's rows in its order.
    for writer in 0..4_i32 {
        let own: Vec<i64> = rows
            .iter()
            .filter(|row| row.get::<_, i32>(1) == writer)
            .map(|row| row.get(0))
            .collect();
        let order: Vec<i64> = seen.iter().copied().filter(|id| own.contains(id)).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}

/// Another slot of the same name begins behind what was taken: something may be missing.
#[tokio::test]
async fn a_slot_that_was_made_anew_is_a_gap() {
    let (database, admin, target) = installed(
        "CREATE TABLE t (id int PRIMARY KEY)",
        vec![WatchSpec::new("t", "public", "t")],
    )
    .await;
    let memory = Memory::default();
    admin.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    let mut stream = Stream::start(&database.url(), &target, &memory);
    assert_eq!(stream.changes(1).await.len(), 1);
    drop(stream);
    let free = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{}' AND NOT active",
        target.slot
    );
    pregon_testkit::eventually(crate::kit::PATIENCE, || async {
        let dropped = admin.query(&free, &[]).await?;
        anyhow::ensure!(dropped.len() == 1, "still active");
        Ok(())
    })
    .await
    .unwrap();
    admin.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    install(&admin, &target).await.unwrap();
    admin.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    let mut stream = Stream::start(&database.url(), &target, &memory);
    assert_eq!(stream.next(true).await.iter().map(id).collect::<Vec<_>>(), [3]);
    assert_eq!(stream.gaps.len(), 1);
}

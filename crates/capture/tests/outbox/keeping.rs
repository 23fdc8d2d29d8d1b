//! How long rows stay, and that the table stays within its limit, with a gateway and without.

use std::time::Duration;

use pregon_capture::outbox::{Item, OutboxOptions};
use pregon_testkit::eventually;
use tokio_postgres::Client;

use crate::kit::{ALL, SOON, Session, database, options, watch_of};

const TABLE: &str = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)";

async fn rows(client: &Client) -> i64 {
    let row = client.query_one("SELECT count(*) FROM pregon.outbox", &[]).await;
    row.unwrap().get(0)
}

async fn becomes(client: &Client, holds: impl Fn(i64) -> bool) {
    let settled = eventually(SOON, || async {
        let count = rows(client).await;
        anyhow::ensure!(holds(count), "{count} rows");
        Ok(())
    });
    settled.await.unwrap();
}

#[tokio::test]
async fn read_rows_go_after_a_while_and_whoever_is_behind_them_has_a_gap() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let old = OutboxOptions {
        retention: Duration::from_millis(300),
        ..options(&database.url(), &["t"])
    };
    let mut session = Session::start(old, None).await;
    let behind = session.place();
    writer
        .batch_execute("INSERT INTO t (body) SELECT 'x' FROM generate_series(1, 12000)")
        .await
        .unwrap();
    for _ in 0..12_000 {
        session.next().await;
    }
    becomes(&writer, |count| count == 0).await;
    let here = session.place();
    writer
        .batch_execute("INSERT INTO t (body) VALUES ('y')")
        .await
        .unwrap();
    session.next().await;
    session.stop().await;
    let second = Session::start(options(&database.url(), &["t"]), Some(behind)).await;
    assert!(second.begun.lost, "what it has not read is deleted");
    second.stop().await;
    let mut third = Session::start(options(&database.url(), &["t"]), Some(here)).await;
    assert!(!third.begun.lost);
    assert_eq!(third.next().await.0, 12_001);
}

#[tokio::test]
async fn unread_rows_stay_however_old_and_too_many_read_ones_go() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let small = OutboxOptions {
        kept: 4 << 20,
        ..options(&database.url(), &["t"])
    };
    let mut session = Session::start(small, None).await;
    for _ in 0..10 {
        writer
            .batch_execute("INSERT INTO t (body) SELECT repeat('x', 2000) FROM generate_series(1, 1000)")
            .await
            .unwrap();
        for _ in 0..1000 {
            session.next().await;
        }
    }
    // 20 MB were read, 4 may stay.
    becomes(&writer, |count| (500..4000).contains(&count)).await;
    let report = session
        .reported(|report| report.rows > 0 && report.bytes < 10 << 20)
        .await;
    assert!(report.rows < 4500, "{report:?}");
}

/// Nobody reads and nobody deletes: the writers themselves keep the outbox within its limit.
#[tokio::test]
async fn without_a_gateway_the_oldest_rows_go_and_that_becomes_a_gap() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let place = {
        let session = Session::start(options(&database.url(), &["t"]), None).await;
        let place = session.place();
        session.stop().await;
        place
    };
    writer
        .batch_execute("UPDATE pregon.bell SET alive = now() - interval '2 minutes', most = 4000000")
        .await
        .unwrap();
    for _ in 0..60 {
        writer
            .batch_execute(
                "INSERT INTO t (body) SELECT repeat(md5(g::text), 60) FROM generate_series(1, 300) g",
            )
            .await
            .unwrap();
    }
    // 34 MB were written.
    let bytes: i64 = writer
        .query_one(
            "SELECT sum(100 + pg_column_size(row))::bigint FROM pregon.outbox",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert!((100_000..8_000_000).contains(&bytes), "{bytes} bytes");
    let mut session = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(session.begun.lost);
    let mut last = 0;
    let newest: i32 = writer
        .query_one("SELECT max(id) FROM t", &[])
        .await
        .unwrap()
        .get(0);
    while last < i64::from(newest) {
        // Said at the beginning already: no row says it again.
        let Item::Change(change) = session.next().await.1 else {
            panic!()
        };
        let row: serde_json::Value = serde_json::from_slice(&change.row.unwrap()).unwrap();
        assert!(row["id"].as_i64().unwrap() > last);
        last = row["id"].as_i64().unwrap();
    }
}

/// Row by row, as most applications write.
#[tokio::test]
async fn single_writes_keep_it_within_its_limit_too() {
    let (_database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    writer
        .batch_execute(
            "UPDATE pregon.bell SET alive = now() - interval '2 minutes', most = 100000;
             DO $$ BEGIN FOR i IN 1..6000 LOOP INSERT INTO t (body) VALUES ('x'); END LOOP; END $$",
        )
        .await
        .unwrap();
    let count = rows(&writer).await;
    assert!((100..4000).contains(&count), "{count}");
}

/// While a transaction stays open nothing goes on; the limit holds all the same, and what went is said at once.
#[tokio::test]
async fn a_stalled_gateway_lets_the_oldest_go_and_says_so() {
    let (database, blocker) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let small = OutboxOptions {
        most: 4 << 20,
        ..options(&database.url(), &["t"])
    };
    let mut session = Session::start(small, None).await;
    session.reported(|report| report.rows == 0).await;
    blocker
        .batch_execute("BEGIN; INSERT INTO t (body) VALUES ('first')")
        .await
        .unwrap();
    for _ in 0..15 {
        database
            .execute("INSERT INTO t (body) SELECT repeat(md5(g::text), 60) FROM generate_series(1, 1000) g")
            .await
            .unwrap();
    }
    let (_, item) = session.next().await;
    assert!(matches!(item, Item::Dropped { .. }), "{item:?}");
    blocker.batch_execute("COMMIT").await.unwrap();
    loop {
        if let Item::Change(change) = session.next().await.1
            && String::from_utf8_lossy(&change.row.unwrap()).starts_with(r#"{"id":15001,"#)
        {
            break;
        }
    }
}

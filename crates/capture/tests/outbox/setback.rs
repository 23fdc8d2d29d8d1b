//! A sequence that gives ids again which the reader has passed: what got them is told as missing, never passed over.

use std::sync::Arc;
use std::time::Duration;

use pregon_capture::outbox::{self, Item, OutboxError, OutboxOptions, Place};
use pregon_testkit::eventually;
use pregon_testkit::postgres::Database;
use tokio_postgres::Client;

use crate::kit::{ALL, SOON, Session, database, options, watch_of};

const TABLE: &str = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)";
/// Behind everything; and so that what is written after it goes beyond the place again.
const BACK: [&str; 2] = [
    "SELECT setval('pregon.outbox_id_seq', 10); INSERT INTO t (body) SELECT 'y' FROM generate_series(1, 5)",
    "SELECT setval('pregon.outbox_id_seq', 10); INSERT INTO t (body) SELECT 'y' FROM generate_series(1, 100)",
];

fn forgetful(database: &Database<'_>) -> OutboxOptions {
    OutboxOptions {
        retention: Duration::ZERO,
        ..options(&database.url(), &["t"])
    }
}

async fn emptied(writer: &Client) {
    eventually(SOON, || async {
        let left: i64 = writer
            .query_one("SELECT count(*) FROM pregon.outbox", &[])
            .await?
            .get(0);
        anyhow::ensure!(left == 0, "{left} rows");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_sequence_set_back_behind_a_reader_is_told() {
    for back in BACK {
        let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
        let mut session = Session::that_has_read(&writer, forgetful(&database), 40).await;
        emptied(&writer).await;
        let place = session.place();
        writer.batch_execute(back).await.unwrap();
        // The reader may meet the other row of its place before the clerk counts.
        loop {
            match session.next_or_end().await {
                Ok((_, Item::Missed { .. })) => break,
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error, OutboxError::Replaced), "{error}");
                    assert!(lost(&database, place).await, "{back}");
                    session = Session::start(forgetful(&database), None).await;
                    break;
                }
            }
        }
        writer
            .batch_execute("INSERT INTO t (body) VALUES ('z')")
            .await
            .unwrap();
        loop {
            if let Item::Change(change) = session.next().await.1
                && change.row.is_some_and(|row| row.ends_with(br#""z"}"#))
            {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_sequence_set_back_while_nobody_reads_is_told_by_the_next_reader() {
    for back in BACK {
        let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
        let session = Session::that_has_read(&writer, forgetful(&database), 40).await;
        emptied(&writer).await;
        let place = session.place();
        session.stop().await;
        writer.batch_execute(back).await.unwrap();
        assert!(lost(&database, place).await, "{back}");
    }
}

async fn lost(database: &Database<'_>, place: Place) -> bool {
    let (mut reader, _) = outbox::attach(Arc::new(forgetful(database)), &|| {})
        .await
        .unwrap();
    reader.begin(Some(place), Some(0)).await.unwrap().lost
}

/// Rows that somebody deletes by hand leave no trace but the one on which the place stands.
#[tokio::test]
async fn rows_deleted_by_hand_are_noticed_by_the_row_of_the_place() {
    for more in ["", BACK[1]] {
        let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
        let session = Session::that_has_read(&writer, options(&database.url(), &["t"]), 40).await;
        let place = session.place();
        writer
            .batch_execute(&format!("DELETE FROM pregon.outbox; {more}"))
            .await
            .unwrap();
        assert!(matches!(session.ended().await, OutboxError::Replaced), "{more}");
        assert!(lost(&database, place).await, "{more}");
    }
}

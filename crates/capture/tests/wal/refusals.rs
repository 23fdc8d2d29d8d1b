//! What a server or a database must not do to the stream: limits of time, changes that cannot be sent, rights that are missing.

use pregon_capture::install::WatchSpec;
use pregon_capture::listen::Captured;
use pregon_testkit::{Database, Server, postgres};
use tokio_postgres::Client;

use crate::kit::{Memory, Stream, install, installed, target, target_of};

fn watch() -> WatchSpec {
    WatchSpec::new("t", "public", "t")
}

/// Ids of the rows up to `last`, and the watches of rows that could not be shown.
async fn until(stream: &mut Stream, last: i64) -> (Vec<i64>, usize) {
    let (mut ids, mut unshown) = (Vec::new(), 0);
    while ids.last() != Some(&last) {
        for captured in stream.next(true).await {
            match captured {
                Captured::Change(change) => {
                    let row: serde_json::Value = serde_json::from_slice(&change.row.unwrap()).unwrap();
                    ids.push(row["id"].as_i64().unwrap());
                }
                Captured::RenderError { .. } => unshown += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    (ids, unshown)
}

/// Whatever the database has as its defaults: a large transaction is read to its end, on the first connection.
#[tokio::test]
async fn defaults_of_a_database_do_not_end_the_stream() {
    let (database, admin, target) =
        installed("CREATE TABLE t (id int PRIMARY KEY, a text)", vec![watch()]).await;
    let name = database.name();
    for (setting, value) in [
        ("transaction_timeout", "200ms"),
        ("idle_session_timeout", "200ms"),
        ("idle_in_transaction_session_timeout", "200ms"),
        ("lock_timeout", "200ms"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
        ("datestyle", "German"),
        ("search_path", "nirgends"),
    ] {
        let known = "SELECT count(*) FROM pg_settings WHERE name = lower($1)";
        if admin
            .query_one(known, &[&setting])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 1
        {
            let set = format!("ALTER DATABASE {name} SET {setting} = '{value}'");
            admin.batch_execute(&set).await.unwrap();
        }
    }
    admin
        .batch_execute("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 100000) AS i")
        .await
        .unwrap();
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    let (ids, unshown) = until(&mut stream, 100_000).await;
    assert_eq!((ids.len(), unshown), (100_000, 0));
    assert_eq!(stream.losses, Vec::<String>::new());
}

/// The server cannot send more than a gigabyte of text: the rest of that transaction is a gap, and the stream goes on.
#[tokio::test]
async fn a_row_that_cannot_be_sent_is_a_gap_and_no_end() {
    let (database, admin, target) =
        installed("CREATE TABLE t (id int PRIMARY KEY, a bytea)", vec![watch()]).await;
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    admin.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(until(&mut stream, 1).await.0, [1]);
    admin
        .batch_execute(
            "BEGIN; INSERT INTO t VALUES (2); INSERT INTO t VALUES (3, repeat('x', 560000000)::bytea); INSERT INTO t VALUES (4); COMMIT;
             INSERT INTO t VALUES (5)",
        )
        .await
        .unwrap();
    let (ids, _) = until(&mut stream, 5).await;
    assert_eq!(ids, [2, 5]);
    assert_eq!(stream.gaps.len(), 1, "{:?}", stream.gaps);
    assert!(stream.gaps[0].contains("cannot send"), "{:?}", stream.gaps);
    assert!(
        stream
            .losses
            .iter()
            .all(|reason| reason.contains("cannot send a change")),
        "{:?}",
        stream.losses
    );
}

const ENCODED: &str = "encoded";

/// A server of its own with a database in this encoding, which has the table `t`.
async fn encoded(encoding: &str) -> (Server, Client) {
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let admin = server.admin("postgres").await.unwrap();
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {ENCODED} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ))
        .await
        .unwrap();
    let admin = server.admin(ENCODED).await.unwrap();
    admin
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
        .await
        .unwrap();
    (server, admin)
}

/// A database without an encoding keeps any bytes: one such row is a gap, and those around it in its transaction arrive.
#[tokio::test]
async fn a_row_that_is_not_utf8_is_a_gap_by_itself_where_the_database_has_no_encoding() {
    let (server, admin) = encoded("SQL_ASCII").await;
    for condition in [None, Some("a <> ''".to_owned())] {
        let spec = WatchSpec { condition, ..watch() };
        let target = target_of("pregon_bytes", vec![spec]);
        install(&admin, &target).await.unwrap();
        let mut stream = Stream::start(&server.url_for("postgres", ENCODED), &target, &Memory::default());
        admin
            .batch_execute(
                "BEGIN; INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, convert_from('\\x81'::bytea, 'SQL_ASCII'));
                 INSERT INTO t VALUES (3, 'ñ'); COMMIT; INSERT INTO t VALUES (4, 'b')",
            )
            .await
            .unwrap();
        assert_eq!(until(&mut stream, 4).await, (vec![1, 3, 4], 1));
        assert!(
            stream.losses.is_empty() && stream.gaps.is_empty(),
            "{:?}",
            stream.losses
        );
        drop(stream);
        admin.batch_execute("TRUNCATE t").await.unwrap();
        let free = "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'pregon_bytes' AND NOT active";
        pregon_testkit::eventually(crate::kit::PATIENCE, || async {
            anyhow::ensure!(!admin.query(free, &[]).await?.is_empty(), "active");
            Ok(())
        })
        .await
        .unwrap();
        install(
            &admin,
            &pregon_capture::install::Target {
                mode: pregon_capture::install::Mode::Notify,
                watches: vec![],
                ..target
            },
        )
        .await
        .unwrap();
    }
}

/// A character of another encoding that UTF-8 has no place for ends the stream: the rest of that transaction is a gap.
#[tokio::test]
async fn a_character_without_a_place_in_utf8_is_a_gap_and_no_end() {
    let (server, admin) = encoded("WIN1252").await;
    let target = target_of("pregon_ventanas", vec![watch()]);
    install(&admin, &target).await.unwrap();
    let mut stream = Stream::start(&server.url_for("postgres", ENCODED), &target, &Memory::default());
    for row in ["1, 'ñ'", "2, convert_from('\\x81'::bytea, 'WIN1252')", "3, 'ü'"] {
        let insert = format!("INSERT INTO t VALUES ({row})");
        admin.batch_execute(&insert).await.unwrap();
    }
    let (ids, _) = until(&mut stream, 3).await;
    assert_eq!(ids, [1, 3]);
    assert_eq!(stream.gaps.len(), 1, "{:?}", stream.gaps);
}

/// 42501 has several causes, and each is named.
#[tokio::test]
async fn a_right_that_is_missing_is_named_as_what_it_is() {
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE lector LOGIN REPLICATION; CREATE ROLE nadie LOGIN;
             REVOKE EXECUTE ON FUNCTION pg_current_wal_flush_lsn() FROM PUBLIC",
        )
        .await
        .unwrap();
    let target = target(&database, vec![watch()]);
    install(&admin, &target).await.unwrap();
    for (role, remedy) in [
        ("nadie", "ALTER ROLE"),
        ("lector", "grant the role what the message names"),
    ] {
        let mut stream = Stream::start(&database.url_as(role), &target, &Memory::default());
        let refused = tokio::time::timeout(std::time::Duration::from_millis(1500), stream.next(false)).await;
        assert!(refused.is_err());
        assert!(
            stream.losses.iter().any(|reason| reason.contains(remedy)),
            "{:?}",
            stream.losses
        );
    }
}

/// A column that the watch names and that is renamed is no column that is missing in silence.
#[tokio::test]
async fn a_column_of_the_watch_that_is_renamed_is_a_gap() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
        .await
        .unwrap();
    let spec = WatchSpec {
        columns: Some(vec!["id".into(), "a".into()]),
        ..watch()
    };
    let target = target(&database, vec![spec]);
    install(&admin, &target).await.unwrap();
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    admin
        .batch_execute(
            "INSERT INTO t VALUES (1, 'x'); ALTER TABLE t RENAME a TO b; INSERT INTO t VALUES (2, 'y'); ALTER TABLE t RENAME b TO a;
             INSERT INTO t VALUES (3, 'z')",
        )
        .await
        .unwrap();
    assert_eq!(until(&mut stream, 3).await, (vec![1, 3], 1));
}

//! Outboxes that are copies: of the data alone, of a whole database, of an earlier moment; and a table that somebody empties.

use pregon_capture::outbox::{Item, OutboxError};
use pregon_testkit::postgres::{Database, Options, Server, shared};

use crate::kit::{ALL, Session, database, install, options, target, watch_of};

const TABLE: &str = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)";

/// As a subscription FOR ALL TABLES leaves it: rows with their ids, and the sequence at its beginning.
async fn copied_rows(writer: &tokio_postgres::Client) {
    writer
        .batch_execute(
            "INSERT INTO pregon.outbox (id, watch, op, row) OVERRIDING SYSTEM VALUE
             SELECT g, 't', 'I', '{\"id\":0}' FROM generate_series(1, 50) AS g;
             SELECT setval('pregon.outbox_id_seq', 1, false)",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn copied_rows_with_a_sequence_at_its_beginning_are_in_nobodys_way() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    copied_rows(&writer).await;
    // Before any gateway: one row, many of a statement, and rows one by one.
    writer
        .batch_execute(
            "INSERT INTO t (body) VALUES ('x'); INSERT INTO t (body) SELECT 'x' FROM generate_series(1, 99);
             UPDATE t SET body = 'y'",
        )
        .await
        .unwrap();
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    let mut last = 0;
    for _ in 0..250 {
        let (id, item) = session.next().await;
        assert!(id > last && matches!(item, Item::Change(_)), "{item:?}");
        last = id;
    }
}

#[tokio::test]
async fn a_gateway_mends_the_sequence_before_a_write_meets_it() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    copied_rows(&writer).await;
    let session = Session::start(options(&database.url(), &["t"]), None).await;
    let next: i64 = writer
        .query_one("SELECT nextval('pregon.outbox_id_seq')", &[])
        .await
        .unwrap()
        .get(0);
    assert!(next > 50, "{next}");
    session.stop().await;
}

/// Truncated with its sequence, it would give the ids of before to other rows.
#[tokio::test]
async fn emptying_the_outbox_under_a_reader_is_noticed() {
    for truncate in [
        "TRUNCATE pregon.outbox RESTART IDENTITY",
        "TRUNCATE pregon.outbox",
    ] {
        let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
        let session = Session::that_has_read(&writer, options(&database.url(), &["t"]), 40).await;
        let place = session.place();
        writer
            .batch_execute(&format!("{truncate}; INSERT INTO t (body) VALUES ('y')"))
            .await
            .unwrap();
        assert!(matches!(session.ended().await, OutboxError::Replaced));
        let mut again = Session::start(options(&database.url(), &["t"]), Some(place)).await;
        assert!(again.begun.lost, "{truncate}");
        writer
            .batch_execute("INSERT INTO t (body) VALUES ('z')")
            .await
            .unwrap();
        while !again.change().await.1.contains("\"z\"") {}
    }
}

/// The row of the place has another time: what the database has now is not what it had.
#[tokio::test]
async fn a_place_knows_the_row_that_it_stands_on() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    writer
        .batch_execute("INSERT INTO t (body) VALUES ('a'), ('b')")
        .await
        .unwrap();
    session.next().await;
    session.next().await;
    let place = session.place();
    assert!(place.at > 0);
    session.stop().await;
    let same = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(!same.begun.lost);
    same.stop().await;
    // As after a crash that took back what was committed asynchronously: the same ids, given again.
    writer
        .batch_execute(
            "DELETE FROM pregon.outbox WHERE id >= 2; SELECT setval('pregon.outbox_id_seq', 1);
             UPDATE pregon.cursor SET position = 1; INSERT INTO t (body) VALUES ('c'), ('d')",
        )
        .await
        .unwrap();
    let other = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(other.begun.lost);
    assert_ne!(other.begun.place.epoch, place.epoch);
    other.stop().await;
    // Gone and not replaced.
    writer
        .batch_execute(&format!("DELETE FROM pregon.outbox WHERE id = {}", place.upto))
        .await
        .unwrap();
    let now = pregon_capture::outbox::Place {
        epoch: other_epoch(&database).await,
        ..place
    };
    let gone = Session::start(options(&database.url(), &["t"]), Some(now)).await;
    assert!(gone.begun.lost);
}

async fn other_epoch(database: &Database<'_>) -> u64 {
    let session = Session::start(options(&database.url(), &["t"]), None).await;
    let epoch = session.begun.place.epoch;
    session.stop().await;
    epoch
}

/// A dump under the same name on the same server brings the epoch of its outbox with it.
#[tokio::test]
async fn a_restored_dump_is_another_outbox() {
    let database = Database::create(shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    install(&admin, &target(vec![watch_of("t", "t", &ALL)])).await;
    admin
        .batch_execute("INSERT INTO t (body) VALUES ('x')")
        .await
        .unwrap();
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    session.next().await;
    let place = session.place();
    session.stop().await;
    let program = database.server().binaries().program("pg_dump");
    // The servers of npm come without it; the installed one, on which every suite runs first, has it.
    if !program.exists() && std::env::var_os("PREGON_PG_BIN").is_some() {
        println!("skipped: this PostgreSQL comes without pg_dump");
        return;
    }
    let dump = std::process::Command::new(program)
        .arg("--inserts")
        .arg("--dbname")
        .arg(database.url())
        .output()
        .unwrap();
    assert!(dump.status.success());
    let file = tempfile::NamedTempFile::new().unwrap();
    // What follows a backslash is for psql.
    let dump = String::from_utf8(dump.stdout).unwrap();
    let sql: Vec<&str> = dump.lines().filter(|line| !line.starts_with('\\')).collect();
    std::fs::write(file.path(), sql.join("\n")).unwrap();
    admin
        .batch_execute("DROP SCHEMA pregon CASCADE; DROP TABLE t")
        .await
        .unwrap();
    database.execute_file(file.path()).await.unwrap();
    let restored = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(restored.begun.lost);
    assert_ne!(restored.begun.place.epoch, place.epoch);
}

/// A crash takes back what was committed without waiting for the disk, and the sequence with it.
#[tokio::test]
async fn commits_that_a_crash_took_back_become_a_gap() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let url = server.url_for("postgres", "postgres");
    {
        let admin = server.admin("postgres").await.unwrap();
        admin.batch_execute(TABLE).await.unwrap();
        install(&admin, &target(vec![watch_of("t", "t", &ALL)])).await;
        admin
            .batch_execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            .await
            .unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }
    let mut session = Session::start(options(&url, &["t"]), None).await;
    let writer = server.admin("postgres").await.unwrap();
    writer
        .batch_execute("SET synchronous_commit = off")
        .await
        .unwrap();
    for body in ["a", "b"] {
        let insert = format!("INSERT INTO t (body) VALUES ('{body}')");
        writer.batch_execute(&insert).await.unwrap();
    }
    session.next().await;
    session.next().await;
    let place = session.place();
    session.kill();
    server.kill9().await.unwrap();
    server.restart().await.unwrap();
    let writer = server.admin("postgres").await.unwrap();
    let kept: i64 = writer
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .unwrap()
        .get(0);
    writer
        .batch_execute("INSERT INTO t (body) SELECT 'c' FROM generate_series(1, 60)")
        .await
        .unwrap();
    let again = Session::start(options(&url, &["t"]), Some(place)).await;
    assert_eq!(again.begun.lost, kept < 2, "{kept} rows were kept");
}

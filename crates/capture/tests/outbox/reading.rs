//! Order and places: open transactions, rollbacks, restarts, a lost database, a second reader.

use std::time::{Duration, Instant};

use pregon_capture::outbox::{Item, OutboxError, Place};
use pregon_testkit::postgres::{Database, Options, Server};
use pregon_testkit::{Proxy, eventually};

use crate::kit::{ALL, SOON, Session, database, install, options, target, watch_of};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)";

fn row(id: i32) -> (&'static str, String) {
    ("insert", format!(r#"{{"id":{id}}}"#))
}

#[tokio::test]
async fn a_row_waits_for_the_transaction_that_wrote_before_it() {
    let (database, first) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let second = database.client().await.unwrap();
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    first
        .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    second.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), session.change()).await;
    assert!(early.is_err(), "{early:?}");
    first.batch_execute("COMMIT").await.unwrap();
    assert_eq!(session.change().await, row(1));
    assert_eq!(session.change().await, row(2));
}

/// An unrelated transaction holds nothing back, neither here nor in another database; nor do rollbacks.
#[tokio::test]
async fn who_has_not_written_here_holds_nothing_back() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let stranger = Database::create(database.server()).await.unwrap();
    let elsewhere = stranger.client().await.unwrap();
    elsewhere
        .batch_execute("CREATE TABLE x (id int); BEGIN; INSERT INTO x VALUES (1)")
        .await
        .unwrap();
    let unrelated = database.client().await.unwrap();
    unrelated
        .batch_execute("BEGIN; INSERT INTO other VALUES (1)")
        .await
        .unwrap();
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    for id in 1..=5 {
        let sql = format!(
            "BEGIN; INSERT INTO t VALUES ({id}); ROLLBACK; BEGIN; INSERT INTO t VALUES ({id}); COMMIT"
        );
        writer.batch_execute(&sql).await.unwrap();
        let begun = Instant::now();
        assert_eq!(session.change().await, row(id));
        assert!(
            begun.elapsed() < Duration::from_millis(900),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn who_holds_delivery_back_is_named() {
    let (database, first) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    first
        .batch_execute("SET application_name = 'caja 7'; BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    database.execute("INSERT INTO t VALUES (2)").await.unwrap();
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    let report = session.reported(|report| report.stall.is_some()).await;
    let stall = report.stall.unwrap();
    assert!(stall.lasts >= Duration::from_secs(5));
    let told = stall.blockers[0].to_string();
    assert!(
        told.contains("caja 7") && told.contains("user postgres") && told.contains("open for"),
        "{told}"
    );
    first.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(session.change().await, row(2));
    session.reported(|report| report.stall.is_none()).await;
}

/// Two-phase commit: nothing before COMMIT PREPARED, and the writer may prepare although somebody waits to be woken.
#[tokio::test]
async fn a_prepared_transaction_is_waited_for() {
    let options_ = Options {
        max_prepared_transactions: 4,
        ..Options::default()
    };
    let server = Server::start(options_).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(TABLE).await.unwrap();
    install(&admin, &target(vec![watch_of("t", "t", &ALL)])).await;
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    admin
        .batch_execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'p'; INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), session.change()).await;
    assert!(early.is_err(), "{early:?}");
    admin.batch_execute("COMMIT PREPARED 'p'").await.unwrap();
    assert_eq!((session.change().await, session.change().await), (row(1), row(2)));
}

#[tokio::test]
async fn a_session_goes_on_where_the_log_is_and_without_a_log_where_the_last_one_was() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    // Before any gateway has read, everything since the installation counts.
    writer.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    let mut first = Session::start(options(&database.url(), &["t"]), None).await;
    assert_eq!(first.change().await, row(1));
    let place = first.place();
    writer
        .batch_execute("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    assert_eq!(first.change().await, row(2));
    first.stop().await;
    let mut second = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(!second.begun.lost);
    assert_eq!((second.change().await, second.change().await), (row(2), row(3)));
    second.stop().await;
    let third = Session::start(options(&database.url(), &["t"]), None).await;
    assert_eq!((third.begun.place.upto, third.begun.lost), (3, false));
}

#[tokio::test]
async fn another_history_is_a_loss() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    writer.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    let mut first = Session::start(options(&database.url(), &["t"]), None).await;
    assert_eq!(first.change().await, row(1));
    let place = first.place();
    first.stop().await;
    let later = Place { upto: 99, ..place };
    let second = Session::start(options(&database.url(), &["t"]), Some(later)).await;
    assert!(second.begun.lost, "the database is behind what the log has");
    assert_eq!(second.begun.place.upto, 1);
    assert_ne!(second.begun.place.epoch, place.epoch);
    second.stop().await;
    let third = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(third.begun.lost, "an epoch that is over");
    third.stop().await;
    // A table that was dropped by hand and made again counts from one.
    writer.batch_execute("DROP TABLE pregon.outbox").await.unwrap();
    install(&writer, &target(vec![watch_of("t", "t", &ALL)])).await;
    writer.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let mut fourth = Session::start(options(&database.url(), &["t"]), Some(place)).await;
    assert!(fourth.begun.lost);
    assert_eq!(fourth.change().await, row(2));
}

#[tokio::test]
async fn a_second_reader_waits_and_takes_over_from_one_that_was_killed() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let mut first = Session::start(options(&database.url(), &["t"]), None).await;
    let url = database.url();
    let waiting = tokio::spawn(async move { Session::start(options(&url, &["t"]), None).await });
    writer.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(first.change().await, row(1));
    assert!(!waiting.is_finished());
    first.kill();
    let mut second = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    writer.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    // Killed before it had saved its place, the first one's row comes again.
    let mut got = second.change().await;
    if got == row(1) {
        got = second.change().await;
    }
    assert_eq!(got, row(2));
}

/// A reader that vanished with its machine: the server frees its lock, and what it does later changes nothing.
#[tokio::test]
async fn a_reader_behind_a_dead_network_is_replaced_and_fenced() {
    if pregon_testkit::postgres::shared().await.binaries().major() < 14 {
        return; // It has no idle_session_timeout, and what stands between answers for the dead.
    }
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let proxy = Proxy::start(database.server().address()).await.unwrap();
    let through = database
        .server()
        .url_at(proxy.port(), "postgres", database.name());
    let first = Session::start(options(&through, &["t"]), None).await;
    proxy.black_hole(true);
    let begun = Instant::now();
    let mut second = Session::start(options(&database.url(), &["t"]), None).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    writer.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(second.change().await, row(1));
    proxy.black_hole(false);
    let ended = first.ended().await;
    assert!(
        matches!(
            ended,
            OutboxError::Lost(_) | OutboxError::Fenced | OutboxError::Silent(_)
        ),
        "{ended}"
    );
    writer.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(second.change().await, row(2));
}

/// Whoever is taken over finds out by the number, also where the lock would not tell.
#[tokio::test]
async fn a_newer_number_ends_the_session() {
    let (database, admin) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let session = Session::start(options(&database.url(), &["t"]), None).await;
    admin
        .batch_execute("UPDATE pregon.cursor SET reader = reader + 1; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let ended = session.ended().await;
    assert!(matches!(ended, OutboxError::Fenced), "{ended}");
}

#[tokio::test]
async fn without_an_outbox_the_error_says_what_to_do() {
    let database = Database::create(pregon_testkit::postgres::shared().await)
        .await
        .unwrap();
    let attached =
        pregon_capture::outbox::attach(std::sync::Arc::new(options(&database.url(), &[])), &|| {}).await;
    let error = attached.unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("pregon db apply"),
        "{error}"
    );
}

/// Rows of watches that another configuration has are passed over, and the place moves on.
#[tokio::test]
async fn foreign_watches_are_passed_over() {
    let watches = vec![watch_of("t", "t", &ALL), watch_of("o", "other", &ALL)];
    let (database, writer) = database(TABLE, watches).await;
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    writer
        .batch_execute("INSERT INTO other SELECT generate_series(1, 5000); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert_eq!(session.change().await, row(1));
    assert_eq!(session.place().upto, 5001);
}

/// A long transaction beside a busy one: what waits is bounded, and all of it comes in the end.
#[tokio::test]
async fn what_waits_is_bounded() {
    let (database, first) = database(
        "CREATE TABLE t (id int PRIMARY KEY, body text)",
        vec![watch_of("t", "t", &ALL)],
    )
    .await;
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    first
        .batch_execute("BEGIN; INSERT INTO t VALUES (0, '')")
        .await
        .unwrap();
    // 60 MB, several times what may wait in memory.
    database
        .execute("INSERT INTO t SELECT g, repeat(md5(g::text), 600) FROM generate_series(1, 3000) g")
        .await
        .unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), session.next()).await;
    assert!(early.is_err());
    first.batch_execute("COMMIT").await.unwrap();
    for id in 0..=3000 {
        let (_, row) = session.change().await;
        assert!(row.starts_with(&format!(r#"{{"id":{id},"#)), "{id}: {:.40}", row);
    }
}

/// A gap of very many rows is read in pieces.
#[tokio::test]
async fn a_large_transaction_that_commits_late_comes_whole_and_first() {
    let (database, first) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    first
        .batch_execute("BEGIN; INSERT INTO t SELECT generate_series(1, 30000)")
        .await
        .unwrap();
    database.execute("INSERT INTO t VALUES (30001)").await.unwrap();
    first.batch_execute("COMMIT").await.unwrap();
    for id in 1..=30_001 {
        assert_eq!(session.change().await, row(id));
    }
}

/// The gateway sleeps when nothing happens, is woken by a notification, and does not need one.
#[tokio::test]
async fn the_bell_wakes_and_a_missed_bell_costs_a_second() {
    let (database, writer) = database(TABLE, vec![watch_of("t", "t", &ALL)]).await;
    let mut session = Session::start(options(&database.url(), &["t"]), None).await;
    let asleep = || async {
        let row = writer.query_one("SELECT asleep FROM pregon.bell", &[]).await?;
        anyhow::ensure!(row.get::<_, bool>(0), "awake");
        anyhow::Ok(())
    };
    let mut quickest = Duration::MAX;
    for id in 1..=5 {
        eventually(SOON, asleep).await.unwrap();
        let begun = Instant::now();
        writer
            .batch_execute(&format!("INSERT INTO t VALUES ({id})"))
            .await
            .unwrap();
        assert_eq!(session.change().await, row(id));
        quickest = quickest.min(begun.elapsed());
    }
    assert!(quickest < Duration::from_millis(200), "{quickest:?}: nobody rang");
    // A snapshot from before it fell asleep does not see that it should ring.
    let late = database.client().await.unwrap();
    writer
        .batch_execute("UPDATE pregon.bell SET asleep = false")
        .await
        .unwrap();
    late.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t")
        .await
        .unwrap();
    writer
        .batch_execute("UPDATE pregon.bell SET asleep = true")
        .await
        .unwrap();
    late.batch_execute("INSERT INTO t VALUES (6); COMMIT")
        .await
        .unwrap();
    assert_eq!(session.change().await, row(6));
}

#[tokio::test]
async fn a_killed_server_is_no_loss() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let (name, place) = {
        let database = Database::create(&server).await.unwrap();
        let admin = database.client().await.unwrap();
        admin.batch_execute(TABLE).await.unwrap();
        install(&admin, &target(vec![watch_of("t", "t", &ALL)])).await;
        let mut session = Session::start(options(&database.url(), &["t"]), None).await;
        admin.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(session.change().await, row(1));
        let place = session.place();
        admin.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        session.kill();
        let name = database.name().to_owned();
        std::mem::forget(database);
        (name, place)
    };
    server.kill9().await.unwrap();
    server.restart().await.unwrap();
    let url = server.url_for("postgres", &name);
    let mut session = Session::start(options(&url, &["t"]), Some(place)).await;
    assert!(!session.begun.lost);
    assert_eq!(session.change().await, row(2));
    let Item::Change(change) = ({
        let client = pregon_testkit::postgres::connect(&url).await.unwrap();
        client.batch_execute("DELETE FROM t WHERE id = 1").await.unwrap();
        session.next().await.1
    }) else {
        panic!()
    };
    assert_eq!(change.op.as_str(), "delete");
}

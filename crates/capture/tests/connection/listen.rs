//! What arrives, and in which order.

use std::time::Duration;

use pregon_capture::change::Op;
use pregon_capture::listen::{Captured, ListenError, Listener, WatchTable};
use pregon_testkit::postgres::shared;
use pregon_testkit::{Database, eventually};
use tokio::sync::mpsc;

use crate::support::{PATIENCE, Running, listen_to, listeners, watch};

const STORED: &str = "CREATE SCHEMA pregon;
    CREATE TABLE pregon.stored (id bigint PRIMARY KEY, payload text, created timestamptz DEFAULT now());";

#[tokio::test]
async fn channel_names_are_taken_exactly_as_spelled() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let names = ["Foo", "with space", "quo\"te", "ñandú"];
    let mut running = Running::attached(listen_to(&database.url(), &names)?, 64).await?;
    // `NOTIFY Foo` is folded to foo, which nobody asked for.
    database.execute("NOTIFY Foo, 'folded'").await?;
    for name in names {
        database
            .client()
            .await?
            .execute("SELECT pg_notify($1, 'p')", &[&name])
            .await?;
        assert_eq!(running.notification().await?, (name.to_owned(), "p".to_owned()));
    }
    running.stop().await
}

#[tokio::test]
async fn a_name_that_postgres_would_cut_is_refused() -> anyhow::Result<()> {
    let (sink, _captured) = mpsc::channel(1);
    let long = "ñ".repeat(32);
    let options = listen_to("postgres://u@127.0.0.1/x", &[&long])?;
    assert_eq!(
        Listener::new(options, sink.clone()).unwrap_err(),
        ListenError::TooLong(long)
    );
    assert_eq!(
        Listener::new(listen_to("postgres://u@127.0.0.1/x", &[""])?, sink).unwrap_err(),
        ListenError::Empty
    );
    Ok(())
}

#[tokio::test]
async fn empty_and_null_payloads_are_empty() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let mut running = Running::attached(listen_to(&database.url(), &["c"])?, 16).await?;
    database.execute("NOTIFY c").await?;
    database.execute("SELECT pg_notify('c', NULL)").await?;
    database.execute("NOTIFY c, 'not { json'").await?;
    for expected in ["", "", "not { json"] {
        assert_eq!(running.notification().await?.1, expected);
    }
    running.stop().await
}

#[tokio::test]
async fn a_burst_of_100_000_arrives_whole_and_in_order() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let mut running = Running::attached(listen_to(&database.url(), &["c"])?, 100_000).await?;
    database
        .execute("SELECT pg_notify('c', n::text) FROM generate_series(1, 100000) AS n")
        .await?;
    for n in 1..=100_000_u64 {
        match running.next().await? {
            Captured::Notification { payload, seq, .. } => {
                assert_eq!(payload, n.to_string());
                assert_eq!(seq, n);
            }
            other => panic!("{other:?}"),
        }
    }
    running.stop().await
}

#[tokio::test]
async fn a_full_sink_drops_and_says_how_many_while_the_queue_drains() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let mut running = Running::attached(listen_to(&database.url(), &["c"])?, 10).await?;
    database
        .execute("SELECT pg_notify('c', n::text || repeat('x', 5000)) FROM generate_series(1, 20000) AS n")
        .await?;
    let client = database.client().await?;
    // Nobody takes anything, and the server's queue empties all the same.
    eventually(PATIENCE, || async {
        let used: f64 = client
            .query_one("SELECT pg_notification_queue_usage()", &[])
            .await
            .unwrap()
            .get(0);
        (used == 0.0).then_some(()).ok_or(used)
    })
    .await?;
    database.execute("NOTIFY c, 'last'").await?;
    let (mut taken, mut dropped) = (0, 0);
    loop {
        match running.next().await? {
            Captured::Notification { payload, .. } if payload == "last" => break,
            Captured::Notification { .. } => taken += 1,
            Captured::Overflow { dropped: more } => {
                dropped += more;
                // The last one may have met a full sink as well.
                if taken + dropped == 20_001 {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(dropped > 0 && taken + dropped >= 20_000, "{taken} + {dropped}");
    running.stop().await
}

#[tokio::test]
async fn a_big_row_is_read_by_its_key_and_keeps_its_place() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute(
            "CREATE TABLE notas (id bigint, parte text, texto text, PRIMARY KEY (id, parte));
             INSERT INTO notas VALUES (9007199254740993, 'a', repeat('x', 9000))",
        )
        .await?;
    let mut running = Running::attached(watch(&database, "notas", "notas")?, 64).await?;
    database
        .execute(
            r#"SELECT pg_notify('pregon', '{"w":"notas","s":1,"t":1,"op":"I","n":{"id":1}}');
               SELECT pg_notify('pregon', '{"w":"notas","s":2,"t":1,"op":"U","k":{"id":9007199254740993,"parte":"a"}}');
               SELECT pg_notify('pregon', '{"w":"notas","s":3,"t":1,"op":"U","k":{"id":5,"parte":"gone"}}');
               SELECT pg_notify('pregon', '{"w":"notas","s":4,"t":1,"op":"D","k":{"id":6,"parte":"x"}}');
               SELECT pg_notify('pregon', '{"w":"notas","s":5,"t":1,"op":"I","n":{"id":2}}');"#,
        )
        .await?;
    let small = running.change().await?;
    assert_eq!(
        (small.seq, small.fetched, small.row.unwrap()),
        (1, false, r#"{"id":1}"#.into())
    );
    let big = running.change().await?;
    assert!(big.fetched && big.op == Op::Update);
    let row: serde_json::Value = serde_json::from_slice(&big.row.unwrap())?;
    assert_eq!(row["texto"].as_str().unwrap().len(), 9000);
    assert_eq!(row["id"], 9_007_199_254_740_993_i64);
    // Neither the row that has gone nor the deleted one can be read: a key must not pass for a row.
    for _lost in 0..2 {
        assert!(matches!(running.next().await?, Captured::RenderError { .. }));
    }
    assert_eq!(running.change().await?.seq, 5);
    running.stop().await
}

#[tokio::test]
async fn only_the_chosen_columns_are_read() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute(
            r#"CREATE TABLE "T x" (id int, "Col" text, secret text); INSERT INTO "T x" VALUES (1, 'a', 's')"#,
        )
        .await?;
    let mut options = listen_to(&database.url(), &[])?;
    let columns = Some(vec!["Col".to_owned()]);
    options.watches.insert(
        "w".into(),
        WatchTable {
            schema: "public".into(),
            table: "T x".into(),
            columns,
            ..WatchTable::default()
        },
    );
    let mut running = Running::attached(options, 16).await?;
    database
        .execute(r#"SELECT pg_notify('pregon', '{"w":"w","s":1,"op":"I","k":{"id":1}}')"#)
        .await?;
    assert_eq!(running.change().await?.row.unwrap(), r#"{"Col":"a"}"#);
    running.stop().await
}

/// Any role may notify a key of its choice, and a row may have changed since its own was notified.
#[tokio::test]
async fn a_row_that_the_watch_excludes_is_never_read() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute(
            r#"CREATE TABLE "T x" (id int, estado varchar, nota text);
               INSERT INTO "T x" VALUES (1, 'abierto', 'a'), (2, 'cerrado', 'secreto'), (3, NULL, 'secreto');
               CREATE FUNCTION public.equal(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true';
               CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.equal)"#,
        )
        .await?;
    // Unqualified, qualified by the table, ended by a comment; and with an operator that only `public` has.
    let condition = r#""T x".estado = 'abierto'::varchar OR estado = 'nuevo' -- only those"#;
    let mut options = listen_to(&database.url(), &[])?;
    let table = WatchTable {
        schema: "public".into(),
        table: "T x".into(),
        columns: Some(vec!["nota".into()]),
        condition: Some(condition.into()),
    };
    options.watches.insert("w".into(), table);
    let mut running = Running::attached(options, 16).await?;
    for key in [
        r#"{"id":1}"#,
        r#"{"id":2}"#,
        r#"{"id":3}"#,
        r#"{"nota":"secreto"}"#,
    ] {
        database
            .execute(&format!(
                r#"SELECT pg_notify('pregon', '{{"w":"w","s":1,"op":"U","k":{key}}}')"#
            ))
            .await?;
    }
    assert_eq!(running.change().await?.row.unwrap(), r#"{"nota":"a"}"#);
    for _excluded in 0..3 {
        assert!(matches!(running.next().await?, Captured::RenderError { .. }));
    }
    running.stop().await
}

#[tokio::test]
async fn stored_payloads_publishes_and_errors_come_in_order() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database.execute(STORED).await?;
    let mut running = Running::attached(watch(&database, "w", "t")?, 16).await?;
    database
        .execute(
            r#"INSERT INTO pregon.stored VALUES (1, '{"c":"a","e":"big","s":1,"t":2,"d":[1]}');
               SELECT pg_notify('pregon', '{"s":1,"t":2,"ref":1}');
               SELECT pg_notify('pregon', '{"s":2,"t":2,"ref":99}');
               SELECT pg_notify('pregon', '{"c":"a","e":"x","s":3,"t":2,"d":null}');
               SELECT pg_notify('pregon', '{"w":"w","s":4,"t":2,"op":"I","err":"22P05 no"}');
               SELECT pg_notify('pregon', '{"w":"other","s":5,"t":2,"op":"I","n":{}}');
               SELECT pg_notify('pregon', 'rubbish');
               SELECT pg_notify('pregon', '{"w":"w","s":6,"t":2,"op":"T"}');"#,
        )
        .await?;
    assert!(
        matches!(running.next().await?, Captured::Published { event, data, .. } if event == "big" && data == "[1]")
    );
    assert_eq!(running.next().await?, Captured::Overflow { dropped: 1 });
    assert!(
        matches!(running.next().await?, Captured::Published { channel, data, .. } if channel == "a" && data == "null")
    );
    assert!(
        matches!(running.next().await?, Captured::RenderError { fault, .. } if fault.whole() == "22P05 no")
    );
    assert_eq!(running.change().await?.op, Op::Truncate);
    running.stop().await
}

#[tokio::test]
async fn a_slow_read_does_not_stop_the_reader() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await?;
    let mut running = Running::attached(watch(&database, "w", "t")?, 30_000).await?;
    let mut locker = database.client().await?;
    let lock = locker.transaction().await?;
    lock.batch_execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .await?;
    let client = database.client().await?;
    client
        .batch_execute(r#"SELECT pg_notify('pregon', '{"w":"w","s":0,"op":"I","k":{"id":1}}')"#)
        .await?;
    client
        .batch_execute(
            r#"SELECT pg_notify('pregon', '{"w":"w","s":' || n || ',"op":"I","n":{"x":"' || repeat('x', 5000) || '"}}')
               FROM generate_series(1, 5000) AS n"#,
        )
        .await?;
    eventually(PATIENCE, || async {
        let used: f64 = client
            .query_one("SELECT pg_notification_queue_usage()", &[])
            .await
            .unwrap()
            .get(0);
        used == 0.0
    })
    .await?;
    lock.commit().await?;
    for n in 0..=5000 {
        assert_eq!(running.change().await?.seq, n);
    }
    running.stop().await
}

#[tokio::test]
async fn stopping_closes_every_connection() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let running = Running::attached(listen_to(&database.url(), &["c"])?, 16).await?;
    assert_eq!(listeners(&database).await?, 1);
    running.stop().await?;
    eventually(PATIENCE, || async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pregon%'";
        let left: i64 = database.client().await?.query_one(sql, &[]).await?.get(0);
        anyhow::ensure!(left == 0, "{left} connections left");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_role_that_may_only_connect_can_listen_and_hears_at_once() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    let role = database.create_role("till").await?;
    let mut options = listen_to(&database.url_as(&role), &["c"])?;
    options.heartbeat = Duration::from_millis(100);
    let mut running = Running::attached(options, 16).await?;
    database.execute("NOTIFY c, 'x'").await?;
    assert_eq!(running.notification().await?.1, "x");
    running.stop().await
}

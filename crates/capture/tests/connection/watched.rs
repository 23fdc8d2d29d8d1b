//! The installed triggers and the listener together.

use pregon_capture::change::Op;
use pregon_capture::connect::Settings;
use pregon_capture::install::{self, Target, WatchSpec};
use pregon_capture::listen::{Captured, WatchTable};
use pregon_capture::publish::publish;
use pregon_capture::query::{Pool, PoolOptions};
use pregon_testkit::Database;
use pregon_testkit::postgres::{Options, Server, shared};
use serde_json::{Value, json};

use crate::support::{Running, listen_to, watch};

async fn apply(database: &Database<'_>, spec: WatchSpec) -> anyhow::Result<()> {
    let client = database.client().await?;
    let target = Target {
        watches: vec![spec],
        ..Target::default()
    };
    let plan = install::plan(&client, &target).await?;
    install::apply(&client, &plan, &mut |_| {}).await?;
    Ok(())
}

fn parsed(bytes: Option<bytes::Bytes>) -> Value {
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[tokio::test]
async fn changes_of_a_watched_table_arrive_big_rows_included() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database
        .execute("CREATE TABLE ventas (id int PRIMARY KEY, producto text)")
        .await?;
    apply(
        &database,
        WatchSpec {
            old: true,
            ..WatchSpec::new("ventas", "public", "ventas")
        },
    )
    .await?;
    let mut running = Running::attached(watch(&database, "ventas", "ventas")?, 64).await?;
    database
        .execute(
            "INSERT INTO ventas VALUES (1, 'pan'); UPDATE ventas SET producto = 'té'; \
             INSERT INTO ventas VALUES (2, repeat('ñ', 9000)); DELETE FROM ventas WHERE id = 1",
        )
        .await?;
    let insert = running.change().await?;
    assert_eq!(
        (insert.op, parsed(insert.row)),
        (Op::Insert, json!({"id": 1, "producto": "pan"}))
    );
    let update = running.change().await?;
    assert_eq!(parsed(update.row), json!({"id": 1, "producto": "té"}));
    assert_eq!(parsed(update.old), json!({"id": 1, "producto": "pan"}));
    let big = running.change().await?;
    assert!(big.fetched);
    assert_eq!(parsed(big.row), json!({"id": 2, "producto": "ñ".repeat(9000)}));
    let delete = running.change().await?;
    assert_eq!(
        (delete.op, parsed(delete.old)),
        (Op::Delete, json!({"id": 1, "producto": "té"}))
    );
    running.stop().await
}

#[tokio::test]
async fn publishes_arrive_whatever_their_size() -> anyhow::Result<()> {
    let database = Database::create(shared().await).await?;
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await?;
    apply(&database, WatchSpec::new("t", "public", "t")).await?;
    let mut running = Running::attached(watch(&database, "t", "t")?, 64).await?;
    let pool = Pool::new(PoolOptions::new(Settings::parse(&database.url())?));
    let big = json!({"text": "x".repeat(1_000_000)});
    for data in [json!({"a": [1, "ñ"]}), big, Value::Null, json!("text")] {
        publish(&pool, "c 1", "e", &data).await?;
        match running.next().await? {
            Captured::Published {
                channel,
                event,
                data: got,
                at,
                ..
            } => {
                assert_eq!((channel.as_str(), event.as_str()), ("c 1", "e"));
                assert_eq!(parsed(Some(got)), data);
                assert!(at.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
    running.stop().await
}

/// A row that is not UTF-8 costs no more than itself and, where it is small enough for a notification, the connection.
#[tokio::test]
async fn a_row_that_is_not_utf8_is_told_and_no_end() -> anyhow::Result<()> {
    let server = Server::start(Options::default()).await?;
    for encoding in ["SQL_ASCII", "WIN1252"] {
        let name = encoding.to_lowercase();
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        server.admin("postgres").await?.batch_execute(&create).await?;
        let client = server.admin(&name).await?;
        client
            .batch_execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
            .await?;
        let target = Target {
            watches: vec![WatchSpec {
                old: true,
                ..WatchSpec::new("t", "public", "t")
            }],
            ..Target::default()
        };
        let plan = install::plan(&client, &target).await?;
        install::apply(&client, &plan, &mut |_| {}).await?;
        let url = server.url_for("postgres", &name);
        let mut options = listen_to(&url, &[])?;
        let table = WatchTable {
            schema: "public".into(),
            table: "t".into(),
            ..WatchTable::default()
        };
        options.watches.insert("t".into(), table);
        let mut running = Running::attached(options, 64).await?;
        let bad = format!("convert_from('\\x81'::bytea, '{encoding}')");
        for (size, told) in [(9000, "a gap"), (1, "a lost connection")] {
            let big = format!("repeat('x', {size}) || {bad}");
            client
                .batch_execute(&format!(
                    "INSERT INTO t VALUES ({size}, 'x'); UPDATE t SET a = {big} WHERE id = {size}; DELETE FROM t WHERE id = {size}"
                ))
                .await?;
            assert_eq!(running.change().await?.op, Op::Insert);
            let next = running.next().await?;
            let is_told = match told {
                "a gap" => matches!(next, Captured::Overflow { .. } | Captured::RenderError { .. }),
                _ => matches!(next, Captured::Lost { .. }),
            };
            assert!(is_told, "{encoding}: {told}: {next:?}");
            if told == "a gap" {
                let next = running.next().await?;
                assert!(matches!(next, Captured::Overflow { .. }), "{encoding}: {next:?}");
            } else {
                running.attach().await?;
            }
            client
                .batch_execute(&format!("INSERT INTO t VALUES ({size}, 'x')"))
                .await?;
            assert_eq!(running.change().await?.op, Op::Insert, "{encoding}: {told}");
        }
        running.stop().await?;
    }
    Ok(())
}

/// The operators that compare such keys are not on our search path.
#[tokio::test]
async fn big_rows_with_keys_of_an_extension_arrive() -> anyhow::Result<()> {
    for (extension, key) in [("ltree", "a.b"), ("citext", "Uno"), ("cube", "(1, 2)")] {
        let database = Database::create(shared().await).await?;
        let client = database.client().await?;
        let available = "SELECT 1 FROM pg_available_extensions WHERE name = $1";
        if client.query(available, &[&extension]).await?.is_empty() {
            return Ok(());
        }
        database
            .execute(&format!(
                "CREATE SCHEMA ext; CREATE EXTENSION {extension} SCHEMA ext; CREATE TABLE t (k ext.{extension} PRIMARY KEY, a text)"
            ))
            .await?;
        apply(&database, WatchSpec::new("t", "public", "t")).await?;
        let mut running = Running::attached(watch(&database, "t", "t")?, 64).await?;
        database
            .execute(&format!("INSERT INTO t VALUES ('{key}', repeat('x', 9000))"))
            .await?;
        let big = running.change().await?;
        assert_eq!(parsed(big.row), json!({"k": key, "a": "x".repeat(9000)}));
        running.stop().await?;
    }
    Ok(())
}

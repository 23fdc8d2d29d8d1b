//! Whatever a database sets as its defaults, our sessions have what they need: they install, read, ask, and stay.

use std::process::Command;

use pregon_testkit::{Database, Node, WsClient, eventually, http, postgres};
use serde_json::json;

use crate::support::{SOON, binary, connect, node_on};

/// Each of them has made something of ours fail, end, or read otherwise.
const HOSTILE: [&str; 17] = [
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "lock_timeout = '1ms'",
    "statement_timeout = '1s'",
    "idle_in_transaction_session_timeout = '300ms'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "TimeZone = 'Asia/Tokyo'",
    "bytea_output = 'escape'",
    "extra_float_digits = 0",
    "search_path = 'nowhere'",
    "quote_all_identifiers = on",
    "row_security = off",
    "xmloption = 'document'",
    "synchronous_commit = off",
    "exit_on_error = on",
];

/// The same, by the version that knows them first.
const NEWER: [(u32, &str); 2] = [
    (14, "idle_session_timeout = '700ms'"),
    (17, "transaction_timeout = '1s'"),
];

#[tokio::test]
async fn hostile_defaults_change_nothing() {
    for capture in ["notify", "outbox"] {
        let database = Database::create(postgres::shared().await).await.unwrap();
        database
            .execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d interval, b bytea, f float8)")
            .await
            .unwrap();
        // Before the defaults change: a session keeps what it logged in with.
        let writer = database.client().await.unwrap();
        spoil(&database, &writer).await;
        let config = format!(
            "[postgres]\napply = \"auto\"\ncapture = \"{capture}\"\n[[channel]]\nname = \"t\"\n[[watch]]\ntable = \"t\"\n"
        );
        let node = node_on(&database, &config).await;
        let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
        client.subscribe("t").await.unwrap();
        for id in [1, 2] {
            let insert = format!(
                "INSERT INTO t VALUES ({id}, '2026-01-02 03:04:05+00', '1 day 2 hours', '\\x00ff', 0.1::float8 + 0.2::float8)"
            );
            writer.batch_execute(&insert).await.unwrap();
            let event = client.next_of_type("event", SOON).await.unwrap();
            let row = json!({
                "id": id, "at": "2026-01-02T03:04:05+00:00", "d": "1 day 02:00:00", "b": "\\x00ff", "f": 0.1 + 0.2
            });
            assert_eq!(event["data"], row, "{capture}");
            stays(&writer, &node, 0).await;
        }
        let said = plan(&database, &config);
        assert!(
            said.ends_with("-- nothing to do: the database is as the configuration wants it\n"),
            "{said}"
        );
    }
}

/// From now on new sessions begin with hostile defaults.
pub(crate) async fn spoil(database: &Database<'_>, admin: &tokio_postgres::Client) {
    let version = database.server().binaries().major();
    let newer = NEWER.iter().filter(|(since, _)| *since <= version);
    for setting in HOSTILE.iter().chain(newer.map(|(_, setting)| setting)) {
        let sql = format!("ALTER DATABASE \"{}\" SET {setting}", database.name());
        admin.batch_execute(&sql).await.unwrap();
    }
}

/// Objects that hide those of the catalogue from who has the schema before it, as compatibility packages do it.
const HIDING: [&str; 9] = [
    "pg_class",
    "pg_namespace",
    "pg_trigger",
    "pg_proc",
    "pg_publication",
    "pg_replication_slots",
    "pg_stat_activity",
    "pg_locks",
    "pg_roles",
];

/// Everything that asks the database, with a schema before the catalogue whose objects have the same names.
fn everything(capture: &str) -> String {
    format!(
        "[server]\napi_key = \"llave-de-prueba\"\n[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n\
         [postgres]\napply = \"auto\"\ncapture = \"{capture}\"\nheartbeat = \"300ms\"\n[[watch]]\ntable = \"t\"\n\
         where = \"id > 0\"\nold = true\n\
         [[route]]\nfrom = \"t\"\nto = \"t\"\nenrich = {{ sql = \"SELECT n.nombre FROM public.nombres n WHERE n.id = :id\" }}\n\
         [[listen]]\nchannel = \"avisos\"\n[[channel]]\nname = \"t\"\n[[channel]]\nname = \"avisos\"\n[[channel]]\nname = \"sala_{{id}}\"\n\
         allow_sql = \"SELECT true FROM public.nombres n WHERE n.id = :channel.id::int\"\n"
    )
}

#[tokio::test]
async fn hostile_defaults_that_come_later_change_nothing_for_whatever_asks_the_database() {
    for capture in ["notify", "outbox", "wal"] {
        let database = Database::create(postgres::shared().await).await.unwrap();
        let admin = database.client().await.unwrap();
        admin
            .batch_execute(
                "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d interval, b bytea, f float8, x xml, g int GENERATED ALWAYS AS (id * 2) STORED);
                 CREATE TABLE nombres (id int PRIMARY KEY, nombre text); INSERT INTO nombres VALUES (1, 'uno'), (2, 'dos'), (3, 'tres')",
            )
            .await
            .unwrap();
        let config = everything(capture);
        let node = node_on(&database, &config).await;
        let mut client = connect(&node, &json!({"sub": 1})).await;
        for channel in ["t", "avisos"] {
            client.subscribe(channel).await.unwrap();
        }
        tell(&admin, &mut client, 1).await;
        admin.batch_execute("CREATE SCHEMA delante").await.unwrap();
        for name in HIDING {
            let hide = format!("CREATE VIEW delante.{name} AS SELECT * FROM pg_catalog.{name} WHERE false");
            admin.batch_execute(&hide).await.unwrap();
        }
        spoil(&database, &admin).await;
        let path = format!(
            "ALTER DATABASE \"{}\" SET search_path = delante, pg_catalog",
            database.name()
        );
        admin.batch_execute(&path).await.unwrap();
        admin
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pregon%'",
            )
            .await
            .unwrap();
        back(&node, &admin, capture).await;
        let lost = losses(&node);
        tell(&admin, &mut client, 2).await;
        client.subscribe("sala_2").await.unwrap();
        let refused = client
            .request(json!({"type": "subscribe", "channel": "sala_9"}))
            .await;
        assert!(
            format!("{refused:?}").contains("forbidden"),
            "{capture}: {refused:?}"
        );
        stays(&admin, &node, lost).await;
        tell(&admin, &mut client, 3).await;
        let said = plan(&database, &config);
        assert!(said.contains("nothing to do"), "{capture}: {said}");
        let examined = command(&database, &config, &["doctor", "--json", "--sample", "0s"]);
        let examined: serde_json::Value = serde_json::from_str(&examined).unwrap();
        let failed: Vec<_> = examined
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["status"] == "fail")
            .collect();
        assert!(failed.is_empty(), "{capture}: {failed:?}");
        let fresh = node_ready(&database, &config, node).await;
        drop(fresh);
    }
}

/// All connections are new ones.
async fn back(node: &Node, admin: &tokio_postgres::Client, capture: &str) {
    let sources = match capture {
        "notify" => &["/listen"][..],
        "outbox" => &["/listen", "/outbox"],
        _ => &["/listen", "/wal"],
    };
    let there = eventually(3 * SOON, || async {
        for name in sources {
            let sql = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%{name}'"
            );
            let count: i64 = admin.query_one(&sql, &[]).await?.get(0);
            anyhow::ensure!(count == 1, "{name}: {count}");
        }
        let ready = http::get(&node.url("/readyz")).await?;
        anyhow::ensure!(ready.status() == 200, "{}", ready.body);
        Ok(())
    });
    there.await.unwrap();
}

/// A gateway that starts where the defaults are hostile already.
async fn node_ready(database: &Database<'_>, config: &str, mut before: Node) -> Node {
    before.sigterm().await.unwrap();
    node_on(database, config).await
}

/// A row, a notification and a publish arrive; gaps of a lost connection are passed over.
async fn tell(admin: &tokio_postgres::Client, client: &mut WsClient, id: i32) {
    let insert = format!(
        "INSERT INTO public.t VALUES ({id}, '2026-01-02 03:04:05+00', '1 day 2 hours', '\\x00ff', 0.1::float8 + 0.2::float8, 'a <b/>')"
    );
    admin.batch_execute(&insert).await.unwrap();
    let event = client.next_of_type("event", SOON).await.unwrap();
    let row = json!({
        "id": id, "at": "2026-01-02T03:04:05+00:00", "d": "1 day 02:00:00", "b": "\\x00ff", "f": 0.1 + 0.2, "x": "a <b/>", "g": id * 2,
        "nombre": (["uno", "dos", "tres"][usize::try_from(id - 1).unwrap()])
    });
    assert_eq!(event["data"], row);
    admin.batch_execute("NOTIFY avisos, 'hola'").await.unwrap();
    assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], "hola");
    admin
        .batch_execute("SELECT pregon.publish('t', 'e', '{\"n\": 1}')")
        .await
        .unwrap();
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"],
        json!({"n": 1})
    );
}

/// What a command of the binary prints.
fn command(database: &Database<'_>, config: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pregon.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(binary());
    command
        .args(words)
        .arg("--config")
        .arg(&file)
        .current_dir(&folder);
    let output = command.env("DATABASE_URL", database.url()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A session of the gateway rests for longer than the defaults allow.
async fn stays(writer: &tokio_postgres::Client, node: &Node, lost: usize) {
    const RESTS: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'
          AND application_name LIKE 'pregon%' AND clock_timestamp() - state_change > interval '1 second'";
    let rests = eventually(SOON, || async {
        let count: i64 = writer.query_one(RESTS, &[]).await?.get(0);
        anyhow::ensure!(count > 0, "no session rests");
        Ok(())
    });
    rests.await.unwrap();
    assert_eq!(losses(node), lost, "{}", node.log());
}

/// How often the gateway has lost a connection.
fn losses(node: &Node) -> usize {
    node.log().matches("was lost").count()
}

/// What `pregon db plan` says.
fn plan(database: &Database<'_>, config: &str) -> String {
    command(database, config, &["db", "plan"])
}

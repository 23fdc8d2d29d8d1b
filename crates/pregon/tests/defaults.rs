//! Whatever a database sets as its defaults, our sessions have what they need: they install, read, ask, and stay.

use std::process::Command;

use pregon_testkit::{Database, Node, WsClient, eventually, postgres};
use serde_json::json;

use crate::support::{SOON, binary, node_on};

/// Each of them has made something of ours fail, end, or read otherwise.
const HOSTILE: [&str; 15] = [
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
        let version = database.server().binaries().major();
        let newer = NEWER.iter().filter(|(since, _)| *since <= version);
        for setting in HOSTILE.iter().chain(newer.map(|(_, setting)| setting)) {
            let sql = format!("ALTER DATABASE \"{}\" SET {setting}", database.name());
            writer.batch_execute(&sql).await.unwrap();
        }
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
            stays(&writer, &node).await;
        }
        let said = plan(&database, &config);
        assert!(
            said.ends_with("-- nothing to do: the database is as the configuration wants it\n"),
            "{said}"
        );
    }
}

/// A session of the gateway rests for longer than the defaults allow.
async fn stays(writer: &tokio_postgres::Client, node: &Node) {
    const RESTS: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'
          AND application_name LIKE 'pregon%' AND clock_timestamp() - state_change > interval '1 second'";
    let rests = eventually(SOON, || async {
        let count: i64 = writer.query_one(RESTS, &[]).await?.get(0);
        anyhow::ensure!(count > 0, "no session rests");
        Ok(())
    });
    rests.await.unwrap();
    assert!(!node.log().contains("was lost"), "{}", node.log());
}

/// What `pregon db plan` says.
fn plan(database: &Database<'_>, config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pregon.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(binary());
    command.args(["db", "plan", "--config"]).arg(&file);
    let output = command.env("DATABASE_URL", database.url()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

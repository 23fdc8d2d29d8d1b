//! One watch means the same in every way of capturing: each case of `docs/parity.md` in each mode, as a client sees it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pregon_testkit::postgres::{Options, Server};
use pregon_testkit::{Database, Node, WsClient, eventually, postgres};
use serde_json::Value;

use crate::support::{SOON, options};

const MODES: [&str; 3] = ["notify", "outbox", "wal"];

/// What it says where the WAL has no more than the key of a deleted row.
const KEY: &str = "a deleted row is its key";

/// What `docs/parity.md` says where nothing is to be said.
const SAME: &str = "as written";

/// A case: what is written, and what a client gets.
struct Case {
    name: &'static str,
    schema: &'static str,
    /// Keys of the watch beside its name, `v`.
    watch: &'static str,
    /// Sections behind it; by default everything goes to channel `v`.
    routes: &'static str,
    writes: &'static [&'static str],
    /// `event data`, in order; data is shortened to its length where it is long.
    expected: &'static [&'static str],
    /// Other outcomes by the words of the table.
    otherwise: &'static [(&'static str, &'static [&'static str])],
}

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, n int)";
const TABLE_T: &str = "table = \"t\"\noperations = [\"insert\", \"update\", \"delete\", \"truncate\"]";

const PLAIN: Case = Case {
    name: "",
    schema: T,
    watch: TABLE_T,
    routes: "",
    writes: &[],
    expected: &[],
    otherwise: &[],
};

const CASES: &[Case] = &[
    Case {
        name: "operations",
        writes: &["INSERT INTO t VALUES (1, 1)", "UPDATE t SET n = 2", "DELETE FROM t", "TRUNCATE t"],
        expected: &[
            r#"insert {"id":1,"n":1}"#,
            r#"update {"id":1,"n":2}"#,
            r#"delete {"id":1,"n":2}"#,
            "truncate null",
        ],
        otherwise: &[(
            KEY,
            &[
                r#"insert {"id":1,"n":1}"#,
                r#"update {"id":1,"n":2}"#,
                r#"delete {"id":1}"#,
                "truncate null",
            ],
        )],
        ..PLAIN
    },
    Case {
        name: "nothing",
        writes: &[
            "INSERT INTO t VALUES (1, 1)",
            "INSERT INTO t VALUES (1, 2) ON CONFLICT DO NOTHING; UPDATE t SET n = 1 WHERE id = 7; DELETE FROM t WHERE false;
             INSERT INTO t SELECT * FROM t WHERE false",
            "BEGIN; UPDATE t SET n = 9; ROLLBACK",
            "UPDATE t SET n = 3",
        ],
        expected: &[r#"insert {"id":1,"n":1}"#, r#"update {"id":1,"n":3}"#],
        ..PLAIN
    },
    Case {
        name: "upsert",
        writes: &[
            "INSERT INTO t VALUES (1, 1)",
            "INSERT INTO t VALUES (1, 2), (2, 2) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
        ],
        expected: &[
            r#"insert {"id":1,"n":1}"#,
            r#"update {"id":1,"n":2}"#,
            r#"insert {"id":2,"n":2}"#,
        ],
        ..PLAIN
    },
    Case {
        name: "repeated",
        writes: &[
            "INSERT INTO t VALUES (1, 0)",
            "BEGIN; UPDATE t SET n = 1; UPDATE t SET n = 2; UPDATE t SET n = 1; COMMIT",
        ],
        expected: &[
            r#"insert {"id":1,"n":0}"#,
            r#"update {"id":1,"n":1}"#,
            r#"update {"id":1,"n":2}"#,
            r#"update {"id":1,"n":1}"#,
        ],
        ..PLAIN
    },
    Case {
        name: "savepoint",
        writes: &[
            "BEGIN; INSERT INTO t VALUES (1, 1); SAVEPOINT s; INSERT INTO t VALUES (2, 2); UPDATE t SET n = 9; ROLLBACK TO s;
             INSERT INTO t VALUES (3, 3); COMMIT",
        ],
        expected: &[r#"insert {"id":1,"n":1}"#, r#"insert {"id":3,"n":3}"#],
        ..PLAIN
    },
    Case {
        name: "types",
        schema: "CREATE TYPE pair AS (a int, b text); CREATE TABLE t (id int PRIMARY KEY, t text, f float8, d numeric, at timestamptz,
            span interval, b bytea, j json, l int[], p pair, r daterange)",
        writes: &[
            r#"SET timezone = 'America/New_York'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape';
               INSERT INTO t VALUES (1, NULL, 0.1, 10.50, '2024-03-01 12:00:00+00', '1 day 2 hours', '\xdead', '{"b":1,  "a":"ñ"}',
                                     '{1,NULL,3}', (1, 'x'), '[2024-03-01,2024-03-02)')"#,
        ],
        expected: &[
            r#"insert {"id":1,"t":null,"f":0.1,"d":10.50,"at":"2024-03-01T12:00:00+00:00","span":"1 day 02:00:00","b":"\\xdead","j":{"b":1,  "a":"ñ"},"l":[1,null,3],"p":{"a":1,"b":"x"},"r":"[2024-03-01,2024-03-02)"}"#,
        ],
        ..PLAIN
    },
    Case {
        name: "old",
        watch: "table = \"t\"\nold = true",
        routes: "[[route]]\nfrom = \"v\"\nto = \"v\"\nwhen = \"op != 'update' || old.n != row.n\"\npayload = { n = \"row.n\", was = \"op == 'update' ? old.n : null\" }\n",
        writes: &["INSERT INTO t VALUES (1, 1)", "UPDATE t SET id = 2", "UPDATE t SET n = 5"],
        expected: &[r#"insert {"n":1,"was":null}"#, r#"update {"n":5,"was":1}"#],
        ..PLAIN
    },
    Case {
        name: "columns",
        watch: "table = \"t\"\ncolumns = [\"n\"]",
        writes: &["INSERT INTO t VALUES (1, 1)", "UPDATE t SET id = 2", "DELETE FROM t"],
        expected: &[r#"insert {"n":1}"#, r#"update {"n":1}"#, r#"delete {"n":1}"#],
        otherwise: &[(KEY, &[r#"insert {"n":1}"#, r#"update {"n":1}"#, "delete {}"])],
        ..PLAIN
    },
    Case {
        name: "condition",
        watch: "table = \"t\"\nwhere = \"n > 0\"",
        writes: &[
            "INSERT INTO t VALUES (1, 0), (2, NULL), (3, 1)",
            "UPDATE t SET n = 1 WHERE id = 1",
            "UPDATE t SET n = 2 WHERE id = 1",
            "UPDATE t SET n = NULL WHERE id = 1",
            "DELETE FROM t",
        ],
        expected: &[
            r#"insert {"id":3,"n":1}"#,
            r#"insert {"id":1,"n":1}"#,
            r#"update {"id":1,"n":2}"#,
            r#"delete {"id":1,"n":2}"#,
            r#"delete {"id":3,"n":1}"#,
        ],
        ..PLAIN
    },
    Case {
        name: "failing condition",
        watch: "table = \"t\"\nwhere = \"10 / n > 0\"",
        writes: &["INSERT INTO t VALUES (1, 0)", "INSERT INTO t VALUES (2, 1)"],
        expected: &["gap", r#"insert {"id":2,"n":1}"#],
        ..PLAIN
    },
    Case {
        name: "names",
        schema: r#"CREATE SCHEMA "Mi App"; CREATE TABLE "Mi App"."Año ""1""" ("id.x" int PRIMARY KEY, "Ñ ""q""" text)"#,
        watch: r#"table = '"Mi App"."Año ""1"""'"#,
        writes: &[
            r#"INSERT INTO "Mi App"."Año ""1""" VALUES (1, 'it''s \ "x"')"#,
            r#"UPDATE "Mi App"."Año ""1""" SET "Ñ ""q""" = NULL"#,
        ],
        expected: &[
            r#"insert {"id.x":1,"Ñ \"q\"":"it's \\ \"x\""}"#,
            r#"update {"id.x":1,"Ñ \"q\"":null}"#,
        ],
        ..PLAIN
    },
    Case {
        name: "partitions",
        schema: "CREATE TABLE t (id int, n int, PRIMARY KEY (id, n)) PARTITION BY LIST (n); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
            CREATE TABLE t2 (n int, id int NOT NULL, PRIMARY KEY (id, n)); ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2)",
        writes: &[
            "INSERT INTO t VALUES (1, 1)",
            "INSERT INTO t1 VALUES (2, 1)",
            "INSERT INTO t2 (id, n) VALUES (3, 2)",
            "UPDATE t SET n = 2 WHERE id = 1",
        ],
        expected: &[
            r#"insert {"id":1,"n":1}"#,
            r#"insert {"id":2,"n":1}"#,
            r#"insert {"n":2,"id":3}"#,
            r#"delete {"id":1,"n":1}"#,
            r#"insert {"n":2,"id":1}"#,
        ],
        otherwise: &[(
            "columns in the root's order",
            &[
                r#"insert {"id":1,"n":1}"#,
                r#"insert {"id":2,"n":1}"#,
                r#"insert {"id":3,"n":2}"#,
                r#"delete {"id":1,"n":1}"#,
                r#"insert {"id":1,"n":2}"#,
            ],
        )],
        ..PLAIN
    },
    Case {
        name: "inheritance",
        schema: "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE child (extra text) INHERITS (t)",
        writes: &["INSERT INTO child VALUES (1, 1, 'x')", "UPDATE t SET n = 2"],
        expected: &[r#"insert {"id":1,"n":1}"#, r#"update {"id":1,"n":2}"#],
        otherwise: &[("refused", &["refused"])],
        ..PLAIN
    },
    Case {
        name: "copy",
        writes: &["COPY t FROM PROGRAM 'echo 1,1; echo 2,2' (FORMAT csv)"],
        expected: &[r#"insert {"id":1,"n":1}"#, r#"insert {"id":2,"n":2}"#],
        ..PLAIN
    },
    Case {
        name: "bulk",
        writes: &["INSERT INTO t SELECT g, g FROM generate_series(1, 100000) g", "TRUNCATE t"],
        expected: &["100000 in order", "truncate null"],
        otherwise: &[("all, or a gap", &["100000 in order, or a gap", "truncate null"])],
        ..PLAIN
    },
    Case {
        name: "large",
        schema: "CREATE TABLE t (id int PRIMARY KEY, n int, big text)",
        writes: &[
            "INSERT INTO t VALUES (1, 1, repeat('ñ', 1000000))",
            "UPDATE t SET n = 2",
            "DELETE FROM t",
        ],
        expected: &["insert 1000023 characters", "update 1000023 characters", "delete 1000023 characters"],
        otherwise: &[(
            KEY,
            &[
                "insert 1000023 characters",
                "update 1000023 characters",
                r#"delete {"id":1}"#,
            ],
        )],
        ..PLAIN
    },
    Case {
        name: "large and changed",
        schema: "CREATE TABLE t (id int PRIMARY KEY, n int, big text)",
        writes: &["BEGIN; INSERT INTO t VALUES (1, 1, repeat('x', 1000000)); UPDATE t SET n = 22; COMMIT"],
        expected: &["insert 1000023 characters", "update 1000024 characters"],
        otherwise: &[(
            "the newest row twice",
            &["insert 1000024 characters", "update 1000024 characters"],
        )],
        ..PLAIN
    },
    Case {
        name: "large and gone",
        schema: "CREATE TABLE t (id int PRIMARY KEY, n int, big text)",
        writes: &["BEGIN; INSERT INTO t VALUES (1, 1, repeat('x', 1000000)); DELETE FROM t; COMMIT"],
        expected: &["insert 1000023 characters", "delete 1000023 characters"],
        otherwise: &[
            ("a gap, then the delete", &["gap", "delete 1000023 characters"]),
            (KEY, &["insert 1000023 characters", r#"delete {"id":1}"#]),
        ],
        ..PLAIN
    },
    Case {
        name: "publish",
        writes: &[
            "SELECT pregon.publish('v', 'aviso', '{\"a\":  1}')",
            "SELECT pregon.publish('v', 'nada', NULL)",
            "BEGIN; SELECT pregon.publish('v', 'no', '1'); ROLLBACK",
            "SELECT pregon.publish('v', 'largo', to_jsonb(repeat('x', 1000000)))",
        ],
        expected: &[r#"aviso {"a": 1}"#, "nada null", "largo 1000002 characters"],
        ..PLAIN
    },
    Case {
        name: "away",
        writes: &[
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
             INSERT INTO t VALUES (1, 1)",
        ],
        expected: &[r#"insert {"id":1,"n":1}"#],
        otherwise: &[("a gap", &["gap"])],
        ..PLAIN
    },
    Case {
        name: "prepared",
        writes: &["BEGIN; INSERT INTO t VALUES (1, 1); PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'"],
        expected: &[r#"insert {"id":1,"n":1}"#],
        otherwise: &[("the write fails", &["0A000", "42704"])],
        ..PLAIN
    },
];

/// The words of the table, by case and mode.
fn table() -> BTreeMap<String, Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/parity.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter(|line| line.starts_with('|')).map(|line| {
        let cells = line
            .trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned());
        cells.collect::<Vec<_>>()
    });
    let mut rows = rows.filter(|cells| !cells[0].starts_with("---"));
    let head = rows.next().unwrap();
    assert_eq!(head[2..2 + MODES.len()], MODES, "the columns of docs/parity.md");
    rows.map(|cells| (cells[0].clone(), cells[2..].to_vec()))
        .collect()
}

fn config(case: &Case, mode: &str) -> String {
    format!(
        "[postgres]\napply = \"auto\"\ncapture = \"{mode}\"\nheartbeat = \"500ms\"\n[limits]\nqueue = \"64MiB\"\n[[channel]]\nname = \"v\"\n\
         [[watch]]\nname = \"v\"\n{}\n{}",
        case.watch, case.routes
    )
}

/// `event data` of a message, or its kind.
fn told(text: &str) -> Option<String> {
    let message: Value = serde_json::from_str(text).unwrap();
    match message["type"].as_str() {
        Some("gap") => Some("gap".to_owned()),
        Some("event") => {
            let event = message["event"].as_str().unwrap();
            // As it was sent: the text between its neighbours, not what a parser makes of it.
            let data = text.split_once("\"data\":").unwrap().1;
            let end = data.rfind(",\"position\":").unwrap();
            let data = &data[..end];
            if data.len() > 10_000 {
                return Some(format!("{event} {} characters", data.chars().count()));
            }
            Some(format!("{event} {data}"))
        }
        _ => None,
    }
}

/// What a client gets of a case, up to as many messages as are expected, and that nothing follows.
async fn outcome(case: &Case, mode: &str, server: &Server, expected: &[&str]) -> Vec<String> {
    let database = Database::create(server).await.unwrap();
    database.execute(case.schema).await.unwrap();
    let options = options(&config(case, mode)).env("DATABASE_URL", database.url());
    let node = match Node::spawn(options).await {
        Ok(node) => node,
        Err(error) if format!("{error:#}").contains("has no replica identity") => {
            return vec!["refused".to_owned()];
        }
        Err(error) => panic!("{error:#}"),
    };
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    client.subscribe("v").await.unwrap();
    let writer = database.client().await.unwrap();
    let mut got = Vec::new();
    for (written, sql) in case.writes.iter().enumerate() {
        if let Err(error) = writer.batch_execute(sql).await {
            got.push(error.code().unwrap().code().to_owned());
        }
        // A row that is too large for a notification is read when it is told, so the next write waits for that.
        while mode == "notify" && case.name == "large" && got.len() < written + 1 {
            got.extend(told(&client.next_text(SOON).await.unwrap()));
        }
        if mode == "wal" && case.name == "large" {
            // Large values that an update leaves alone are read when it is delivered.
            confirmed(&database).await;
        }
    }
    let mut next = 1;
    while got.len() < expected.len() {
        let text = client.next_text(SOON).await.unwrap();
        let Some(message) = told(&text) else { continue };
        // A hundred thousand rows count as one.
        let wanted = expected[got.len()];
        if wanted.starts_with("100000 in order") {
            if wanted.ends_with("or a gap") && message == "gap" {
                // It stands for whatever the queue could not take, the TRUNCATE behind the rows too.
                return expected.iter().map(|&message| message.to_owned()).collect();
            }
            assert_eq!(
                message,
                format!("insert {{\"id\":{next},\"n\":{next}}}"),
                "{mode}"
            );
            next += 1;
            if next > 100_000 {
                got.push(wanted.to_owned());
            }
        } else {
            got.push(message);
        }
    }
    if expected.iter().all(|message| *message != "gap") {
        client.expect_silence().await.unwrap();
    }
    got
}

/// Waits until the gateway has taken everything that was written.
async fn confirmed(database: &Database<'_>) {
    let reader = database.client().await.unwrap();
    let row = reader
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .unwrap();
    let sql = format!(
        "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots WHERE database = current_database()",
        row.get::<_, String>(0)
    );
    eventually(SOON, || async {
        anyhow::ensure!(reader.query_one(&sql, &[]).await?.get::<_, bool>(0), "not yet");
        Ok(())
    })
    .await
    .unwrap();
}

async fn check(case: &Case) {
    let table = table();
    let words = table
        .get(case.name)
        .unwrap_or_else(|| panic!("{} is not in docs/parity.md", case.name));
    let own;
    let server = if case.name == "prepared" {
        let options = Options {
            max_prepared_transactions: 4,
            ..Options::default()
        };
        own = Server::start(options).await.unwrap();
        &own
    } else {
        postgres::shared().await
    };
    for (mode, word) in MODES.into_iter().zip(words) {
        let expected = if word == SAME {
            case.expected
        } else {
            let other = case.otherwise.iter().find(|(known, _)| known == word);
            other
                .unwrap_or_else(|| panic!("{}: nothing is tested for `{word}`", case.name))
                .1
        };
        let got = tokio::time::timeout(Duration::from_secs(60), outcome(case, mode, server, expected)).await;
        assert_eq!(got.expect("in a minute"), expected, "{} by {mode}", case.name);
    }
}

#[test]
fn the_page_and_the_cases_are_the_same() {
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    cases.sort_unstable();
    assert_eq!(table().keys().map(String::as_str).collect::<Vec<_>>(), cases);
}

macro_rules! cases {
    ($($function:ident: $name:literal),* $(,)?) => {
        $(#[tokio::test]
        async fn $function() {
            check(CASES.iter().find(|case| case.name == $name).unwrap()).await;
        })*

        #[test]
        fn every_case_is_run() {
            assert_eq!([$($name),*], *CASES.iter().map(|case| case.name).collect::<Vec<_>>());
        }
    };
}

cases! {
    operations: "operations",
    nothing: "nothing",
    upsert: "upsert",
    repeated: "repeated",
    savepoint: "savepoint",
    types: "types",
    old: "old",
    columns: "columns",
    condition: "condition",
    failing_condition: "failing condition",
    names: "names",
    partitions: "partitions",
    inheritance: "inheritance",
    copy: "copy",
    bulk: "bulk",
    large: "large",
    large_and_changed: "large and changed",
    large_and_gone: "large and gone",
    publish: "publish",
    away: "away",
    prepared: "prepared",
}

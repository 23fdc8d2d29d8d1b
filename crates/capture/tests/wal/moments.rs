//! Each row has the columns of its moment, whatever the table has become before it is read; what nobody can tell any more is a gap.

use pregon_capture::change::Op;
use pregon_capture::install::WatchSpec;
use pregon_capture::listen::Captured;
use pregon_testkit::{Database, postgres};
use tokio_postgres::Client;

use crate::kit::{Memory, Stream, install, installed, target};

/// A database whose table `t` is watched.
async fn watched(
    setup: &str,
    spec: WatchSpec,
) -> (Database<'static>, Client, pregon_capture::install::Target) {
    let (database, admin, target) = installed(setup, vec![spec]).await;
    (database, admin, target)
}

fn spec() -> WatchSpec {
    WatchSpec {
        operations: vec![Op::Insert, Op::Update, Op::Delete],
        ..WatchSpec::new("t", "public", "t")
    }
}

/// Rows, and reasons of gaps behind a `!`, until there are so many.
async fn told(stream: &mut Stream, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < count {
        for captured in stream.next(true).await {
            told.push(match captured {
                Captured::Change(change) => {
                    let row = change.row.or(change.old).unwrap_or_default();
                    format!("{} {}", change.op.as_str(), String::from_utf8_lossy(&row))
                }
                Captured::RenderError { fault, .. } => format!("!{}", fault.whole()),
                other => panic!("{other:?}"),
            });
        }
    }
    told
}

async fn available(admin: &Client, extension: &str) -> bool {
    let sql = "SELECT 1 FROM pg_available_extensions WHERE name = $1";
    let there = !admin.query(sql, &[&extension]).await.unwrap().is_empty();
    if !there {
        println!("skipped: this PostgreSQL comes without {extension}");
    }
    there
}

/// A generated column has the server render the rows, which then are not those of its table today.
#[tokio::test]
async fn rows_before_a_change_of_the_table_have_the_columns_of_their_moment() {
    let table =
        "CREATE TABLE t (id int PRIMARY KEY, a text, b int, g int GENERATED ALWAYS AS (id * 2) STORED)";
    for (change, after) in [
        ("ALTER TABLE t RENAME a TO z", r#"{"id":2,"z":"x","b":1,"g":4}"#),
        ("ALTER TABLE t DROP b", r#"{"id":2,"a":"x","g":4}"#),
        (
            "ALTER TABLE t ADD c int DEFAULT 7",
            r#"{"id":2,"a":"x","b":1,"g":4,"c":7}"#,
        ),
        (
            "ALTER TABLE t ALTER b TYPE text",
            r#"{"id":2,"a":"x","b":"1","g":4}"#,
        ),
    ] {
        let (database, admin, target) = watched(table, spec()).await;
        let second = match change.contains("DROP") {
            true => "INSERT INTO t VALUES (2, 'x')",
            false => "INSERT INTO t VALUES (2, 'x', 1)",
        };
        admin
            .batch_execute(&format!("INSERT INTO t VALUES (1, 'x', 1); {change}; {second}"))
            .await
            .unwrap();
        let mut stream = Stream::start(&database.url(), &target, &Memory::default());
        let expected = [
            r#"insert {"id":1,"a":"x","b":1,"g":2}"#.to_owned(),
            format!("insert {after}"),
        ];
        assert_eq!(told(&mut stream, 2).await, expected, "{change}");
    }
}

/// What the generated column is made of has another name by now: nobody can compute it as it was.
#[tokio::test]
async fn a_computed_value_that_nobody_can_tell_any_more_is_a_gap_with_that_reason() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED)";
    let (database, admin, target) = watched(table, spec()).await;
    admin
        .batch_execute(
            "INSERT INTO t VALUES (1, 1); ALTER TABLE t RENAME a TO z; INSERT INTO t VALUES (2, 2)",
        )
        .await
        .unwrap();
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    let told = told(&mut stream, 2).await;
    // From 18 on the value is in the WAL.
    if database.server().binaries().major() < 18 {
        assert!(
            told[0].starts_with("!the table has changed since this row was written"),
            "{told:?}"
        );
    } else {
        assert_eq!(told[0], r#"insert {"id":1,"a":1,"g":2}"#);
    }
    assert_eq!(told[1], r#"insert {"id":2,"z":2,"g":4}"#);
}

#[tokio::test]
async fn columns_that_swap_their_names_are_judged_by_those_of_the_moment() {
    let condition = WatchSpec {
        condition: Some("a = 1".into()),
        ..spec()
    };
    let (database, admin, target) =
        watched("CREATE TABLE t (id int PRIMARY KEY, a int, b int)", condition).await;
    admin
        .batch_execute(
            "BEGIN; INSERT INTO t VALUES (1, 1, 2), (2, 2, 1);
             ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b;
             INSERT INTO t VALUES (3, 1, 2), (4, 2, 1); COMMIT",
        )
        .await
        .unwrap();
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    let expected = [r#"insert {"id":1,"a":1,"b":2}"#, r#"insert {"id":4,"b":2,"a":1}"#];
    assert_eq!(told(&mut stream, 2).await, expected);
}

/// A condition that takes the row as a value of the table's type is asked about such rows.
#[tokio::test]
async fn a_condition_may_take_the_whole_row() {
    let condition = WatchSpec {
        condition: Some("public.f(t)".into()),
        ..spec()
    };
    let setup = "CREATE TABLE t (id int PRIMARY KEY, a int);
        CREATE FUNCTION f(t) RETURNS boolean LANGUAGE sql AS 'SELECT $1.a > 0'";
    let (database, admin, target) = watched(setup, condition).await;
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    admin
        .batch_execute("INSERT INTO t VALUES (1, 0), (2, 1)")
        .await
        .unwrap();
    assert_eq!(told(&mut stream, 1).await, [r#"insert {"id":2,"a":1}"#]);
    admin
        .batch_execute(
            "INSERT INTO t VALUES (3, 1); ALTER TABLE t RENAME a TO z; INSERT INTO t VALUES (4, 1)",
        )
        .await
        .unwrap();
    let told = told(&mut stream, 2).await;
    assert!(
        told[0] == r#"insert {"id":3,"a":1}"# || told[0].starts_with('!'),
        "{told:?}"
    );
}

/// Altered without a word in the stream.
#[tokio::test]
async fn a_composite_type_that_is_altered_is_told_right_or_as_a_gap() {
    for (change, now) in [
        ("ALTER TYPE par RENAME ATTRIBUTE y TO z", r#"{"x":1,"z":2}"#),
        ("ALTER TYPE par ADD ATTRIBUTE z int", r#"{"x":1,"y":2,"z":null}"#),
        ("ALTER TYPE par DROP ATTRIBUTE y", r#"{"x":1}"#),
    ] {
        let setup = "CREATE TYPE par AS (x int, y int); CREATE TABLE t (id int PRIMARY KEY, p par, l par[])";
        let (database, admin, target) = watched(setup, spec()).await;
        let mut stream = Stream::start(&database.url(), &target, &Memory::default());
        let insert = |id: i32| format!("INSERT INTO t VALUES ({id}, '(1,2)', '{{\"(1,2)\"}}')");
        admin.batch_execute(&insert(1)).await.unwrap();
        let before = r#"{"x":1,"y":2}"#;
        assert_eq!(
            told(&mut stream, 1).await,
            [format!(r#"insert {{"id":1,"p":{before},"l":[{before}]}}"#)]
        );
        // Read before the change and after it; the second may be read when the change is there already.
        let after = insert(3).replace("(1,2)", if change.contains("ADD") { "(1,2,)" } else { "(1,2)" });
        let after = if change.contains("DROP") {
            after.replace("(1,2)", "(1)")
        } else {
            after
        };
        admin
            .batch_execute(&format!("{}; COMMIT; {change}; COMMIT; {after}", insert(2)))
            .await
            .unwrap();
        let told = told(&mut stream, 2).await;
        let right = format!(r#"insert {{"id":2,"p":{before},"l":[{before}]}}"#);
        assert!(
            told[0] == right || told[0].starts_with("!a composite type"),
            "{change}: {told:?}"
        );
        assert_eq!(
            told[1],
            format!(r#"insert {{"id":3,"p":{now},"l":[{now}]}}"#),
            "{change}"
        );
    }
}

/// Large values that an update leaves alone are read by the key: with NOT NULL domains beside it, and with operators of extensions.
#[tokio::test]
async fn large_values_are_read_whatever_the_key_and_the_other_columns_are() {
    for (extension, key, value) in [
        ("", "int", "1"),
        ("ltree", "ext.ltree", "'a.b'"),
        ("hstore", "ext.hstore", "'a=>1'"),
        ("cube", "ext.cube", "'(1,2)'"),
        ("citext", "ext.citext", "'Uno'"),
    ] {
        let database = Database::create(postgres::shared().await).await.unwrap();
        let admin = database.client().await.unwrap();
        if !extension.is_empty() && !available(&admin, extension).await {
            continue;
        }
        let extension = match extension {
            "" => String::new(),
            name => format!("CREATE SCHEMA ext; CREATE EXTENSION {name} SCHEMA ext;"),
        };
        admin
            .batch_execute(&format!(
                "{extension} CREATE DOMAIN lleno AS int NOT NULL; CREATE TABLE t (k {key} PRIMARY KEY, n lleno, grande text);
                 ALTER TABLE t ALTER grande SET STORAGE EXTERNAL"
            ))
            .await
            .unwrap();
        // A condition of the key alone is told from old rows that are keys.
        for condition in [None, Some("k IS NOT NULL".to_owned())] {
            let spec = WatchSpec { condition, ..spec() };
            let target = target(&database, vec![spec]);
            install(&admin, &target).await.unwrap();
            let mut stream = Stream::start(&database.url(), &target, &Memory::default());
            admin
                .batch_execute(&format!(
                    "INSERT INTO t VALUES ({value}, 1, repeat('x', 9000)); UPDATE t SET n = 2; DELETE FROM t"
                ))
                .await
                .unwrap();
            let told = told(&mut stream, 3).await;
            // The row may have gone before it was read, which is said.
            let read = told[1].contains("xxx") || told[1].contains("the row has gone");
            assert!(
                read && told
                    .iter()
                    .all(|one| !one.starts_with("!") || one.contains("has gone")),
                "{key}: {told:?}"
            );
            drop(stream);
            admin.batch_execute("TRUNCATE t").await.unwrap();
            admin
                .batch_execute(&format!("INSERT INTO t VALUES ({value}, 1, repeat('x', 9000))"))
                .await
                .unwrap();
            let memory = Memory::default();
            free(&admin, &target.slot).await;
            let mut stream = Stream::start(&database.url(), &target, &memory);
            admin.batch_execute("UPDATE t SET n = 3").await.unwrap();
            loop {
                let told = self::told(&mut stream, 1).await;
                if told.iter().any(|one| one.contains(r#""n":3"#)) {
                    assert!(told.iter().any(|one| one.contains("xxx")), "{key}: {told:?}");
                    break;
                }
                assert!(
                    told.iter()
                        .all(|one| !one.starts_with('!') || one.contains("has gone")),
                    "{key}: {told:?}"
                );
            }
            drop(stream);
            admin.batch_execute("TRUNCATE t").await.unwrap();
            free(&admin, &target.slot).await;
        }
    }
}

async fn free(admin: &Client, slot: &str) {
    let sql = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1 AND NOT active";
    pregon_testkit::eventually(crate::kit::PATIENCE, || async {
        anyhow::ensure!(!admin.query(sql, &[&slot]).await?.is_empty(), "active");
        Ok(())
    })
    .await
    .unwrap();
}

//! Whatever somebody does to our objects, the application's writes succeed; and what they are not captured in is told, with a remedy.

use std::sync::Arc;
use std::time::Duration;

use pregon_capture::connect::Settings;
use pregon_capture::doctor::{self, CheckStatus, DoctorInput};
use pregon_capture::install::{Mode, Target};
use pregon_capture::outbox::{self, Item, OutboxError};
use pregon_testkit::postgres::{Database, Options, Server, notifications};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::Client;

use crate::kit::{ALL, Session, install, options, target, watch_of};

const TABLE: &str = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)";

/// What somebody may do to objects that the outbox needs.
const HARM: [&str; 42] = [
    "DROP TABLE pregon.outbox CASCADE",
    "DROP TABLE pregon.bell",
    "DROP TABLE pregon.cursor",
    "DROP SEQUENCE pregon.seq CASCADE",
    "DROP SCHEMA pregon CASCADE",
    "ALTER SCHEMA pregon RENAME TO other",
    "ALTER TABLE pregon.outbox RENAME TO other",
    "ALTER TABLE pregon.outbox SET SCHEMA public",
    "ALTER TABLE pregon.bell RENAME TO other",
    "ALTER TABLE pregon.bell DROP COLUMN asleep",
    "ALTER SEQUENCE pregon.outbox_id_seq RENAME TO other",
    "ALTER TABLE pregon.outbox DROP COLUMN row",
    "ALTER TABLE pregon.outbox RENAME COLUMN row TO fila",
    "ALTER TABLE pregon.outbox ALTER COLUMN row TYPE varchar(5)",
    "ALTER TABLE pregon.outbox ALTER COLUMN channel SET NOT NULL",
    "ALTER TABLE pregon.outbox ADD COLUMN n int NOT NULL",
    "ALTER TABLE pregon.outbox ADD COLUMN n int NOT NULL DEFAULT 7",
    "ALTER TABLE pregon.outbox ADD COLUMN n int DEFAULT (1 / (random() * 0)::int)",
    "ALTER TABLE pregon.outbox ALTER COLUMN at DROP DEFAULT",
    "ALTER TABLE pregon.outbox ALTER COLUMN id DROP IDENTITY",
    "ALTER TABLE pregon.outbox DROP CONSTRAINT outbox_pkey",
    "ALTER TABLE pregon.outbox ADD CHECK (octet_length(row) % 2 = 0) NOT VALID",
    "ALTER TABLE pregon.outbox SET UNLOGGED",
    "ALTER TABLE pregon.outbox ENABLE ROW LEVEL SECURITY; ALTER TABLE pregon.outbox FORCE ROW LEVEL SECURITY",
    "ALTER TABLE pregon.bell ENABLE ROW LEVEL SECURITY; ALTER TABLE pregon.bell FORCE ROW LEVEL SECURITY",
    "REVOKE ALL ON pregon.outbox FROM pregon_owner",
    "REVOKE ALL ON pregon.bell FROM pregon_owner",
    "REVOKE ALL ON SCHEMA pregon FROM pregon_owner",
    "ALTER TABLE pregon.outbox OWNER TO postgres",
    "SELECT setval('pregon.outbox_id_seq', 9223372036854775806)",
    "ALTER SEQUENCE pregon.outbox_id_seq MAXVALUE 1000 RESTART 999",
    "ALTER SEQUENCE pregon.outbox_id_seq CACHE 50",
    "DROP FUNCTION pregon.ring(bigint)",
    "DROP FUNCTION pregon.trim(bigint)",
    "DROP FUNCTION pregon.flaw(timestamptz)",
    "DROP FUNCTION pregon.mend()",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
     CREATE TRIGGER f BEFORE INSERT ON pregon.outbox FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE RULE r AS ON INSERT TO pregon.outbox DO INSTEAD NOTHING",
    "TRUNCATE pregon.outbox; CREATE UNIQUE INDEX u ON pregon.outbox (watch)",
    "TRUNCATE pregon.outbox; CREATE INDEX i ON pregon.outbox ((row::int))",
    "CREATE TABLE child () INHERITS (pregon.outbox)",
    "ALTER TABLE pregon.outbox RENAME TO other; CREATE TABLE pregon.outbox (LIKE pregon.other) PARTITION BY RANGE (id)",
];

/// The same for what `notify` needs.
const NOTIFY_HARM: [&str; 44] = [
    "DROP SEQUENCE pregon.seq CASCADE",
    "ALTER SEQUENCE pregon.seq MAXVALUE 1000 RESTART 999",
    "ALTER SEQUENCE pregon.seq RENAME TO other",
    "ALTER SEQUENCE pregon.seq SET SCHEMA public",
    "ALTER SEQUENCE pregon.seq CACHE 50",
    "ALTER SEQUENCE pregon.seq INCREMENT -1 MINVALUE -10 START 1 RESTART 1",
    "ALTER SEQUENCE pregon.seq MAXVALUE 1000 RESTART 1 CYCLE",
    "SELECT setval('pregon.seq', 1)",
    "SELECT setval('pregon.seq', 9223372036854775806)",
    "REVOKE ALL ON SEQUENCE pregon.seq FROM pregon_owner",
    "ALTER SEQUENCE pregon.seq OWNER TO postgres",
    "DROP SEQUENCE pregon.seq; CREATE TABLE pregon.seq (id int)",
    "DROP TABLE pregon.stored",
    "ALTER TABLE pregon.stored RENAME TO other",
    "ALTER TABLE pregon.stored SET SCHEMA public",
    "ALTER TABLE pregon.stored DROP COLUMN payload",
    "ALTER TABLE pregon.stored RENAME COLUMN payload TO carga",
    "ALTER TABLE pregon.stored ALTER COLUMN payload TYPE varchar(5)",
    "ALTER TABLE pregon.stored ALTER COLUMN created DROP DEFAULT",
    "ALTER TABLE pregon.stored ALTER COLUMN id DROP IDENTITY",
    "ALTER TABLE pregon.stored DROP CONSTRAINT stored_pkey",
    "ALTER TABLE pregon.stored ADD COLUMN n int NOT NULL",
    "ALTER TABLE pregon.stored ADD COLUMN n int DEFAULT (1 / (random() * 0)::int)",
    "ALTER TABLE pregon.stored ADD CHECK (octet_length(payload) % 2 = 0) NOT VALID",
    "ALTER TABLE pregon.stored SET UNLOGGED",
    "ALTER TABLE pregon.stored ENABLE ROW LEVEL SECURITY; ALTER TABLE pregon.stored FORCE ROW LEVEL SECURITY",
    "REVOKE ALL ON pregon.stored FROM pregon_owner",
    "ALTER TABLE pregon.stored OWNER TO postgres",
    "SELECT setval('pregon.stored_id_seq', 9223372036854775806)",
    "ALTER SEQUENCE pregon.stored_id_seq MAXVALUE 1000 RESTART 999",
    "ALTER SEQUENCE pregon.stored_id_seq RENAME TO other",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
     CREATE TRIGGER f BEFORE INSERT ON pregon.stored FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
     CREATE TRIGGER f BEFORE INSERT ON pregon.stored FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE RULE r AS ON INSERT TO pregon.stored DO INSTEAD NOTHING",
    "TRUNCATE pregon.stored; CREATE UNIQUE INDEX u ON pregon.stored ((payload IS NULL))",
    "CREATE TABLE child () INHERITS (pregon.stored)",
    "DROP FUNCTION pregon.fit(text, text, text)",
    "ALTER FUNCTION pregon.fit(text, text, text) RENAME TO other",
    "REVOKE ALL ON FUNCTION pregon.fit(text, text, text) FROM pregon_owner",
    "CREATE OR REPLACE FUNCTION pregon.fit(head text, rest text, key text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
    "CREATE OR REPLACE FUNCTION pregon.fit(head text, rest text, key text) RETURNS text LANGUAGE sql AS 'SELECT repeat($1, 9000)'",
    "ALTER SCHEMA pregon RENAME TO other",
    "REVOKE ALL ON SCHEMA pregon FROM pregon_owner",
    "DROP SCHEMA pregon CASCADE",
];

/// One row, many, and several statements of a transaction, under every isolation; also what does not fit a notification.
async fn write(client: &Client) -> Result<(), tokio_postgres::Error> {
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        client
            .batch_execute("INSERT INTO t (body) VALUES ('uno')")
            .await?;
        client
            .batch_execute("INSERT INTO t (body) SELECT 'muchos' FROM generate_series(1, 300)")
            .await?;
        client
            .batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}"))
            .await?;
        client
            .batch_execute(
                "INSERT INTO t (body) VALUES ('a'); INSERT INTO t (body) VALUES ('bb'), (repeat('c', 9000));
                 UPDATE t SET body = body || '.'; SAVEPOINT s; DELETE FROM t WHERE body LIKE 'a%'; ROLLBACK TO s;
                 DELETE FROM t WHERE body LIKE 'muchos%'; COMMIT; DELETE FROM t",
            )
            .await?;
    }
    Ok(())
}

/// A database with one watch; sessions that have written before keep their plans.
async fn prepared(server: &Server, mode: Mode) -> (Database<'_>, Client, Client, Target) {
    let database = Database::create(server).await.unwrap();
    let (admin, old) = (database.client().await.unwrap(), database.client().await.unwrap());
    admin.batch_execute(TABLE).await.unwrap();
    let target = Target {
        mode,
        ..target(vec![watch_of("t", "t", &ALL)])
    };
    install(&admin, &target).await;
    write(&old).await.unwrap();
    (database, admin, old, target)
}

async fn survives<'a>(server: &'a Server, harm: &str, mode: Mode) -> (Database<'a>, Client, Target) {
    let (database, admin, old, target) = prepared(server, mode).await;
    for table in ["outbox", "stored"] {
        if harm.starts_with(&format!("ALTER TABLE pregon.{table} A")) {
            let empty = format!("TRUNCATE pregon.{table}");
            admin.batch_execute(&empty).await.unwrap();
        }
    }
    admin.batch_execute(harm).await.unwrap();
    let fresh = database.client().await.unwrap();
    for (session, client) in [("an old", &old), ("a new", &fresh)] {
        if let Err(error) = write(client).await {
            panic!(
                "{harm}: a write of {session} session fails: {:?}",
                error.as_db_error()
            );
        }
    }
    (database, admin, target)
}

async fn findings(admin: &Client, target: &Target, url: &str) -> Vec<String> {
    let input = DoctorInput {
        target: target.clone(),
        settings: Some(Settings::parse(url).unwrap()),
        sample: Duration::ZERO,
        ..DoctorInput::default()
    };
    let checks = doctor::run(admin, &input).await;
    let bad = checks.iter().filter(|check| check.status >= CheckStatus::Warn);
    bad.filter(|check| !check.remedy.is_empty() && !check.id.starts_with('C'))
        .map(|check| format!("{} {}: {}", check.id, check.detail, check.remedy))
        .collect()
}

/// The reader refuses to begin with a reason, and the doctor knows it; or everything was captured; or it is known that something was not.
async fn is_told(harm: &str, database: &Database<'_>, admin: &Client, target: &Target) {
    let url = database.url();
    match outbox::attach(Arc::new(options(&url, &["t"])), &|| {}).await {
        Err(error @ (OutboxError::Flawed(_) | OutboxError::Missing | OutboxError::Sql { .. })) => {
            let found = findings(admin, target, &url).await;
            assert!(!found.is_empty(), "{harm}: {error}, and the doctor finds nothing");
        }
        Err(error) => panic!("{harm}: {error}"),
        Ok((mut reader, _)) => {
            let begun = reader.begin(None, Some(0)).await.unwrap();
            assert_eq!(begun.lost, reader.missed() > 0, "{harm}");
            drop(reader);
            if !begun.lost {
                let mut session = Session::start(options(&url, &["t"]), None).await;
                let mut deletes = 0;
                while deletes < 2 * 3 * 303 {
                    match session.next().await.1 {
                        Item::Change(change) => deletes += usize::from(change.op.as_str() == "delete"),
                        other => panic!("{harm}: {other:?}"),
                    }
                }
            }
        }
    }
}

/// A server of its own: other tests count transaction numbers.
async fn server() -> Server {
    Server::start(Options::default()).await.unwrap()
}

async fn each(from: usize) {
    let server = server().await;
    for harm in HARM.iter().skip(from).step_by(3) {
        let (database, admin, target) = survives(&server, harm, Mode::Outbox).await;
        is_told(harm, &database, &admin, &target).await;
    }
}

#[tokio::test]
async fn no_harm_to_the_outbox_makes_a_write_fail() {
    each(0).await;
}

#[tokio::test]
async fn no_harm_to_the_outbox_makes_a_write_fail_second_third() {
    each(1).await;
}

#[tokio::test]
async fn no_harm_to_the_outbox_makes_a_write_fail_last_third() {
    each(2).await;
}

/// How many changes arrived until now, and how many were told as lost; each payload says which.
async fn arrived(admin: &Client, payloads: &mut UnboundedReceiver<String>, harm: &str) -> (usize, usize) {
    admin
        .batch_execute("SELECT pg_notify('pregon', 'END')")
        .await
        .unwrap();
    let (mut whole, mut lost) = (0, 0);
    loop {
        let payload = payloads.recv().await.unwrap();
        if payload == "END" {
            return (whole, lost);
        }
        let parsed: serde_json::Value =
            serde_json::from_str(&payload).unwrap_or_else(|error| panic!("{harm}: {payload:?}: {error}"));
        if !parsed["err"].is_null() {
            lost += 1;
        } else if let Some(id) = parsed["ref"].as_i64() {
            // What a gateway reads, which then may not be there.
            let stored = admin
                .query_opt("SELECT payload FROM pregon.stored WHERE id = $1", &[&id])
                .await;
            match stored {
                Ok(Some(row)) if row.get::<_, String>(0).contains("\"op\":") => whole += 1,
                _ => lost += 1,
            }
        } else {
            assert!(!parsed["op"].is_null(), "{harm}: {payload}");
            whole += 1;
        }
    }
}

async fn each_of_notify(from: usize) {
    let server = server().await;
    let expected = {
        let (database, admin, old, _) = prepared(&server, Mode::Notify).await;
        let mut payloads = notifications(&database.url(), "pregon").await.unwrap();
        write(&old).await.unwrap();
        arrived(&admin, &mut payloads, "").await
    };
    assert_eq!(expected.1, 0);
    for harm in NOTIFY_HARM.iter().skip(from).step_by(2) {
        let (database, admin, target) = survives(&server, harm, Mode::Notify).await;
        let found = findings(&admin, &target, &database.url()).await;
        let mut payloads = notifications(&database.url(), "pregon").await.unwrap();
        write(&database.client().await.unwrap()).await.unwrap();
        let (whole, lost) = arrived(&admin, &mut payloads, harm).await;
        // Named, with a remedy; or everything arrives; at least each statement that does not is told.
        assert!(
            !found.is_empty() || (whole, lost) == expected,
            "{harm}: {whole} and {lost} lost of {expected:?}"
        );
        let gone = harm.starts_with("DROP SCHEMA");
        assert!(
            gone || whole == expected.0 || lost > 0,
            "{harm}: {whole} of {expected:?} and no gap"
        );
    }
}

#[tokio::test]
async fn no_harm_to_what_notify_needs_makes_a_write_fail() {
    each_of_notify(0).await;
}

#[tokio::test]
async fn no_harm_to_what_notify_needs_makes_a_write_fail_second_half() {
    each_of_notify(1).await;
}

/// Another session holds the outbox, and the application does not wait for locks for ever.
#[tokio::test]
async fn a_lock_on_the_outbox_makes_no_write_fail() {
    let server = server().await;
    let (database, admin, old, _) = prepared(&server, Mode::Outbox).await;
    admin
        .batch_execute("BEGIN; LOCK TABLE pregon.outbox IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    old.batch_execute(
        "SET lock_timeout = '20ms'; INSERT INTO t (body) VALUES ('x'); UPDATE t SET body = 'y'",
    )
    .await
    .unwrap();
    admin.batch_execute("COMMIT").await.unwrap();
    let (mut reader, _) = outbox::attach(Arc::new(options(&database.url(), &["t"])), &|| {})
        .await
        .unwrap();
    assert!(reader.begin(None, Some(0)).await.unwrap().lost);
}

/// Rows of a bulk write take no transaction numbers, nor do single rows.
#[tokio::test]
async fn capture_takes_no_transaction_numbers() {
    let server = server().await;
    let (_database, _, writer, _) = prepared(&server, Mode::Outbox).await;
    const XID: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let xid = async || writer.query_one(XID, &[]).await.unwrap().get::<_, i64>(0);
    let before = xid().await;
    writer
        .batch_execute(
            "INSERT INTO t (body) VALUES ('x'); INSERT INTO t (body) SELECT 'x' FROM generate_series(1, 200);
             UPDATE t SET body = 'y'; DELETE FROM t",
        )
        .await
        .unwrap();
    let taken = xid().await - before;
    assert!(taken < 20, "{taken}");
}

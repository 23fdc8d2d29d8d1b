//! `db`, `doctor` and `publish --dsn` on a real server.

use std::process::Command;

use pregon_testkit::{Database, Redis, Server, postgres, process};
use serde_json::json;

use super::{file, run};
use crate::support::{SOON, connect, node_on};

const WATCHED: &str = "[postgres]\n[[watch]]\ntable = \"ventas\"\n";
const TABLE: &str = "CREATE TABLE ventas (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, producto text)";

#[tokio::test]
async fn plan_shows_the_sql_apply_installs_it_and_drop_leaves_nothing() {
    // A server of its own: roles belong to the whole server, and another test may be installing at the moment of the drop.
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let config = file(WATCHED);
    let url = database.url();
    let db = |verb: &[&str]| {
        run(
            &[&["db"], verb, &["--config", config.to_str().unwrap()]].concat(),
            &[("DATABASE_URL", &url)],
        )
    };
    let plan = db(&["plan"]);
    assert!(
        plan.code == 1 && plan.out.contains("CREATE") && plan.out.contains("\"ventas\""),
        "{plan:?}"
    );
    let steps = db(&["plan", "--json"]).json()["steps"].as_array().unwrap().len();
    let applied = db(&["apply"]);
    assert!(
        applied.code == 0 && applied.out.contains("active: trigger"),
        "{applied:?}"
    );
    assert!(
        applied
            .out
            .lines()
            .filter(|line| !line.starts_with("active") && !line.starts_with("note"))
            .count()
            == steps,
        "{applied:?}"
    );
    let nothing = db(&["plan"]);
    assert!(
        nothing.code == 0 && nothing.out.contains("nothing to do"),
        "{nothing:?}"
    );
    let status = db(&["status"]);
    assert!(
        status.code == 0 && status.out.contains("ok        trigger"),
        "{status:?}"
    );
    // The watch still has its other trigger.
    database
        .execute("DROP TRIGGER \"!pregon_ventas_update\" ON ventas")
        .await
        .unwrap();
    let status = db(&["status"]);
    let told = "missing   trigger !pregon_ventas_update on public.ventas";
    assert!(
        status.code == 1 && status.out.contains(told) && status.out.contains("pregon db apply"),
        "{status:?}"
    );
    assert_eq!(db(&["drop", "--yes"]).code, 0);
    let gone = db(&["status"]);
    assert!(
        gone.code == 1 && gone.out.contains("nothing is installed"),
        "{gone:?}"
    );
}

#[tokio::test]
async fn the_planned_script_can_be_run_by_psql() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let (config, url) = (file(WATCHED), database.url());
    let arguments = ["db", "plan", "--config", config.to_str().unwrap()];
    let script = process::scratch("sql", None).unwrap().join("plan.sql");
    std::fs::write(&script, run(&arguments, &[("DATABASE_URL", &url)]).out).unwrap();
    let mut psql = Command::new(server.binaries().program("psql"));
    let output = psql
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-d", &url, "-f"])
        .arg(&script)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(run(&arguments, &[("DATABASE_URL", &url)]).code, 0);
}

#[tokio::test]
async fn a_role_that_may_not_install_is_told_what_to_do() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let role = database.create_role("gateway").await.unwrap();
    let (config, url, admin) = (file(WATCHED), database.url_as(&role), database.url());
    let apply = ["db", "apply", "--config", config.to_str().unwrap()];
    let denied = run(&apply, &[("DATABASE_URL", &url)]);
    assert!(
        denied.code == 1 && denied.err.contains("PREGON_ADMIN_URL"),
        "{denied:?}"
    );
    let done = run(&apply, &[("DATABASE_URL", &url), ("PREGON_ADMIN_URL", &admin)]);
    assert_eq!(done.code, 0, "{done:?}");
    let doctor = run(
        &["doctor", "--config", config.to_str().unwrap(), "--sample", "0s"],
        &[("DATABASE_URL", &url)],
    );
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

#[tokio::test]
async fn doctor_names_queries_that_the_gateway_may_not_run() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE TABLE miembros (sala int)")
        .await
        .unwrap();
    let role = database.create_role("gateway").await.unwrap();
    let config = file(
        "[postgres]\n[[channel]]\nname = \"sala_{id}\"\nallow_sql = \"SELECT true FROM miembros WHERE sala = :channel.id\"\n",
    );
    let url = database.url_as(&role);
    let arguments = ["doctor", "--sample", "0s", "--config", config.to_str().unwrap()];
    let denied = run(&arguments, &[("DATABASE_URL", &url)]);
    let grant = format!("GRANT SELECT ON miembros TO \"{role}\"");
    assert!(
        denied.code == 1 && denied.out.contains("channel[0].allow_sql") && denied.out.contains(&grant),
        "{denied:?}"
    );
    database.execute(&grant).await.unwrap();
    let fine = run(&arguments, &[("DATABASE_URL", &url)]);
    assert!(fine.code == 0 && fine.out.contains("P3"), "{fine:?}");
}

#[tokio::test]
async fn doctor_names_attachments_of_emitters_that_the_gateway_may_not_read() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let role = database.create_role("gateway").await.unwrap();
    let config = file("[postgres]\n[socketio]\nemitters = [\"postgres\"]\n");
    let url = database.url_as(&role);
    let arguments = ["doctor", "--sample", "0s", "--config", config.to_str().unwrap()];
    let missing = run(&arguments, &[("DATABASE_URL", &url)]);
    assert!(
        missing.code == 1 && missing.out.contains("socketio.postgres_table"),
        "{missing:?}"
    );
    let table = "CREATE TABLE socket_io_attachments (id bigserial UNIQUE, payload bytea)";
    database.execute(table).await.unwrap();
    let denied = run(&arguments, &[("DATABASE_URL", &url)]);
    let grant = format!("GRANT SELECT ON socket_io_attachments TO \"{role}\"");
    assert!(denied.code == 1 && denied.out.contains(&grant), "{denied:?}");
    database.execute(&grant).await.unwrap();
    let fine = run(&arguments, &[("DATABASE_URL", &url)]);
    assert!(fine.code == 0, "{fine:?}");
}

#[tokio::test]
async fn doctor_names_what_is_wrong_and_the_remedy() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (config, url) = (file(WATCHED), database.url());
    let doctor = |url: &str| {
        run(
            &[
                "doctor",
                "--json",
                "--sample",
                "0s",
                "--config",
                config.to_str().unwrap(),
            ],
            &[("DATABASE_URL", url)],
        )
    };
    let missing = doctor(&url);
    let checks = missing.json();
    let failed = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["status"] == "fail")
        .unwrap();
    assert!(
        missing.code == 1 && failed["detail"].as_str().unwrap().contains("ventas"),
        "{failed}"
    );
    assert_ne!(failed["remedy"], "");
    let nobody = doctor("postgres://nobody@127.0.0.1:1/none");
    assert_eq!(nobody.code, 1);
    assert_eq!(
        (&nobody.json()[1]["name"], &nobody.json()[1]["status"]),
        (&json!("connection"), &json!("fail"))
    );
    let unreadable = file("[[watch]]\ntabel = \"x\"\n");
    let unreadable = run(&["doctor", "--config", unreadable.to_str().unwrap()], &[]);
    assert!(
        unreadable.code == 1 && unreadable.out.contains("did you mean `table`?"),
        "{unreadable:?}"
    );
}

#[tokio::test]
async fn doctor_says_whether_redis_answers() {
    let redis = Redis::start_with(Some("secreto"), false).await.unwrap();
    let config = file("[redis]\n[[redis.channel]]\nchannel = \"events\"\n");
    let path = config.to_str().unwrap();
    let wrong = redis.url().replace("secreto", "otro");
    for (url, status) in [(redis.url(), "ok"), (wrong, "fail")] {
        let ran = run(&["doctor", "--json", "--config", path], &[("REDIS_URL", &url)]);
        let checks = ran.json();
        let redis = checks
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["id"] == "F4");
        assert_eq!(redis.unwrap()["status"], status, "{checks}");
        assert!(!ran.out.contains("secreto"), "no password in the output");
    }
}

#[tokio::test]
async fn publish_through_the_database_reaches_the_clients() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let text = format!(
        "[postgres]\napply = \"auto\"\n[auth]\nsecret = \"{}\"\n[[channel]]\nname = \"news\"\n[[watch]]\ntable = \"ventas\"\n",
        crate::support::SECRET
    );
    let node = node_on(&database, &text).await;
    let mut client = connect(&node, &json!({"sub": "1"})).await;
    client.subscribe("news").await.unwrap();
    let ran = run(
        &["publish", "--dsn", &database.url(), "news", "tick", r#"{"n":1}"#],
        &[],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(
        (&event["event"], &event["data"]),
        (&json!("tick"), &json!({"n": 1}))
    );
}

#[tokio::test]
async fn doctor_and_status_say_what_capture_from_the_wal_needs() {
    let server = Server::start(postgres::Options::default()).await.unwrap();
    let database = Database::create(&server).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let role = database.create_role("gateway").await.unwrap();
    let config = file(&WATCHED.replace(
        "[postgres]\n",
        "[postgres]\ncapture = \"wal\"\nslot = \"mi_ranura\"\n",
    ));
    let (url, admin) = (database.url_as(&role), database.url());
    let pregon = |words: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        let env = [
            ("DATABASE_URL", url.as_str()),
            ("PREGON_ADMIN_URL", admin.as_str()),
        ];
        run(&[words, &config].concat(), &env)
    };
    let found = pregon(&["doctor"]);
    for words in [
        "L2  replication right",
        "may not replicate",
        "there is no publication mi_ranura",
        "there is no slot mi_ranura",
    ] {
        assert!(
            found.code == 1 && found.out.contains(words),
            "{words} in {}",
            found.out
        );
    }
    let applied = pregon(&["db", "apply"]);
    for words in [
        "active: publication mi_ranura",
        "active: slot mi_ranura",
        "create slot mi_ranura",
    ] {
        assert!(
            applied.code == 0 && applied.out.contains(words),
            "{words} in {applied:?}"
        );
    }
    let found = pregon(&["doctor", "--json"]);
    for line in ["L1", "L2", "L3", "L4", "L6"] {
        let ok = |check: &serde_json::Value| check["id"] == line && check["status"] == "ok";
        assert!(
            found
                .out
                .lines()
                .any(|text| serde_json::from_str(text).is_ok_and(|check| ok(&check)))
                || found.json().as_array().is_some_and(|all| all.iter().any(ok)),
            "{line} in {}",
            found.out
        );
    }
    // Without a limit a gateway that is away could fill the disk.
    assert!(found.out.contains("max_slot_wal_keep_size"), "{}", found.out);
    let status = pregon(&["db", "status"]);
    assert!(
        status.code == 0 && status.out.contains("ok        slot mi_ranura"),
        "{status:?}"
    );
    let dropped = pregon(&["db", "drop", "--yes"]);
    assert!(
        dropped.code == 0
            && dropped.out.contains("drop slot mi_ranura")
            && dropped.out.contains("drop publication mi_ranura"),
        "{dropped:?}"
    );
    let nothing = pregon(&["db", "drop", "--yes"]);
    assert!(nothing.out.contains("nothing to do"), "{nothing:?}");
}

const EVENTS: &str = include_str!("events.d.ts");

/// The file beside this test is compiled, and used, by the tests of the JavaScript clients.
#[tokio::test]
async fn types_are_those_of_the_tables_and_the_routes() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let schema = "
        CREATE TYPE estado AS ENUM ('open', 'it''s \"done\"');
        CREATE DOMAIN precio AS numeric(10,2) NOT NULL;
        CREATE DOMAIN etiquetas AS text[];
        CREATE TYPE lugar AS (calle text, numero int);
        CREATE TABLE pedidos (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total precio, estado estado NOT NULL,
          tags etiquetas, pagado boolean, extra jsonb, lugar lugar, creado timestamptz NOT NULL DEFAULT now(),
          historia estado[] NOT NULL DEFAULT '{}', \"con espacio\" money, secreto text);
        CREATE TABLE mensajes (id int PRIMARY KEY, sender text NOT NULL);";
    database.execute(schema).await.unwrap();
    let config = file(include_str!("events.toml"));
    let types = run(
        &["types", "--config", config.to_str().unwrap()],
        &[("DATABASE_URL", &database.url())],
    );
    assert_eq!((types.code, types.out.as_str()), (0, EVENTS), "{types:?}");
}

#[tokio::test]
async fn types_of_a_table_that_is_not_there_say_which() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let config = file(WATCHED);
    let types = run(
        &["types", "--config", config.to_str().unwrap()],
        &[("DATABASE_URL", &database.url())],
    );
    assert!(
        types.code == 1 && types.err.contains("no table public.ventas") && types.out.is_empty(),
        "{types:?}"
    );
}

#[test]
fn types_of_messages_need_no_database() {
    let config = file("[postgres]\n[[listen]]\nchannel = \"sales_channel\"\n");
    let types = run(
        &["types", "--config", config.to_str().unwrap()],
        &[("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere")],
    );
    assert!(
        types.code == 0
            && types
                .out
                .ends_with("export interface Events {\n  message: any;\n}\n"),
        "{types:?}"
    );
}

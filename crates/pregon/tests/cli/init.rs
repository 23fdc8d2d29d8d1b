//! `init`: what it writes works with the next commands, and it never takes what is there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pregon_testkit::{Database, NodeOptions, postgres, process};
use serde_json::json;

use super::terminal::Terminal;
use super::{Ran, command, file, finish, run};
use crate::support::{SOON, binary};

const SHOP: &str = "
    CREATE TABLE ventas (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, producto text, cliente_id int);
    CREATE TABLE usuarios (id int PRIMARY KEY, nombre text, password_hash text);
    CREATE TABLE apuntes (texto text);
    CREATE TABLE schema_migrations (version text PRIMARY KEY);
    CREATE SCHEMA \"Mi app\";
    CREATE TABLE \"Mi app\".\"clients\" (id int PRIMARY KEY);
    CREATE TABLE medidas (id int, dia date) PARTITION BY RANGE (dia);
    CREATE TABLE medidas_2026 PARTITION OF medidas FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE FUNCTION avisa() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pg_notify('sales_channel', row_to_json(NEW)::text); RETURN NEW; END $$;
    INSERT INTO usuarios SELECT n, 'ana', 'x' FROM generate_series(1, 500) n; ANALYZE usuarios;";

async fn shop() -> Database<'static> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SHOP).await.unwrap();
    database
}

/// Runs `init` in a folder.
fn init(folder: &Path, more: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = command(&[&["init"], more].concat());
    finish(
        command
            .current_dir(folder)
            .envs(env.iter().copied())
            .output()
            .unwrap(),
    )
}

#[tokio::test]
async fn what_it_writes_is_served_and_shows_changes() {
    let database = shop().await;
    let folder = process::scratch("init", None).unwrap();
    let ran = init(&folder, &["--yes", "--dsn", &database.url()], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in [
        "watched  ventas",
        "about 500 rows, key id",
        "         apuntes",
        "pregon db plan",
        "pregon token mint",
    ] {
        assert!(ran.out.contains(words), "{words} in {}", ran.out);
    }
    let path = folder.join("pregon.toml");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has a secret in it");
    let named = ["--config", path.to_str().unwrap()];
    let check = run(&[&["check"][..], &named].concat(), &[]);
    assert_eq!((check.code, check.err.as_str()), (0, ""), "{check:?}");
    let token = run(&[&["token", "mint", "--sub", "1"][..], &named].concat(), &[]).out;

    let node = NodeOptions::file(&path).binary(binary());
    let node = pregon_testkit::Node::spawn(node).await.unwrap();
    let url = node.url(&format!("/sse?channel=ventas&token={}", token.trim()));
    let mut sse = pregon_testkit::SseClient::connect(&url, &[]).await.unwrap();
    database
        .execute("INSERT INTO ventas (producto, cliente_id) VALUES ('pan', 7)")
        .await
        .unwrap();
    let event = sse.next_event(SOON).await.unwrap();
    let row: serde_json::Value = serde_json::from_str(event.data.as_deref().unwrap()).unwrap();
    assert_eq!(row, json!({"id": 1, "producto": "pan", "cliente_id": 7}));
}

#[tokio::test]
async fn every_table_can_be_watched_whatever_its_name_in_any_mode() {
    let database = shop().await;
    for mode in ["outbox", "notify"] {
        let folder = process::scratch("init", None).unwrap();
        let env = [("DATABASE_URL", database.url()), ("JWT_SECRET", "x".repeat(32))];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let ran = init(&folder, &["--all", "--json", "--capture", mode], &env);
        let told = ran.json();
        assert_eq!((ran.code, &told["capture"]), (0, &json!(mode)), "{ran:?}");
        let channels: Vec<_> = told["tables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["channel"])
            .collect();
        let expected = [
            "apuntes",
            "medidas",
            "schema_migrations",
            "usuarios",
            "ventas",
            "Mi_app_clients",
        ];
        assert_eq!(channels, expected.map(|name| json!(name)).each_ref());
        let text = std::fs::read_to_string(folder.join("pregon.toml")).unwrap();
        assert!(
            !text.contains("postgres://") && !text.contains("\nsecret ="),
            "{text}"
        );
        assert!(
            text.contains("columns = [\"id\", \"nombre\"]") && text.contains("#channel = \"sales_channel\""),
            "{text}"
        );
        let plan = command(&["db", "plan"])
            .current_dir(&folder)
            .envs(env)
            .output()
            .unwrap();
        let plan = finish(plan);
        assert!(
            plan.code == 1 && plan.err.is_empty() && plan.out.contains("\"Mi app\""),
            "{plan:?}"
        );
    }
}

#[tokio::test]
async fn from_the_write_ahead_log_it_plans_a_slot() {
    let database = shop().await;
    let folder = process::scratch("init", None).unwrap();
    let ran = init(
        &folder,
        &[
            "--yes",
            "--capture",
            "wal",
            "--without-token",
            "--table",
            "ventas",
        ],
        &[("DATABASE_URL", &database.url())],
    );
    assert!(ran.code == 0 && ran.out.contains("slot pregon_"), "{ran:?}");
    let text = std::fs::read_to_string(folder.join("pregon.toml")).unwrap();
    assert!(
        text.contains("capture = \"wal\"") && !text.contains("\nsecret ="),
        "{text}"
    );
}

#[tokio::test]
async fn a_file_that_is_there_stays_unless_forced() {
    let database = shop().await;
    let path = file("# mine\n");
    let url = database.url();
    let arguments = [
        "init",
        "--yes",
        "--config",
        path.to_str().unwrap(),
        "--dsn",
        &url,
        "--table",
    ];
    let ran = run(&[&arguments[..], &["ventas"]].concat(), &[]);
    assert!(ran.code == 2 && ran.err.contains("--force"), "{ran:?}");
    let forced = run(&[&arguments[..], &["public.nada", "--force"]].concat(), &[]);
    assert!(forced.code == 2 && forced.err.contains("ventas"), "{forced:?}");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "# mine\n",
        "nothing was written yet"
    );
    let forced = run(&[&arguments[..], &["ventas,apuntes", "--force"]].concat(), &[]);
    assert_eq!(forced.code, 0, "{forced:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("table = \"ventas\"")
            && text.contains("table = \"apuntes\"")
            && !text.contains("# mine"),
        "{text}"
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let named = format!("--config {}", path.display());
    assert!(
        forced.out.contains(&named),
        "the next commands find the file: {}",
        forced.out
    );
}

#[tokio::test]
async fn a_role_that_may_not_install_gets_a_file_that_says_who_has_to() {
    let database = shop().await;
    let role = database.create_role("gateway").await.unwrap();
    let folder = process::scratch("init", None).unwrap();
    let (url, admin) = (database.url_as(&role), database.url());
    let ran = init(&folder, &["--yes", "--dsn", &url], &[]);
    assert!(
        ran.code == 0 && ran.out.contains("PREGON_ADMIN_URL=postgres://… pregon db apply"),
        "{ran:?}"
    );
    let path = folder.join("pregon.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("apply = \"manual\""), "{text}");
    let apply = ["db", "apply", "--config", path.to_str().unwrap()];
    let applied = run(&apply, &[("PREGON_ADMIN_URL", &admin)]);
    assert_eq!(applied.code, 0, "{applied:?}");
    pregon_testkit::Node::spawn(NodeOptions::file(&path).binary(binary()))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_written() {
    let server = postgres::shared().await;
    let empty = Database::create(server).await.unwrap();
    let folder = process::scratch("init", None).unwrap();
    let nowhere = "postgres://ana:clave@127.0.0.1:1/nada".to_owned();
    let missing = empty.url().replace(empty.name(), "no_such_database");
    let shop = shop().await;
    for (more, code, words) in [
        (
            vec!["--yes", "--dsn", &nowhere],
            1,
            "check that PostgreSQL runs there",
        ),
        (
            vec!["--yes", "--dsn", &missing],
            1,
            "create the database or correct its name",
        ),
        (vec!["--yes", "--dsn", "nada"], 1, "connection string"),
        (vec!["--yes", "--dsn", &empty.url()], 1, "has no tables"),
        (vec!["--yes"], 2, "DATABASE_URL"),
        (vec!["--dsn", &empty.url()], 2, "no terminal"),
        (
            vec!["--yes", "--dsn", &shop.url(), "--listen", "nowhere"],
            1,
            "server.listen",
        ),
        (
            vec![
                "--dsn",
                &shop.url(),
                "--yes",
                "--capture",
                "wal",
                "--table",
                "apuntes",
            ],
            1,
            "no replica identity",
        ),
    ] {
        let ran = init(&folder, &more, &[]);
        assert!(ran.code == code && ran.err.contains(words), "{more:?}: {ran:?}");
        assert!(!ran.err.contains("clave"), "{ran:?}");
        assert!(!folder.join("pregon.toml").exists(), "{more:?}");
    }
    let json = init(&folder, &["--json", "--dsn", &nowhere], &[]);
    assert!(json.json()["error"].is_string(), "{json:?}");
}

/// A wrong database is asked for again, return takes what is proposed.
#[tokio::test]
async fn on_a_terminal_it_asks() {
    let database = shop().await;
    let folder = process::scratch("init", None).unwrap();
    let mut terminal = Terminal::start(&folder, "init --capture notify");
    terminal.shows("Database:").await;
    terminal.press("postgres://127.0.0.1:1/nada\r");
    terminal.shows("check that PostgreSQL runs there").await;
    // The last answer stands there to be corrected: all of it goes.
    terminal.press(&"\u{7f}".repeat(40));
    terminal.press(&format!("{}\r", database.url()));
    terminal.shows("Which tables do pages follow?").await;
    terminal.press("\r");
    terminal.shows("Do clients need a token?").await;
    terminal.press("n\r");
    terminal.shows("Next:").await;
    assert!(terminal.ended().await, "{}", terminal.text());
    let text = std::fs::read_to_string(folder.join("pregon.toml")).unwrap();
    for words in [
        "capture = \"notify\"",
        "table = \"ventas\"",
        "Nobody needs a token",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn who_stops_at_a_question_leaves_no_file() {
    let database = shop().await;
    let folder = process::scratch("init", None).unwrap();
    let mut terminal = Terminal::start(&folder, &format!("init --dsn '{}'", database.url()));
    terminal.shows("Which tables do pages follow?").await;
    terminal.press("\u{3}");
    assert!(!terminal.ended().await);
    assert!(
        terminal.text().contains("nothing was written"),
        "{}",
        terminal.text()
    );
    assert!(!folder.join("pregon.toml").exists());
}

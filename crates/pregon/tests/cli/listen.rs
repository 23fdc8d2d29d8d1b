//! `pregon listen --dsn`: what is done with an event, and that none is missed or doubled. The turnstile's own tests are beside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pregon_testkit::{Database, eventually, postgres, process};

use super::run;
use crate::support::{Running, SOON};

const SCHEMA: &str = "CREATE TABLE entradas (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, nombre text);
    CREATE FUNCTION avisar() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM pg_notify('canal', row_to_json(NEW)::text); RETURN NEW; END$$;
    CREATE TRIGGER avisar AFTER INSERT ON entradas FOR EACH ROW EXECUTE FUNCTION avisar()";
const ANA: &str = "INSERT INTO entradas (nombre) VALUES ('Ana')";
const CATCH_UP: [&str; 4] = [
    "--catch-up",
    "SELECT * FROM entradas WHERE id > :last",
    "--key",
    "id",
];

async fn gym() -> Database<'static> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(SCHEMA).await.unwrap();
    database
}

fn scratch(name: &str) -> PathBuf {
    process::scratch("till", None).unwrap().join(name)
}

async fn start(database: &Database<'_>, more: &[&str]) -> Running {
    let url = database.url();
    let till = Running::start(&[&["listen", "--dsn", &url, "canal"], more].concat());
    eventually(SOON, || async { till.errors().contains("listening") })
        .await
        .unwrap_or_else(|_| panic!("{}", till.errors()));
    till
}

async fn read(file: &Path, holds: impl Fn(&str) -> bool) -> String {
    let text = eventually(SOON, || async {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if holds(&text) { Ok(text) } else { Err(text) }
    });
    text.await.unwrap()
}

#[tokio::test]
async fn a_template_or_a_line_for_people() {
    let gym = gym().await;
    let (people, greeting) = (
        start(&gym, &[]).await,
        start(&gym, &["--template", "Bienvenida {nombre} ({id})"]).await,
    );
    gym.execute(ANA).await.unwrap();
    assert_eq!(greeting.wait_lines(1).await, ["Bienvenida Ana (1)"]);
    assert!(people.wait_lines(1).await[0].ends_with(r#"Z canal {"id":1,"nombre":"Ana"}"#));
}

#[tokio::test]
async fn what_is_no_json_is_a_json_text() {
    let gym = gym().await;
    let till = start(&gym, &["--json"]).await;
    gym.execute(r#"SELECT pg_notify('canal', E'una "línea"\ny otra'), pg_notify('canal', E'{"a":\n1.10}')"#)
        .await
        .unwrap();
    assert_eq!(
        till.wait_lines(2).await,
        [r#""una \"línea\"\ny otra""#, r#"{"a": 1.10}"#]
    );
}

#[tokio::test]
async fn a_command_gets_the_payload_and_runs_again_when_it_fails() {
    let gym = gym().await;
    let out = scratch("out");
    let command = format!(
        "echo \"$PREGON_CHANNEL $PREGON_EVENT $(cat)\" >> {0}; [ $(wc -l < {0}) -ge 2 ]",
        out.display()
    );
    let till = start(&gym, &["--json", "--exec", &command]).await;
    gym.execute(ANA).await.unwrap();
    let line = "canal message {\"id\":1,\"nombre\":\"Ana\"}\n";
    assert_eq!(
        read(&out, |text| text.matches('\n').count() == 2).await,
        line.repeat(2)
    );
    assert_eq!(till.lines().len(), 1, "printed once");
    assert!(till.errors().contains("the command failed"));
}

#[tokio::test]
async fn what_the_command_did_not_take_comes_again_after_a_restart() {
    let gym = gym().await;
    let (state, out) = (scratch("state"), scratch("out"));
    let state = ["--state", state.to_str().unwrap(), "--exec"];
    let failing = [&CATCH_UP[..], &state, &["exit 1"]].concat();
    let mut till = start(&gym, &failing).await;
    gym.execute(ANA).await.unwrap();
    gym.execute(ANA).await.unwrap();
    eventually(SOON, || async { till.errors().contains("the command failed") })
        .await
        .unwrap();
    assert!(till.stop(process::SIGTERM).await.success());
    let working = format!("cat >> {0}; echo >> {0}", out.display());
    let mut till = start(&gym, &[&CATCH_UP[..], &state, &[&working]].concat()).await;
    gym.execute(ANA).await.unwrap();
    let row = |id: u32| format!("{{\"id\":{id},\"nombre\":\"Ana\"}}\n");
    assert_eq!(
        read(&out, |text| text.matches('\n').count() >= 3).await,
        [row(1), row(2), row(3)].concat()
    );
    assert!(till.stop(process::SIGINT).await.success());
}

#[tokio::test]
async fn nobody_is_missed_or_doubled_while_connections_break() {
    let gym = gym().await;
    let state = scratch("state");
    let till = start(
        &gym,
        &[&CATCH_UP[..], &["--json", "--state", state.to_str().unwrap()]].concat(),
    )
    .await;
    let (writer, killer) = (gym.client().await.unwrap(), gym.client().await.unwrap());
    for round in 1..=200 {
        writer.batch_execute(ANA).await.unwrap();
        if round % 40 == 0 {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pregon/cli%' AND datname = current_database()";
            killer.batch_execute(kill).await.unwrap();
        }
    }
    let lines = till.wait_lines(200).await;
    let ids: BTreeSet<i64> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["id"]
                .as_i64()
                .unwrap()
        })
        .collect();
    assert_eq!(ids, (1..=200).collect());
    writer.batch_execute(ANA).await.unwrap();
    assert_eq!(till.wait_lines(201).await.len(), 201, "{}", till.errors());
}

#[tokio::test]
async fn a_second_notification_of_a_row_is_news() {
    let gym = gym().await;
    let state = scratch("state");
    let till = start(
        &gym,
        &[&CATCH_UP[..], &["--json", "--state", state.to_str().unwrap()]].concat(),
    )
    .await;
    gym.execute(ANA).await.unwrap();
    till.wait_lines(1).await;
    gym.execute(r#"SELECT pg_notify('canal', '{"id":1,"nombre":"Eva"}')"#)
        .await
        .unwrap();
    assert_eq!(till.wait_lines(2).await[1], r#"{"id":1,"nombre":"Eva"}"#);
}

#[tokio::test]
async fn sql_that_cannot_work_ends_it_and_says_why() {
    let gym = gym().await;
    let (url, state) = (gym.url(), scratch("state"));
    let with = |sql: &str| {
        run(
            &[
                "listen",
                "--dsn",
                &url,
                "canal",
                "--catch-up",
                sql,
                "--key",
                "id",
                "--state",
                state.to_str().unwrap(),
            ],
            &[],
        )
    };
    let endless = with("SELECT * FROM entradas");
    assert!(endless.code == 2 && endless.err.contains(":last"), "{endless:?}");
    let wrong = with("SELECT * FROM salidas WHERE id > :last");
    assert!(wrong.code == 1 && wrong.err.contains("salidas"), "{wrong:?}");
    let long = run(&["listen", "--dsn", &url, &"c".repeat(64)], &[]);
    assert!(long.code == 2 && long.err.contains("63 bytes"), "{long:?}");
}

#[tokio::test]
async fn the_state_gets_its_folders_and_its_errors_are_its_own() {
    let gym = gym().await;
    let state = scratch("new").join("folder").join("state.json");
    let mut till = start(
        &gym,
        &[&CATCH_UP[..], &["--state", state.to_str().unwrap()]].concat(),
    )
    .await;
    gym.execute(ANA).await.unwrap();
    till.wait_lines(1).await;
    assert!(till.stop(process::SIGTERM).await.success());
    assert!(std::fs::read_to_string(&state).unwrap().contains("\"last\":1"));
    // The file that is written beside the state is a folder: nothing can be saved.
    let blocked = scratch("state");
    std::fs::create_dir(blocked.with_extension("new")).unwrap();
    let url = gym.url();
    let with = |state: &Path| {
        let base = [
            "listen",
            "--dsn",
            &url,
            "canal",
            "--state",
            state.to_str().unwrap(),
        ];
        run(&[&base[..], &CATCH_UP].concat(), &[])
    };
    let unwritable = with(&blocked);
    assert!(
        unwritable.code == 1 && unwritable.err.contains("cannot write the state file"),
        "{unwritable:?}"
    );
    assert!(!unwritable.err.contains("SQL"), "{unwritable:?}");
    let no_folder = with(&state.join("below-a-file"));
    assert!(
        no_folder.code == 1 && no_folder.err.contains("state file"),
        "{no_folder:?}"
    );
}

#[tokio::test]
async fn a_reader_that_has_had_enough_is_no_failure() {
    let gym = gym().await;
    let mut till = super::command(&["listen", "--dsn", &gym.url(), "--json", "canal"]);
    till.stdout(std::process::Stdio::piped());
    let mut till = process::spawn(till, process::SIGKILL).unwrap();
    drop(till.stdout.take());
    let pid = till.id();
    let ended = eventually(SOON, || async {
        gym.execute(ANA).await.unwrap(); // until it is heard
        !process::is_running(pid)
    });
    ended.await.unwrap();
    assert!(till.wait().unwrap().success());
}

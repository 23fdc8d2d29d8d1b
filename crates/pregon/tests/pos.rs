//! examples/turnstile/pos.py, the till in Python: at the gateway, and with `pregon listen` as its child.

use std::path::Path;
use std::process::Command;

use pregon_testkit::{Database, Node, NodeOptions, eventually, postgres, process};
use serde_json::json;

use crate::support::{Running, SECRET, SOON, binary, example, psql, token};

async fn gym() -> Database<'static> {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    psql(server, &database.url(), &example("turnstile/schema.sql"));
    database
        .execute("INSERT INTO miembros (id_miembro, nombre) VALUES (7, 'Iñaki')")
        .await
        .unwrap();
    database
}

async fn enter(gym: &Database<'_>, kind: &str) {
    let sql = format!("INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES (7, '{kind}')");
    gym.execute(&sql).await.unwrap();
}

fn python() -> Command {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/.venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run scripts/setup",
        python.display()
    );
    let mut command = Command::new(python);
    // Nothing beside the standard library: what the environment has installed must not help.
    command
        .args(["-I", "-S", "-B"])
        .arg(example("turnstile/pos.py"))
        .env("LC_ALL", "C");
    command
}

async fn says(till: &Running, words: &str, times: usize) {
    eventually(SOON, || async {
        let errors = till.errors();
        if errors.matches(words).count() >= times {
            Ok(())
        } else {
            Err(errors)
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{words}: {error}"));
}

/// The entries' numbers; the name shows that texts are UTF-8 whatever the console says.
fn shown(lines: &[String]) -> Vec<u32> {
    assert!(lines.iter().all(|line| line.contains(" Iñaki 20")), "{lines:?}");
    let numbers = lines
        .iter()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap());
    numbers.collect()
}

fn saved(state: &Path) -> String {
    std::fs::read_to_string(state).unwrap_or_default()
}

fn at_the_gateway(node: &Node, state: &Path) -> Running {
    let mut command = python();
    command.args(["--gateway", &node.url(""), "--channel", "entradas", "--state"]);
    command
        .arg(state)
        .env("PREGON_TOKEN", token(&json!({"sub": "caja-1"})));
    Running::program(command)
}

#[tokio::test]
async fn at_the_gateway_nothing_is_missed_when_gateway_and_till_are_killed() {
    let gym = gym().await;
    let options = NodeOptions::file(example("turnstile/nothing-missed.toml")).binary(binary());
    let options = options.env("DATABASE_URL", gym.url()).env("JWT_SECRET", SECRET);
    let mut node = Node::spawn(options).await.unwrap();
    let state = process::scratch("pos", None).unwrap().join("estado.json");
    let mut till = at_the_gateway(&node, &state);
    says(&till, "listening at", 1).await;
    enter(&gym, "miembro").await;
    till.wait_lines(1).await;

    node.kill9().await.unwrap();
    enter(&gym, "visitante").await;
    enter(&gym, "miembro").await;
    says(&till, "no connection", 1).await;
    node.restart().await.unwrap();
    assert_eq!(shown(&till.wait_lines(2).await), [1, 3]);

    let before = saved(&state);
    enter(&gym, "miembro").await;
    till.wait_lines(3).await;
    eventually(SOON, || async { saved(&state) != before })
        .await
        .unwrap();
    till.stop(process::SIGKILL).await;
    enter(&gym, "miembro").await;
    let mut till = at_the_gateway(&node, &state);
    enter(&gym, "miembro").await;
    assert_eq!(shown(&till.wait_lines(2).await), [5, 6]);
    assert!(till.stop(process::SIGINT).await.success(), "{}", till.errors());
}

#[tokio::test]
async fn a_token_that_is_refused_ends_it_with_the_reason() {
    let gym = gym().await;
    let options = NodeOptions::file(example("turnstile/pregon.toml")).binary(binary());
    let options = options
        .env("DATABASE_URL", gym.url())
        .env("JWT_SECRET", "otra-clave-que-no-es-la-de-la-caja");
    let node = Node::spawn(options).await.unwrap();
    let mut till = at_the_gateway(&node, Path::new("/nonexistent/estado.json"));
    says(&till, "401", 1).await;
    assert_eq!(
        till.stop(0).await.code(),
        Some(1),
        "ends by itself: 0 is no signal"
    );
}

#[tokio::test]
async fn with_a_child_nothing_is_missed_when_the_child_is_killed() {
    let gym = gym().await;
    let state = process::scratch("pos", None).unwrap().join("estado.json");
    let mut command = python();
    command.args(["--dsn", &gym.url_as("pos_user"), "--state"]);
    command.arg(&state).arg("--pregon").arg(binary());
    let mut till = Running::program(command);
    says(&till, "runs as process", 1).await;
    says(&till, "listening", 1).await;
    let before = saved(&state);
    enter(&gym, "miembro").await;
    till.wait_lines(1).await;
    eventually(SOON, || async { saved(&state) != before })
        .await
        .unwrap();

    process::signal(child(&till), process::SIGKILL);
    enter(&gym, "miembro").await;
    says(&till, "runs as process", 2).await;
    enter(&gym, "miembro").await;
    assert_eq!(shown(&till.wait_lines(3).await), [1, 2, 3]);

    let last = child(&till);
    assert!(till.stop(process::SIGINT).await.success(), "{}", till.errors());
    assert!(
        !Path::new(&format!("/proc/{last}")).exists(),
        "its child outlives it"
    );
}

/// The process of the newest `pregon listen`.
fn child(till: &Running) -> u32 {
    let errors = till.errors();
    let (_, rest) = errors.rsplit_once("runs as process ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

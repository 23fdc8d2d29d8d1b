//! `top` beside a real gateway: its figures are those of what happens.

use pregon_testkit::{Database, Node, postgres, process};
use serde_json::{Value, json};

use super::run;
use super::terminal::Terminal;
use crate::support::{PLAIN, Running, SOON, connect, node, node_on};

const WATCHED: &str =
    "[postgres]\napply = 'auto'\n[[watch]]\ntable = 'ventas'\n[[channel]]\nname = 'ventas'\n";

/// The figures of an interval in which rows are written without a pause.
async fn busy(database: &Database<'_>, url: String) -> Value {
    let arguments = ["top", "--once", "--json", "--interval", "400ms", "--url"].map(str::to_owned);
    let top = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(String::as_str)
            .chain([url.as_str()])
            .collect();
        run(&arguments, &[])
    });
    while !top.is_finished() {
        database
            .execute("INSERT INTO ventas DEFAULT VALUES")
            .await
            .unwrap();
    }
    let ran = top.await.unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

#[tokio::test]
async fn the_figures_are_those_of_what_happens() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE TABLE ventas (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
        .await
        .unwrap();
    let node = node_on(&database, &format!("{PLAIN}{WATCHED}")).await;
    let mut client = connect(&node, &json!({"sub": "1"})).await;
    client.subscribe("ventas").await.unwrap();
    let figures = busy(&database, node.url("")).await;
    assert_eq!(
        (&figures["ready"], &figures["connections"]["websocket"]),
        (&json!(true), &json!(1))
    );
    let number = |pointer: &str| figures.pointer(pointer).and_then(Value::as_f64).unwrap_or(-1.0);
    for pointer in [
        "/events/per_second",
        "/publications/per_second",
        "/deliveries/per_second",
        "/deliveries/total",
        "/delivered_bytes/per_second",
        "/commit_to_write/p50_ms",
        "/commit_to_write/count",
        "/log/bytes",
        "/log/newest",
        "/log/sync/p99_ms",
        "/log/window_entries",
    ] {
        assert!(number(pointer) > 0.0, "{pointer} in {figures}");
    }
    assert_eq!(figures["commit_to_write"]["recent"], true);
    assert!(number("/commit_to_write/p99_ms") >= number("/commit_to_write/p50_ms"));
    let up = |source: &Value| source["up"] == true && source["events"]["total"].as_u64() > Some(0);
    assert!(figures["sources"].as_array().unwrap().iter().any(up), "{figures}");
}

#[tokio::test]
async fn without_a_terminal_it_prints_once() {
    let node = node(PLAIN).await;
    let refused = pregon_testkit::http::get(&node.url("/sse?channel=news"))
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    let url = node.url("");
    let ran = run(&["top", "--url", &url, "--interval", "50ms"], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in [
        &format!("pregón {url} ready"),
        "Connections",
        "token 1",
        "nothing measured yet",
    ] {
        assert!(ran.out.contains(words), "{words} in\n{}", ran.out);
    }
}

/// The gateway of the configuration, where nothing else is said.
#[tokio::test]
async fn what_is_no_gateway_is_said() {
    let node = node(&format!("{PLAIN}[metrics]\nenabled = false\n")).await;
    let silent = run(&["top", "--once", "--url", &node.url("")], &[]);
    assert!(silent.code == 1 && silent.err.contains("[metrics]"), "{silent:?}");
    let port = process::free_port().unwrap().to_string();
    let nobody = run(&["top", "--once", "--json"], &[("PORT", &port)]);
    assert_eq!(nobody.code, 1);
    let error = nobody.json()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains(&format!("127.0.0.1:{port}")) && error.contains("--url"),
        "{error}"
    );
    assert_eq!(run(&["top", "--interval", "0s"], &[]).code, 2);
}

#[tokio::test]
async fn as_a_stream_it_outlives_the_gateway() {
    let mut node: Node = node(PLAIN).await;
    let top = Running::start(&["top", "--json", "--interval", "50ms", "--url", &node.url("")]);
    let line = |lines: &[String]| serde_json::from_str::<Value>(lines.last().unwrap()).unwrap();
    let lines = top.wait_lines(2).await;
    assert_eq!(line(&lines)["ready"], true);
    node.kill9().await.unwrap();
    wait(&top, |line| line["error"].is_string()).await;
    node.restart().await.unwrap();
    wait(&top, |line| line["ready"] == true).await;
}

/// Waits until the newest line is such a one.
async fn wait(top: &Running, holds: impl Fn(&Value) -> bool) {
    let seen = pregon_testkit::eventually(SOON, || async {
        let last = top.lines().pop().unwrap_or_default();
        let value: Value = serde_json::from_str(&last).unwrap_or_default();
        if holds(&value) { Ok(()) } else { Err(last) }
    });
    seen.await.unwrap();
}

#[tokio::test]
async fn on_a_terminal_it_draws_until_q() {
    let mut node = node(PLAIN).await;
    let folder = process::scratch("top", None).unwrap();
    let mut top = Terminal::start(&folder, &format!("top --interval 50ms --url {}", node.url("")));
    top.shows("Commit → write p99").await;
    top.press(" ");
    top.shows("held").await;
    top.press(" ");
    node.kill9().await.unwrap();
    top.shows("cannot reach the gateway").await;
    top.press("q");
    assert!(top.ended().await, "{}", top.text());
    assert!(top.text().contains("\u{1b}[?1049l"), "the screen is given back");
}

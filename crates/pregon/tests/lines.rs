//! How much the log takes of lines that strangers cause: so many of a kind in a minute, and one that counts the others.

use pregon_testkit::{Database, Node, eventually, postgres};
use serde_json::{Value, json};

use crate::support::{SOON, connect, metric, options};

const REFUSED: &str = "a rights query failed";
const SUPPRESSED: &str = "pregon_log_suppressed_total";

/// A node whose database refuses every question of rights, and a client that has asked so often.
async fn asked(limits: &str, arguments: &[&str], often: usize) -> (Database<'static>, Node) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE FUNCTION may() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$")
        .await
        .unwrap();
    let config = format!(
        "[postgres]\n[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n[limits]\ncommands_per_second = 0\n{limits}\n\
         [[channel]]\nname = \"sala_{{id}}\"\nallow_sql = \"SELECT public.may()\"\n"
    );
    let mut options = options(&config).env("DATABASE_URL", database.url());
    for argument in arguments {
        options = options.arg(*argument);
    }
    let node = Node::spawn(options).await.unwrap();
    let mut client = connect(&node, &json!({"sub": 1})).await;
    for n in 0..often {
        let ask = json!({"type": "subscribe", "channel": format!("sala_{n}")});
        assert_eq!(client.request(ask).await.unwrap()["type"], "error");
    }
    (database, node)
}

fn count(node: &Node, text: &str) -> usize {
    node.lines()
        .iter()
        .filter(|line| line.contains(text) && !line.contains("\"suppressed\""))
        .count()
}

#[tokio::test]
async fn a_client_fills_no_log_and_what_is_left_out_is_counted_and_told() {
    let (_database, mut node) = asked("", &[], 300).await;
    metric(&node, SUPPRESSED, |lines| lines == 280.0).await.unwrap();
    assert_eq!(count(&node, REFUSED), 20, "{}", node.log());
    // What has not been told by the end of its minute is told at the end of the process.
    node.sigterm().await.unwrap();
    let line = node.wait_for_log("\"suppressed\"", SOON).await.unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["line"], &line["suppressed"], &line["level"]),
        (&json!(REFUSED), &json!(280), &json!("WARN"))
    );
}

#[tokio::test]
async fn lines_of_debug_are_all_written_and_others_stay_limited() {
    let (_database, node) = asked("log_lines = 5", &["--log", "debug"], 40).await;
    eventually(SOON, async || count(&node, "what the database said") == 40)
        .await
        .unwrap();
    assert_eq!(count(&node, REFUSED), 5, "{}", node.log());
}

#[tokio::test]
async fn without_a_limit_every_line_is_written() {
    let (_database, node) = asked("log_lines = 0", &[], 100).await;
    eventually(SOON, async || count(&node, REFUSED) == 100)
        .await
        .unwrap();
}

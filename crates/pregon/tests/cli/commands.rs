//! `check`, `route explain`, `publish`, `completions`, and what holds for all commands.

use serde_json::json;

use super::{file, run, run_with_input};
use crate::support::{API_KEY, PLAIN, SOON, connect, node};

const SHOP: &str = r#"
[postgres]
url = "postgres://gateway@127.0.0.1/shop"
[[watch]]
table = "messages"
[[listen]]
channel = "sales_channel"
[[route]]
from = "messages"
when = "row.id > 10"
to = ["conversation_{conversation_id}"]
event = "message:new"
"#;

#[test]
fn check_says_what_is_configured() {
    let config = file(SHOP);
    let ran = run(&["check", "--config", config.to_str().unwrap()], &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.out
            .contains("watches messages; listens to sales_channel; 1 route(s)"),
        "{}",
        ran.out
    );
}

#[test]
fn check_reports_everything_at_once_with_its_place() {
    let config = file("[server]\nlisten = \"nowhere\"\n[[watch]]\ntabel = \"x\"\n");
    let config = config.to_str().unwrap();
    let ran = run(&["check", "--config", config], &[]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains(&format!("{config}:2:10: server.listen: ")),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains(&format!(
            "{config}:4:1: watch[0].tabel: unknown key `tabel`; did you mean `table`?"
        )),
        "{}",
        ran.out
    );
    let told = run(&["check", "--config", config, "--json"], &[]).json();
    assert_eq!(told["ok"], false);
    assert!(
        told["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|problem| problem["line"] == 4 && problem["key"] == "watch[0].tabel")
    );
}

#[test]
fn a_short_secret_is_a_warning() {
    let check = |secret: &str, more: &[&str]| {
        let config = file(&format!("[auth]\nsecret = \"{secret}\"\n"));
        run(
            &[&["check", "--config", config.to_str().unwrap()], more].concat(),
            &[],
        )
    };
    let short = check("clave", &[]);
    assert!(
        short.code == 0 && short.err.contains("warning: ") && short.err.contains("32"),
        "{short:?}"
    );
    let told = check("clave", &["--json"]);
    assert!(
        told.code == 0 && told.json()["warnings"][0].is_string(),
        "{told:?}"
    );
    let long = check(&"x".repeat(32), &[]);
    assert_eq!((long.code, long.err.as_str()), (0, ""), "{long:?}");
}

#[tokio::test]
async fn doctor_says_where_the_log_is_and_who_uses_it() {
    let node = node(PLAIN).await;
    let config = file(PLAIN);
    let data = node.folder().join("data").display().to_string();
    let doctor = |data: &str| {
        let arguments = ["doctor", "--json", "--config", config.to_str().unwrap()];
        let ran = run(&arguments, &[("PREGON_DATA", data)]);
        let finding = |id: &str| {
            let all = ran.json();
            let mut all = all.as_array().unwrap().iter();
            all.find(|one| one["id"] == id).cloned().unwrap_or_default()
        };
        (ran.code, finding("D1"), finding("D2"))
    };
    let (code, folder, space) = doctor(&data);
    let holder = format!("in use by process {}", node.pid().unwrap());
    assert!(
        code == 0 && folder["detail"].as_str().unwrap().contains(&holder),
        "{folder}"
    );
    assert!(space["detail"].as_str().unwrap().contains(" free of "), "{space}");
    let (_, folder, _) = doctor("/tmp/not/there/yet");
    assert!(
        folder["detail"]
            .as_str()
            .unwrap()
            .contains("the first start makes"),
        "{folder}"
    );
    let (code, folder, _) = doctor("/dev/null/log");
    assert!(code == 1 && folder["status"] == "fail", "{folder}");
    assert!(
        folder["remedy"].as_str().unwrap().contains("PREGON_DATA"),
        "{folder}"
    );
}

#[test]
fn a_wrong_configuration_stops_serve_in_the_same_words() {
    let config = file("[[watch]]\ntabel = \"x\"\n");
    let ran = run(&["serve", "--config", config.to_str().unwrap()], &[]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("did you mean `table`?"), "{}", ran.err);
    let ran = run(&["serve"], &[]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("pregon.toml: cannot read the configuration"),
        "{}",
        ran.err
    );
}

#[test]
fn wrong_usage_is_two_and_help_is_zero() {
    for wrong in [
        &["serv"][..],
        &[],
        &["listen"],
        &["token", "mint", "--claim", "x"],
        &["--log", "loud", "check"],
        &["check", "--config", "/nada/pregon.toml"],
        &["serve", "--config", "/nada/pregon.toml"],
    ] {
        let ran = run(wrong, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{wrong:?}");
        assert!(!ran.err.is_empty());
    }
    let help = run(&["listen", "--help"], &[]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("--catch-up") && !help.out.contains("conformance"));
    assert!(!run(&["--help"], &[]).out.contains("conformance"));
    assert!(
        run(&["completions", "bash"], &[])
            .out
            .contains("complete -F _pregon")
    );
}

#[test]
fn explain_says_what_each_rule_does_and_why() {
    let config = file(SHOP);
    let explain = |more: &[&str]| {
        let base = [
            "route",
            "explain",
            "--config",
            config.to_str().unwrap(),
            "--source",
        ];
        run(&[&base[..], more].concat(), &[])
    };
    let told = explain(&["messages", "--row", r#"{"id":11,"conversation_id":4}"#]);
    assert!(
        told.out
            .starts_with("route[0] publishes: the condition is true\n"),
        "{told:?}"
    );
    assert!(
        told.out
            .contains("channels conversation_4\n  event    message:new\n"),
        "{told:?}"
    );
    let told = explain(&["messages", "--row", r#"{"id":9,"conversation_id":4}"#, "--json"]).json();
    assert_eq!(told["rules"][0]["reason"], "the condition is false");
    let told = explain(&["messages", "--op", "delete", "--row", r#"{"id":11}"#]);
    assert!(told.out.contains("does nothing: no channel"), "{told:?}");
    assert!(
        explain(&["sales_channel", "--row", "{}"])
            .out
            .contains("default publishes")
    );
    assert_eq!(explain(&["nadie", "--row", "{}"]).code, 2);
    assert_eq!(explain(&["messages", "--row", "no"]).code, 2);
}

#[test]
fn explain_takes_what_clients_emit() {
    let config = file(
        "[socketio]\n[[route]]\nfrom = 'clients'\nwhen = \"event == 'say' && claims.sub == 'ana'\"\nto = 'chat_{room}'\nevent = '{event}'\n",
    );
    let explain = |more: &[&str]| {
        let path = config.to_str().unwrap();
        let base = ["route", "explain", "--config", path, "--source", "clients"];
        run(&[&base[..], more].concat(), &[])
    };
    let said = ["--event", "say", "--row", r#"{"room":"x"}"#];
    let told = explain(&[&said[..], &["--claims", r#"{"sub":"ana"}"#]].concat());
    assert!(told.out.contains("channels chat_x\n  event    say\n"), "{told:?}");
    let told = explain(&[&said[..], &["--claims", r#"{"sub":"luis"}"#]].concat());
    assert!(told.out.contains("does nothing"), "{told:?}");
    assert_eq!(explain(&["--row", "{}"]).code, 2, "--event is missing");
    assert_eq!(explain(&["--event", "say", "--claims", "no"]).code, 2);
}

#[tokio::test]
async fn publish_reaches_the_clients_of_a_gateway() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": "1"})).await;
    client.subscribe("news").await.unwrap();
    let url = node.url("");
    let ran = run(
        &["publish", "--url", &url, "news", "tick", r#"{"n":1.50}"#],
        &[("PREGON_API_KEY", API_KEY)],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("published at "), "{ran:?}");
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(
        (&event["event"], &event["data"]),
        (&json!("tick"), &json!({"n": 1.5}))
    );
    let ran = run_with_input(
        &[
            "publish",
            "--url",
            &url,
            "--api-key",
            API_KEY,
            "--json",
            "news",
            "tick",
            "-",
        ],
        "[2]\n",
    );
    assert_eq!(ran.json()["positions"].as_array().unwrap().len(), 1);
    let refused = run(
        &["publish", "--url", &url, "news", "tick", "{}"],
        &[("PREGON_API_KEY", "no")],
    );
    assert!(refused.code == 1 && refused.err.contains("401"), "{refused:?}");
    let text = run(
        &["publish", "--url", &url, "news", "tick", "hola"],
        &[("PREGON_API_KEY", API_KEY)],
    );
    assert!(text.code == 2 && text.err.contains("quotes"), "{text:?}");
    assert_eq!(
        run(&["publish", "--url", &url, "news", "tick", "1"], &[]).code,
        1,
        "without a key"
    );
}

//! `--json`: one JSON value on standard output, also where the command fails.

use super::{file, run};

#[test]
fn a_failure_is_one_json_value_too() {
    let away = file(
        "[postgres]\nurl = \"postgres://gateway:hunter2@127.0.0.1:1/shop\"\n[[watch]]\ntable = \"ventas\"\n",
    );
    let away = away.to_str().unwrap();
    for arguments in [
        &["db", "plan", "--json", "--config", away][..],
        &["db", "status", "--json", "--config", away],
        &["db", "apply", "--json", "--config", away],
        &["db", "drop", "--yes", "--json", "--config", away],
        &[
            "publish",
            "--json",
            "--url",
            "http://127.0.0.1:1",
            "--api-key",
            "x",
            "news",
            "tick",
            "1",
        ],
        &[
            "publish",
            "--json",
            "--dsn",
            "postgres://a@127.0.0.1:1/shop",
            "news",
            "tick",
            "1",
        ],
        &["token", "mint", "--json"],
        &["token", "inspect", "--json", "no.es.nada"],
    ] {
        let ran = run(arguments, &[]);
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
        let error = ran.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(
            ran.err.contains(&format!("error: {error}")) && !error.is_empty(),
            "{ran:?}"
        );
        assert!(!ran.out.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_wrong_configuration_is_told_with_its_problems() {
    let wrong = file("[[watch]]\ntabel = \"x\"\n");
    let wrong = wrong.to_str().unwrap();
    for arguments in [
        &["check", "--json", "--config", wrong][..],
        &["db", "plan", "--json", "--config", wrong],
        &["token", "mint", "--json", "--config", wrong],
    ] {
        let ran = run(arguments, &[]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let told = ran.json();
        assert!(told["error"].is_string(), "{told}");
        let problems = told["problems"].as_array().unwrap();
        assert!(
            problems.iter().any(|problem| problem["key"] == "watch[0].tabel"),
            "{told}"
        );
    }
}

#[test]
fn wrong_usage_stays_two_and_is_json_where_json_was_asked() {
    let ran = run(&["check", "--json", "--config", "/nada/pregon.toml"], &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.json()["error"]
            .as_str()
            .unwrap()
            .contains("/nada/pregon.toml")
    );
}

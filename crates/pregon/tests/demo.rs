//! `pregon demo`: the page, its feeds, and that nothing stays behind.

use pregon_testkit::{SseClient, WsClient, eventually, http, process};
use serde_json::Value;

use crate::support::{Running, SOON};

#[tokio::test]
async fn the_page_shows_feeds_that_run_and_nothing_stays() {
    let mut demo = Running::start(&["demo", "--port", "0", "--seconds", "120"]);
    let patience = std::time::Duration::from_secs(60);
    let address = eventually(patience, || async {
        demo.lines()
            .iter()
            .find_map(|line| Some(line.split_once("pregón demo: ")?.1.to_owned()))
    });
    let address = address
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", demo.errors()));
    let page = http::get(&format!("{address}/")).await.unwrap().body;
    let facts = page
        .lines()
        .find_map(|line| line.strip_prefix("const FEEDS = ")?.strip_suffix(';'))
        .unwrap();
    let feeds: Vec<Value> = serde_json::from_str(facts).unwrap();
    let mut statements = SseClient::connect(&format!("{address}/statements"), &[])
        .await
        .unwrap();
    for (feed, example) in feeds.iter().zip(["live-sales", "turnstile"]) {
        assert_eq!(feed["name"], example);
        let mut client = WsClient::connect(feed["url"].as_str().unwrap(), &[])
            .await
            .unwrap();
        let event = client.next_json(SOON).await.unwrap();
        assert!(event[feed["key"].as_str().unwrap()].is_number(), "{event}");
    }
    for (example, origin, status) in [
        ("turnstile", address.as_str(), 204),
        ("turnstile", "https://evil.example", 403),
        ("turnstile", "null", 403),
        ("nada", address.as_str(), 404),
    ] {
        let url = format!("{address}/insert/{example}");
        let answer = http::request("POST", &url, &[("origin", origin)], b"")
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{example} {origin}: {}", answer.body);
    }
    let statement = statements.next_event(SOON).await.unwrap().json().unwrap();
    assert!(
        statement["sql"].as_str().unwrap().starts_with("INSERT INTO "),
        "{statement}"
    );
    assert!(demo.stop(process::SIGINT).await.success(), "{}", demo.errors());
    assert!(http::get(&address).await.is_err());
}

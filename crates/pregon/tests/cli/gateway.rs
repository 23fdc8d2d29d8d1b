//! `pregon listen --url`: channels of a gateway, resumed by position, and bare endpoints.

use pregon_testkit::{Node, Proxy, eventually, process};
use serde_json::json;

use super::run;
use crate::support::{PLAIN, Running, SOON, node, publish, token};

async fn follow(url: &str, more: &[&str]) -> Running {
    let token = token(&json!({"sub": "7", "rooms": ["1"]}));
    let till = Running::start(&[&["listen", "--url", url, "--token", &token, "--json"], more].concat());
    following(&till, 1).await;
    till
}

async fn following(till: &Running, times: usize) {
    let said = || till.errors().matches("\"following\"").count() >= times;
    eventually(SOON, || async { said() })
        .await
        .unwrap_or_else(|_| panic!("{}", till.errors()));
}

async fn say(node: &Node, channel: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        publish(node, channel, "tick", json!({ "n": number })).await;
    }
}

fn lines(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|number| format!("{{\"n\":{number}}}")).collect()
}

#[tokio::test]
async fn resumes_where_the_connection_was_cut() {
    let node = node(PLAIN).await;
    let proxy = Proxy::start(node.address()).await.unwrap();
    let till = follow(&format!("ws://{}", proxy.address()), &["news"]).await;
    say(&node, "news", 1..=3).await;
    till.wait_lines(3).await;
    proxy.refuse(true).await;
    proxy.cut().await;
    say(&node, "news", 4..=6).await;
    proxy.restore().await;
    following(&till, 2).await;
    say(&node, "news", 7..=7).await;
    assert_eq!(till.wait_lines(7).await, lines(1..=7));
    assert!(till.errors().contains("trying again"), "{}", till.errors());
}

#[tokio::test]
async fn several_channels_and_only_those() {
    let node = node(PLAIN).await;
    let till = follow(&node.ws_url(""), &["news", "room_1"]).await;
    say(&node, "user_7", 9..=9).await; // joined by its token, but not asked for
    say(&node, "news", 1..=1).await;
    say(&node, "room_1", 2..=2).await;
    assert_eq!(till.wait_lines(2).await, lines(1..=2));
}

#[tokio::test]
async fn a_state_resumes_after_a_restart() {
    let node = node(PLAIN).await;
    let state = process::scratch("till", None).unwrap().join("state");
    let arguments = ["news", "--state", state.to_str().unwrap()];
    let mut till = follow(&node.ws_url(""), &arguments).await;
    say(&node, "news", 1..=2).await;
    till.wait_lines(2).await;
    assert!(till.stop(process::SIGTERM).await.success());
    say(&node, "news", 3..=4).await;
    let till = follow(&node.ws_url(""), &arguments).await;
    assert_eq!(till.wait_lines(2).await, lines(3..=4));
}

#[tokio::test]
async fn comes_back_when_the_gateway_was_killed() {
    let mut node = node(&format!("{PLAIN}\n[log]\nkind = \"memory\"\n")).await;
    let till = follow(&node.ws_url(""), &["news"]).await;
    say(&node, "news", 1..=1).await;
    till.wait_lines(1).await;
    node.kill9().await.unwrap();
    node.restart().await.unwrap();
    following(&till, 2).await;
    say(&node, "news", 2..=2).await;
    assert_eq!(till.wait_lines(2).await, lines(1..=2));
    assert!(
        till.errors().contains("missed"),
        "the log in memory is gone: {}",
        till.errors()
    );
}

#[tokio::test]
async fn a_refusal_ends_it_and_says_why() {
    let node = node(PLAIN).await;
    let listen = |url: &str, token: &str, channel: &str| {
        run(&["listen", "--url", url, channel], &[("PREGON_TOKEN", token)])
    };
    let (good, url) = (token(&json!({"sub": "7"})), node.ws_url(""));
    let bad = listen(&url, "no", "news");
    assert!(bad.code == 1 && bad.err.contains("PREGON_TOKEN"), "{bad:?}");
    let forbidden = listen(&url, &good, "room_1");
    assert!(
        forbidden.code == 1 && forbidden.err.contains("(103)"),
        "{forbidden:?}"
    );
    let nowhere = listen(&node.ws_url("/nada"), &good, "news");
    assert!(nowhere.code == 1 && nowhere.err.contains("404"), "{nowhere:?}");
    let unnamed = run(&["listen", "--url", &url], &[("PREGON_TOKEN", &good)]);
    assert!(
        unnamed.code == 1 && unnamed.err.contains("name the channels"),
        "{unnamed:?}"
    );
}

#[tokio::test]
async fn a_bare_endpoint_needs_no_channel() {
    let text = format!("{PLAIN}[[endpoint]]\npath = \"/ws/news\"\nchannels = [\"news\"]\ntoken = \"none\"\n");
    let node = node(&text).await;
    let till = follow(&node.ws_url("/ws/news"), &[]).await;
    say(&node, "news", 1..=2).await;
    assert_eq!(till.wait_lines(2).await, lines(1..=2));
}

//! Resume without a position: an unmodified client that only names a session loses nothing, and a stranger gains nothing by its name.

use std::collections::BTreeSet;
use std::time::Duration;

use pregon_testkit::{Node, Proxy, WsClient, eventually};
use serde_json::{Value, json};

use crate::support::official::Official;
use crate::support::{PLAIN, SOON, metric, node, publish, token};

const CLIENT: &str = "bare/client.mjs";
const SESSION: &str = "3f0c2a52-5d0e-4c0e-9d1e-0f6f6b0c7a11";
const CUTS: usize = 5;
/// Publications between two cuts.
const EACH: usize = 60;

fn config() -> String {
    format!(
        "{PLAIN}\n[[endpoint]]\npath = \"/ws/news\"\nchannels = [\"news\"]\ntoken = \"none\"\nrooms = \"room_{{room}}\"\n"
    )
}

fn through(proxy: &Proxy, query: &str) -> String {
    format!("ws://{}/ws/news{query}", proxy.address())
}

async fn connect(url: &str) -> Official {
    let mut client = Official::start(CLIENT, &[]);
    client.send(&json!({"do": "connect", "url": url}));
    client.wait("open").await;
    client
}

fn heard(client: &Official) -> Vec<i64> {
    let lines = client.lines().into_iter();
    let messages = lines.filter(|line| line["on"] == "message");
    messages.filter_map(|line| line["data"].as_i64()).collect()
}

/// Numbers below `upto` that have not come.
fn missed(client: &Official, upto: i64) -> Vec<i64> {
    let heard: BTreeSet<i64> = heard(client).into_iter().collect();
    (0..upto).filter(|n| !heard.contains(n)).collect()
}

async fn has_all(client: &Official, upto: i64) {
    eventually(SOON, || async {
        let missed = missed(client, upto);
        anyhow::ensure!(missed.is_empty(), "missed {missed:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Publishes while the network breaks again and again, each time with bytes under way that nobody gets; returns how many.
async fn publish_over_cuts(node: &Node, proxy: &Proxy, client: &Official) -> i64 {
    proxy.delay(Duration::from_millis(20));
    let mut numbers = 0..;
    for cut in 1..=CUTS {
        for n in numbers.by_ref().take(EACH) {
            publish(node, "news", "n", json!(n)).await;
        }
        proxy.cut().await;
        for n in numbers.by_ref().take(EACH / 4) {
            publish(node, "news", "n", json!(n)).await;
        }
        eventually(SOON, || async {
            let opened = client.lines().iter().filter(|line| line["on"] == "open").count();
            anyhow::ensure!(opened > cut, "{opened} connections after {cut} cuts");
            Ok(())
        })
        .await
        .unwrap();
    }
    let last = numbers.start;
    publish(node, "news", "n", json!(last)).await;
    last + 1
}

#[tokio::test]
async fn a_client_that_names_a_session_loses_nothing_over_cuts() {
    let node = node(&config()).await;
    let proxy = Proxy::start(node.address()).await.unwrap();
    let client = connect(&through(&proxy, &format!("?session={SESSION}"))).await;
    let published = publish_over_cuts(&node, &proxy, &client).await;
    has_all(&client, published).await;
    let heard = heard(&client);
    let twice = heard.len() - published as usize;
    assert!(
        twice < CUTS * EACH,
        "what was acknowledged is not sent again: {twice} came twice"
    );
    let back = heard.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(back <= CUTS, "in order between two cuts: {heard:?}");
    metric(&node, "pregon_resumed_total", |resumed| resumed >= CUTS as f64)
        .await
        .unwrap();
}

/// The yardstick of the test above: the same cuts do lose something.
#[tokio::test]
async fn without_a_session_the_same_cuts_lose_something() {
    let node = node(&config()).await;
    let proxy = Proxy::start(node.address()).await.unwrap();
    let mut client = connect(&through(&proxy, "")).await;
    let published = publish_over_cuts(&node, &proxy, &client).await;
    client
        .wait_for("the last", |line| line["data"] == json!(published - 1))
        .await;
    assert!(!missed(&client, published).is_empty());
}

#[tokio::test]
async fn a_client_loses_nothing_when_the_gateway_is_killed() {
    let mut node = node(&config()).await;
    let proxy = Proxy::start(node.address()).await.unwrap();
    let client = connect(&through(&proxy, &format!("?session={SESSION}"))).await;
    publish(&node, "news", "n", json!(0)).await;
    has_all(&client, 1).await;
    metric(&node, "pregon_resume_unsaved", |unsaved| unsaved == 0.0)
        .await
        .unwrap();
    proxy.delay(Duration::from_millis(20));
    for n in 1..50 {
        publish(&node, "news", "n", json!(n)).await;
    }
    proxy.refuse(true).await;
    node.kill9().await.unwrap();
    proxy.cut().await;
    node.restart().await.unwrap();
    for n in 50..60 {
        publish(&node, "news", "n", json!(n)).await;
    }
    proxy.restore().await;
    has_all(&client, 60).await;
}

#[tokio::test]
async fn a_stranger_with_the_same_session_gets_nothing_of_it() {
    let node = node(&config()).await;
    let url = |sub: Option<&str>| {
        let token = sub.map(|sub| format!("&token={}", token(&json!({"sub": sub}))));
        node.ws_url(&format!(
            "/ws/news?session={SESSION}{}",
            token.unwrap_or_default()
        ))
    };
    let ana = WsClient::connect(&url(Some("ana")), &[]).await.unwrap();
    drop(ana);
    metric(&node, "pregon_sessions{transport=\"websocket\"}", |sessions| {
        sessions == 0.0
    })
    .await
    .unwrap();
    publish(&node, "news", "n", json!(1)).await;
    for stranger in [Some("luis"), None] {
        let mut client = WsClient::connect(&url(stranger), &[]).await.unwrap();
        publish(&node, "news", "n", json!(2)).await;
        assert_eq!(client.next_json(SOON).await.unwrap(), json!(2), "{stranger:?}");
    }
    let mut ana = WsClient::connect(&url(Some("ana")), &[]).await.unwrap();
    assert_eq!(ana.next_json(SOON).await.unwrap(), json!(1));
}

/// A position is kept, and never a right.
#[tokio::test]
async fn a_room_that_the_token_no_longer_gives_is_not_resumed() {
    let node = node(&config()).await;
    let url = |rooms: Value| {
        let token = token(&json!({"sub": "ana", "rooms": rooms}));
        node.ws_url(&format!("/ws/news?session={SESSION}&token={token}"))
    };
    let join = json!({"type": "join", "room": "1"});
    let mut client = WsClient::connect(&url(json!(["1"])), &[]).await.unwrap();
    client.send_json(&join).await.unwrap();
    publish_until_heard(&node, &mut client).await;
    drop(client);
    metric(&node, "pregon_sessions{transport=\"websocket\"}", |sessions| {
        sessions == 0.0
    })
    .await
    .unwrap();
    publish(&node, "room_1", "n", json!("secreto")).await;
    let mut without = WsClient::connect(&url(json!([])), &[]).await.unwrap();
    without.send_json(&join).await.unwrap();
    assert!(
        without.next_json(SOON).await.is_err(),
        "the connection is closed without a word of the room"
    );
    let mut with = WsClient::connect(&url(json!(["1"])), &[]).await.unwrap();
    with.send_json(&join).await.unwrap();
    loop {
        let heard = with.next_json(SOON).await.unwrap();
        if heard == json!("secreto") {
            break;
        }
    }
}

/// A join of a bare endpoint is not answered: it is in force as soon as the room is heard.
async fn publish_until_heard(node: &Node, client: &mut WsClient) {
    loop {
        publish(node, "room_1", "n", json!("hola")).await;
        if client.next_json(Duration::from_millis(200)).await.is_ok() {
            return;
        }
    }
}

#[tokio::test]
async fn a_subscribe_without_since_goes_on_where_the_client_was() {
    let node = node(PLAIN).await;
    let url = node.ws_url(&format!(
        "/ws?session={SESSION}&token={}",
        token(&json!({"sub": "ana"}))
    ));
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    client.subscribe("news").await.unwrap();
    drop(client);
    metric(&node, "pregon_sessions{transport=\"websocket\"}", |sessions| {
        sessions == 0.0
    })
    .await
    .unwrap();
    publish(&node, "news", "n", json!(1)).await;
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    let answer = client.subscribe("news").await.unwrap();
    assert_eq!(answer["recovered"], true, "{answer}");
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["data"], 1);
}

#[tokio::test]
async fn a_session_that_is_no_name_is_refused_and_an_endpoint_may_do_without() {
    let node = node(&format!("{}resume = false\n", config())).await;
    for bad in ["corta", "con%20espacio-largo", &"x".repeat(129)] {
        let refused = WsClient::connect(&node.ws_url(&format!("/ws?session={bad}")), &[]).await;
        assert!(format!("{:?}", refused.err().unwrap()).contains("400"), "{bad}");
    }
    let url = node.ws_url("/ws/news?session=corta");
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    publish(&node, "news", "n", json!(1)).await;
    assert_eq!(client.next_json(SOON).await.unwrap(), json!(1));
}

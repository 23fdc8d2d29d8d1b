//! Why did, or did not, this user get this event?

use aws_lc_rs::hmac;
use pregon_testkit::{Node, WsClient, eventually, http};
use serde_json::{Value, json};

use super::{HOOK, ask, get, node_with};
use crate::support::{SOON, connect, post, publish};

async fn explain(node: &Node, user: &str, event: &str) -> Value {
    get(node, &format!("explain?user={user}&event={event}")).await
}

fn step<'a>(told: &'a Value, name: &str) -> &'a Value {
    let steps = told["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap()
}

/// A connected member of room a who follows it.
async fn member(node: &Node) -> WsClient {
    let mut client = connect(node, &json!({"sub": 7, "rooms": ["a"]})).await;
    client.subscribe("room_a").await.unwrap();
    client
}

#[tokio::test]
async fn what_was_written_has_the_times_of_its_way() {
    let node = node_with("").await;
    let mut client = member(&node).await;
    let position = publish(&node, "room_a", "n", json!({"n": 1})).await;
    client.next_of_type("event", SOON).await.unwrap();
    let told = explain(&node, "7", &position).await;
    assert_eq!(told["verdict"], "written", "{told:#}");
    assert_eq!(told["event"]["data"], json!({"n": 1}));
    let times: Vec<&str> = ["captured", "logged", "written"]
        .iter()
        .map(|name| step(&told, name)["at"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    let right = &step(&told, "granted")["more"]["channels"][0];
    assert_eq!(
        (&right["granted"], &right["by"]),
        (&json!("yes"), &json!("[[channel]] name = \"room_{id}\""))
    );
    assert_eq!(told["sessions"][0]["through"], json!(["room_a"]));
    let offset = position.rsplit('-').next().unwrap();
    assert_eq!(explain(&node, "7", offset).await["verdict"], "written");
}

#[tokio::test]
async fn what_was_not_has_its_reason() {
    let node = node_with("").await;
    let _client = member(&node).await;
    let follower = json!({"sub": 8, "rooms": ["a"]});
    let _idle = connect(&node, &follower).await;
    let foreign = publish(&node, "room_b", "n", json!(1)).await;
    let own = publish(&node, "room_a", "n", json!(2)).await;
    let told = explain(&node, "7", &foreign).await;
    assert_eq!(
        (&told["verdict"], &step(&told, "granted")["outcome"]),
        (&json!("not_granted"), &json!("no"))
    );
    assert_eq!(explain(&node, "8", &own).await["verdict"], "not_followed");
    let told = explain(&node, "9", &own).await;
    assert_eq!(
        (&told["verdict"], &step(&told, "connected")["outcome"]),
        (&json!("not_connected"), &json!("no"))
    );
    assert_eq!(step(&told, "granted")["more"]["assumed"], true);
    let claims = "%7B%22rooms%22%3A%5B%22a%22%5D%7D"; // {"rooms":["a"]}
    let told = get(&node, &format!("explain?user=9&event={own}&claims={claims}")).await;
    assert_eq!(
        (&step(&told, "granted")["outcome"], &told["verdict"]),
        (&json!("yes"), &json!("not_connected"))
    );
    for nothing in ["999", "00000000-1", "some-id"] {
        assert_eq!(
            explain(&node, "7", nothing).await["verdict"],
            "not_found",
            "{nothing}"
        );
    }
    for wrong in [
        "explain?user=7",
        "explain?user=7&event=",
        "explain?user=7&event=1&claims=x",
    ] {
        assert_eq!(ask(&node, wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_later_subscription_and_an_earlier_session_are_told_apart() {
    let node = node_with("").await;
    let mut gone = member(&node).await;
    let position = publish(&node, "room_a", "n", json!(1)).await;
    gone.next_of_type("event", SOON).await.unwrap();
    gone.close().await.unwrap();
    let had = || async {
        let told = explain(&node, "7", &position).await;
        if told["verdict"] == "written_before_closing" {
            Ok(told)
        } else {
            Err(told)
        }
    };
    let told = eventually(SOON, had).await.unwrap();
    assert_eq!(
        (&told["closed"][0]["had_it"], &told["closed"][0]["reason"]),
        (&json!(true), &json!("left"))
    );
    let mut late = connect(&node, &json!({"sub": 8, "rooms": ["a"]})).await;
    late.subscribe("room_a").await.unwrap();
    assert_eq!(explain(&node, "8", &position).await["verdict"], "before");
}

#[tokio::test]
async fn what_waits_for_a_slow_client_is_not_called_written() {
    let node = node_with("[limits]\nqueue = \"64MiB\"\n").await;
    let _slow = member(&node).await;
    let long = "x".repeat(200_000);
    let waits = || async {
        let position = publish(&node, "room_a", "n", json!(long)).await;
        let told = explain(&node, "7", &position).await;
        if told["verdict"] == "waiting" {
            Ok(told)
        } else {
            Err(told["verdict"].clone())
        }
    };
    let told = eventually(SOON, waits).await.unwrap();
    assert_eq!(step(&told, "written")["outcome"], "no");
}

async fn deliver(node: &Node, body: &Value) {
    let body = body.to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secreto-de-pedidos");
    let signature = hex::encode(hmac::sign(&key, body.as_bytes()));
    let headers = [("x-signature-256", signature.as_str())];
    let url = node.url("/hooks/pedidos");
    let answer = http::request("POST", &url, &headers, body.as_bytes()).await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn an_event_that_no_rule_took_is_remembered_with_the_reason() {
    let node = node_with(HOOK).await;
    let mut client = member(&node).await;
    deliver(&node, &json!({"total": 50, "room": "a"})).await;
    deliver(&node, &json!({"total": 500, "room": "a"})).await;
    let event = client.next_of_type("event", SOON).await.unwrap();
    let unrouted = get(&node, "unrouted").await["events"].clone();
    assert_eq!(unrouted.as_array().unwrap().len(), 1, "{unrouted}");
    assert_eq!(unrouted[0]["message"], json!({"total": 50, "room": "a"}));
    let told = explain(&node, "7", &format!("unrouted:{}", unrouted[0]["number"])).await;
    assert_eq!(told["verdict"], "no_route");
    let rules = &step(&told, "routed")["more"]["rules"];
    assert_eq!(rules[0]["reason"], "the condition is false");
    let told = explain(&node, "7", event["position"].as_str().unwrap()).await;
    let rule = &step(&told, "routed")["more"]["rules"][0];
    assert_eq!(
        (&told["verdict"], &rule["route"]),
        (&json!("written"), &json!("route[0]"))
    );
    let hits = get(&node, "overview").await["routes"][0]["hits"].clone();
    assert_eq!((&hits["published"], &hits["passed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_event_is_found_by_its_own_id() {
    let node = node_with("").await;
    let mut client = member(&node).await;
    let body = json!([{"channel": "room_a", "event": "n", "data": 1}]);
    post(&node, &body, &[("idempotency-key", "pedido-7")]).await;
    publish(&node, "room_a", "n", json!(2)).await;
    client.next_of_type("event", SOON).await.unwrap();
    let told = explain(&node, "7", "http/pedido-7/0").await;
    assert_eq!(
        (&told["verdict"], &told["event"]["data"]),
        (&json!("written"), &json!(1))
    );
}

/// The window is small, the disk has it still.
#[tokio::test]
async fn an_entry_that_left_memory_is_found_with_its_channel() {
    let node = node_with("[log]\nwindow = \"64KiB\"\n").await;
    let _client = member(&node).await;
    let first = publish(&node, "room_a", "n", json!({"n": 1})).await;
    let long = "x".repeat(30_000);
    let batch: Vec<_> = (0..5)
        .map(|_| json!({"channel": "news", "event": "n", "data": long}))
        .collect();
    post(&node, &json!(batch), &[]).await;
    assert_eq!(explain(&node, "7", &first).await["verdict"], "not_found");
    let told = get(&node, &format!("explain?user=7&event={first}&channel=room_a")).await;
    assert_eq!(
        (&told["verdict"], &told["event"]["data"]),
        (&json!("written"), &json!({"n": 1}))
    );
    let told = get(&node, &format!("explain?user=7&event={first}&channel=news")).await;
    assert_eq!(told["verdict"], "not_found");
}

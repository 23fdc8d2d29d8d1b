//! Who is in a channel, on every transport; and events that are not kept.

use pregon_testkit::{SseClient, WsClient, http};
use serde_json::{Value, json};

use crate::socketio::{client, rooms};
use crate::support::official::CLIENTS;
use crate::support::{SOON, connect, publish, token};

async fn asked(listener: &mut WsClient, channel: &str) -> Value {
    listener
        .request(json!({"type": "presence", "channel": channel}))
        .await
        .unwrap()
}

#[tokio::test]
async fn members_come_and_go_on_every_transport() {
    let node = rooms().await;
    let mut plain = connect(&node, &json!({"sub": "plana"})).await;
    plain.subscribe("chat_x").await.unwrap();
    let own = plain.next_of_type("join", SOON).await.unwrap();
    assert_eq!(
        (&own["channel"], &own["client"]),
        (&json!("chat_x"), &json!("plana"))
    );
    let url = node.url(&format!(
        "/sse?channel=chat_x&token={}",
        token(&json!({"sub": "sse"}))
    ));
    let mut sse = SseClient::connect(&url, &[]).await.unwrap();
    assert_eq!(plain.next_of_type("join", SOON).await.unwrap()["client"], "sse");
    let mut ana = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": "ana"})).await;
    ana.ask("subscribe", &json!(["chat_x"])).await;
    let mut luis = client(&node, CLIENTS[1], &["polling"], &json!({"sub": "luis"})).await;
    luis.ask("subscribe", &json!(["chat_x"])).await;
    for name in ["ana", "luis"] {
        assert_eq!(plain.next_of_type("join", SOON).await.unwrap()["client"], name);
    }
    let heard = ana.wait_for("luis", |line| {
        line["event"] == "join" && line["args"][0]["client"] == "luis"
    });
    assert_eq!(heard.await["args"][0]["channel"], "chat_x");
    let members = json!(["ana", "luis", "plana", "sse"]);
    assert_eq!(asked(&mut plain, "chat_x").await["clients"], members);
    assert_eq!(
        ana.ask("presence", &json!(["chat_x"])).await[0]["clients"],
        members
    );
    for (channel, status) in [("chat_x", 200), ("room_1", 403)] {
        let token = token(&json!({"sub": "1"}));
        let url = node.url(&format!("/api/presence?channel={channel}&token={token}"));
        let answer = http::get(&url).await.unwrap();
        assert_eq!(answer.status(), status, "{channel}: {}", answer.body);
        if status == 200 {
            assert_eq!(answer.json().unwrap()["clients"], members);
        }
    }
    // A second session of the same client is no second member, and its end is no leave.
    let second = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": "luis"})).await;
    drop(second);
    luis.ask("unsubscribe", &json!(["chat_x"])).await;
    assert_eq!(plain.next_of_type("leave", SOON).await.unwrap()["client"], "luis");
    drop(ana);
    assert_eq!(plain.next_of_type("leave", SOON).await.unwrap()["client"], "ana");
    let mut names = Vec::new();
    while names.last().map(String::as_str) != Some("leave ana") {
        let event = sse.next_event(SOON).await.unwrap();
        let client = event.json().unwrap()["client"].take();
        let kind = event.event.unwrap_or_default();
        names.push(format!("{kind} {}", client.as_str().unwrap_or_default()));
    }
    assert_eq!(
        names.iter().filter(|name| name.contains("luis")).count(),
        2,
        "{names:?}"
    );
    assert_eq!(
        asked(&mut plain, "chat_x").await["clients"],
        json!(["plana", "sse"])
    );
}

/// Nobody makes us write out all members at once: an answer on any transport is a page and says behind whom the next one begins.
#[tokio::test]
async fn members_are_told_in_pages() {
    let node = rooms().await;
    let names: Vec<String> = (0..9).map(|n| format!("{n}{}", "x".repeat(8_000))).collect();
    let mut clients = Vec::new();
    for name in &names {
        let mut client = connect(&node, &json!({"sub": name})).await;
        client.subscribe("chat_x").await.unwrap();
        clients.push(client);
    }
    let pages = |first: &Value, second: &Value| {
        assert_eq!(
            (&first["clients"], &first["next"]),
            (&json!(names[..8]), &json!(names[7]))
        );
        assert_eq!(
            (&second["clients"], &second["next"]),
            (&json!(names[8..]), &Value::Null)
        );
    };
    let plain = &mut clients[0];
    let first = asked(plain, "chat_x").await;
    let more = json!({"type": "presence", "channel": "chat_x", "since": first["next"]});
    pages(&first, &plain.request(more).await.unwrap());
    let mut ana = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": "ana"})).await;
    let first = ana.ask("presence", &json!(["chat_x"])).await[0].take();
    let more = ana
        .ask("presence", &json!(["chat_x", {"since": first["next"]}]))
        .await;
    pages(&first, &more[0]);
    let get = async |since: &str| {
        let token = token(&json!({"sub": "1"}));
        let url = node.url(&format!("/api/presence?channel=chat_x&token={token}{since}"));
        http::get(&url).await.unwrap().json().unwrap()
    };
    let first = get("").await;
    pages(
        &first,
        &get(&format!("&since={}", first["next"].as_str().unwrap())).await,
    );
}

#[tokio::test]
async fn who_may_not_follow_learns_nothing_of_the_members() {
    let node = rooms().await;
    let mut plain = connect(&node, &json!({"sub": "ana", "rooms": []})).await;
    assert_eq!(asked(&mut plain, "news").await["name"], "no_presence");
    assert_eq!(asked(&mut plain, "room_1").await["name"], "no_presence");
    let mut client = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": "ana"})).await;
    assert_eq!(
        client.ask("presence", &json!(["room_1"])).await[0]["error"],
        "no_presence"
    );
    assert_eq!(
        client.ask("presence", &json!([])).await[0]["error"],
        "bad_request"
    );
}

/// Typing reaches who is here, and nobody later; what is kept goes on beside it.
#[tokio::test]
async fn typing_is_not_kept() {
    let node = rooms().await;
    let mut plain = connect(&node, &json!({"sub": "plana"})).await;
    plain.subscribe("chat_x").await.unwrap();
    let mut ana = client(&node, CLIENTS[0], &["websocket"], &json!({"sub": "ana"})).await;
    ana.ask("subscribe", &json!(["chat_x"])).await;
    let first = publish(&node, "chat_x", "mensaje", json!(1)).await;
    let typing = ana.ask("typing", &json!([{"room": "x"}])).await;
    assert_eq!(
        typing[0]["position"], *first,
        "what is not kept has the position of what came before it"
    );
    publish(&node, "chat_x", "mensaje", json!(2)).await;
    let mut names = Vec::new();
    while names.len() < 3 {
        let event = plain.next_of_type("event", SOON).await.unwrap();
        names.push(event["event"].as_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["mensaje", "mensaje", "typing"]);
    assert_eq!(ana.event("typing").await, json!([{"room": "x"}]));
    let mut late = connect(&node, &json!({"sub": "tarde"})).await;
    late.request(json!({"type": "subscribe", "channel": "chat_x", "last": 10}))
        .await
        .unwrap();
    let mut replayed = Vec::new();
    while replayed.len() < 2 {
        replayed.push(late.next_of_type("event", SOON).await.unwrap()["event"].take());
    }
    assert_eq!(replayed, ["mensaje", "mensaje"]);
    publish(&node, "chat_x", "fin", json!(3)).await;
    let next = late.next_of_type("event", SOON).await.unwrap();
    assert_eq!(next["event"], "fin", "nothing else is kept");
}

/// Between two polls a client is not connected in any sense; it hears of everybody all the same.
#[tokio::test]
async fn a_client_that_polls_hears_of_everyone_and_of_every_keystroke() {
    let node = rooms().await;
    let mut luis = client(&node, CLIENTS[0], &["polling"], &json!({"sub": "luis"})).await;
    luis.ask("subscribe", &json!(["chat_x"])).await;
    let mut ana = connect(&node, &json!({"sub": "ana"})).await;
    ana.subscribe("chat_x").await.unwrap();
    for n in 0..10 {
        let typing = json!({"type": "publish", "channel": "chat_x", "event": "typing", "data": n});
        ana.request(typing).await.unwrap();
        let mut other = connect(&node, &json!({"sub": format!("otra{n}")})).await;
        other.subscribe("chat_x").await.unwrap();
        other.close().await.unwrap();
    }
    for n in 0..10 {
        luis.wait_for("typing", |line| line["event"] == "typing" && line["args"][0] == n)
            .await;
        for event in ["join", "leave"] {
            luis.wait_for(event, |line| {
                line["event"] == event && line["args"][0]["client"] == format!("otra{n}")
            })
            .await;
        }
    }
}

//! The unmodified emitters, as processes of a back end, and the official clients.

use pregon_testkit::{Database, Node, Redis, http, postgres};
use serde_json::{Value, json};

use super::{ATTACHMENTS, CHANNELS, REDIS, heard};
use crate::redis::node_at;
use crate::socketio::client;
use crate::support::official::{CLIENTS, Official};
use crate::support::token;

/// Tells the emitter and waits until its broker has taken it.
async fn tell(emitter: &mut Official, command: Value) {
    emitter.send(&command);
    emitter.wait("done").await;
}

async fn emit(emitter: &mut Official, room: &str, event: &str) {
    tell(
        emitter,
        json!({"do": "emit", "to": [room], "event": event, "args": [1]}),
    )
    .await;
}

fn has_heard(client: &Official, event: &str) -> bool {
    client.lines().iter().any(|line| line["event"] == event)
}

/// What a back end says reaches whom it means: rooms, exceptions, orders to sockets, and what is not kept.
async fn obeys(node: &Node, mut emitter: Official) {
    let claims = json!({"sub": 7});
    let mut ana = client(node, CLIENTS[0], &["websocket"], &claims).await;
    let mut luis = client(node, CLIENTS[1], &["polling"], &claims).await;
    for (client, rooms) in [(&mut ana, &["room1"][..]), (&mut luis, &["room1", "muted"])] {
        for room in rooms {
            client.ask("subscribe", &json!([room])).await;
        }
    }
    let but_muted =
        |event| json!({"do": "emit", "to": ["room1"], "except": ["muted"], "event": event, "args": [1]});
    tell(&mut emitter, but_muted("solo")).await;
    emit(&mut emitter, "room1", "todos").await;
    luis.event("todos").await;
    assert_eq!(ana.event("solo").await, json!([1]));
    assert!(!has_heard(&luis, "solo"), "{}", luis.story());
    // Who enters a room by an order gets what is said in it right after.
    let enter = json!({"do": "join", "to": ["room1"], "except": ["muted"], "rooms": ["vip"]});
    tell(&mut emitter, enter).await;
    emit(&mut emitter, "vip", "pase").await;
    ana.event("pase").await;
    let leave = json!({"do": "leave", "to": ["vip"], "rooms": ["vip"]});
    tell(&mut emitter, leave).await;
    emit(&mut emitter, "vip", "nadie").await;
    let writing = json!({"do": "emit", "to": ["room1"], "event": "escribe", "args": [], "volatile": true});
    tell(&mut emitter, writing).await;
    emit(&mut emitter, "room1", "fin").await;
    for client in [&mut ana, &mut luis] {
        client.event("escribe").await;
        client.event("fin").await;
        assert!(!has_heard(client, "nadie"), "{}", client.story());
    }
    assert!(!has_heard(&luis, "pase"), "{}", luis.story());
    let history = node.url(&format!("/api/history?channel=room1&token={}", token(&claims)));
    let history = http::get(&history).await.unwrap().body;
    assert!(
        history.contains("fin") && !history.contains("escribe"),
        "{history}"
    );
    let end = json!({"do": "disconnect", "to": ["muted"], "close": true});
    tell(&mut emitter, end).await;
    luis.wait("disconnect").await;
    emit(&mut emitter, "room1", "sigue").await;
    ana.event("sigue").await;
    tell(&mut emitter, json!({"do": "disconnect"})).await;
    let gone = ana.wait("disconnect").await;
    assert_eq!(gone["reason"], "io server disconnect", "{gone}");
}

#[tokio::test]
async fn the_emitter_of_postgres() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(ATTACHMENTS).await.unwrap();
    let node = heard(&database).await;
    let emitter = Official::start("emitters/postgres.mjs", &[&database.url()]);
    obeys(&node, emitter).await;
}

#[tokio::test]
async fn the_emitter_of_redis() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(&format!("{REDIS}{CHANNELS}"), &redis.url()).await;
    let emitter = Official::start("emitters/redis.mjs", &[&redis.url()]);
    obeys(&node, emitter).await;
}

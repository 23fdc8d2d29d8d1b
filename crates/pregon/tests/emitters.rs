//! What official emitters of Socket.IO wrote (recorded: `crates/wire/tests/socketio/emitters.json`) reaches whoever follows the room.

mod official;

use pregon_testkit::{Database, Node, Redis, WsClient, postgres};
use serde_json::{Value, json};

use crate::redis::{follower, node_at};
use crate::support::{SOON, metric, node_on};

/// Everyone may follow everything here: rights are tested elsewhere.
const CHANNELS: &str = r#"
namespaces = ["/admin"]
[[channel]]
name = "{room}"
"#;

const ATTACHMENTS: &str = "CREATE TABLE socket_io_attachments \
    (id bigserial UNIQUE, created_at timestamptz DEFAULT now(), payload bytea)";

const EMITTED: &str = "pregon_events_total{source=\"socketio-emitter\"}";
const REFUSED: &str = "pregon_drops_total{reason=\"emitter\"}";

fn vector(group: &str, name: &str) -> Value {
    let vectors: Value =
        serde_json::from_str(include_str!("../../wire/tests/socketio/emitters.json")).unwrap();
    vectors[group][name].clone()
}

async fn heard(database: &Database<'_>) -> Node {
    let config = format!("[postgres]\n[socketio]\nemitters = [\"postgres\"]\n{CHANNELS}");
    node_on(database, &config).await
}

async fn notify(database: &Database<'_>, channel: &str, payload: &str) {
    let client = database.client().await.unwrap();
    let sql = "SELECT pg_notify($1, $2)";
    client.execute(sql, &[&channel, &payload]).await.unwrap();
}

/// Says what the emitter of PostgreSQL said, with its row of the table under the id that is free here.
async fn emit(database: &Database<'_>, name: &str) {
    let vector = vector("postgres", name);
    let mut message = vector["message"].as_str().unwrap().to_owned();
    if let Some(hex) = vector["stored"].as_str() {
        let client = database.client().await.unwrap();
        let sql = "INSERT INTO socket_io_attachments (payload) VALUES (decode($1, 'hex')) RETURNING id";
        let id: i64 = client.query_one(sql, &[&hex]).await.unwrap().get(0);
        message = json!({"uid": "emitter", "type": 3, "attachmentId": id.to_string()}).to_string();
    }
    notify(database, vector["channel"].as_str().unwrap(), &message).await;
}

async fn event(client: &mut WsClient) -> (String, String, Value) {
    let event = client.next_of_type("event", SOON).await.unwrap();
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    (text("channel"), text("event"), event["data"].clone())
}

/// The next event as it was written.
async fn event_text(client: &mut WsClient) -> String {
    loop {
        let text = client.next_text(SOON).await.unwrap();
        if text.starts_with("{\"type\":\"event\"") {
            return text;
        }
    }
}

fn said(channel: &str, event: &str, data: Value) -> (String, String, Value) {
    (channel.into(), event.into(), data)
}

#[tokio::test]
async fn postgres_emitters_reach_rooms_namespaces_and_everyone_in_order() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(ATTACHMENTS).await.unwrap();
    let node = heard(&database).await;
    let mut client = follower(&node, &["room1", "/#", "/admin#room1", "/admin#", "b", "c", "42"]).await;
    let names = [
        "binary",
        "room",
        "everyone",
        "admin",
        "large",
        "admin_everyone",
        "rooms_except",
        "number_room",
        "volatile",
    ];
    for name in names {
        emit(&database, name).await;
    }
    let file = json!([{"name": "a.bin", "bytes": "AQID/w=="}, "CQ=="]);
    assert_eq!(event(&mut client).await, said("room1", "file", file));
    let (channel, name, row) = event(&mut client).await;
    assert_eq!((channel.as_str(), name.as_str()), ("room1", "message:new"));
    assert_eq!((&row["id"], &row["text"]), (&json!(7), &json!("ñandú 🦤")));
    assert_eq!(event(&mut client).await, said("/#", "hello", json!({"a": 1})));
    assert_eq!(
        event(&mut client).await,
        said("/admin#room1", "hello", json!("you"))
    );
    let (_, name, text) = event(&mut client).await;
    assert_eq!(
        (name.as_str(), text.as_str().map(str::len)),
        ("large", Some(8000))
    );
    assert_eq!(event(&mut client).await, said("/admin#", "hello", json!("all")));
    // To `a`, `b` and `c`: once for who follows two of them.
    let (channel, name, list) = event(&mut client).await;
    assert!(["b", "c"].contains(&channel.as_str()), "{channel}");
    assert_eq!((name.as_str(), list), ("news", json!(["one", 2, [3]])));
    assert_eq!(event(&mut client).await, said("42", "hello", json!([])));
    assert_eq!(event(&mut client).await, said("room1", "typing", json!("ana")));
    metric(&node, EMITTED, |value| value == 9.0).await.unwrap();
}

#[tokio::test]
async fn whoever_follows_an_excepted_room_gets_nothing() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let node = heard(&database).await;
    let mut muted = follower(&node, &["a", "y", "/#"]).await;
    let mut other = follower(&node, &["a"]).await;
    emit(&database, "rooms_except").await;
    emit(&database, "everyone").await;
    assert_eq!(event(&mut other).await.1, "news");
    // What comes first is what came later.
    assert_eq!(event(&mut muted).await.1, "hello");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_counted_and_holds_nothing_up() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let node = heard(&database).await;
    let mut client = follower(&node, &["room1"]).await;
    // There is no table, the row is not there, no JSON, a name of Socket.IO's own; then an order, which is carried out.
    notify(&database, "socket.io#/", r#"{"type":3,"attachmentId":"1"}"#).await;
    database.execute(ATTACHMENTS).await.unwrap();
    notify(&database, "socket.io#/", r#"{"type":3,"attachmentId":"1"}"#).await;
    notify(&database, "socket.io#/", "hello").await;
    let reserved = json!({"type": 3, "data": {"packet": {"type": 2, "data": ["disconnect"]}, "opts": {"rooms": ["room1"]}}});
    notify(&database, "socket.io#/", &reserved.to_string()).await;
    emit(&database, "join").await;
    emit(&database, "server_side").await;
    emit(&database, "volatile").await;
    assert_eq!(event(&mut client).await.1, "typing");
    metric(&node, REFUSED, |value| value == 4.0).await.unwrap();
    metric(&node, EMITTED, |value| value == 2.0).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_a_gap_for_every_room() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let node = heard(&database).await;
    let mut client = follower(&node, &["room1"]).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE application_name LIKE '%/listen' AND datname = current_database()";
    database.execute(kill).await.unwrap();
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("room1"), &json!("source"))
    );
    emit(&database, "room").await;
    assert_eq!(event(&mut client).await.1, "message:new");
}

#[tokio::test]
async fn nobody_is_heard_who_is_not_configured() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let config = "[postgres]\n[[listen]]\nchannel = \"sales\"\n[[channel]]\nname = \"{room}\"";
    let node = node_on(&database, config).await;
    let mut client = follower(&node, &["room1", "sales"]).await;
    emit(&database, "room").await;
    notify(&database, "sales", "1").await;
    // What comes first is what came later.
    assert_eq!(event(&mut client).await.0, "sales");
}

/// Redis takes words of text only from the test, so the bytes are made there.
const PUBLISH_HEX: &str = "local bytes = ARGV[2]:gsub('..', function(hex) return string.char(tonumber(hex, 16)) end) \
    return redis.call('PUBLISH', ARGV[1], bytes)";

async fn publish(redis: &Redis, group: &str, name: &str) {
    let vector = vector(group, name);
    let (channel, message) = (
        vector["channel"].as_str().unwrap(),
        vector["message"].as_str().unwrap(),
    );
    let words = ["EVAL", PUBLISH_HEX, "0", channel, message];
    redis.command(&words).await.unwrap();
}

const REDIS: &str = "[redis]\nheartbeat = \"500ms\"\n[[redis.pattern]]\npattern = \"app*\"\nname = \"app\"\n[socketio]\nemitters = [\"redis\"]\n";

#[tokio::test]
async fn redis_emitters_reach_rooms_namespaces_and_everyone() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(&format!("{REDIS}{CHANNELS}"), &redis.url()).await;
    let mut client = follower(
        &node,
        &["room1", "/#", "/admin#room1", "/admin#", "b", "c", "app"],
    )
    .await;
    for name in [
        "binary",
        "room",
        "join",
        "everyone",
        "admin",
        "admin_everyone",
        "rooms_except",
        "server_side",
    ] {
        publish(&redis, "redis", name).await;
    }
    // Sources and emitters keep their order among each other.
    redis.publish("app:x", "1").await.unwrap();
    publish(&redis, "adapter", "room").await;
    let mut events = Vec::new();
    for _ in 0..8 {
        let (channel, name, _) = event(&mut client).await;
        events.push((if channel == "c" { "b".into() } else { channel }, name));
    }
    let events: Vec<_> = events
        .iter()
        .map(|(channel, name)| (channel.as_str(), name.as_str()))
        .collect();
    let wanted = [
        ("room1", "file"),
        ("room1", "message:new"),
        ("/#", "hello"),
        ("/admin#room1", "hello"),
        ("/admin#", "hello"),
        ("b", "news"),
        ("app", "message"),
        ("room1", "message:new"),
    ];
    assert_eq!(events, wanted);
    metric(&node, EMITTED, |value| value == 8.0).await.unwrap();
}

#[tokio::test]
async fn what_no_program_can_hold_goes_on_as_it_was_emitted() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(&format!("{REDIS}{CHANNELS}"), &redis.url()).await;
    let mut client = follower(&node, &["room1"]).await;
    let deep = 5_000;
    let message = format!(
        "93a7656d697474657283a47479706502a46461746192a165{}c0a36e7370a12f83a5726f6f6d7391a5726f6f6d31a5666c61677380a665786365707490",
        "91".repeat(deep)
    );
    let words = ["EVAL", PUBLISH_HEX, "0", "socket.io#/#room1#", &message];
    redis.command(&words).await.unwrap();
    let text = event_text(&mut client).await;
    let wanted = format!("\"data\":{}null{}", "[".repeat(deep), "]".repeat(deep));
    assert!(text.contains(&wanted), "{}", text.get(..300).unwrap_or(&text));

    let database = Database::create(postgres::shared().await).await.unwrap();
    let node = heard(&database).await;
    let mut client = follower(&node, &["room1"]).await;
    let data = r#"{"n":1e400,"t":"cut \ud83d","cut \ud83d":1}"#;
    let packet = format!(r#"{{"type":2,"data":["e",{data}],"nsp":"/"}}"#);
    let opts = r#"{"rooms":["room1"],"except":[],"flags":{}}"#;
    let message =
        format!(r#"{{"uid":"emitter","type":3,"nsp":"/","data":{{"packet":{packet},"opts":{opts}}}}}"#);
    notify(&database, "socket.io#/", &message).await;
    let text = event_text(&mut client).await;
    assert!(text.contains(&format!("\"data\":{data}")), "{text}");
}

#[tokio::test]
async fn a_redis_that_went_is_a_gap_for_every_room() {
    let mut redis = Redis::start().await.unwrap();
    let config = format!("{REDIS}redis_prefix = \"app\"\n{CHANNELS}");
    let node = node_at(&config, &redis.url()).await;
    let mut client = follower(&node, &["room1"]).await;
    publish(&redis, "redis_json", "room").await;
    assert_eq!(event(&mut client).await.1, "message:new");
    redis.kill9().await.unwrap();
    redis.restart().await.unwrap();
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(gap["channel"], "room1");
    publish(&redis, "redis_json", "room").await;
    assert_eq!(event(&mut client).await.1, "message:new");
}

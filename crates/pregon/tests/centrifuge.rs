//! The unmodified centrifuge-js: it connects, subscribes, publishes, and loses nothing when its connection is cut.

use pregon_testkit::{Database, Node, WsClient, postgres};
use serde_json::{Value, json};

use crate::support::official::Official;
use crate::support::{PLAIN, SOON, in_seconds, node, node_on, options, publish, refusal, token};

const CENTRIFUGE: &str = "[centrifuge]\n";

fn config() -> String {
    let open = "[[channel]]\nname = \"chat_{id}\"\npresence = true\npublish = \"true\"\n";
    format!("{PLAIN}{open}{CENTRIFUGE}")
}

fn client(node: &Node, token: &str, fresh: &[String]) -> Official {
    let mut client = Official::start("centrifuge/client.mjs", &[]);
    let url = node.ws_url("/connection/websocket");
    client.send(&json!({"do": "connect", "url": url, "token": token, "fresh": fresh}));
    client
}

fn who(sub: &str) -> String {
    token(&json!({"sub": sub, "rooms": ["a"]}))
}

async fn subscribe(client: &mut Official, channel: &str) -> Value {
    client.send(&json!({"do": "subscribe", "channel": channel}));
    client.wait("subscribed").await
}

/// The data of the next publications.
async fn heard(client: &mut Official, kind: &str, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(client.wait(kind).await["data"].as_u64().unwrap());
    }
    seen
}

async fn publish_all(node: &Node, channel: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(node, channel, "said", json!(number)).await;
    }
}

#[tokio::test]
async fn a_stock_client_subscribes_publishes_and_sees_who_is_there() {
    let node = node(&config()).await;
    let mut ana = client(&node, &who("ana"), &[]);
    let connected = ana.wait("connected").await;
    assert_eq!(connected["transport"], "websocket");
    let subscribed = subscribe(&mut ana, "chat_1").await;
    assert_eq!(
        (&subscribed["recoverable"], &subscribed["positioned"]),
        (&json!(true), &json!(true))
    );

    publish(&node, "chat_1", "insert", json!({"id": 7, "total": 10.5})).await;
    let publication = ana.wait("publication").await;
    assert_eq!(publication["channel"], "chat_1");
    assert_eq!(publication["data"], json!({"id": 7, "total": 10.5}));
    assert_eq!(publication["tags"], json!({"event": "insert"}));

    let mut ben = client(&node, &who("ben"), &[]);
    subscribe(&mut ben, "chat_1").await;
    let joined = ana.wait_for("ben joins", |line| {
        line["on"] == "join" && line["info"]["user"] == "ben"
    });
    joined.await;
    ben.send(&json!({"do": "publish", "channel": "chat_1", "data": {"text": "hola"}}));
    assert_eq!(ben.wait("done").await["result"], json!({}));
    assert_eq!(ana.wait("publication").await["data"], json!({"text": "hola"}));

    ana.send(&json!({"do": "presence", "channel": "chat_1"}));
    let clients = ana.wait("done").await["result"]["clients"].take();
    assert_eq!(
        clients["ben"],
        json!({"client": "ben", "user": "ben"}),
        "{clients}"
    );
    ana.send(&json!({"do": "stats", "channel": "chat_1"}));
    assert_eq!(
        ana.wait("done").await["result"],
        json!({"numClients": 2, "numUsers": 2})
    );

    ben.send(&json!({"do": "unsubscribe", "channel": "chat_1"}));
    ben.wait("unsubscribed").await;
    let left = ana.wait_for("ben leaves", |line| {
        line["on"] == "leave" && line["info"]["user"] == "ben"
    });
    left.await;
}

#[tokio::test]
async fn what_is_not_allowed_or_not_there_is_refused_with_its_code() {
    let node = node(&config()).await;
    let mut ana = client(&node, &who("ana"), &[]);
    ana.wait("connected").await;
    ana.send(&json!({"do": "subscribe", "channel": "room_b"}));
    let ended = ana.wait("unsubscribed").await;
    assert_eq!(ended["code"], 103, "{ended}");
    for (command, code) in [
        (json!({"do": "publish", "channel": "news", "data": 1}), 103),
        (json!({"do": "presence", "channel": "news"}), 108),
        (json!({"do": "history", "channel": "chat_1"}), 108),
        (json!({"do": "rpc", "method": "sum"}), 108),
    ] {
        ana.send(&command);
        let failed = ana.wait("failed").await;
        assert_eq!(failed["code"], code, "{command}: {failed}");
    }
}

#[tokio::test]
async fn a_cut_loses_nothing_of_what_it_follows() {
    let node = node(&config()).await;
    let mut ana = client(&node, &who("ana"), &[]);
    ana.wait("connected").await;
    subscribe(&mut ana, "chat_1").await;
    publish_all(&node, "chat_1", 0..5).await;
    publish_all(&node, "user_ana", 100..103).await;
    assert_eq!(
        heard(&mut ana, "publication", 5).await,
        (0..5).collect::<Vec<_>>()
    );
    let own = heard(&mut ana, "server_publication", 3).await;
    assert_eq!(own, (100..103).collect::<Vec<_>>());

    ana.send(&json!({"do": "drop"}));
    publish_all(&node, "chat_1", 5..60).await;
    publish_all(&node, "user_ana", 103..110).await;

    let subscribed = ana.wait("subscribed").await;
    assert_eq!(
        (&subscribed["wasRecovering"], &subscribed["recovered"]),
        (&json!(true), &json!(true)),
        "{subscribed}"
    );
    assert_eq!(
        heard(&mut ana, "publication", 55).await,
        (5..60).collect::<Vec<_>>()
    );
    let own = heard(&mut ana, "server_publication", 7).await;
    assert_eq!(own, (103..110).collect::<Vec<_>>());
}

/// The client says connect and all subscribes in one message: that is no flood.
#[tokio::test]
async fn a_client_of_many_channels_comes_back_at_once() {
    let node = node(&config()).await;
    let mut ana = client(&node, &who("ana"), &[]);
    ana.wait("connected").await;
    for number in 0..60 {
        ana.send(&json!({"do": "subscribe", "channel": format!("chat_{number}")}));
    }
    for _ in 0..60 {
        ana.wait("subscribed").await;
    }
    ana.send(&json!({"do": "drop"}));
    for _ in 0..60 {
        let subscribed = ana.wait("subscribed").await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
    }
    let lines = ana.lines();
    let cuts = lines.iter().filter(|line| line["on"] == "connecting").count();
    assert_eq!(cuts, 2, "the first time and after the cut: {}", ana.story());
}

/// Lines of one message are commands, each of them.
#[tokio::test]
async fn a_flood_of_lines_in_one_message_is_closed_with_its_code() {
    let node = node(&config()).await;
    let url = node.ws_url("/connection/websocket");
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    let connect = json!({"id": 1, "connect": {"token": who("ana")}});
    client.send_json(&connect).await.unwrap();
    let connected = client.next_json(SOON).await.unwrap();
    assert_eq!(connected["connect"]["pong"], true, "{connected}");
    // Pongs, the shortest of all: some twenty thousand fit into one message.
    client.send_text(&"{}\n".repeat(20_000)).await.unwrap();
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3006);
}

/// Whatever is said before the connect, or is not a command, ends the connection for good.
#[tokio::test]
async fn what_is_no_command_ends_the_connection_for_good() {
    let node = node(&config()).await;
    let url = node.ws_url("/connection/websocket");
    for words in [
        r#"{"id":1,"subscribe":{"channel":"news"}}"#,
        "{",
        "[]",
        r#"{"id":1,"connect":{"subs":7}}"#,
        "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"connect\":{}}",
    ] {
        let mut client = WsClient::connect(&url, &[]).await.unwrap();
        client.send_text(words).await.unwrap();
        let (code, reason) = client.close_code(SOON).await.unwrap().unwrap();
        assert_eq!(code, 3502, "{words}");
        assert!(
            !reason.is_empty(),
            "clients take an empty reason for a reason to come back"
        );
    }
    let protobuf = format!("{url}?format=protobuf");
    assert_eq!(refusal(&protobuf, &[]).await, 400);
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_that_its_log_has() {
    let config = config();
    let mut node = Node::spawn(options(&config)).await.unwrap();
    let mut ana = client(&node, &who("ana"), &[]);
    ana.wait("connected").await;
    subscribe(&mut ana, "chat_1").await;
    publish_all(&node, "chat_1", 0..3).await;
    assert_eq!(heard(&mut ana, "publication", 3).await, [0, 1, 2]);
    node.kill9().await.unwrap();
    node.restart().await.unwrap();
    publish_all(&node, "chat_1", 3..6).await;
    let subscribed = ana.wait("subscribed").await;
    assert_eq!(subscribed["recovered"], true, "{subscribed}");
    assert_eq!(heard(&mut ana, "publication", 3).await, [3, 4, 5]);
}

#[tokio::test]
async fn a_token_that_ended_is_asked_for_anew_and_a_bad_one_ends_the_client() {
    let node = node(&config()).await;
    let old = token(&json!({"sub": "ana", "exp": in_seconds(0) - 3600}));
    let mut ana = client(&node, &old, &[who("ana")]);
    ana.wait("connected").await;

    let mut eve = client(&node, "not.a.token", &[]);
    let ended = eve.wait("disconnected").await;
    assert_eq!(ended["code"], 101, "{ended}");

    // The client refreshes before the end, and its connection goes on.
    let short = token(&json!({"sub": "ana", "exp": in_seconds(0)}));
    let mut ben = client(&node, &short, &[who("ana")]);
    ben.wait("connected").await;
    subscribe(&mut ben, "chat_1").await;
    publish(&node, "chat_1", "said", json!(1)).await;
    assert_eq!(heard(&mut ben, "publication", 1).await, [1]);
}

#[tokio::test]
async fn without_a_token_nobody_enters_where_one_is_needed() {
    let node = node(&format!(
        "{}\n",
        config().replace("[auth]", "[auth]\nrequired = true")
    ))
    .await;
    let mut anonymous = Official::start("centrifuge/client.mjs", &[]);
    anonymous.send(&json!({"do": "connect", "url": node.ws_url("/connection/websocket")}));
    let ended = anonymous.wait("disconnected").await;
    assert_eq!(ended["code"], 101, "{ended}");
    let mut ana = client(&node, &who("ana"), &[]);
    ana.wait("connected").await;
}

/// The protocol has no word for a gap: the subscription ends, and the client learns on its return that it cannot have all.
#[tokio::test]
async fn a_gap_is_told_by_a_recovery_that_fails() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let config = format!(
        "{}[postgres]\n[[listen]]\nchannel = \"sold\"\n[[route]]\nfrom = \"sold\"\nto = \"chat_1\"\n",
        config()
    );
    let node = node_on(&database, &config).await;
    let mut ana = client(&node, &who("ana"), &[]);
    ana.wait("connected").await;
    subscribe(&mut ana, "chat_1").await;
    database.execute("NOTIFY sold, '1'").await.unwrap();
    assert_eq!(heard(&mut ana, "publication", 1).await, [1]);
    database
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%/listen' AND datname = current_database()")
        .await
        .unwrap();
    let ended = ana.wait_for("the subscription ends", |line| {
        line["on"] == "subscribing" && line["code"] == 2500
    });
    ended.await;
    let subscribed = ana.wait("subscribed").await;
    assert_eq!(
        (&subscribed["wasRecovering"], &subscribed["recovered"]),
        (&json!(true), &json!(false)),
        "{subscribed}"
    );
    database.execute("NOTIFY sold, '2'").await.unwrap();
    assert_eq!(heard(&mut ana, "publication", 1).await, [2]);
}

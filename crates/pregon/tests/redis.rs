//! Redis as a source: channels and patterns, what is lost with a connection, logins and TLS, sentinels and clusters.

use std::path::Path;
use std::time::Duration;

use pregon_testkit::{Cluster, Node, Proxy, Redis, RedisOptions, Sentinel, SseClient, WsClient, eventually};
use serde_json::{Value, json};

use crate::support::{RECOVERY, SOON, metric, options, readiness};

mod streams;

/// A shorter heartbeat, so that a silent connection is noticed soon.
const CONFIG: &str = r#"
[redis]
heartbeat = "500ms"
[[redis.channel]]
channel = "events"
[[redis.pattern]]
pattern = "ws:room:*"
name = "rooms"
[[redis.pattern]]
pattern = "*s*"
name = "rest"
[[route]]
from = "rooms"
to = "{channel}"
[[channel]]
name = "events"
[[channel]]
name = "ws:room:{room}"
[[channel]]
name = "rest"
[[endpoint]]
path = "/bare"
channels = ["events", "rest"]
"#;

pub(crate) async fn node_at(config: &str, url: &str) -> Node {
    Node::spawn(options(config).env("REDIS_URL", url)).await.unwrap()
}

/// The configuration with a file of authorities to trust.
fn trusting(config: &str, authorities: &Path) -> String {
    config.replace(
        "[redis]",
        &format!("[redis]\nca_file = '{}'", authorities.display()),
    )
}

pub(crate) async fn follower(node: &Node, channels: &[&str]) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    for channel in channels {
        client.subscribe(channel).await.unwrap();
    }
    client
}

pub(crate) async fn next_data(client: &mut WsClient) -> Value {
    client.next_of_type("event", SOON).await.unwrap()["data"].clone()
}

#[tokio::test]
async fn messages_arrive_unchanged_on_every_transport() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut full = follower(&node, &["events"]).await;
    let mut bare = WsClient::connect(&node.ws_url("/bare"), &[]).await.unwrap();
    let mut sse = SseClient::connect(&node.url("/sse?channel=events"), &[])
        .await
        .unwrap();
    let json = r#"{"total": 10.50,  "b":1, "a":"ñ"}"#;
    redis.publish("events", json).await.unwrap();
    let event = full.next_of_type("event", SOON).await.unwrap();
    assert_eq!(
        (&event["channel"], &event["event"]),
        (&json!("events"), &json!("message"))
    );
    assert_eq!(event["data"]["a"], "ñ");
    assert_eq!(bare.next_text(SOON).await.unwrap(), json);
    assert_eq!(sse.next_event(SOON).await.unwrap().data.as_deref(), Some(json));
}

#[tokio::test]
async fn what_matches_several_subscriptions_is_taken_once() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["events", "ws:room:cocina", "rest"]).await;
    // Each matches `*s*` too; two equal messages are two messages.
    for (channel, message) in [
        ("events", "1"),
        ("ws:room:cocina", "2"),
        ("sobra", "3"),
        ("events", "1"),
    ] {
        redis.publish(channel, message).await.unwrap();
    }
    let mut taken = Vec::new();
    for _ in 0..4 {
        let event = client.next_of_type("event", SOON).await.unwrap();
        taken.push((
            event["channel"].as_str().unwrap().to_owned(),
            event["data"].clone(),
        ));
    }
    let expected = [("events", 1), ("ws:room:cocina", 2), ("rest", 3), ("events", 1)];
    let expected = expected.map(|(channel, data)| (channel.to_owned(), json!(data)));
    assert_eq!(taken, expected);
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn text_goes_on_and_bad_json_is_counted_and_never_fatal() {
    let redis = Redis::start().await.unwrap();
    let mut node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["events"]).await;
    for message in ["hola", "{\"reservado\": ", "[1,2", "{\"ok\": true}"] {
        redis.publish("events", message).await.unwrap();
    }
    let mut data = Vec::new();
    for _ in 0..4 {
        data.push(next_data(&mut client).await);
    }
    assert_eq!(
        data,
        [
            json!("hola"),
            json!("{\"reservado\": "),
            json!("[1,2"),
            json!({"ok": true})
        ]
    );
    metric(&node, "pregon_malformed_total{source=\"events\"}", |n| n == 2.0)
        .await
        .unwrap();
    node.sigterm().await.unwrap();
    assert!(node.log().contains("looks like JSON"), "{}", node.log());
    assert!(!node.log().contains("reservado"), "{}", node.log());
}

#[tokio::test]
async fn a_burst_arrives_whole_and_in_order() {
    const COUNT: usize = 3000;
    let redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["events"]).await;
    let script = format!("for i=1,{COUNT} do redis.call('PUBLISH','events',i) end");
    redis.command(&["EVAL", &script, "0"]).await.unwrap();
    for number in 1..=COUNT {
        assert_eq!(next_data(&mut client).await, json!(number));
    }
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_is_a_gap_and_no_socket_closes() {
    let mut redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut full = follower(&node, &["events", "ws:room:a"]).await;
    let mut bare = WsClient::connect(&node.ws_url("/bare"), &[]).await.unwrap();
    redis.kill9().await.unwrap();
    readiness(&node, 503, "", SOON).await;
    metric(&node, "pregon_source_up{source=\"redis\"}", |up| up == 0.0)
        .await
        .unwrap();
    redis.restart().await.unwrap();
    readiness(&node, 200, "", RECOVERY).await;
    redis.publish("events", "{\"n\":1}").await.unwrap();
    let mut gaps = Vec::new();
    for _ in 0..2 {
        let gap = full.next_of_type("gap", SOON).await.unwrap();
        assert_eq!(gap["reason"], "source");
        gaps.push(gap["channel"].as_str().unwrap().to_owned());
    }
    gaps.sort();
    assert_eq!(gaps, ["events", "ws:room:a"]);
    assert_eq!(next_data(&mut full).await, json!({"n": 1}));
    assert_eq!(bare.next_text(SOON).await.unwrap(), "{\"n\":1}");
}

#[tokio::test]
async fn a_redis_that_cuts_off_whom_it_outpaces_is_a_gap() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["events"]).await;
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0"];
    redis.command(&limit).await.unwrap();
    // Nothing is sent while a script runs, so that all of it waits.
    let script = "for i=1,1000 do redis.call('PUBLISH','events',string.rep('x',1000)) end";
    redis.command(&["EVAL", script, "0"]).await.unwrap();
    client.next_of_type("gap", RECOVERY).await.unwrap();
    readiness(&node, 200, "", RECOVERY).await;
    redis.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
}

#[tokio::test]
async fn a_connection_that_no_longer_answers_is_noticed() {
    let redis = Redis::start().await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let node = node_at(CONFIG, &format!("redis://{}", proxy.address())).await;
    let mut client = follower(&node, &["events"]).await;
    proxy.black_hole(true);
    readiness(&node, 503, "", Duration::from_secs(10)).await;
    proxy.restore().await;
    client.next_of_type("gap", Duration::from_secs(20)).await.unwrap();
    readiness(&node, 200, "", SOON).await;
    redis.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
}

#[tokio::test]
async fn it_starts_without_a_redis_and_attaches_when_there_is_one() {
    let mut redis = Redis::start().await.unwrap();
    redis.stop().await.unwrap();
    let start = options(CONFIG).env("REDIS_URL", redis.url()).not_ready();
    let node = Node::spawn(start).await.unwrap();
    readiness(&node, 503, "", SOON).await;
    redis.restart().await.unwrap();
    readiness(&node, 200, "", RECOVERY).await;
}

#[tokio::test]
async fn a_section_without_sources_needs_no_connection() {
    let node = node_at("[redis]\n", "redis://127.0.0.1:1").await;
    readiness(&node, 200, "", SOON).await;
}

#[tokio::test]
async fn passwords_open_and_are_never_told() {
    let redis = Redis::start_with(Some("clave-secreta"), false).await.unwrap();
    let start = options(CONFIG).env("REDIS_ADDR", redis.address());
    let mut node = Node::spawn(start.env("REDIS_PASSWORD", "clave-secreta"))
        .await
        .unwrap();
    let mut client = follower(&node, &["events"]).await;
    redis.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
    let url = format!("redis://:otra-secreta@{}", redis.address());
    let mut refused = Node::spawn(options(CONFIG).env("REDIS_URL", url).not_ready())
        .await
        .unwrap();
    refused.wait_for_log("WRONGPASS", SOON).await.unwrap();
    readiness(&refused, 503, "", SOON).await;
    for node in [&mut node, &mut refused] {
        node.sigterm().await.unwrap();
        assert!(!node.log().contains("secreta"), "{}", node.log());
    }
}

/// The rights that docs/redis.md names are enough.
#[tokio::test]
async fn a_user_with_the_documented_rights_suffices() {
    let redis = Redis::start().await.unwrap();
    let rules = "+hello +ping +subscribe +psubscribe +multi +exec +xreadgroup +xack +xgroup|create \
                 +xinfo|stream +xinfo|groups &events &ws:room:* ~orders";
    let mut words = vec!["ACL", "SETUSER", "pregon", "on", ">clave"];
    words.extend(rules.split_whitespace());
    redis.command(&words).await.unwrap();
    let config = CONFIG.replace("[[redis.pattern]]\npattern = \"*s*\"\nname = \"rest\"\n", "");
    let config = format!(
        "{}\n[[redis.stream]]\nstream = \"orders\"\n",
        config.replace("\"events\", \"rest\"", "\"events\"")
    );
    let url = format!("redis://pregon:clave@{}", redis.address());
    let node = node_at(&config, &url).await;
    let mut client = follower(&node, &["events"]).await;
    redis.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
    redis
        .command(&["XADD", "orders", "*", "data", "1"])
        .await
        .unwrap();
    metric(&node, "pregon_events_total{source=\"orders\"}", |n| n == 1.0)
        .await
        .unwrap();
    let left = eventually(SOON, || async {
        let pending = redis.command(&["XPENDING", "orders", "pregon"]).await?;
        anyhow::ensure!(pending.starts_with("*4\r\n:0"), "{pending}");
        Ok(())
    });
    left.await.unwrap();
}

#[tokio::test]
async fn tls_trusts_the_named_authority_and_no_other() {
    let secure = || async {
        let tls = RedisOptions {
            tls: true,
            ..RedisOptions::default()
        };
        Redis::start_as(tls).await.unwrap()
    };
    let (redis, other) = (secure().await, secure().await);
    let trusting = |redis: &Redis| trusting(CONFIG, &redis.ca_file().unwrap());
    let url = redis.tls_url().unwrap();
    let node = node_at(&trusting(&redis), &url).await;
    let mut client = follower(&node, &["events"]).await;
    redis.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
    for config in [trusting(&other), CONFIG.to_owned()] {
        let start = options(&config).env("REDIS_URL", &url).not_ready();
        let refusing = Node::spawn(start).await.unwrap();
        let line = refusing
            .wait_for_log("no connection to redis", SOON)
            .await
            .unwrap();
        assert!(line.contains("certificate"), "{line}");
        readiness(&refusing, 503, "", SOON).await;
    }
}

#[tokio::test]
async fn it_follows_a_failover_of_the_sentinels() {
    let mut master = Redis::start().await.unwrap();
    let replica = RedisOptions {
        args: ["--replicaof", "127.0.0.1", &master.port().to_string()]
            .map(str::to_owned)
            .to_vec(),
        ..RedisOptions::default()
    };
    let replica = Redis::start_as(replica).await.unwrap();
    let sentinel = Sentinel::start(&master).await.unwrap();
    let node = node_at(CONFIG, &sentinel.url()).await;
    let mut client = follower(&node, &["events"]).await;
    master.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
    master.kill9().await.unwrap();
    client.next_of_type("gap", Duration::from_secs(40)).await.unwrap();
    let heard = eventually(SOON, || async {
        let subscribers = replica.publish("events", "2").await?;
        anyhow::ensure!(subscribers > 0, "nobody listens at the new master");
        Ok(())
    });
    heard.await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(2));
}

#[tokio::test]
async fn sentinels_and_their_master_may_have_passwords_and_tls() {
    let secure = RedisOptions {
        password: Some("clave".to_owned()),
        tls: true,
        ..RedisOptions::default()
    };
    let master = Redis::start_as(secure).await.unwrap();
    let sentinel = Sentinel::start_secure(&master).await.unwrap();
    let url = format!("rediss+sentinel://:clave@{}", sentinel.secure_address().unwrap());
    let with = |password: &str| {
        let settings = format!("[redis]\nsentinel_password = '{password}'");
        trusting(&CONFIG.replace("[redis]", &settings), &master.ca_file().unwrap())
    };
    let node = node_at(&with(Sentinel::PASSWORD), &url).await;
    let mut client = follower(&node, &["events"]).await;
    master.publish("events", "1").await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(1));
    let start = options(&with("otra-secreta")).env("REDIS_URL", &url).not_ready();
    let refused = Node::spawn(start).await.unwrap();
    refused
        .wait_for_log("Password authentication failed", SOON)
        .await
        .unwrap();
    readiness(&refused, 503, "", SOON).await;
    assert!(!refused.log().contains("secreta"), "{}", refused.log());
}

#[tokio::test]
async fn a_cluster_is_heard_through_any_of_its_nodes() {
    let mut cluster = Cluster::start(3).await.unwrap();
    let node = node_at(CONFIG, &cluster.url()).await;
    let mut client = follower(&node, &["events", "ws:room:a"]).await;
    for (number, redis) in cluster.nodes().iter().enumerate() {
        redis.publish("events", &number.to_string()).await.unwrap();
        assert_eq!(next_data(&mut client).await, json!(number));
    }
    // The first is the one that it is subscribed at: another takes over.
    cluster.nodes()[0].kill9().await.unwrap();
    client.next_of_type("gap", SOON).await.unwrap();
    let heard = eventually(SOON, || async {
        cluster_publish(&cluster, "ws:room:a", "9").await
    });
    heard.await.unwrap();
    assert_eq!(next_data(&mut client).await, json!(9));
}

/// Publishes at the first node that is there; an error while nobody is subscribed at it.
async fn cluster_publish(cluster: &Cluster, channel: &str, message: &str) -> anyhow::Result<()> {
    let reply = cluster.command(&["PUBLISH", channel, message]).await?;
    anyhow::ensure!(reply != ":0\r\n", "nobody is subscribed");
    Ok(())
}

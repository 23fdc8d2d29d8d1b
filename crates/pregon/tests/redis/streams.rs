//! Streams: at least once across kills of pregón and of Redis, and gaps where entries are gone.

use std::time::Duration;

use pregon_testkit::{Cluster, Node, Redis, WsClient, eventually};
use serde_json::{Value, json};

use super::{follower, next_data, node_at, readiness, trusting};
use crate::support::{RECOVERY, SOON, metric};

const CONFIG: &str = r#"
[redis]
heartbeat = "500ms"
[[redis.stream]]
stream = "orders"
[[channel]]
name = "orders"
"#;

async fn add(redis: &Redis, field: &str, value: &str) {
    redis
        .command(&["XADD", "orders", "*", field, value])
        .await
        .unwrap();
}

/// Waits until nothing is pending in the group.
async fn confirmed(redis: &Redis) {
    let left = eventually(SOON, || async {
        let pending = redis.command(&["XPENDING", "orders", "pregon"]).await?;
        anyhow::ensure!(pending.starts_with("*4\r\n:0"), "{pending}");
        Ok(())
    });
    left.await.unwrap();
}

/// What the log still has of the channel.
async fn replayed(node: &Node, count: usize) -> Vec<Value> {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let subscribe = json!({"type": "subscribe", "channel": "orders", "last": 100});
    client.request(subscribe).await.unwrap();
    let mut data = Vec::new();
    for _ in 0..count {
        data.push(next_data(&mut client).await);
    }
    client.expect_silence().await.unwrap();
    data
}

#[tokio::test]
async fn entries_arrive_as_their_field_or_as_an_object_and_are_confirmed() {
    let redis = Redis::start().await.unwrap();
    redis
        .command(&["XADD", "orders", "*", "data", "before"])
        .await
        .unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["orders"]).await;
    add(&redis, "data", "{\"total\": 10.50}").await;
    let words = ["XADD", "orders", "*", "b", "1", "a", "\"x\""];
    redis.command(&words).await.unwrap();
    assert_eq!(next_data(&mut client).await, json!({"total": 10.5}));
    assert_eq!(next_data(&mut client).await, json!({"b": "1", "a": "\"x\""}));
    confirmed(&redis).await;
}

#[tokio::test]
async fn from_start_takes_what_was_there_before() {
    let redis = Redis::start().await.unwrap();
    for number in ["1", "2", "3"] {
        add(&redis, "data", number).await;
    }
    let config = CONFIG.replace("stream = \"orders\"", "stream = \"orders\"\nfrom = \"start\"");
    let node = node_at(&config, &redis.url()).await;
    metric(&node, "pregon_events_total{source=\"orders\"}", |n| n == 3.0)
        .await
        .unwrap();
    assert_eq!(replayed(&node, 3).await, [json!(1), json!(2), json!(3)]);
}

#[tokio::test]
async fn what_was_added_or_unconfirmed_while_pregon_was_dead_comes_after_its_start() {
    let redis = Redis::start().await.unwrap();
    let mut node = node_at(CONFIG, &redis.url()).await;
    node.kill9().await.unwrap();
    add(&redis, "data", "1").await;
    add(&redis, "data", "2").await;
    // As if it had been killed between reading the first and confirming it.
    let read = [
        "XREADGROUP",
        "GROUP",
        "pregon",
        "pregon",
        "COUNT",
        "1",
        "STREAMS",
        "orders",
        ">",
    ];
    redis.command(&read).await.unwrap();
    add(&redis, "data", "3").await;
    node.restart().await.unwrap();
    confirmed(&redis).await;
    metric(&node, "pregon_events_total{source=\"orders\"}", |n| n == 3.0)
        .await
        .unwrap();
    assert_eq!(replayed(&node, 3).await, [json!(1), json!(2), json!(3)]);
}

/// A number of the group's information.
async fn of_group(redis: &Redis, key: &str) -> u64 {
    let info = redis.command(&["XINFO", "GROUPS", "orders"]).await.unwrap();
    let value = info.split_once(&format!("{key}\r\n:")).unwrap().1;
    value.split_once('\r').unwrap().0.parse().unwrap()
}

#[tokio::test]
async fn killed_in_a_flood_it_reads_again_what_it_had_not_confirmed_and_no_more() {
    const COUNT: u64 = 20_000;
    let redis = Redis::start().await.unwrap();
    let mut node = node_at(CONFIG, &redis.url()).await;
    let flood = format!("for i=1,{COUNT} do redis.call('XADD','orders','*','data',i) end");
    redis.command(&["EVAL", &flood, "0"]).await.unwrap();
    let begun = eventually(SOON, || async { of_group(&redis, "entries-read").await > 0 });
    begun.await.unwrap();
    node.kill9().await.unwrap();
    let confirmed_before = of_group(&redis, "entries-read").await - of_group(&redis, "pending").await;
    node.restart().await.unwrap();
    let rest = f64::from(u32::try_from(COUNT - confirmed_before).unwrap());
    metric(&node, "pregon_events_total{source=\"orders\"}", |n| n == rest)
        .await
        .unwrap();
    confirmed(&redis).await;
    assert_eq!(of_group(&redis, "lag").await, 0);
}

#[tokio::test]
async fn a_redis_that_keeps_its_data_loses_nothing_and_makes_no_gap() {
    let mut redis = Redis::start_with(None, true).await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["orders"]).await;
    add(&redis, "data", "1").await;
    assert_eq!(next_data(&mut client).await, json!(1));
    redis.kill9().await.unwrap();
    readiness(&node, 503, "", SOON).await;
    redis.restart().await.unwrap();
    add(&redis, "data", "2").await;
    let next = client.next_json(RECOVERY).await.unwrap();
    assert_eq!((&next["type"], &next["data"]), (&json!("event"), &json!(2)));
}

#[tokio::test]
async fn a_stream_that_was_wiped_out_is_a_gap_and_begins_anew() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["orders"]).await;
    // Ids of the application come again after the wipe, for other entries.
    for round in ["a", "b"] {
        redis
            .command(&["XADD", "orders", "1-1", "data", round])
            .await
            .unwrap();
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"], round);
        redis.command(&["FLUSHALL"]).await.unwrap();
        let gap = client.next_of_type("gap", SOON).await.unwrap();
        assert_eq!(
            (&gap["channel"], &gap["reason"]),
            (&json!("orders"), &json!("source"))
        );
    }
    readiness(&node, 200, "", SOON).await;
}

#[tokio::test]
async fn a_group_that_was_destroyed_goes_on_where_it_was() {
    let redis = Redis::start().await.unwrap();
    let node = node_at(CONFIG, &redis.url()).await;
    let mut client = follower(&node, &["orders"]).await;
    add(&redis, "data", "1").await;
    assert_eq!(next_data(&mut client).await, json!(1));
    confirmed(&redis).await;
    redis
        .command(&["XGROUP", "DESTROY", "orders", "pregon"])
        .await
        .unwrap();
    client.next_of_type("gap", SOON).await.unwrap();
    add(&redis, "data", "2").await;
    let next = client.next_json(SOON).await.unwrap();
    assert_eq!((&next["type"], &next["data"]), (&json!("event"), &json!(2)));
}

#[tokio::test]
async fn entries_that_were_trimmed_away_unread_are_a_gap() {
    let redis = Redis::start().await.unwrap();
    let mut node = node_at(&format!("{CONFIG}[log]\nkind = \"memory\"\n"), &redis.url()).await;
    add(&redis, "data", "1").await;
    confirmed(&redis).await;
    metric(&node, "pregon_events_total{source=\"orders\"}", |n| n == 1.0)
        .await
        .unwrap();
    node.kill9().await.unwrap();
    for number in ["2", "3", "4"] {
        add(&redis, "data", number).await;
    }
    redis.command(&["XTRIM", "orders", "MAXLEN", "1"]).await.unwrap();
    node.restart().await.unwrap();
    metric(&node, "pregon_source_gaps_total{source=\"orders\"}", |n| n == 1.0)
        .await
        .unwrap();
    assert_eq!(replayed(&node, 1).await, [json!(4)]);
    // Trimming what was read is nobody's loss.
    redis.command(&["XTRIM", "orders", "MAXLEN", "0"]).await.unwrap();
    add(&redis, "data", "5").await;
    metric(&node, "pregon_events_total{source=\"orders\"}", |n| n == 2.0)
        .await
        .unwrap();
    metric(&node, "pregon_source_gaps_total{source=\"orders\"}", |n| n == 1.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn streams_are_read_from_the_node_of_a_cluster_that_has_them() {
    let cluster = Cluster::start(3).await.unwrap();
    read_from_all_nodes(&cluster, CONFIG, &cluster.url()).await;
}

#[tokio::test]
async fn a_cluster_may_have_a_password_and_tls() {
    let cluster = Cluster::start_secure(3).await.unwrap();
    let config = trusting(CONFIG, &cluster.ca_file().unwrap());
    read_from_all_nodes(&cluster, &config, &cluster.secure_url().unwrap()).await;
}

/// Two streams that are not on the same node.
async fn read_from_all_nodes(cluster: &Cluster, config: &str, url: &str) {
    let config = format!("{config}[[redis.stream]]\nstream = \"bills\"\n[[channel]]\nname = \"bills\"\n");
    let node = node_at(&config, url).await;
    let mut client = follower(&node, &["orders", "bills"]).await;
    for stream in ["orders", "bills", "orders"] {
        let added = cluster.command(&["XADD", stream, "*", "data", "1"]).await;
        added.unwrap();
        let event = client
            .next_of_type("event", Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(event["channel"], stream);
    }
}

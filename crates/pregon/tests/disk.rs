//! The log on the disk: positions that survive a kill, replay from far back, retention, a full disk, one process at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pregon_testkit::{Database, Node, NodeOptions, SseClient, WsClient, eventually, http, postgres, process};
use serde_json::{Value, json};

use crate::socketio::ROOMS;
use crate::support::official::{CLIENTS, Official};
use crate::support::{
    API_KEY, PLAIN, SOON, binary, connect, metric, node, node_on, options, post, publish, token,
};

/// A window of a few entries and files of a few more, so that most of a test's log is on the disk alone.
const SMALL: &str = "[log]\nwindow = \"8KiB\"\nsegment = \"16KiB\"\n";

/// The epoch of a position.
fn epoch(position: &str) -> &str {
    position.split('-').next().unwrap()
}

/// Publishes numbers in order, each with a key of its own and again until it is answered, while the node comes and goes.
async fn publish_through(url: String, from: u64, upto: u64) {
    let key = format!("Bearer {API_KEY}");
    for n in from..=upto {
        let id = format!("n{n}");
        let headers = [("authorization", key.as_str()), ("idempotency-key", id.as_str())];
        let body = json!({"channel": "news", "event": "n", "data": n});
        eventually(Duration::from_secs(60), || async {
            let answer = http::post_json(&url, &headers, &body).await?;
            anyhow::ensure!(answer.status() == 200, "{}", answer.body);
            Ok(())
        })
        .await
        .unwrap();
    }
}

/// The next `count` numbers on a WebSocket.
async fn numbers(client: &mut WsClient, count: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let event = client.next_of_type("event", SOON).await.unwrap();
        seen.push(event["data"].as_u64().unwrap());
    }
    seen
}

async fn stream(node: &Node, from: &str) -> SseClient {
    let token = token(&json!({"sub": 1}));
    let url = node.url(&format!("/sse?channel=news&{from}&token={token}"));
    SseClient::connect(&url, &[]).await.unwrap()
}

/// The next `count` numbers of a stream.
async fn streamed(client: &mut SseClient, count: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let block = client.next_event(SOON).await.unwrap();
        seen.push(block.data.unwrap().parse().unwrap());
    }
    seen
}

async fn since(client: &mut WsClient, from: Value) -> Value {
    let mut command = json!({"type": "subscribe", "channel": "news"});
    for (key, value) in from.as_object().unwrap() {
        command[key] = value.clone();
    }
    client.request(command).await.unwrap()
}

/// All numbers of the ack of a late subscribe over Socket.IO.
async fn acked(node: &Node, from: Value) -> (Vec<u64>, bool) {
    let more = json!({"auth": {"token": token(&json!({"sub": "ana"}))}});
    let mut client = Official::client(CLIENTS[0], &node.url(""), &["websocket"], &more);
    client.wait("connect").await;
    let answer = client.ask("subscribe", &json!(["news", from])).await;
    let events = answer[0]["history"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let numbers = events.iter().map(|event| event["data"].as_u64().unwrap());
    (numbers.collect(), answer[0]["recovered"] == true)
}

#[tokio::test]
async fn killed_while_publishing_it_repeats_and_loses_nothing_on_any_wire() {
    const ALL: u64 = 300;
    let config = format!("{PLAIN}{ROOMS}{SMALL}");
    let mut node = node(&config).await;
    let first = publish(&node, "news", "n", json!(0)).await;
    let publisher = tokio::spawn(publish_through(node.url("/api/publish"), 1, ALL));
    for _ in 0..3 {
        let before = metric(&node, "pregon_log_newest", |_| true).await.unwrap();
        metric(&node, "pregon_log_newest", |newest| newest >= before + 40.0)
            .await
            .unwrap();
        node.kill9().await.unwrap();
        node.restart().await.unwrap();
    }
    publisher.await.unwrap();
    let wanted: Vec<u64> = (1..=ALL).collect();
    let mut ws = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut ws, json!({"since": first})).await["recovered"], true);
    let mut sse = stream(&node, &format!("since={first}")).await;
    assert_eq!(numbers(&mut ws, ALL).await, wanted);
    assert_eq!(streamed(&mut sse, ALL).await, wanted);
    assert_eq!(acked(&node, json!({"since": first})).await, (wanted, true));
    ws.expect_silence().await.unwrap();
    let last = publish(&node, "news", "n", json!(ALL + 1)).await;
    assert_eq!(numbers(&mut ws, 1).await, [ALL + 1], "live without a seam");
    assert_eq!(streamed(&mut sse, 1).await, [ALL + 1]);
    assert_eq!(epoch(&first), epoch(&last), "nothing was lost");
}

/// A client that was there before the kill resumes with the last position that it has seen.
#[tokio::test]
async fn a_client_that_resumes_in_the_next_process_sees_each_once() {
    let mut node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let publisher = tokio::spawn(publish_through(node.url("/api/publish"), 1, 60));
    let (mut seen, mut position) = (Vec::new(), String::new());
    while seen.len() < 20 {
        let event = client.next_of_type("event", SOON).await.unwrap();
        seen.push(event["data"].as_u64().unwrap());
        position = event["position"].as_str().unwrap().to_owned();
    }
    node.kill9().await.unwrap();
    node.restart().await.unwrap();
    let mut client = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(
        since(&mut client, json!({"since": position})).await["recovered"],
        true
    );
    seen.extend(numbers(&mut client, 40).await);
    publisher.await.unwrap();
    assert_eq!(seen, (1..=60).collect::<Vec<u64>>());
}

#[tokio::test]
async fn what_the_window_has_forgotten_comes_from_the_disk_to_every_wire_and_question() {
    let node = node(&format!("{PLAIN}{ROOMS}{SMALL}")).await;
    let first = publish(&node, "news", "n", json!(0)).await;
    for n in 1..=100 {
        publish(&node, "news", "n", json!(n)).await;
        publish(&node, "user_9", "n", json!("x".repeat(300))).await;
    }
    let all: Vec<u64> = (1..=100).collect();
    let mut ws = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut ws, json!({"since": first})).await["recovered"], true);
    assert_eq!(numbers(&mut ws, 100).await, all);
    let mut ws = connect(&node, &json!({"sub": 1})).await;
    since(&mut ws, json!({"last": 60})).await;
    assert_eq!(numbers(&mut ws, 60).await, all[40..]);
    let mut ws = connect(&node, &json!({"sub": 1})).await;
    since(&mut ws, json!({"since": "1h"})).await;
    assert_eq!(numbers(&mut ws, 101).await, (0..=100).collect::<Vec<u64>>());
    let mut sse = stream(&node, "last=60").await;
    assert_eq!(streamed(&mut sse, 60).await, all[40..]);
    assert_eq!(acked(&node, json!({"since": first})).await, (all.clone(), true));
    assert_eq!(acked(&node, json!({"last": 60})).await.0, all[40..]);
    for (query, wanted) in [
        (format!("since={first}"), &all[..]),
        ("last=60".into(), &all[40..]),
        (format!("since={first}&last=60"), &all[40..]),
    ] {
        let url = node.url(&format!(
            "/api/history?channel=news&{query}&token={}",
            token(&json!({"sub": 1}))
        ));
        let answer = http::get(&url).await.unwrap().json().unwrap();
        let events = answer["events"].as_array().unwrap();
        let numbers: Vec<u64> = events
            .iter()
            .map(|event| event["data"].as_u64().unwrap())
            .collect();
        assert_eq!(
            (numbers.as_slice(), &answer["complete"]),
            (wanted, &json!(true)),
            "{query}"
        );
    }
    assert!(
        metric(&node, "pregon_log_reads_total", |reads| reads > 0.0)
            .await
            .is_ok()
    );
}

/// Rights are those of now: who may no longer follow a channel gets nothing of its past.
#[tokio::test]
async fn the_past_is_for_those_who_may_follow_now() {
    let node = node(&format!("{PLAIN}{ROOMS}{SMALL}")).await;
    let first = publish(&node, "room_1", "n", json!(0)).await;
    for _ in 0..40 {
        publish(&node, "room_1", "n", json!("x".repeat(300))).await;
    }
    let mut ws = connect(&node, &json!({"sub": 1, "rooms": ["2"]})).await;
    let refused = ws
        .request(json!({"type": "subscribe", "channel": "room_1", "since": first}))
        .await
        .unwrap();
    assert_eq!(refused["name"], "forbidden");
    ws.expect_silence().await.unwrap();
}

#[tokio::test]
async fn retention_removes_the_oldest_and_says_so_to_its_channels_alone() {
    let config = format!(
        "{PLAIN}[log]\nwindow = \"8KiB\"\nsegment = \"8KiB\"\nsize = \"32KiB\"\n[[channel]]\nname = \"quiet\"\n"
    );
    let node = node(&config).await;
    let first = publish(&node, "news", "n", json!(0)).await;
    publish(&node, "news", "n", json!(1)).await;
    let quiet = publish(&node, "quiet", "n", json!(2)).await;
    for _ in 0..300 {
        publish(&node, "user_9", "n", json!("x".repeat(400))).await;
    }
    metric(&node, "pregon_log_oldest", |oldest| oldest > 3.0)
        .await
        .unwrap();
    assert!(
        metric(&node, "pregon_log_bytes", |bytes| bytes < 48.0 * 1024.0)
            .await
            .is_ok()
    );
    let mut ws = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(since(&mut ws, json!({"since": first})).await["recovered"], false);
    let gap = ws.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("news"), &json!("pruned"))
    );
    let kept = ws
        .request(json!({"type": "subscribe", "channel": "quiet", "since": quiet}))
        .await
        .unwrap();
    assert_eq!(kept["recovered"], true, "{kept}");
}

#[tokio::test]
async fn two_processes_on_one_folder_are_refused_and_the_first_is_named() {
    let first = node(PLAIN).await;
    let folder = first.folder().join("data").display().to_string();
    let second = Node::spawn(options(PLAIN).env("PREGON_DATA", folder)).await;
    let error = format!("{:#}", second.err().unwrap());
    let holder = format!("in use by process {}", first.pid().unwrap());
    assert!(error.contains(&holder), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_that_names_the_way_out() {
    let failed = Node::spawn(options(PLAIN).env("PREGON_DATA", "/proc/nirgends")).await;
    let error = format!("{:#}", failed.err().unwrap());
    assert!(
        error.contains("/proc/nirgends") && error.contains("PREGON_DATA"),
        "{error}"
    );
}

/// Nothing said where: a folder of the port's own where the program was started, found again by the next process.
#[tokio::test]
async fn without_a_folder_each_port_has_its_own_in_the_working_folder() {
    let mut node = Node::spawn(options(PLAIN).env("PREGON_DATA", "")).await.unwrap();
    let first = publish(&node, "news", "n", json!(1)).await;
    let folder = node.folder().join("pregon-data").join(node.port().to_string());
    assert!(folder.join("segments").is_dir(), "{}", folder.display());
    node.kill9().await.unwrap();
    node.restart().await.unwrap();
    let second = publish(&node, "news", "n", json!(2)).await;
    assert_eq!(epoch(&first), epoch(&second));
}

/// A limit on the size of files stands for a full disk.
#[tokio::test]
async fn a_full_disk_refuses_publishes_delivers_nothing_of_them_and_recovers_by_itself() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    publish(&node, "news", "n", json!(1)).await;
    let pid = node.pid().unwrap();
    process::limit_file_size(pid, Some(4096)).unwrap();
    let large = json!({"channel": "news", "event": "n", "data": "x".repeat(8000)});
    let refused = post(&node, &large, &[]).await;
    assert_eq!(refused.status(), 503, "{}", refused.body);
    assert!(
        refused.body.contains("the log cannot be written"),
        "{}",
        refused.body
    );
    let ready = http::get(&node.url("/readyz")).await.unwrap();
    assert_eq!((ready.status(), ready.body.trim()), (503, "not ready: log"));
    metric(&node, "pregon_log_failures_total", |failures| failures >= 1.0)
        .await
        .unwrap();
    process::limit_file_size(pid, None).unwrap();
    eventually(SOON, || async {
        let ready = http::get(&node.url("/readyz")).await?;
        anyhow::ensure!(ready.status() == 200, "{}", ready.body);
        Ok(())
    })
    .await
    .unwrap();
    publish(&node, "news", "n", json!(2)).await;
    assert_eq!(numbers(&mut client, 2).await, [1, 2], "nothing between them");
}

/// NOTIFY cannot be repeated, so that its source waits with what it has.
#[tokio::test]
async fn notifications_wait_for_a_full_disk() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let config = format!("{PLAIN}[postgres]\n[[listen]]\nchannel = \"news\"\n");
    let node = node_on(&database, &config).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let pid = node.pid().unwrap();
    process::limit_file_size(pid, Some(1024)).unwrap();
    for n in 1..=3 {
        database
            .execute(&format!(
                "SELECT pg_notify('news', '{{\"n\":{n},\"x\":\"' || repeat('x', 1000) || '\"}}')"
            ))
            .await
            .unwrap();
    }
    node.wait_for_log("the log cannot be written", SOON)
        .await
        .unwrap();
    process::limit_file_size(pid, None).unwrap();
    for n in 1..=3 {
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"]["n"], n);
    }
}

/// A session that is far behind is served from the disk while others go on.
#[tokio::test]
async fn a_long_replay_and_what_is_published_meanwhile_come_in_order_and_once() {
    let node = node(&format!("{PLAIN}{SMALL}")).await;
    let first = publish(&node, "news", "n", json!(0)).await;
    for chunk in 0..20 {
        let batch: Vec<Value> = (1..=500)
            .map(|n| json!({"channel": "news", "event": "n", "data": chunk * 500 + n}))
            .collect();
        assert_eq!(post(&node, &json!(batch), &[]).await.status(), 200);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (url, stopped) = (node.url("/api/publish"), Arc::clone(&stop));
    let publisher = tokio::spawn(async move {
        let mut last = 10_000;
        while !stopped.load(Ordering::Relaxed) {
            publish_through(url.clone(), last + 1, last + 1).await;
            last += 1;
        }
        last
    });
    let mut client = connect(&node, &json!({"sub": 1})).await;
    assert_eq!(
        since(&mut client, json!({"since": first})).await["recovered"],
        true
    );
    let replayed = numbers(&mut client, 10_000).await;
    assert_eq!(replayed, (1..=10_000).collect::<Vec<u64>>());
    stop.store(true, Ordering::Relaxed);
    let last = publisher.await.unwrap();
    let rest = numbers(&mut client, last - 10_000).await;
    assert_eq!(rest, (10_001..=last).collect::<Vec<u64>>());
    client.expect_silence().await.unwrap();
}

/// The file says `memory`: nothing is written, whatever the environment offers.
#[tokio::test]
async fn a_log_in_memory_leaves_no_folder() {
    let config = format!("{PLAIN}[log]\nkind = \"memory\"\n");
    let node = Node::spawn(NodeOptions::text(config).binary(binary()))
        .await
        .unwrap();
    publish(&node, "news", "n", json!(1)).await;
    assert!(!node.folder().join("data").exists());
}

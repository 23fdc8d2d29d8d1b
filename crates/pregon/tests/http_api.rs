//! `POST /api/publish` and `GET /api/history`.

use pregon_testkit::{Database, Node, SseClient, eventually, http, postgres};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    API_KEY, PLAIN, SOON, connect, in_seconds, metric, node, node_on, post, publish, token,
};

/// Sends bytes, and returns what comes until `end` is in it.
async fn exchange(stream: &mut TcpStream, request: &str, end: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&seen).contains(end) {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "it was closed");
        }
    };
    let outcome = tokio::time::timeout(SOON, read).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(outcome.is_ok(), "{seen}");
    seen
}

async fn history(node: &Node, claims: &Value, query: &str) -> (u16, Value) {
    let url = node.url(&format!("/api/history?token={}&{query}", token(claims)));
    let answer = http::get(&url).await.unwrap();
    (answer.status(), answer.json().unwrap_or_default())
}

#[tokio::test]
async fn a_batch_arrives_whole_and_in_its_order() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let batch: Vec<_> = (0..100)
        .map(|n| json!({"channel": "news", "event": "n", "data": n}))
        .collect();
    let positions = post(&node, &json!(batch), &[]).await.json().unwrap();
    assert_eq!(positions["positions"].as_array().unwrap().len(), 100);
    for n in 0..100 {
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(
            (&event["data"], &event["position"]),
            (&json!(n), &positions["positions"][n])
        );
    }
}

#[tokio::test]
async fn an_idempotency_key_publishes_once() {
    let node = node(PLAIN).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("news").await.unwrap();
    let body =
        json!([{"channel": "news", "event": "n", "data": 1}, {"channel": "news", "event": "n", "data": 2}]);
    let first = post(&node, &body, &[("idempotency-key", "pedido-7")]).await;
    let again = post(&node, &body, &[("idempotency-key", "pedido-7")]).await;
    assert_eq!((again.status(), &again.body), (200, &first.body));
    post(&node, &body, &[("idempotency-key", "pedido-8")]).await;
    for data in [1, 2, 1, 2] {
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"], data);
    }
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_whole() {
    let node = node(&format!("{PLAIN}\n[limits]\nbody = \"64KiB\"\nbatch = 10\n")).await;
    let item = json!({"channel": "news", "event": "n", "data": 1});
    let status = async |body: Value| post(&node, &body, &[]).await.status();
    for wrong in [
        json!({}),
        json!({"channel": "news"}),
        json!([item, {"channel": "", "event": "n", "data": 1}]),
        json!(7),
    ] {
        assert_eq!(status(wrong.clone()).await, 400, "{wrong}");
    }
    assert_eq!(status(json!(vec![&item; 11])).await, 413);
    assert_eq!(
        status(json!({"channel": "news", "event": "n", "data": "x".repeat(70_000)})).await,
        413
    );
    assert_eq!(status(json!(vec![&item; 10])).await, 200);
    let kept = history(&node, &json!({"sub": 1}), "channel=news").await.1;
    assert_eq!(kept["events"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn only_the_api_key_publishes() {
    let node = node(PLAIN).await;
    let body = json!({"channel": "news", "event": "n", "data": 1});
    let client_token = format!("Bearer {}", token(&json!({"sub": 1})));
    let wrong = format!("Bearer {API_KEY}x");
    for headers in [
        vec![],
        vec![("authorization", client_token.as_str())],
        vec![("authorization", wrong.as_str())],
    ] {
        let answer = http::post_json(&node.url("/api/publish"), &headers, &body)
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{headers:?}");
    }
    assert_eq!(http::get(&node.url("/api/publish")).await.unwrap().status(), 405);
}

#[tokio::test]
async fn history_is_for_those_who_may_follow() {
    let node = node(PLAIN).await;
    let first = publish(&node, "room_a", "n", json!({"n": 1})).await;
    publish(&node, "news", "n", json!(0)).await;
    let second = publish(&node, "room_a", "n", json!({"n": 2})).await;
    let member = json!({"sub": 1, "rooms": ["a"]});
    let (status, all) = history(&node, &member, "channel=room_a").await;
    assert_eq!((status, all["events"].as_array().unwrap().len()), (200, 2));
    let (_, after) = history(&node, &member, &format!("channel=room_a&since={first}")).await;
    assert_eq!(
        (&after["events"][0]["position"], &after["events"][0]["data"]),
        (&json!(second), &json!({"n": 2}))
    );
    let (_, last) = history(&node, &member, "channel=room_a&last=1").await;
    assert_eq!(last["events"][0]["data"], json!({"n": 2}));
    assert_eq!(history(&node, &json!({"sub": 2}), "channel=room_a").await.0, 403);
    assert_eq!(history(&node, &member, "").await.0, 400);
    assert_eq!(
        http::get(&node.url("/api/history?channel=news"))
            .await
            .unwrap()
            .status(),
        401
    );
}

/// A name that stands for several channels gives what they all had, in one order.
#[tokio::test]
async fn history_of_a_name_is_that_of_the_channels_that_it_stands_for() {
    const ORDERS: &str = "[[channel]]\nname = \"orders\"\nfollow = [\"role_{role}\", \"user_{sub}\"]\n";
    let node = node(&format!("{PLAIN}\n{ORDERS}")).await;
    for (n, channel) in ["role_seller", "user_7", "role_admin", "user_8", "user_7"]
        .iter()
        .enumerate()
    {
        publish(&node, channel, "n", json!(n)).await;
    }
    let seller = json!({"sub": 7, "role": "seller"});
    let seen = async |query: &str| {
        let (status, answer) = history(&node, &seller, query).await;
        assert_eq!((status, &answer["complete"]), (200, &json!(true)), "{answer}");
        let events = answer["events"].as_array().unwrap().iter();
        let events: Vec<_> = events
            .map(|event| (event["channel"].clone(), event["data"].clone()))
            .collect();
        json!(events)
    };
    let all = json!([["role_seller", 0], ["user_7", 1], ["user_7", 4]]);
    assert_eq!(seen("channel=orders").await, all);
    assert_eq!(
        seen("channel=orders&last=2").await,
        json!([["user_7", 1], ["user_7", 4]])
    );
    let (_, first) = history(&node, &seller, "channel=orders&since=5m").await;
    let since = first["events"][0]["position"].as_str().unwrap();
    assert_eq!(
        seen(&format!("channel=orders&since={since}")).await,
        json!([["user_7", 1], ["user_7", 4]])
    );
    let nobody = json!({"role": ""});
    assert_eq!(
        history(&node, &nobody, "channel=orders").await.1["events"],
        json!([])
    );
}

/// A gap in what was asked for is a reason to reload, also by this way.
#[tokio::test]
async fn history_that_a_gap_interrupts_is_not_complete() {
    const CONFIG: &str = "[[listen]]\nchannel = \"avisos\"\n[postgres]\n[[channel]]\nname = \"avisos\"\n";
    let database = Database::create(postgres::shared().await).await.unwrap();
    let node = node_on(&database, CONFIG).await;
    let seen = async |query: &str| {
        let url = node.url(&format!("/api/history?channel=avisos{query}"));
        http::get(&url).await.unwrap().json().unwrap()
    };
    let fresh = seen("").await;
    assert_eq!((&fresh["complete"], &fresh["events"]), (&json!(true), &json!([])));
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE '%/listen'",
        )
        .await
        .unwrap();
    let since = format!("&since={}", fresh["position"].as_str().unwrap());
    let interrupted = || async {
        let answer = seen(&since).await;
        anyhow::ensure!(answer["complete"] == false, "{answer}");
        anyhow::Ok(answer)
    };
    let interrupted = eventually(SOON, interrupted).await.unwrap();
    assert_eq!(interrupted["events"], json!([]));
    // After the gap all is well.
    let after = format!("&since={}", interrupted["position"].as_str().unwrap());
    assert_eq!(seen(&after).await["complete"], true);
}

/// Strangers get no time and no memory.
#[tokio::test]
async fn a_publisher_is_known_before_its_body_is_read() {
    let node = node(&format!("{PLAIN}\n[limits]\nhandshake = \"300ms\"\n")).await;
    let head = |key: &str| {
        format!(
            "POST /api/publish HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Length: 100\r\n\r\n{{"
        )
    };
    for (key, status) in [("wrong", "HTTP/1.1 401"), (API_KEY, "HTTP/1.1 408")] {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        let answer = exchange(&mut stream, &head(key), "\r\n\r\n").await;
        assert!(answer.starts_with(status), "{answer}");
    }
}

/// A proxy keeps its connections and sends one client's stream after the other's.
#[tokio::test]
async fn a_kept_alive_connection_carries_one_stream_after_the_other() {
    let config = PLAIN.replace("[auth]", "[auth]\nleeway = \"0s\"");
    let node = node(&config).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let alive = exchange(&mut stream, &get("/healthz"), "\r\n\r\n").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    for n in 0..2 {
        let ends = token(&json!({"sub": n, "exp": in_seconds(2)}));
        let path = format!("/sse?channel=news&token={ends}");
        // The last chunk: the token has expired, and the connection stays.
        let events = exchange(&mut stream, &get(&path), "\r\n0\r\n\r\n").await;
        assert!(events.contains("HTTP/1.1 200"), "{n}: {events}");
        assert!(events.contains("retry:"), "{n}: {events}");
    }
}

/// What an `EventSource` sends by itself may be of whatever served the path before.
#[tokio::test]
async fn a_last_event_id_that_is_not_ours_is_a_gap_and_then_life() {
    let node = node(PLAIN).await;
    let url = node.url(&format!("/sse?channel=news&token={}", token(&json!({"sub": 1}))));
    let mut client = SseClient::connect(&url, &[("last-event-id", "1722")])
        .await
        .unwrap();
    let gap = client.next_event(SOON).await.unwrap();
    assert_eq!(gap.event.as_deref(), Some("gap"));
    assert_eq!(gap.json().unwrap()["reason"], "restart");
    publish(&node, "news", "n", json!(1)).await;
    assert_eq!(client.next_event(SOON).await.unwrap().data.as_deref(), Some("1"));
    assert_eq!(
        http::get(&format!("{url}&since=1722")).await.unwrap().status(),
        400
    );
}

/// An alert that compares with before sees the first incident: the series are there from the start.
#[tokio::test]
async fn what_can_be_counted_is_there_at_zero_and_the_process_is_told() {
    let mut node = node(&format!("{PLAIN}[metrics]\nenabled = true\n")).await;
    let text = http::get(&node.url("/metrics")).await.unwrap().body;
    for line in [
        "pregon_drops_total{reason=\"overflow\"} 0",
        "pregon_drops_total{reason=\"slow\"} 0",
        "pregon_sessions{transport=\"websocket\"} 0",
        "pregon_log_failures_total 0",
        "pregon_config_last_reload_successful 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    for start in [
        "pregon_build_info{version=\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_start_time_seconds ",
        "pregon_config_last_reload_success_timestamp_seconds ",
    ] {
        assert!(
            text.lines().any(|found| found.starts_with(start)),
            "{start} is not in\n{text}"
        );
    }
    node.rewrite_config("[[channel]]\nname = 7\n").unwrap();
    node.sighup();
    metric(&node, "pregon_config_last_reload_successful", |value| {
        value == 0.0
    })
    .await
    .unwrap();
}

/// A reload says which keys it could not take over.
#[tokio::test]
async fn a_reload_names_what_needs_a_restart() {
    let mut node = node(PLAIN).await;
    node.rewrite_config(&format!("{PLAIN}[limits]\nsubscriptions = 7\n"))
        .unwrap();
    node.sighup();
    node.wait_for_log("limits.subscriptions", SOON).await.unwrap();
}

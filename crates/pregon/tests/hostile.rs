//! Floods, bombs and readers that do not read: whoever does it is slowed or closed with a code, and nobody else suffers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pregon_testkit::{Node, SseClient, WsClient, eventually, http};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{PLAIN, SOON, connect, metric, node, options, publish, token};

/// An address of this machine that is not the one of everybody else.
const STRANGER: &str = "127.0.0.2";

fn limited(limits: &str) -> String {
    format!("{PLAIN}\n[limits]\n{limits}\n")
}

/// A connection from an address of this machine.
async fn from(address: &str, node: &Node) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    let to: SocketAddr = node.address().parse().unwrap();
    socket.connect(to).await.unwrap()
}

/// What is read until the connection ends or `patience` is over.
async fn rest(stream: &mut TcpStream, patience: Duration) -> String {
    let mut seen = Vec::new();
    // It may end by a reset as well.
    let _ = tokio::time::timeout(patience, stream.read_to_end(&mut seen)).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// A WebSocket whose frames we make ourselves, behind its 101.
async fn websocket(node: &Node, path: &str) -> TcpStream {
    let mut stream = from("127.0.0.1", node).await;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-extensions: permessage-deflate; client_no_context_takeover\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "it was closed");
        let text = String::from_utf8_lossy(&head).into_owned();
        if text.contains("\r\n\r\n") {
            assert!(text.contains("permessage-deflate"), "{text}");
            break;
        }
    }
    stream
}

/// A masked frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// A text of so many blanks as one compressed frame.
fn bomb(blanks: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; blanks]).unwrap();
    encoder.flush().unwrap();
    let whole = encoder.get_ref().clone();
    frame(0xc1, whole.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap())
}

/// The code of the close frame at the end of what a WebSocket was sent.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let at = bytes
        .windows(2)
        .rposition(|pair| pair[0] == 0x88 && pair[1] >= 2)?;
    Some(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]))
}

/// Processor time that a process has taken.
fn cpu(node: &Node) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid().unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Ten a second with a burst of a hundred.
const SLOW: &str = "commands_per_second = 9\npublishes_per_second = 1\nsubscriptions = 10";

#[tokio::test]
async fn a_flood_of_any_command_is_closed_with_a_code_and_counted_for_its_address() {
    let node = node(&limited(SLOW)).await;
    let floods = [
        json!({"type": "ping"}),
        json!({"type": "presence", "channel": "news"}),
        json!({"type": "unsubscribe", "channel": "news"}),
        json!({"type": "subscribe", "channel": "room_forbidden"}),
        json!("junk"),
    ];
    for command in floods {
        let mut client = connect(&node, &json!({"sub": 1})).await;
        for _ in 0..150 {
            // Closed halfway, it may break here.
            if client.send_json(&command).await.is_err() {
                break;
            }
        }
        let (code, _) = client.close_code(SOON).await.unwrap().unwrap();
        assert_eq!(code, 3006, "{command}");
    }
    metric(&node, "pregon_drops_total{reason=\"rate\"}", |n| n >= 5.0)
        .await
        .unwrap();
    metric(
        &node,
        "pregon_address_refused{address=\"127.0.0.1\",reason=\"rate\"}",
        |n| n >= 5.0,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn what_a_client_may_send_at_once_is_answered() {
    let node = node(&limited(SLOW)).await;
    let mut client = connect(&node, &json!({"sub": 1})).await;
    for _ in 0..90 {
        client.send_json(&json!({"id": 7, "type": "ping"})).await.unwrap();
    }
    for _ in 0..90 {
        client.next_of_type("ok", SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_flood_of_pings_of_the_protocol_or_on_a_bare_endpoint_is_closed_too() {
    let bare = format!(
        "{}\n[[endpoint]]\npath = \"/bare\"\nchannels = [\"news\"]\ntoken = \"none\"\n",
        limited(SLOW)
    );
    let node = node(&bare).await;
    let plain = format!("/ws?token={}", token(&json!({"sub": 1})));
    for (path, first) in [(&*plain, 0x89), ("/bare", 0x89), ("/bare", 0x81), ("/bare", 0x8a)] {
        let mut stream = websocket(&node, path).await;
        let flood = frame(first, b"").repeat(200);
        stream.write_all(&flood).await.unwrap();
        let mut seen = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut seen)).await;
        assert_eq!(close_code(&seen), Some(3006), "{path} {first:x}");
    }
}

#[tokio::test]
async fn a_flood_of_socketio_ends_its_session_by_polling_too() {
    let node = node(&format!("[socketio]\n{}", limited(SLOW))).await;
    let url = node.url("/socket.io/?EIO=4&transport=polling");
    let open = http::get(&url).await.unwrap().body;
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
    let connect = format!("40{}", json!({"token": token(&json!({"sub": 1}))}));
    let post = async |body: &str| {
        let headers = [("content-type", "text/plain")];
        http::request("POST", &url, &headers, body.as_bytes())
            .await
            .unwrap()
            .status()
    };
    assert_eq!(post(&connect).await, 200);
    let connected = http::get(&url).await.unwrap().body;
    assert!(connected.starts_with("40"), "{connected}");
    let events = vec!["42[\"subscribe\",\"nowhere\"]"; 200].join("\u{1e}");
    post(&events).await;
    let gone = async || {
        let status = http::get(&url).await?.status();
        anyhow::ensure!(status == 400, "{status}");
        anyhow::Ok(())
    };
    eventually(SOON, gone).await.unwrap();
    metric(&node, "pregon_drops_total{reason=\"rate\"}", |n| n >= 1.0)
        .await
        .unwrap();
}

/// Each of these would inflate to 65 MB.
#[tokio::test]
async fn nothing_is_inflated_for_who_has_no_token() {
    let node = node(PLAIN).await;
    let mut listener = connect(&node, &json!({"sub": 1})).await;
    listener.subscribe("news").await.unwrap();
    let (before, flood) = (cpu(&node), bomb(65_000).repeat(1000));
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut stream = websocket(&node, "/ws").await;
        let _ = stream.write_all(&flood).await; // It may be closed meanwhile.
        strangers.push(stream);
    }
    publish(&node, "news", "n", json!(1)).await;
    listener.next_of_type("event", SOON).await.unwrap();
    for mut stream in strangers {
        rest(&mut stream, SOON).await;
    }
    let spent = cpu(&node) - before;
    assert!(spent < Duration::from_secs(2), "{spent:?}");
}

#[tokio::test]
async fn inflated_bytes_count_and_who_sends_too_many_waits() {
    let limits = "bytes_per_second = \"128KiB\"\nmessage = \"64KiB\"";
    let node = node(&limited(limits)).await;
    let mut stream = websocket(&node, &format!("/ws?token={}", token(&json!({"sub": 1})))).await;
    // 20 blanks of 60,000 are 1.2 MB; 256 KiB go at once, the rest takes seven seconds.
    let began = Instant::now();
    stream.write_all(&bomb(60_000).repeat(20)).await.unwrap();
    let mut seen = Vec::new();
    while String::from_utf8_lossy(&seen).matches("bad_request").count() < 20 {
        let read = tokio::time::timeout(3 * SOON, stream.read_buf(&mut seen)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "it was closed");
    }
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
}

/// 100 messages of 50 KB are 5 MB; each answer holds a piece.
#[tokio::test]
async fn history_comes_in_pieces_and_says_where_the_next_begins() {
    const COUNT: u64 = 100;
    let node = node(PLAIN).await;
    let long = "x".repeat(50_000);
    let first = publish(&node, "news", "n", json!([0, long])).await;
    for n in 1..COUNT {
        publish(&node, "news", "n", json!([n, long])).await;
    }
    let token = token(&json!({"sub": 1}));
    for (query, from) in [("last=100", 0), (&*format!("since={first}"), 1)] {
        let (mut next, mut pieces, mut query) = (from, 0, query.to_owned());
        loop {
            let url = node.url(&format!("/api/history?token={token}&channel=news&{query}"));
            let answer = http::get(&url).await.unwrap();
            assert!(answer.body.len() < 400_000, "{}", answer.body.len());
            let answer = answer.json().unwrap();
            assert_eq!(answer["complete"], true);
            for event in answer["events"].as_array().unwrap() {
                assert_eq!(event["data"][0], next);
                next += 1;
            }
            pieces += 1;
            if answer["more"] == false {
                break;
            }
            query = format!("since={}", answer["position"].as_str().unwrap());
        }
        assert_eq!(next, COUNT);
        assert!(pieces > 10, "{pieces}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_its_connection() {
    let node = node(&limited("handshake = \"1s\"")).await;
    let long = "x".repeat(50_000);
    for n in 0..5 {
        publish(&node, "news", "n", json!([n, long])).await;
    }
    let request = format!(
        "GET /api/history?channel=news&last=5&token={} HTTP/1.1\r\nhost: x\r\n\r\n",
        token(&json!({"sub": 1}))
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let to: SocketAddr = node.address().parse().unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    // Far more than the kernel's buffers hold.
    stream.write_all(request.repeat(200).as_bytes()).await.unwrap();
    let ended = async || {
        // Whoever still holds the connection would take this.
        let outcome = stream.try_write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        anyhow::ensure!(outcome.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock));
        Ok(())
    };
    eventually(3 * SOON, ended).await.unwrap();
}

const HOOK: &str = r#"
[[webhook]]
name = "codigo"
path = "/hooks/github"
preset = "github"
secret = "nuevo"
[limits]
bodies = "8MiB"
"#;

/// A body of a stranger that never comes to its end.
async fn unfinished(address: &str, node: &Node, sent: usize) -> TcpStream {
    let mut stream = from(address, node).await;
    let head = "POST /hooks/github HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: sha256=00\r\ncontent-length: 4000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Refused meanwhile, it may be reset.
    let _ = stream.write_all(&vec![b'x'; sent]).await;
    stream
}

#[tokio::test]
async fn unsigned_bodies_leave_room_to_others() {
    let node = node(&format!("{PLAIN}{HOOK}")).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(unfinished(STRANGER, &node, 1_000_000).await);
    }
    // A quarter of the room is one body of a megabyte, whose buffer doubles.
    metric(
        &node,
        "pregon_address_refused{address=\"127.0.0.2\",reason=\"bodies\"}",
        |n| n >= 4.0,
    )
    .await
    .unwrap();
    let body = json!({"action": "opened"}).to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"nuevo");
    let signature = format!(
        "sha256={}",
        hex::encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()))
    );
    let headers = [("x-hub-signature-256", signature.as_str())];
    let url = node.url("/hooks/github");
    let answer = http::request("POST", &url, &headers, body.as_bytes());
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_denied_address_is_closed_by_a_reload_and_not_let_in_again() {
    let mut node = node(PLAIN).await;
    let mut stranger = from(STRANGER, &node).await;
    let request = format!(
        "GET /sse?channel=news&token={} HTTP/1.1\r\nhost: x\r\n\r\n",
        token(&json!({"sub": 2}))
    );
    stranger.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    stranger.read_buf(&mut seen).await.unwrap();
    assert!(seen.starts_with(b"HTTP/1.1 200"));
    let mut neighbour = connect(&node, &json!({"sub": 1})).await;
    let denied = PLAIN.replace("[server]", "[server]\ndeny = [\"127.0.0.2/31\"]");
    node.rewrite_config(&denied).unwrap();
    node.sighup();
    let last = rest(&mut stranger, SOON).await;
    assert!(last.contains("3503"), "{last}");
    let mut again = from(STRANGER, &node).await;
    again.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(&mut again, SOON).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    neighbour.subscribe("news").await.unwrap();
    publish(&node, "news", "n", json!(1)).await;
    neighbour.next_of_type("event", SOON).await.unwrap();
    metric(
        &node,
        "pregon_address_refused{address=\"127.0.0.2\",reason=\"denied\"}",
        |n| n >= 1.0,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn who_connects_too_fast_waits_and_others_do_not() {
    let node = node(&limited("per_address = 5\nper_address_connects = 1")).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let mut stream = from(STRANGER, &node).await;
        let request = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        statuses.push(rest(&mut stream, SOON).await.get(9..12).unwrap_or("").to_owned());
    }
    // Five at once; who is refused is told so after a second, in which one more may come.
    assert_eq!(statuses[..5], ["200"; 5], "{statuses:?}");
    assert_eq!(statuses[5], "429", "{statuses:?}");
    connect(&node, &json!({"sub": 1})).await;
}

#[tokio::test]
async fn requests_of_one_address_wait_for_their_rate() {
    let node = node(&limited("per_address_commands = 200")).await;
    let began = Instant::now();
    // 64 commands each: 400 at once, the rest takes three seconds and more.
    for _ in 0..16 {
        let url = node.url(&format!(
            "/api/history?channel=news&token={}",
            token(&json!({"sub": 1}))
        ));
        assert_eq!(http::get(&url).await.unwrap().status(), 200);
    }
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Who publishes has a key: what others of its address have asked for is not its debt.
#[tokio::test]
async fn a_publisher_does_not_wait_for_what_others_of_its_address_owe() {
    let node = node(&limited("per_address_commands = 200")).await;
    let token = token(&json!({"sub": 1}));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let url = node.url(&format!("/api/history?channel=news&token={token}"));
        asking.spawn(async move { http::get(&url).await.unwrap().status() });
    }
    // Refused is who would wait more than five seconds.
    while asking.join_next().await.unwrap().unwrap() != 429 {}
    let began = Instant::now();
    publish(&node, "news", "n", json!(1)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// A node that may have 256 file descriptors.
async fn with_few_descriptors() -> Node {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("few");
    let binary = crate::support::binary();
    std::fs::write(
        &script,
        format!("#!/bin/sh\nulimit -n 256\nexec {} \"$@\"\n", binary.display()),
    )
    .unwrap();
    let mut permissions = std::fs::metadata(&script).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&script, permissions).unwrap();
    let node = Node::spawn(options(PLAIN).binary(&script)).await.unwrap();
    node.wait_for_log("file descriptors", SOON).await.unwrap();
    node
}

/// A stream that is not the first request of its connection has two sockets more, from its shard to the HTTP library.
#[tokio::test]
async fn streams_behind_another_request_leave_descriptors_to_the_node_too() {
    let node = with_few_descriptors().await;
    let path = format!("/sse?channel=news&token={}", token(&json!({"sub": 1})));
    let requests = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let (mut streams, mut refused) = (Vec::new(), 0);
    for _ in 0..120 {
        let mut stream = from("127.0.0.1", &node).await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut seen = String::new();
        let told = async {
            let mut piece = [0; 4096];
            while !seen.contains("text/event-stream") && !seen.contains("503") {
                let count = stream.read(&mut piece).await?;
                anyhow::ensure!(count > 0, "it was closed behind {seen}");
                seen.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            Ok(())
        };
        tokio::time::timeout(SOON, told).await.unwrap().unwrap();
        if seen.contains("503") {
            refused += 1;
        } else {
            streams.push(stream);
        }
    }
    assert!(
        (30..=43).contains(&streams.len()) && refused > 0,
        "{}",
        streams.len()
    );
    publish_eventually(&node).await;
    assert!(!node.log().contains("could not be"), "{}", node.log());
    // What they had is free again.
    drop(streams);
    let mut listener = SseClient::connect(&node.url(&path), &[]).await.unwrap();
    publish_eventually(&node).await;
    listener.next_event(SOON).await.unwrap();
}

/// Some descriptors are kept for the log and the database, whoever connects.
#[tokio::test]
async fn a_node_with_few_descriptors_keeps_some_for_itself() {
    let node = with_few_descriptors().await;
    let mut listener = connect(&node, &json!({"sub": 1})).await;
    listener.subscribe("news").await.unwrap();
    let mut clients = Vec::new();
    while clients.len() < 400 {
        match WsClient::connect(&node.ws_url("/ws"), &[]).await {
            Ok(client) => clients.push(client),
            Err(_) => break,
        }
    }
    assert!((100..256).contains(&clients.len()), "{}", clients.len());
    assert!(!node.log().contains("could not be accepted"), "{}", node.log());
    clients.truncate(100);
    publish_eventually(&node).await;
    listener.next_of_type("event", SOON).await.unwrap();
}

async fn publish_eventually(node: &Node) {
    let published = async || {
        let body = json!({"channel": "news", "event": "n", "data": 1});
        let status = crate::support::post(node, &body, &[]).await.status();
        anyhow::ensure!(status == 200, "{status}");
        Ok(())
    };
    eventually(SOON, published).await.unwrap();
}

#[test]
fn check_compares_the_connections_with_the_limit_of_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pregon.toml");
    std::fs::write(&config, limited("connections = 1000")).unwrap();
    let command = format!(
        "ulimit -n 512; exec {} check --config {}",
        crate::support::binary().display(),
        config.display()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("1000") && told.contains("LimitNOFILE"), "{told}");
    assert!(output.status.success());
}

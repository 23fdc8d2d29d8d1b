//! `pregon demo`: the pages, what they are told, deeds, kills, and that nothing stays behind.

use std::time::Duration;

use pregon_testkit::{SseClient, WsClient, eventually, http, process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Running, SOON};

const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 5] = [
    "live-sales",
    "turnstile",
    "chat-inbox",
    "marketplace",
    "whatsapp-router",
];

/// Starts a demo and waits for its address.
async fn demo(arguments: &[&str]) -> (Running, String) {
    let demo = Running::start(&[&["demo", "--port", "0", "--seconds", "120"], arguments].concat());
    let address = eventually(PATIENCE, || async {
        let lines = demo.lines();
        let line = lines.iter().find_map(|line| line.split_once("pregón demo: "));
        line.map(|(_, address)| address.to_owned())
    });
    let address = address
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", demo.errors()));
    (demo, address)
}

async fn post(url: &str, origin: &str, body: &str) -> http::Response {
    let headers = [("origin", origin)];
    http::request("POST", url, &headers, body.as_bytes())
        .await
        .unwrap()
}

async fn facts(address: &str, name: &str) -> Value {
    let answer = http::get(&format!("{address}/demo/{name}.json")).await.unwrap();
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn traffic_comes_through_every_gateway_and_nothing_stays() {
    let (mut demo, address) = demo(&[]).await;
    let page = http::get(&format!("{address}/")).await.unwrap();
    assert!(page.body.contains("/assets/home-"), "{}", page.body);
    let all = http::get(&format!("{address}/demo.json")).await.unwrap().body;
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    let names: Vec<_> = all.iter().map(|facts| facts["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    let mut strip = SseClient::connect(&format!("{address}/demo/strip?since=0"), &[])
        .await
        .unwrap();
    for facts in &all {
        let example = facts["name"].as_str().unwrap();
        let event = first_event(facts).await;
        let keys = ["/id", "/id_entrada", "/metadata/key"];
        let known = keys.iter().any(|key| event.pointer(key).is_some());
        assert!(known, "{example}: {event}");
    }
    let mut said: Vec<Value> = Vec::new();
    while !NAMES
        .iter()
        .all(|name| said.iter().any(|statement| statement["example"] == **name))
    {
        let event = strip.next_event(SOON).await.unwrap();
        said.extend(event.json().ok().filter(Value::is_object));
    }
    assert!(demo.stop(process::SIGINT).await.success(), "{}", demo.errors());
    assert!(http::get(&address).await.is_err());
}

#[tokio::test]
async fn a_deed_is_told_and_arrives_and_other_sites_may_do_nothing() {
    let (_demo, address) = demo(&["--quiet"]).await;
    let facts = facts(&address, "turnstile").await;
    let mut strip = SseClient::connect(&format!("{address}/demo/turnstile/strip"), &[])
        .await
        .unwrap();
    let mut till = follow(&facts, "entradas").await;
    let entrada = format!("{address}/demo/turnstile/deed/entrada");
    for (url, origin, body, status) in [
        (entrada.as_str(), "https://evil.example", "{}", 403),
        (&entrada, "null", "{}", 403),
        (&entrada, &address, "{", 400),
        (
            &format!("{address}/demo/turnstile/deed/nada"),
            &address,
            "{}",
            404,
        ),
        (&format!("{address}/demo/nada/deed/entrada"), &address, "{}", 404),
        (
            &format!("{address}/demo/kill/postgres?example=turnstile"),
            "null",
            "",
            403,
        ),
        (
            &format!("{address}/demo/kill/gateway?example=nada"),
            &address,
            "",
            404,
        ),
        (&entrada, &address, r#"{"id_miembro": 3}"#, 204),
    ] {
        let answer = post(url, origin, body).await;
        assert_eq!(answer.status(), status, "{url} {origin} {body}: {}", answer.body);
    }
    let answer = asked_as("evil.example", &address).await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let statement = next_statement(&mut strip).await;
    assert_eq!(
        statement["what"],
        "INSERT INTO registro_entradas (id_miembro, tipo_acceso) VALUES (3, 'miembro')"
    );
    let event = till.next_of_type("event", SOON).await.unwrap();
    assert_eq!(event["data"]["nombre"], "Guadalupe Ordóñez");
    assert_eq!(event["data"]["id_entrada"].to_string(), statement["key"]);
}

#[tokio::test]
async fn what_is_done_while_a_part_is_down_arrives_when_it_is_back() {
    let (_demo, address) = demo(&["--quiet"]).await;
    let facts = facts(&address, "live-sales").await;
    let mut strip = SseClient::connect(&format!("{address}/demo/live-sales/strip"), &[])
        .await
        .unwrap();
    let sell = format!("{address}/demo/live-sales/deed/venta");
    let kill = |victim: &str| format!("{address}/demo/kill/{victim}?example=live-sales");
    let mut shop = follow(&facts, "ventas").await;
    assert_eq!(post(&kill("postgres"), &address, "").await.status(), 204);
    assert_eq!(post(&sell, &address, "").await.status(), 204);
    let first = shop.next_of_type("event", SOON).await.unwrap();
    assert_eq!(first["data"]["ventas_hoy"], 1, "{first}");
    let gateway = kill("gateway");
    let (killed, sold) = tokio::join!(post(&gateway, &address, ""), async {
        shop.close_code(SOON).await.unwrap();
        post(&sell, &address, "").await
    });
    assert_eq!((killed.status(), sold.status()), (204, 204));
    let mut shop = follow_since(&facts, "ventas", &first["position"]).await;
    let second = shop.next_of_type("event", SOON).await.unwrap();
    let keys = [
        next_statement(&mut strip).await["key"].clone(),
        next_statement(&mut strip).await["key"].clone(),
    ];
    let seen = [first, second].map(|event| Value::from(event["data"]["id"].to_string()));
    assert_eq!(keys, seen);
}

/// The next statement of a strip, past its other words.
async fn next_statement(strip: &mut SseClient) -> Value {
    loop {
        let event = strip.next_event(SOON).await.unwrap();
        if let Some(statement) = event.json().ok().filter(Value::is_object) {
            return statement;
        }
    }
}

async fn follow(facts: &Value, channel: &str) -> WsClient {
    follow_since(facts, channel, &Value::Null).await
}

/// A client of the full protocol that follows a channel.
async fn follow_since(facts: &Value, channel: &str, since: &Value) -> WsClient {
    let token = facts["tokens"].as_object().unwrap().values().next();
    let token = token.and_then(Value::as_str).unwrap_or_default();
    let url = format!("{}/ws?token={token}", facts["ws"].as_str().unwrap());
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    let mut subscribe = json!({"type": "subscribe", "channel": channel});
    if since.is_string() {
        subscribe["since"] = since.clone();
    }
    let answer = client.request(subscribe).await.unwrap();
    assert_eq!(answer["type"], "ok", "{answer}");
    client
}

/// The head and body of what the demo answers to a page of another site that leads to this machine.
async fn asked_as(host: &str, address: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = format!("GET /demo/turnstile.json HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What an example's page would hear first.
async fn first_event(facts: &Value) -> Value {
    let channel = match facts["name"].as_str().unwrap() {
        "live-sales" => "ventas",
        "turnstile" => "entradas",
        "marketplace" => return first_bare(facts).await,
        "chat-inbox" => return first_of_socketio(facts, "conversation").await,
        _ => return first_of_socketio(facts, "conversacion").await,
    };
    let mut client = follow(facts, channel).await;
    client.next_of_type("event", SOON).await.unwrap()["data"].clone()
}

async fn first_bare(facts: &Value) -> Value {
    let token = facts["tokens"]["admin"].as_str().unwrap();
    let url = format!("{}/ws?token={token}", facts["ws"].as_str().unwrap());
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    client.next_json(SOON).await.unwrap()
}

async fn first_of_socketio(facts: &Value, rooms: &str) -> Value {
    let url = format!(
        "{}/socket.io/?EIO=4&transport=websocket",
        facts["ws"].as_str().unwrap()
    );
    let mut roles = ["owner", "todas"].iter();
    let token = roles.find_map(|role| facts["tokens"].get(role)).unwrap();
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    loop {
        let packet = client.next_text(SOON).await.unwrap();
        if packet.starts_with('0') {
            let connect = format!("40{}", json!({"token": token}));
            client.send_text(&connect).await.unwrap();
        } else if packet.starts_with("40") {
            for number in 1..=5 {
                let subscribe = format!("42{}", json!(["subscribe", format!("{rooms}_{number}")]));
                client.send_text(&subscribe).await.unwrap();
            }
        } else if let Some(event) = packet.strip_prefix("42") {
            let event: Value = serde_json::from_str(event).unwrap();
            if event[0] != "message:new" {
                continue;
            }
            let text = event[1]["message"].as_str().or(event[1]["mensaje"].as_str());
            assert!(!text.unwrap().contains(':'), "it is decrypted: {}", text.unwrap());
            return event[1].clone();
        }
    }
}

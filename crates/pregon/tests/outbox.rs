//! `capture = "outbox"`, as users meet it: kills of the gateway and of PostgreSQL, two gateways, open transactions.

use std::collections::BTreeSet;
use std::time::Duration;

use pregon_testkit::postgres::{Options, Server, connect};
use pregon_testkit::{Database, Node, WsClient, eventually, http, postgres};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{RECOVERY, SOON, metric, options, readiness};

const TABLE: &str = "CREATE TABLE pedidos (id int PRIMARY KEY)";

const CONFIG: &str =
    "[postgres]\napply = \"auto\"\n[[channel]]\nname = \"pedidos\"\n[[watch]]\ntable = \"pedidos\"\n";

/// A database of its own on a server that may be killed.
async fn database_on(server: &Server) -> String {
    let admin = server.admin("postgres").await.unwrap();
    admin.batch_execute("CREATE DATABASE tienda").await.unwrap();
    let url = server.url_for("postgres", "tienda");
    connect(&url).await.unwrap().batch_execute(TABLE).await.unwrap();
    url
}

async fn node_at(url: &str) -> Node {
    Node::spawn(options(CONFIG).env("DATABASE_URL", url))
        .await
        .unwrap()
}

async fn follow(node: &Node) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    let reply = client
        .request(json!({"type": "subscribe", "channel": "pedidos", "since": "10m"}))
        .await
        .unwrap();
    assert_eq!(reply["type"], "ok", "{reply}");
    is_younger(&mut client).await;
    client
}

/// The log is younger than the ten minutes that are asked for, which is all that is missing.
async fn is_younger(client: &mut WsClient) {
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!((&gap["from"], &gap["reason"]), (&json!(null), &json!("restart")));
}

/// The id of the next event; a gap fails.
async fn id(client: &mut WsClient, within: Duration) -> anyhow::Result<i64> {
    loop {
        let message = client.next_json(within).await?;
        match message["type"].as_str() {
            Some("event") => return Ok(message["data"]["id"].as_i64().unwrap_or_default()),
            Some("gap") => anyhow::bail!("a gap: {message}"),
            _ => {}
        }
    }
}

/// Inserts numbers one by one, each committed before the next, until it is stopped; a server that is away is tried again. The ids that
/// were confirmed, and those of which nobody knows: the newest one is confirmed, so that none comes after it.
async fn write(url: String, stop: CancellationToken) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let (mut sure, mut unsure, mut next) = (BTreeSet::new(), BTreeSet::new(), 0_i64);
    let mut is_sure = false;
    while !(stop.is_cancelled() && is_sure) {
        let Ok(client) = connect(&url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !(stop.is_cancelled() && is_sure) {
            next += 1;
            let done = client
                .batch_execute(&format!("INSERT INTO pedidos VALUES ({next})"))
                .await;
            is_sure = done.is_ok();
            let known = if is_sure { &mut sure } else { &mut unsure };
            known.insert(next);
            if !is_sure {
                break;
            }
        }
    }
    (sure, unsure)
}

/// Reads until every confirmed id has come; each comes once and in order.
async fn all(client: &mut WsClient, got: &mut Vec<i64>, last: i64) {
    while got.last().is_none_or(|got| *got < last) {
        let id = id(client, SOON).await.unwrap();
        assert!(
            got.last().is_none_or(|before| *before < id),
            "{id} after {:?}",
            got.last()
        );
        got.push(id);
    }
}

#[tokio::test]
async fn a_killed_postgres_loses_and_repeats_nothing() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let url = database_on(&server).await;
    let node = node_at(&url).await;
    let mut client = follow(&node).await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn(write(url.clone(), stop.clone()));
    let mut got = Vec::new();
    for kill in 1..=3 {
        while got.len() < kill * 150 {
            got.push(id(&mut client, SOON).await.unwrap());
        }
        server.kill9().await.unwrap();
        server.restart().await.unwrap();
        let back = tokio::time::timeout(RECOVERY, id(&mut client, SOON)).await;
        got.push(back.expect("rows arrive within 5 s").unwrap());
    }
    stop.cancel();
    let (sure, unsure) = writing.await.unwrap();
    all(&mut client, &mut got, *sure.last().unwrap()).await;
    let got: BTreeSet<i64> = got.into_iter().collect();
    let lost: Vec<_> = sure.difference(&got).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    let invented: Vec<_> = got
        .iter()
        .filter(|id| !sure.contains(id) && !unsure.contains(id))
        .collect();
    assert!(invented.is_empty(), "{invented:?}");
    client.expect_silence().await.unwrap();
}

/// Writers that do not wait for the disk, and a server that is in no hurry to write: what a client got is there after a crash.
#[tokio::test]
async fn what_was_delivered_durably_survives_a_crash() {
    let mut options = Options {
        fsync: true,
        ..Options::default()
    };
    options.settings = vec![("wal_writer_delay".into(), "10s".into())];
    let mut server = Server::start(options).await.unwrap();
    let url = database_on(&server).await;
    let durable = format!("{CONFIG}[postgres.outbox]\ndurable_delivery = true\n");
    let node = crate::support::options(&durable).env("DATABASE_URL", &url);
    let node = Node::spawn(node).await.unwrap();
    let mut client = follow(&node).await;
    let writer = connect(&url).await.unwrap();
    writer
        .batch_execute("SET synchronous_commit = off")
        .await
        .unwrap();
    let writing = tokio::spawn(async move {
        for number in 1_i64.. {
            let insert = format!("INSERT INTO pedidos VALUES ({number})");
            if writer.batch_execute(&insert).await.is_err() {
                return;
            }
        }
    });
    let mut got = Vec::new();
    while got.len() < 500 {
        got.push(id(&mut client, SOON).await.unwrap());
    }
    server.kill9().await.unwrap();
    writing.await.unwrap();
    server.restart().await.unwrap();
    // What was on its way when the server died counts too.
    while let Ok(Some(number)) = tokio::time::timeout(Duration::from_millis(300), id(&mut client, SOON))
        .await
        .map(Result::ok)
    {
        got.push(number);
    }
    let admin = connect(&url).await.unwrap();
    let there: BTreeSet<i64> = admin
        .query("SELECT id::bigint FROM pedidos", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let phantoms: Vec<_> = got.iter().filter(|number| !there.contains(number)).collect();
    assert!(
        phantoms.is_empty(),
        "delivered and not there: {phantoms:?} of {}",
        got.len()
    );
}

/// With a log that forgets: each process begins at the latest behind what the one before it had in its log, and shows every row from
/// there on, in order and once. Whoever comes back is told that the log is another one.
#[tokio::test]
async fn a_killed_gateway_goes_on_where_it_was() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let forgetful = format!("{CONFIG}[log]\nkind = \"memory\"\n");
    let options = options(&forgetful).env("DATABASE_URL", database.url());
    let mut node = Node::spawn(options).await.unwrap();
    let stop = CancellationToken::new();
    let writing = tokio::spawn(write(database.url(), stop.clone()));
    let admin = database.client().await.unwrap();
    let (mut logged, mut resume) = (0, None);
    for _ in 0..4 {
        let mut client = follow(&node).await;
        let first = id(&mut client, SOON).await.unwrap();
        assert!(first <= logged + 1, "{first} is the first behind {logged}");
        for expected in first + 1..first + 200 {
            assert_eq!(id(&mut client, SOON).await.unwrap(), expected);
        }
        if let Some(position) = resume {
            let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
            let again = json!({"type": "subscribe", "channel": "pedidos", "since": position});
            client.send_json(&again).await.unwrap();
            assert_eq!(
                client.next_of_type("gap", SOON).await.unwrap()["reason"],
                "restart"
            );
        }
        let event = client.next_of_type("event", SOON).await.unwrap();
        resume = Some(event["position"].clone());
        node.kill9().await.unwrap();
        logged = admin
            .query_one("SELECT position FROM pregon.cursor", &[])
            .await
            .unwrap()
            .get(0);
        node.restart().await.unwrap();
    }
    stop.cancel();
    let (sure, _) = writing.await.unwrap();
    let mut client = follow(&node).await;
    while id(&mut client, SOON).await.unwrap() < *sure.last().unwrap() {}
}

/// A clean stop remembers everything, also with a log that forgets.
#[tokio::test]
async fn a_stopped_gateway_repeats_nothing() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let forgetful = format!("{CONFIG}[log]\nkind = \"memory\"\n");
    let options = options(&forgetful).env("DATABASE_URL", database.url());
    let mut node = Node::spawn(options).await.unwrap();
    let mut client = follow(&node).await;
    database
        .execute("INSERT INTO pedidos SELECT generate_series(1, 50)")
        .await
        .unwrap();
    for expected in 1..=50 {
        assert_eq!(id(&mut client, SOON).await.unwrap(), expected);
    }
    node.sigterm().await.unwrap();
    database.execute("INSERT INTO pedidos VALUES (51)").await.unwrap();
    node.restart().await.unwrap();
    let mut client = follow(&node).await;
    assert_eq!(id(&mut client, SOON).await.unwrap(), 51);
    client.expect_silence().await.unwrap();
}

#[tokio::test]
async fn a_second_gateway_is_not_ready_until_it_takes_over() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let mut first = node_at(&database.url()).await;
    let waiting = options(CONFIG).env("DATABASE_URL", database.url()).not_ready();
    let mut second = Node::spawn(waiting).await.unwrap();
    second.wait_for_log("waiting to take over", SOON).await.unwrap();
    let answer = http::get(&second.url("/readyz")).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.body.contains("postgres outbox"), "{}", answer.body);
    let mut client = follow(&first).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(id(&mut client, SOON).await.unwrap(), 1);
    first.kill9().await.unwrap();
    second.wait_ready(SOON).await.unwrap();
    let mut client = WsClient::connect(&second.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    while id(&mut client, SOON).await.unwrap() != 2 {}
}

#[tokio::test]
async fn whoever_holds_delivery_back_is_named_in_log_metrics_and_doctor() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_at(&database.url()).await;
    let mut client = follow(&node).await;
    let blocker = database.client().await.unwrap();
    blocker
        .batch_execute("SET application_name = 'caja 7'; BEGIN; INSERT INTO pedidos VALUES (1)")
        .await
        .unwrap();
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    node.wait_for_log("caja 7", SOON).await.unwrap();
    metric(&node, "pregon_outbox_stalled_seconds", |seconds| seconds >= 5.0)
        .await
        .unwrap();
    metric(&node, "pregon_outbox_lag_seconds", |seconds| seconds > 1.0)
        .await
        .unwrap();
    metric(&node, "pregon_outbox_rows", |rows| rows >= 1.0)
        .await
        .unwrap();
    let config = node.folder().join("pregon.toml");
    let output = std::process::Command::new(crate::support::binary())
        .args(["doctor", "--sample", "0s", "--config"])
        .arg(&config)
        .env("DATABASE_URL", database.url())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told
        .lines()
        .find(|line| line.contains(" O3 "))
        .unwrap_or_default();
    assert!(line.starts_with("warn") && line.contains("caja 7"), "{told}");
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(id(&mut client, SOON).await.unwrap(), 1);
    assert_eq!(id(&mut client, SOON).await.unwrap(), 2);
    metric(&node, "pregon_outbox_stalled_seconds", |seconds| seconds == 0.0)
        .await
        .unwrap();
}

/// A row that a trigger cannot render is written, and its followers are told.
#[tokio::test]
async fn a_row_that_cannot_be_rendered_is_a_gap() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let config = format!("{CONFIG}where = \"10 / id > 0\"\n");
    let node = Node::spawn(options(&config).env("DATABASE_URL", database.url()))
        .await
        .unwrap();
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    database.execute("INSERT INTO pedidos VALUES (0)").await.unwrap();
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(
        (&gap["channel"], &gap["reason"]),
        (&json!("pedidos"), &json!("source"))
    );
    assert_eq!(id(&mut client, SOON).await.unwrap(), 1);
}

/// The application drops the outbox by hand and it is made again: nobody is left in the belief to have seen everything.
#[tokio::test]
async fn another_outbox_is_a_gap() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_at(&database.url()).await;
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    database
        .execute(
            "INSERT INTO pedidos VALUES (1); UPDATE pregon.cursor SET epoch = gen_random_uuid();
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%/outbox' AND datname = current_database()",
        )
        .await
        .unwrap();
    let mut told = Vec::new();
    while !told.contains(&"gap") {
        let message = client.next_json(SOON).await.unwrap();
        told.push(if message["type"] == "gap" { "gap" } else { "event" });
    }
    let ready = eventually(SOON, || async {
        let seen = http::get(&node.url("/readyz")).await?.status();
        anyhow::ensure!(seen == 200, "/readyz is {seen}");
        Ok(())
    });
    ready.await.unwrap();
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    while client.next_of_type("event", SOON).await.unwrap()["data"]["id"] != 2 {}
}

/// With a log that lasts, whatever is killed: every confirmed row once, in order, without a gap.
#[tokio::test]
async fn with_a_lasting_log_kills_lose_and_repeat_nothing() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let url = database_on(&server).await;
    let config = format!("{CONFIG}[log]\nkind = \"disk\"\n");
    let mut node = Node::spawn(options(&config).env("DATABASE_URL", &url))
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let writing = tokio::spawn(write(url.clone(), stop.clone()));
    let (mut got, mut position): (Vec<i64>, Option<Value>) = (Vec::new(), None);
    for round in 1..=6 {
        let mut client = resumed(&node, position.as_ref()).await;
        while got.len() < round * 150 {
            take(&mut client, &mut got, &mut position).await;
        }
        if round % 3 == 0 {
            server.kill9().await.unwrap();
            server.restart().await.unwrap();
        }
        node.kill9().await.unwrap();
        node.restart().await.unwrap();
    }
    stop.cancel();
    let (sure, unsure) = writing.await.unwrap();
    let mut client = resumed(&node, position.as_ref()).await;
    while got.last() < sure.last() {
        take(&mut client, &mut got, &mut position).await;
    }
    client.expect_silence().await.unwrap();
    assert!(got.is_sorted_by(|a, b| a < b), "out of order or twice");
    let got: BTreeSet<i64> = got.into_iter().collect();
    let lost: Vec<_> = sure.difference(&got).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert!(got.iter().all(|id| sure.contains(id) || unsure.contains(id)));
}

async fn resumed(node: &Node, position: Option<&Value>) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    let since = position.cloned().unwrap_or_else(|| json!("10m"));
    let subscribe = json!({"type": "subscribe", "channel": "pedidos", "since": since});
    client.request(subscribe).await.unwrap();
    if position.is_none() {
        is_younger(&mut client).await;
    }
    client
}

async fn take(client: &mut WsClient, got: &mut Vec<i64>, position: &mut Option<Value>) {
    let message = client.next_json(SOON).await.unwrap();
    assert_ne!(message["type"], "gap", "{message}");
    if message["type"] == "event" {
        got.push(message["data"]["id"].as_i64().unwrap());
        *position = Some(message["position"].clone());
    }
}

/// Somebody switches row level security on for our table, and off again after a while; then empties it.
#[tokio::test]
async fn what_is_done_to_the_outbox_is_named_and_told() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    let node = node_at(&database.url()).await;
    let mut client = follow(&node).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(id(&mut client, SOON).await.unwrap(), 1);
    let security = |word: &str| {
        format!(
            "ALTER TABLE pregon.outbox {word} ROW LEVEL SECURITY; ALTER TABLE pregon.outbox {} ROW LEVEL SECURITY",
            if word == "ENABLE" { "FORCE" } else { "NO FORCE" }
        )
    };
    database.execute(&security("ENABLE")).await.unwrap();
    database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
    readiness(&node, 503, "row level security", SOON).await;
    database.execute(&security("DISABLE")).await.unwrap();
    readiness(&node, 200, "ready", SOON).await;
    let told = id(&mut client, SOON).await.unwrap_err();
    assert!(told.to_string().starts_with("a gap"), "{told}");
    database
        .execute("TRUNCATE pregon.outbox RESTART IDENTITY")
        .await
        .unwrap();
    loop {
        match id(&mut client, SOON).await {
            Ok(_) => {}
            Err(told) => {
                assert!(told.to_string().starts_with("a gap"), "{told}");
                break;
            }
        }
    }
    readiness(&node, 200, "ready", SOON).await;
    database.execute("INSERT INTO pedidos VALUES (3)").await.unwrap();
    // Gaps may come before it.
    let arrives = async { while !matches!(id(&mut client, SOON).await, Ok(3)) {} };
    tokio::time::timeout(SOON, arrives).await.unwrap();
}

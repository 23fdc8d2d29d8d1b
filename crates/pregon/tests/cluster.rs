//! Several nodes over one log in PostgreSQL: any of them serves, any may die, and nobody misses, repeats or sees a gap.

mod kills;
mod mates;

use std::time::{Duration, Instant};

use pregon_testkit::{Database, Node, NodeOptions, Server, SseClient, WsClient, eventually, http, postgres};
use serde_json::{Value, json};

use crate::support::{API_KEY, SOON, binary, example, metric, options, post, psql, publish, readiness};

/// A table with a watch, and channels without tokens.
fn config(capture: &str) -> String {
    format!(
        "[server]\napi_key = \"{API_KEY}\"\ndrain = \"1s\"\n[log]\nkind = \"postgres\"\n\
         [postgres]\napply = \"auto\"\ncapture = \"{capture}\"\nheartbeat = \"500ms\"\n\
         [[channel]]\nname = \"pedidos\"\n[[channel]]\nname = \"news\"\n[[watch]]\ntable = \"pedidos\"\n\
         [[endpoint]]\npath = \"/ws/pedidos\"\nchannels = [\"pedidos\"]\n"
    )
}

const TABLE: &str = "CREATE TABLE pedidos (id int PRIMARY KEY)";

async fn shop() -> Database<'static> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    database
}

fn of_cluster(database: &Database<'_>, text: &str, name: &str) -> NodeOptions {
    options(text)
        .env("DATABASE_URL", database.url())
        .env("PREGON_NODE", name)
}

/// Nodes of one cluster, all ready.
async fn nodes<const N: usize>(database: &Database<'_>, text: &str) -> [Node; N] {
    let mut nodes = Vec::new();
    for n in 0..N {
        let name = format!("node-{n}");
        nodes.push(Node::spawn(of_cluster(database, text, &name)).await.unwrap());
    }
    nodes.try_into().unwrap()
}

/// Which of the nodes reads the outbox, once exactly one does.
async fn leader(nodes: &[Node], source: &str) -> usize {
    let name = format!("pregon_cluster_leader{{source=\"{source}\"}}");
    eventually(SOON, || async {
        let mut leaders = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            let text = http::get(&node.url("/metrics")).await.map(|answer| answer.body);
            let line = format!("{name} 1");
            if text.unwrap_or_default().lines().any(|seen| seen == line) {
                leaders.push(n);
            }
        }
        anyhow::ensure!(leaders.len() == 1, "leaders: {leaders:?}");
        Ok(leaders[0])
    })
    .await
    .unwrap()
}

async fn follow(node: &Node, channel: &str, since: Option<&str>) -> (WsClient, Value) {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    let mut command = json!({"type": "subscribe", "channel": channel});
    if let Some(since) = since {
        command["since"] = since.into();
    }
    let answer = client.request(command).await.unwrap();
    (client, answer)
}

/// The next events of a client, as `value` sees their data; nothing but events may come.
async fn next(client: &mut WsClient, count: usize, value: &str) -> (Vec<i64>, String) {
    let (mut seen, mut position) = (Vec::new(), String::new());
    while seen.len() < count {
        let message = client.next_json(2 * SOON).await.unwrap();
        match message["type"].as_str() {
            Some("event") => {
                let data = &message["data"];
                seen.push(data.get(value).unwrap_or(data).as_i64().unwrap());
                message["position"].as_str().unwrap().clone_into(&mut position);
            }
            Some("ping") => {}
            other => panic!("{other:?}: {message}"),
        }
    }
    (seen, position)
}

#[tokio::test]
async fn all_nodes_serve_the_same_in_the_same_order() {
    for capture in ["outbox", "wal", "notify"] {
        let database = shop().await;
        let [a, b] = nodes(&database, &config(capture)).await;
        let (mut at_a, _) = follow(&a, "pedidos", None).await;
        let (mut at_b, _) = follow(&b, "pedidos", None).await;
        let mut bare = WsClient::connect(&b.ws_url("/ws/pedidos"), &[]).await.unwrap();
        for id in 1..=20 {
            database
                .execute(&format!("INSERT INTO pedidos VALUES ({id})"))
                .await
                .unwrap();
        }
        let wanted: Vec<i64> = (1..=20).collect();
        let (seen, position) = next(&mut at_a, 20, "id").await;
        assert_eq!(seen, wanted, "{capture}");
        assert_eq!(
            next(&mut at_b, 20, "id").await,
            (wanted.clone(), position.clone()),
            "{capture}"
        );
        for id in wanted {
            assert_eq!(bare.next_json(SOON).await.unwrap()["id"], id, "{capture}");
        }
        at_b.expect_silence().await.unwrap();
        // A position of one node is one of the other, whatever that has read so far.
        let (mut client, answer) = follow(&b, "pedidos", Some(&position)).await;
        assert_eq!(answer["recovered"], true, "{capture} {answer}");
        client.expect_silence().await.unwrap();
        metric(&a, "pregon_cluster_nodes", |nodes| nodes == 2.0)
            .await
            .unwrap();
    }
}

/// What is published at one node is at the other, also for a client that comes there faster than the log.
#[tokio::test]
async fn a_position_is_valid_on_every_node_at_once() {
    let database = shop().await;
    let [a, b] = nodes(&database, &config("outbox")).await;
    for n in 0..50 {
        let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let position = publish(from, "news", "n", json!(n)).await;
        let (mut client, answer) = follow(to, "news", Some(&position)).await;
        assert_eq!(answer["recovered"], true, "{n}: {answer}");
        client.expect_silence().await.unwrap();
        let url = to.url(&format!("/api/history?channel=news&since={position}"));
        let history = http::get(&url).await.unwrap().json().unwrap();
        assert_eq!(history["complete"], true, "{history}");
    }
    // A position of nobody: it is waited for, and then a gap.
    let nobody = publish(&a, "news", "n", json!(0))
        .await
        .split('-')
        .next()
        .unwrap()
        .to_owned()
        + "-99999999999999";
    let (mut client, answer) = follow(&b, "news", Some(&nobody)).await;
    assert_eq!(answer["recovered"], false, "{answer}");
    assert_eq!(
        client.next_of_type("gap", SOON).await.unwrap()["reason"],
        "restart"
    );
}

#[tokio::test]
async fn a_key_publishes_once_at_whatever_node() {
    let database = shop().await;
    let [a, b] = nodes(&database, &config("outbox")).await;
    let body =
        json!([{"channel": "news", "event": "n", "data": 1}, {"channel": "news", "event": "n", "data": 2}]);
    let headers = [("idempotency-key", "once")];
    let (one, other) = tokio::join!(post(&a, &body, &headers), post(&b, &body, &headers));
    assert_eq!(
        (one.status(), other.status()),
        (200, 200),
        "{} {}",
        one.body,
        other.body
    );
    assert_eq!(one.json().unwrap(), other.json().unwrap());
    let url = b.url("/api/history?channel=news&since=1h");
    let history = http::get(&url).await.unwrap().json().unwrap();
    assert_eq!(history["events"].as_array().unwrap().len(), 2, "{history}");
}

/// What the window of a node no longer holds is read from the database, in pieces, at every node.
#[tokio::test]
async fn what_is_beyond_the_window_is_replayed_from_the_database() {
    let database = shop().await;
    let text = config("outbox").replace("kind = \"postgres\"", "kind = \"postgres\"\nwindow = \"8KiB\"");
    let [a, b] = nodes(&database, &text).await;
    let first = publish(&a, "news", "n", json!(0)).await;
    let batch = |from: i64| {
        let items = (from..from + 100).map(|n| json!({"channel": "news", "event": "n", "data": n}));
        Value::from(items.collect::<Vec<_>>())
    };
    for from in [1, 101, 201] {
        assert_eq!(post(&a, &batch(from), &[]).await.status(), 200);
        publish(&b, "other", "n", json!("x".repeat(9000))).await;
    }
    let wanted: Vec<i64> = (1..=300).collect();
    let later = Node::spawn(of_cluster(&database, &text, "later")).await.unwrap();
    for node in [&a, &b, &later] {
        let (mut client, answer) = follow(node, "news", Some(&first)).await;
        assert_eq!(answer["recovered"], true, "{answer}");
        let (seen, middle) = next(&mut client, 150, "n").await;
        assert_eq!(seen, wanted[..150]);
        assert_eq!(next(&mut client, 150, "n").await.0, wanted[150..]);
        client.expect_silence().await.unwrap();
        // From the middle of a frame on.
        let (mut client, answer) = follow(node, "news", Some(&middle)).await;
        assert_eq!(answer["recovered"], true, "{answer}");
        assert_eq!(next(&mut client, 150, "n").await.0, wanted[150..]);
    }
    // Live goes on behind it.
    let (mut client, _) = follow(&b, "news", Some(&first)).await;
    publish(&a, "news", "n", json!(301)).await;
    assert_eq!(
        next(&mut client, 301, "n").await.0,
        (1..=301).collect::<Vec<i64>>()
    );
}

/// Nodes log in with a role that may do what they need and nothing else: they cannot change the log but by appending.
#[tokio::test]
async fn nodes_need_no_more_than_their_role_is_given() {
    let database = shop().await;
    let role = database.create_role("gateway").await.unwrap();
    let mut all = Vec::new();
    for name in ["a", "b"] {
        let options = of_cluster(&database, &config("outbox"), name)
            .env("DATABASE_URL", database.url_as(&role))
            .env("PREGON_ADMIN_URL", database.url());
        all.push(Node::spawn(options).await.unwrap());
    }
    let (mut client, _) = follow(&all[1], "pedidos", None).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(next(&mut client, 1, "id").await.0, [1]);
    let (mut client, _) = follow(&all[0], "news", None).await;
    publish(&all[1], "news", "n", json!(2)).await;
    assert_eq!(next(&mut client, 1, "n").await.0, [2]);
    let session = database.client_as(&role).await.unwrap();
    for forbidden in [
        "DELETE FROM pregon.log_frame",
        "UPDATE pregon.log SET first = 0",
        "INSERT INTO pregon.log_frame (log, seq, id, upto, body) VALUES ('pregon', 0, '', 0, '')",
    ] {
        let refused = session.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{forbidden}");
    }
}

/// A database that is away for a while: nothing is lost or repeated, and no session closed.
#[tokio::test]
async fn a_database_that_restarts_loses_and_repeats_nothing() {
    let mut server = Server::start(postgres::Options::default()).await.unwrap();
    let url = server.url_for("postgres", "postgres");
    let session = server.admin("postgres").await.unwrap();
    session.batch_execute(TABLE).await.unwrap();
    let text = config("outbox");
    let spawn = |name: &str| {
        Node::spawn(
            options(&text)
                .env("DATABASE_URL", url.clone())
                .env("PREGON_NODE", name),
        )
    };
    let (a, b) = (spawn("a").await.unwrap(), spawn("b").await.unwrap());
    let (mut at_a, _) = follow(&a, "news", None).await;
    let (mut at_b, _) = follow(&b, "news", None).await;
    publish(&a, "news", "n", json!(1)).await;
    server.kill9().await.unwrap();
    // Given while nobody takes it; the answer comes when the database is back.
    let (to_a, to_b) = (a.url("/api/publish"), b.url("/api/publish"));
    let given = |url: String, n: u64| async move {
        let key = format!("Bearer {API_KEY}");
        let body = json!({"channel": "news", "event": "n", "data": n});
        http::post_json(&url, &[("authorization", &key)], &body)
            .await
            .unwrap()
            .status()
    };
    let given = tokio::spawn(async move { tokio::join!(given(to_a, 2), given(to_b, 3)) });
    server.restart().await.unwrap();
    assert_eq!(given.await.unwrap(), (200, 200));
    let (seen, _) = next(&mut at_a, 3, "n").await;
    assert_eq!(next(&mut at_b, 3, "n").await.0, seen);
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3]);
    for node in [&a, &b] {
        readiness(node, 200, "ready", 2 * SOON).await;
    }
    at_a.expect_silence().await.unwrap();
    at_b.expect_silence().await.unwrap();
}

/// What NOTIFY says comes once on each node, also from the one that takes over.
#[tokio::test]
async fn the_example_of_sales_runs_on_two_nodes() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    psql(server, &database.url(), &example("live-sales/schema.sql"));
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let options = NodeOptions::file(example("live-sales/cluster.toml")).binary(binary());
        let options = options
            .env("DATABASE_URL", database.url())
            .env("PREGON_NODE", name);
        nodes.push(Node::spawn(options).await.unwrap());
    }
    let first = leader(&nodes, "postgres").await;
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(WsClient::connect(&node.ws_url("/ws/sales"), &[]).await.unwrap());
    }
    let sale = "INSERT INTO ventas (producto, cantidad, total) VALUES ('Café', 2, 64.50)";
    database.execute(sale).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.next_json(SOON).await.unwrap()["producto"], "Café");
        client.expect_bare_silence().await.unwrap();
    }
    let mut stays = clients.remove(1 - first);
    nodes[first].kill9().await.unwrap();
    leader(&nodes, "postgres").await;
    readiness(&nodes[1 - first], 200, "ready", SOON).await;
    database.execute(sale).await.unwrap();
    assert_eq!(stays.next_json(SOON).await.unwrap()["producto"], "Café");
}

/// Inserts rows one after the other until it is told to end; how many there were.
async fn insert(url: String, from: i64, stop: tokio::sync::watch::Receiver<bool>) -> i64 {
    let client = postgres::connect(&url).await.unwrap();
    let mut id = from;
    while !*stop.borrow() {
        client
            .execute(&format!("INSERT INTO pedidos VALUES ({id})"), &[])
            .await
            .unwrap();
        id += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    id - 1
}

/// The node that reads is killed under load: rows flow again in time, and its clients go on at the other one.
#[tokio::test]
async fn a_client_of_a_killed_leader_goes_on_at_another_node() {
    for capture in ["outbox", "wal"] {
        let database = shop().await;
        let mut nodes: [Node; 2] = nodes(&database, &config(capture)).await;
        let first = leader(&nodes, capture).await;
        let (mut lost, _) = follow(&nodes[first], "pedidos", None).await;
        let (mut stays, _) = follow(&nodes[1 - first], "pedidos", None).await;
        let stream = nodes[first].url("/sse?channel=pedidos");
        let mut events = SseClient::connect(&stream, &[]).await.unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let inserting = tokio::spawn(insert(database.url(), 1, stopped));
        let (seen, position) = next(&mut lost, 50, "id").await;
        for id in 1..=50 {
            assert_eq!(events.next_event(SOON).await.unwrap().json().unwrap()["id"], id);
        }
        let resume = events.last_id().unwrap().to_owned();

        let killed = Instant::now();
        nodes[first].kill9().await.unwrap();
        let other = &nodes[1 - first];
        let (mut resumed, answer) = follow(other, "pedidos", Some(&position)).await;
        assert_eq!(answer["recovered"], true, "{capture} {answer}");
        let headers = [("last-event-id", resume.as_str())];
        let mut events = SseClient::connect(&other.url("/sse?channel=pedidos"), &headers)
            .await
            .unwrap();
        // A row of after the kill has come when the takeover is over.
        let written = written(&database).await;
        let mut all = next(&mut resumed, (written - 50) as usize, "id").await.0;
        println!("{capture}: rows flow again after {:?}", killed.elapsed());
        let takeover = killed.elapsed();
        stop.send(true).unwrap();
        let last = inserting.await.unwrap();
        all.extend(next(&mut resumed, (last - 50) as usize - all.len(), "id").await.0);
        assert_eq!(seen, (1..=50).collect::<Vec<i64>>(), "{capture}");
        assert_eq!(
            all,
            (51..=last).collect::<Vec<i64>>(),
            "{capture}: nothing twice, nothing missed"
        );
        for id in 51..=last {
            assert_eq!(
                events.next_event(SOON).await.unwrap().json().unwrap()["id"],
                id,
                "{capture}"
            );
        }
        let (seen, _) = next(&mut stays, last as usize, "id").await;
        assert_eq!(
            seen,
            (1..=last).collect::<Vec<i64>>(),
            "{capture}: whoever stayed"
        );
        for client in [&mut resumed, &mut stays] {
            client.expect_silence().await.unwrap();
        }
        assert!(
            takeover < TAKEOVER,
            "{capture}: rows came again after {takeover:?}"
        );
        // It comes back as one that waits, and has everything.
        nodes[first].restart().await.unwrap();
        let (mut back, answer) = follow(&nodes[first], "pedidos", Some(&position)).await;
        assert_eq!(answer["recovered"], true, "{capture} {answer}");
        assert_eq!(
            next(&mut back, (last - 50) as usize, "id").await.0,
            (51..=last).collect::<Vec<i64>>()
        );
    }
}

async fn written(database: &Database<'_>) -> i64 {
    let client = database.client().await.unwrap();
    let row = client
        .query_one("SELECT max(id)::bigint FROM pedidos", &[])
        .await
        .unwrap();
    row.get(0)
}

/// From the kill of the leader to rows that flow again.
const TAKEOVER: Duration = Duration::from_millis(1500);

/// NOTIFY has no history: whoever takes over says so, once.
#[tokio::test]
async fn a_takeover_of_what_is_only_notified_is_one_gap() {
    let database = shop().await;
    let mut nodes: [Node; 2] = nodes(&database, &config("notify")).await;
    let first = leader(&nodes, "postgres").await;
    let (mut client, _) = follow(&nodes[1 - first], "pedidos", None).await;
    nodes[first].kill9().await.unwrap();
    let gap = client.next_of_type("gap", SOON).await.unwrap();
    assert_eq!(gap["reason"], "source", "{gap}");
    readiness(&nodes[1 - first], 200, "ready", SOON).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(next(&mut client, 1, "id").await.0, [1]);
    client.expect_silence().await.unwrap();
}

/// Nodes that do not read are ready while one reads, and nobody is when the database is away.
#[tokio::test]
async fn all_nodes_are_ready_while_one_reads() {
    let database = shop().await;
    let mut nodes: [Node; 3] = nodes(&database, &config("outbox")).await;
    for node in &nodes {
        readiness(node, 200, "ready", SOON).await;
    }
    let first = leader(&nodes, "outbox").await;
    nodes[first].kill9().await.unwrap();
    let rest: Vec<Node> = nodes
        .into_iter()
        .enumerate()
        .filter(|(n, _)| *n != first)
        .map(|(_, node)| node)
        .collect();
    leader(&rest, "outbox").await;
    for node in &rest {
        readiness(node, 200, "ready", SOON).await;
        metric(node, "pregon_cluster_nodes", |nodes| nodes == 2.0)
            .await
            .unwrap();
    }
}

/// A leader that was frozen wakes up and appends nothing: another one leads.
#[tokio::test]
async fn a_frozen_leader_that_wakes_up_changes_nothing() {
    let database = shop().await;
    let mut nodes: [Node; 2] = nodes(&database, &config("outbox")).await;
    let first = leader(&nodes, "outbox").await;
    let (mut client, _) = follow(&nodes[1 - first], "pedidos", None).await;
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    assert_eq!(next(&mut client, 1, "id").await.0, [1]);
    nodes[first].freeze();
    database
        .execute("INSERT INTO pedidos SELECT generate_series(2, 500)")
        .await
        .unwrap();
    // The server takes the turn away from whoever gives no sign of life.
    let wanted: Vec<i64> = (2..=500).collect();
    let (seen, position) = next(&mut client, 499, "id").await;
    assert_eq!(seen, wanted);
    nodes[first].thaw();
    let (mut woken, answer) = follow(&nodes[first], "pedidos", Some(&position)).await;
    assert_eq!(answer["recovered"], true);
    database
        .execute("INSERT INTO pedidos VALUES (501)")
        .await
        .unwrap();
    assert_eq!(next(&mut client, 1, "id").await.0, [501]);
    client.expect_silence().await.unwrap();
    assert_eq!(next(&mut woken, 1, "id").await.0, [501]);
    readiness(&nodes[first], 200, "ready", SOON).await;
    leader(&nodes, "outbox").await;
}

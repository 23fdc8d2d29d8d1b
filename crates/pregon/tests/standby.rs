//! A gateway that stands by while another one reads its database: it serves nobody instead of keeping clients in the dark.

use pregon_testkit::{Database, Node, Proxy, SseClient, WsClient, http, postgres};
use serde_json::json;

use crate::support::official::{CLIENTS, Official};
use crate::support::{API_KEY, SOON, metric, options, readiness};

const TABLE: &str = "CREATE TABLE pedidos (id int PRIMARY KEY)";

/// The modes in which one gateway reads for all.
const MODES: [&str; 2] = ["outbox", "wal"];

pub(crate) fn config(mode: &str) -> String {
    format!(
        "[server]\napi_key = \"{API_KEY}\"\norigins = [\"https://app.example\"]\ndrain = \"1s\"\n[socketio]\n\
         [postgres]\napply = \"auto\"\ncapture = \"{mode}\"\nheartbeat = \"200ms\"\n\
         [[channel]]\nname = \"pedidos\"\n[[watch]]\ntable = \"pedidos\"\n\
         [[endpoint]]\npath = \"/ws/pedidos\"\nchannels = [\"pedidos\"]\n"
    )
}

pub(crate) async fn shop() -> Database<'static> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    database
}

/// A gateway that waits for its turn, as its `/readyz` says.
pub(crate) async fn standby(text: &str, url: &str) -> Node {
    let node = Node::spawn(options(text).env("DATABASE_URL", url).not_ready())
        .await
        .unwrap();
    readiness(&node, 503, "another gateway", 2 * SOON).await;
    node
}

const UPGRADE: [(&str, &str); 5] = [
    ("origin", "https://app.example"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The ways to be told something: method, path, whether by a WebSocket.
const WAYS: [(&str, &str, bool); 12] = [
    ("GET", "/ws", true),
    ("GET", "/ws/pedidos", true),
    ("GET", "/socket.io/?EIO=4&transport=websocket", true),
    ("GET", "/sse?channel=pedidos", false),
    ("GET", "/sse?channel=pedidos&format=protocol", false),
    ("GET", "/socket.io/?EIO=4&transport=polling", false),
    (
        "GET",
        "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
        false,
    ),
    (
        "POST",
        "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
        false,
    ),
    ("GET", "/api/history?channel=pedidos", false),
    ("GET", "/api/presence?channel=pedidos", false),
    ("POST", "/api/publish", false),
    ("GET", "/nothing", false),
];

async fn way(node: &Node, (method, path, upgrades): (&str, &str, bool)) -> http::Response {
    let key = format!("Bearer {API_KEY}");
    let mut headers = UPGRADE.to_vec();
    headers.truncate(if upgrades { UPGRADE.len() } else { 1 });
    headers.push(("authorization", &key));
    let body = json!({"channel": "pedidos", "event": "e", "data": 1}).to_string();
    let body = if path == "/api/publish" {
        body.as_bytes()
    } else {
        b""
    };
    let (head, _) = http::open(method, &node.url(path), &headers, body).await.unwrap();
    http::Response {
        head,
        body: String::new(),
    }
}

#[tokio::test]
async fn a_gateway_that_stands_by_refuses_on_every_transport_and_serves_once_it_reads() {
    for mode in MODES {
        let database = shop().await;
        let text = config(mode);
        let mut first = Node::spawn(options(&text).env("DATABASE_URL", database.url()))
            .await
            .unwrap();
        let mut second = standby(&text, &database.url()).await;
        for asked in WAYS {
            let answer = way(&second, asked).await;
            assert_eq!(answer.status(), 503, "{mode} {asked:?}");
            assert_eq!(answer.header("retry-after"), Some("1"), "{mode} {asked:?}");
            // A page has to see that it may come again.
            let origin = answer.header("access-control-allow-origin");
            assert_eq!(origin, Some("https://app.example"), "{mode} {asked:?}");
            assert_ne!(way(&first, asked).await.status(), 503, "{mode} {asked:?}");
        }
        for path in ["/healthz", "/metrics"] {
            assert_eq!(
                http::get(&second.url(path)).await.unwrap().status(),
                200,
                "{mode} {path}"
            );
        }
        metric(&second, "pregon_standby", |stands_by| stands_by == 1.0)
            .await
            .unwrap();
        metric(&first, "pregon_standby", |stands_by| stands_by == 0.0)
            .await
            .unwrap();

        first.kill9().await.unwrap();
        second.wait_ready(2 * SOON).await.unwrap();
        let mut client = follow(&second).await;
        database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
        assert_eq!(
            client.next_of_type("event", SOON).await.unwrap()["data"],
            json!({"id": 1})
        );
        assert_eq!(way(&second, WAYS[3]).await.status(), 200, "{mode}");
        metric(&second, "pregon_standby", |stands_by| stands_by == 0.0)
            .await
            .unwrap();
    }
}

async fn follow(node: &Node) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    client
}

/// Clients on every transport of a gateway.
struct Everybody {
    full: WsClient,
    bare: WsClient,
    events: SseClient,
    socketio: Vec<Official>,
}

impl Everybody {
    async fn of(node: &Node) -> Self {
        let mut socketio = Vec::new();
        for transport in ["websocket", "polling"] {
            let more = json!({"options": {"reconnection": false}});
            let mut client = Official::client(CLIENTS[0], &node.url(""), &[transport], &more);
            client.wait("connect").await;
            socketio.push(client);
        }
        Self {
            full: follow(node).await,
            bare: WsClient::connect(&node.ws_url("/ws/pedidos"), &[]).await.unwrap(),
            events: SseClient::connect(&node.url("/sse?channel=pedidos"), &[])
                .await
                .unwrap(),
            socketio,
        }
    }

    /// All hear the row.
    async fn hear(&mut self, id: i64) {
        assert_eq!(
            self.full.next_of_type("event", SOON).await.unwrap()["data"]["id"],
            id
        );
        assert_eq!(self.bare.next_json(SOON).await.unwrap()["id"], id);
        assert_eq!(
            self.events.next_event(SOON).await.unwrap().json().unwrap()["id"],
            id
        );
    }

    /// All are sent away, in a way that means "come again".
    async fn leave(mut self) {
        assert_eq!(self.full.close_code(SOON).await.unwrap().unwrap().0, 3007);
        assert_eq!(self.bare.close_code(SOON).await.unwrap().unwrap().0, 3007);
        let last = self.events.next_event(SOON).await.unwrap();
        assert!(
            last.event.as_deref() == Some("error") && last.data.as_deref().unwrap().contains("standby"),
            "{last:?}"
        );
        assert_eq!(
            self.events.last_id().filter(|id| *id == "stop"),
            None,
            "the stream may come again"
        );
        self.events.ended(SOON).await.unwrap();
        for client in &mut self.socketio {
            // "io server disconnect" would mean that the client does not come back by itself.
            let why = client.wait("disconnect").await;
            assert!(
                why["reason"] == "transport close" || why["reason"] == "transport error",
                "{why}"
            );
        }
    }
}

/// A gateway whose database is behind a proxy.
async fn behind_proxy(database: &Database<'_>, text: &str) -> (Proxy, Node) {
    let proxy = Proxy::start(database.server().address()).await.unwrap();
    let url = database
        .server()
        .url_at(proxy.port(), "postgres", database.name());
    let node = Node::spawn(options(text).env("DATABASE_URL", url)).await.unwrap();
    (proxy, node)
}

#[tokio::test]
async fn a_gateway_that_loses_its_turn_sends_its_clients_elsewhere() {
    for mode in MODES {
        let database = shop().await;
        let text = config(mode);
        let (proxy, first) = behind_proxy(&database, &text).await;
        let mut everybody = Everybody::of(&first).await;
        database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
        everybody.hear(1).await;
        let mut second = standby(&text, &database.url()).await;
        proxy.refuse(true).await;
        proxy.cut().await;
        second.wait_ready(2 * SOON).await.unwrap();
        // As long as nobody else is known to read, clients keep what they have.
        readiness(&first, 503, "postgres", 2 * SOON).await;
        everybody.full.expect_silence().await.unwrap();
        proxy.restore().await;
        everybody.leave().await;
        readiness(&first, 503, "another gateway", 2 * SOON).await;
        assert_eq!(way(&first, WAYS[0]).await.status(), 503, "{mode}");
        let mut client = follow(&second).await;
        database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"]["id"], 2);
    }
}

/// The server keeps a connection that broke on the way for a while, and with it the turn of the gateway that had it.
#[tokio::test]
async fn the_last_connection_of_the_same_gateway_is_nobody_else() {
    for mode in MODES {
        let database = shop().await;
        let server = database.server().address();
        // What is behind stays open for the server when the way to it breaks.
        let behind = Proxy::start(server.clone()).await.unwrap();
        let way = Proxy::start(behind.address()).await.unwrap();
        let url = database.server().url_at(way.port(), "postgres", database.name());
        let node = Node::spawn(options(&config(mode)).env("DATABASE_URL", url))
            .await
            .unwrap();
        let mut client = follow(&node).await;
        behind.stall(true);
        way.redirect(server);
        way.cut().await;
        node.wait_for_log("last connection", SOON).await.unwrap();
        readiness(&node, 200, "ready", 2 * SOON).await;
        database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"]["id"], 1);
    }
}

/// What the running gateway was installed with is replaced: it leaves its turn to the one that waits, and its clients follow.
#[tokio::test]
async fn a_gateway_whose_installation_is_taken_over_gives_way() {
    let database = shop().await;
    let text = config("outbox");
    let first = Node::spawn(options(&text).env("DATABASE_URL", database.url()))
        .await
        .unwrap();
    let mut client = follow(&first).await;
    let other = text.replace("table = \"pedidos\"", "table = \"pedidos\"\nwhere = \"id > 10\"");
    let taking = options(&other)
        .env("DATABASE_URL", database.url())
        .arg("--takeover")
        .not_ready();
    let mut second = Node::spawn(taking).await.unwrap();
    second.wait_ready(2 * SOON).await.unwrap();
    assert_eq!(client.close_code(SOON).await.unwrap().unwrap().0, 3007);
    assert_eq!(way(&first, WAYS[0]).await.status(), 503);
    let mut client = follow(&second).await;
    database
        .execute("INSERT INTO pedidos VALUES (1), (11)")
        .await
        .unwrap();
    assert_eq!(
        client.next_of_type("event", SOON).await.unwrap()["data"]["id"],
        11
    );
}

/// Every gateway hears notifications, so that each serves.
#[tokio::test]
async fn gateways_that_are_notified_need_no_turn() {
    let database = shop().await;
    let text = config("notify");
    let mut clients = Vec::new();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = Node::spawn(options(&text).env("DATABASE_URL", database.url()))
            .await
            .unwrap();
        clients.push(follow(&node).await);
        nodes.push(node);
    }
    database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
    for client in &mut clients {
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"]["id"], 1);
    }
}

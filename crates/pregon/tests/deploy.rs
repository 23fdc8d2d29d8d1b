//! What lies in `deploy/` and can run here: the sites for nginx before a gateway, and what the compose file makes of a
//! database. The rest is looked at by `docs/site/test/deploy.test.mjs`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pregon_testkit::{
    Database, Node, NodeOptions, Server, SseClient, WsClient, eventually, http, postgres, process,
};
use serde_json::json;

use crate::standby;
use crate::support::official::{CLIENTS, Official};
use crate::support::{API_KEY, PLAIN, SECRET, SOON, binary, metric, node, options, publish, refusal, token};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(file)
}

/// A site with every `(what, by)` replaced, each of which must be in it.
fn site(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(deploy(&format!("nginx/{name}"))).unwrap();
    for (what, by) in changes {
        assert!(text.contains(what), "{name} has no {what:?}");
        text = text.replace(what, by);
    }
    text
}

/// `nginx` with one site, its files in `folder`.
fn nginx(folder: &Path, site: &str) -> Command {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .into_iter()
        .find(|program| Path::new(program).exists())
        .expect("nginx is missing: run scripts/setup");
    let here = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    let main = format!(
        "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\nhttp {{\n{temporary}{site}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), main).unwrap();
    let mut command = Command::new(program);
    command
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .args(["-e", "stderr"]);
    command
}

/// nginx with one of our sites, without TLS: the test clients speak none.
struct Site {
    nginx: Child,
    folder: PathBuf,
    port: u16,
}

impl Site {
    /// Its upstreams replaced, each `(what, by)`.
    async fn start(name: &str, upstreams: &[(&str, &str)]) -> Self {
        let folder = process::scratch("nginx", None).unwrap();
        let port = process::free_port().unwrap();
        let log = folder.join("access.log").display().to_string();
        let listen = format!("listen 127.0.0.1:{port};");
        let here = [
            ("listen 443 ssl;", &*listen),
            ("listen [::]:443 ssl;", ""),
            ("/var/log/nginx/pregon.log", &log),
            ("ssl_certificate ", "# "),
            ("ssl_certificate_key ", "# "),
        ];
        let mut command = nginx(&folder, &site(name, &[upstreams, &here].concat()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let nginx = process::spawn(command, process::SIGKILL).unwrap();
        let site = Self { nginx, folder, port };
        let answers = eventually(SOON, || async { http::get(&site.url("/")).await });
        answers.await.unwrap();
        site
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        process::end(&mut self.nginx, process::SIGTERM, SOON);
    }
}

/// A gateway and the site before it.
struct Proxied {
    node: Node,
    site: Site,
}

impl Proxied {
    async fn start() -> Self {
        let config = PLAIN.replace("[server]", "[server]\ntrusted_proxies = [\"127.0.0.1\"]");
        let config = format!("{config}[socketio]\n[limits]\nper_address = 5\n");
        let node = node(&config).await;
        let upstream = format!("server {};", node.address());
        let site = Site::start("gateway.conf", &[("server 127.0.0.1:8080;", &upstream)]).await;
        Self { node, site }
    }

    fn url(&self, path: &str) -> String {
        self.site.url(path)
    }

    /// A WebSocket for a client that nginx is told of as `address`.
    async fn websocket(&self, address: &str) -> WsClient {
        let path = format!("/ws?token={}", token(&json!({"sub": 1})));
        let url = self.url(&path).replace("http", "ws");
        let mut client = WsClient::connect(&url, &[("x-forwarded-for", address)])
            .await
            .unwrap();
        client.next_of_type("welcome", SOON).await.unwrap();
        client
    }
}

impl Proxied {
    /// A stream of the channel `news`.
    async fn stream(&self, more: &str) -> SseClient {
        let path = format!("/sse?channel=news{more}&token={}", token(&json!({"sub": 1})));
        SseClient::connect(&self.url(&path), &[]).await.unwrap()
    }
}

#[tokio::test]
async fn events_pass_nginx_on_every_transport() {
    let mut proxied = Proxied::start().await;
    let mut socket = proxied.websocket("203.0.113.1").await;
    socket.subscribe("news").await.unwrap();
    let mut stream = proxied.stream("").await;
    let more = json!({"auth": {"token": token(&json!({"sub": 1}))}});
    let mut official = Official::client(CLIENTS[0], &proxied.url(""), &["polling", "websocket"], &more);
    official.wait("connect").await;
    assert_eq!(official.wait("upgrade").await["transport"], "websocket");
    let joined = official.ask("subscribe", &json!(["news"])).await;
    assert_eq!(joined[0]["ok"], true, "{joined}");

    publish(&proxied.node, "news", "hello", json!({"n": 1})).await;
    assert_eq!(
        socket.next_of_type("event", SOON).await.unwrap()["data"],
        json!({"n": 1})
    );
    assert_eq!(
        stream.next_event(SOON).await.unwrap().json().unwrap(),
        json!({"n": 1})
    );
    assert_eq!(official.event("hello").await[0], json!({"n": 1}));

    // A gateway that is replaced: the proxy finds the new one by itself, and the client resumes there.
    let position = stream.last_id().unwrap().to_owned();
    proxied.node.restart().await.unwrap();
    publish(&proxied.node, "news", "hello", json!({"n": 2})).await;
    let mut stream = proxied.stream(&format!("&since={position}")).await;
    assert_eq!(
        stream.next_event(SOON).await.unwrap().json().unwrap(),
        json!({"n": 2})
    );
}

/// Two gateways of one database, and the site before them.
struct Pair {
    first: Node,
    second: Node,
    site: Site,
}

impl Pair {
    async fn start(mode: &str, database: &Database<'_>) -> Self {
        let config = standby::config(mode);
        // When it is started again, another one reads.
        let started = options(&config).env("DATABASE_URL", database.url()).not_ready();
        let mut first = Node::spawn(started).await.unwrap();
        first.wait_ready(SOON).await.unwrap();
        let second = standby::standby(&config, &database.url()).await;
        let [one, other] = [&first, &second].map(|node| format!("server {}", node.address()));
        let upstreams = [
            ("server 10.0.0.11:8080", &*one),
            ("server 10.0.0.12:8080", &*other),
        ];
        let site = Site::start("gateways.conf", &upstreams).await;
        Self { first, second, site }
    }

    fn url(&self, path: &str) -> String {
        self.site.url(path)
    }

    async fn socket(&self) -> anyhow::Result<WsClient> {
        Ok(WsClient::connect(&self.url("/ws").replace("http", "ws"), &[]).await?)
    }

    /// A client that is let in, however often it has to come; meanwhile streams are never refused.
    async fn comes_again(&self) -> WsClient {
        let again = eventually(SOON, || async {
            let stream = SseClient::connect(&self.url("/sse?channel=pedidos"), &[]).await?;
            assert_eq!(stream.status(), 200);
            self.socket().await
        });
        again.await.unwrap()
    }
}

#[tokio::test]
async fn with_a_gateway_that_stands_by_clients_miss_nothing_but_what_a_gap_tells() {
    for mode in ["outbox", "wal"] {
        let database = standby::shop().await;
        let mut pair = Pair::start(mode, &database).await;
        let mut client = pair.socket().await.unwrap();
        client.subscribe("pedidos").await.unwrap();
        let mut stream = SseClient::connect(&pair.url("/sse?channel=pedidos"), &[])
            .await
            .unwrap();
        database.execute("INSERT INTO pedidos VALUES (1)").await.unwrap();
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"]["id"], 1);
        assert_eq!(stream.next_event(SOON).await.unwrap().json().unwrap()["id"], 1);

        pair.first.kill9().await.unwrap();
        let mut client = pair.comes_again().await;
        let resume = json!({"type": "subscribe", "channel": "pedidos", "since": event["position"]});
        assert_eq!(client.request(resume).await.unwrap()["recovered"], false);
        assert_eq!(
            client.next_of_type("gap", SOON).await.unwrap()["reason"],
            "restart"
        );
        let from = [("last-event-id", stream.last_id().unwrap())];
        let mut stream = SseClient::connect(&pair.url("/sse?channel=pedidos"), &from)
            .await
            .unwrap();
        assert_eq!(
            stream.next_event(SOON).await.unwrap().event.as_deref(),
            Some("gap")
        );
        database.execute("INSERT INTO pedidos VALUES (2)").await.unwrap();
        // The one that was killed may not have said how far it had come.
        while stream.next_event(SOON).await.unwrap().json().unwrap()["id"] != 2 {}
        // The gateway that comes back stands by now, although nginx asks it first.
        pair.first.restart().await.unwrap();
        pair.first.wait_for_log("this one stands by", SOON).await.unwrap();
        let mut late = pair.socket().await.unwrap();
        late.subscribe("pedidos").await.unwrap();
        database.execute("INSERT INTO pedidos VALUES (3)").await.unwrap();
        for heard in [&mut client, &mut late] {
            while heard.next_of_type("event", SOON).await.unwrap()["data"]["id"] != 3 {}
        }
        // It has looked at its triggers only after it began to read.
        pair.second.wait_ready(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn nginx_keeps_the_inside_inside_and_tokens_out_of_its_log() {
    let proxied = Proxied::start().await;
    for path in ["/metrics", "/readyz", "/healthz", "/admin", "/wsx", "/"] {
        assert_eq!(
            http::get(&proxied.url(path)).await.unwrap().status(),
            404,
            "{path}"
        );
    }
    let key = format!("Bearer {API_KEY}");
    let body = json!({"channel": "news", "event": "e", "data": 1});
    let url = proxied.url("/api/publish");
    let headers = [("authorization", key.as_str())];
    let published = http::post_json(&url, &headers, &body);
    assert_eq!(published.await.unwrap().status(), 404);
    let secret = token(&json!({"sub": 1}));
    let history = proxied.url(&format!("/api/history?channel=news&last=1&token={secret}"));
    assert_eq!(http::get(&history).await.unwrap().status(), 200);
    // nginx writes its line when the answer is gone already.
    let log = eventually(SOON, || async {
        let log = std::fs::read_to_string(proxied.site.folder.join("access.log"))?;
        anyhow::ensure!(log.contains("\"GET /api/history\" 200"), "{log}");
        anyhow::Ok(log)
    });
    let log = log.await.unwrap();
    assert!(!log.contains("token") && !log.contains(&secret), "{log}");
}

#[tokio::test]
async fn limits_count_the_clients_behind_nginx() {
    let proxied = Proxied::start().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(proxied.websocket("203.0.113.1").await);
    }
    // nginx appends whom it saw itself: this machine, which is declared a proxy. What stands before that is the client.
    let url = proxied
        .url(&format!("/ws?token={}", token(&json!({"sub": 1}))))
        .replace("http", "ws");
    let refused = refusal(&url, &[("x-forwarded-for", "203.0.113.1")]).await;
    assert!(matches!(refused, 429 | 503), "{refused}");
    open.push(proxied.websocket("203.0.113.2").await);
    metric(
        &proxied.node,
        "pregon_sessions{transport=\"websocket\"}",
        |count| count == 6.0,
    )
    .await
    .unwrap();
}

#[test]
fn nginx_takes_the_sites_as_they_are() {
    let folder = process::scratch("nginx", None).unwrap();
    let authority = postgres::tls::Authority::create(&folder).unwrap();
    for (name, host) in [
        ("gateway.conf", "realtime.example.com"),
        ("gateways.conf", "realtime.example.com"),
        ("router.conf", "router.example.com"),
    ] {
        let certificate = authority.issue(host, &format!("DNS:{host}")).unwrap();
        let live = format!("/etc/letsencrypt/live/{host}");
        let mut text = site(
            name,
            &[
                (
                    &format!("{live}/fullchain.pem"),
                    &certificate.cert.display().to_string(),
                ),
                (
                    &format!("{live}/privkey.pem"),
                    &certificate.key.display().to_string(),
                ),
            ],
        );
        text = text.replace("/var/log/nginx", &folder.display().to_string());
        let output = nginx(&folder, &text).arg("-t").output().unwrap();
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !says.contains("[warn]"),
            "{name}: {says}"
        );
    }
}

/// The compose file's services without their containers: its script on a server with passwords, then its configuration.
#[tokio::test]
async fn what_the_compose_file_makes_serves_a_message_to_whom_it_concerns() {
    let options = postgres::Options {
        auth: postgres::Auth::Scram,
        ..Default::default()
    };
    let server = Server::start(options).await.unwrap();
    let admin = server.admin("postgres").await.unwrap();
    admin.batch_execute("CREATE DATABASE shop").await.unwrap();
    run_init(&server);
    let options = NodeOptions::file(deploy("docker/pregon.toml")).binary(binary());
    let gateway = format!("postgres://pregon_gateway:entrada@{}/shop", server.address());
    let options = options
        .env("DATABASE_URL", gateway)
        .env("PREGON_ADMIN_URL", server.url_for("postgres", "shop"))
        .env("JWT_SECRET", SECRET);
    let node = Node::spawn(options).await.unwrap();

    let shop = server.admin("shop").await.unwrap();
    let sql = "INSERT INTO conversations (user_id) VALUES ('7'), ('8')";
    shop.batch_execute(sql).await.unwrap();
    let url = node.ws_url(&format!("/ws?token={}", token(&json!({"sub": "7"}))));
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    client.subscribe("conversation_1").await.unwrap();
    let foreign = client.request(json!({"type": "subscribe", "channel": "conversation_2"}));
    assert!(format!("{:?}", foreign.await).contains("forbidden"));
    let sql = "INSERT INTO messages (conversation_id, text) VALUES (2, 'ajeno'), (1, 'hola')";
    shop.batch_execute(sql).await.unwrap();
    let event = client.next_of_type("event", SOON).await.unwrap();
    assert_eq!(
        (&event["event"], &event["data"]["text"]),
        (&json!("message:new"), &json!("hola"))
    );
}

fn run_init(server: &Server) {
    let psql = server.binaries().program("psql");
    let path = format!(
        "{}:{}",
        psql.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = Command::new("sh");
    command.arg(deploy("docker/init.sh")).env("PATH", path);
    // In the image psql comes by a socket that asks for no password; this server asks.
    command.envs([
        ("POSTGRES_DB", "shop"),
        ("GATEWAY_PASSWORD", "entrada"),
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &server.port().to_string()),
        ("PGPASSWORD", "postgres"),
    ]);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

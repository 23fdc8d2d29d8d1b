//! What the tests share: the binary, nodes, tokens, publishing, the examples' files and `pregon listen`.

pub(crate) mod official;
pub(crate) mod pgbouncer;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use pregon_testkit::{
    Database, Node, NodeOptions, PLANTED, Server, WsClient, assert_untold, eventually, http, process,
};
use serde_json::{Value, json};

/// For what should happen at once; generous because test machines are loaded.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long recovery after a restart of PostgreSQL may take, as the contract says.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
pub(crate) const SECRET: &str = "una-clave-solo-para-las-pruebas";
pub(crate) const API_KEY: &str = "llave-de-prueba";

/// A node without a database: everything comes by HTTP or from clients.
pub(crate) const PLAIN: &str = r#"
[server]
api_key = "llave-de-prueba"
origins = ["https://app.example"]
[auth]
secret = "una-clave-solo-para-las-pruebas"
join = ["user_{sub}"]
[[channel]]
name = "news"
[[channel]]
name = "room_{id}"
subscribe = "channel.id in claims.rooms"
publish = "channel.id in claims.rooms"
"#;

/// `PREGON_BIN`, the release build unless the sources are newer, otherwise the build of this test run.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PREGON_BIN") {
        return path.into();
    }
    let built = PathBuf::from(env!("CARGO_BIN_EXE_pregon"));
    let release = built
        .parent()
        .and_then(Path::parent)
        .map(|target| target.join("release/pregon"));
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match release {
        Some(release) if changed(&release) > newest(&crates) => release,
        _ => built,
    }
}

fn changed(path: &Path) -> SystemTime {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newest(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let times = entries.map(|entry| match entry.path() {
        path if path.file_name().is_some_and(|name| name == "tests") => SystemTime::UNIX_EPOCH,
        path if path.is_dir() => newest(&path),
        path => changed(&path),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn options(config: &str) -> NodeOptions {
    NodeOptions::text(config).binary(binary())
}

pub(crate) async fn node(config: &str) -> Node {
    Node::spawn(options(config)).await.unwrap()
}

pub(crate) async fn node_on(database: &Database<'_>, config: &str) -> Node {
    Node::spawn(options(config).env("DATABASE_URL", database.url()))
        .await
        .unwrap()
}

/// Signs claims; one more is planted among them, which no log may quote.
pub(crate) fn token(claims: &Value) -> String {
    let mut claims = claims.clone();
    if let Some(all) = claims.as_object_mut() {
        all.insert("planted".into(), PLANTED.into());
    }
    pregon_testkit::token(&claims, SECRET)
}

/// Seconds since 1970, for `exp`.
pub(crate) fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs() + seconds
}

/// A session of the full protocol behind its welcome.
pub(crate) async fn connect(node: &Node, claims: &Value) -> WsClient {
    let url = node.ws_url(&format!("/ws?token={}", token(claims)));
    let mut client = WsClient::connect(&url, &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    client
}

/// The HTTP status that a WebSocket request is refused with.
pub(crate) async fn refusal(url: &str, headers: &[(&str, &str)]) -> u16 {
    match WsClient::connect(url, headers).await {
        Err(pregon_testkit::client::ws::ConnectError::Refused { status, .. }) => status,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) async fn post(node: &Node, body: &Value, headers: &[(&str, &str)]) -> http::Response {
    let key = format!("Bearer {API_KEY}");
    let mut all = vec![("authorization", key.as_str())];
    all.extend_from_slice(headers);
    http::post_json(&node.url("/api/publish"), &all, body)
        .await
        .unwrap()
}

/// Publishes one event by HTTP and returns its position.
pub(crate) async fn publish(node: &Node, channel: &str, event: &str, data: Value) -> String {
    let answer = post(
        node,
        &json!({"channel": channel, "event": event, "data": data}),
        &[],
    )
    .await;
    assert_eq!(answer.status(), 200, "{}", answer.body);
    answer.json().unwrap()["positions"][0]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A WebSocket that speaks Socket.IO by hand, connected to the root namespace with this token.
pub(crate) async fn socketio(node: &Node, token: &str) -> WsClient {
    let url = node.ws_url("/socket.io/?EIO=4&transport=websocket");
    let mut socket = WsClient::connect(&url, &[]).await.unwrap();
    socket.next_text(SOON).await.unwrap();
    socket
        .send_text(&format!("40{}", json!({"token": token})))
        .await
        .unwrap();
    assert!(socket.next_text(SOON).await.unwrap().starts_with("40"));
    socket
}

/// Waits until `/readyz` has this status and these words in its text; gives the text.
pub(crate) async fn readiness(node: &Node, status: u16, words: &str, within: Duration) -> String {
    let settled = eventually(within, || async {
        let seen = http::get(&node.url("/readyz")).await?;
        anyhow::ensure!(
            seen.status() == status && seen.body.contains(words),
            "/readyz is {}: {}",
            seen.status(),
            seen.body
        );
        Ok(seen.body)
    });
    settled.await.unwrap()
}

/// Waits until a line of `/metrics` that begins with `name` has a value that `holds`.
pub(crate) async fn metric(node: &Node, name: &str, holds: impl Fn(f64) -> bool) -> anyhow::Result<f64> {
    eventually(SOON, || async {
        let text = http::get(&node.url("/metrics")).await?.body;
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        anyhow::ensure!(value.is_some_and(&holds), "{name} is {value:?}");
        Ok(value.unwrap_or_default())
    })
    .await
}

pub(crate) fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(file)
}

/// Runs a file with psql, as a user would.
pub(crate) fn psql(server: &Server, url: &str, file: &Path) {
    let mut command = Command::new(server.binaries().program("psql"));
    command
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"])
        .arg(file);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A database with an example's schema, run twice, and `pregon serve` with the example's own file.
pub(crate) async fn run_example<'a>(server: &'a Server, name: &str) -> (Database<'a>, Node) {
    let database = Database::create(server).await.unwrap();
    for _ in 0..2 {
        psql(server, &database.url(), &example(&format!("{name}/schema.sql")));
    }
    let options = NodeOptions::file(example(&format!("{name}/pregon.toml"))).binary(binary());
    let options = options
        .env("DATABASE_URL", database.url())
        .env("JWT_SECRET", SECRET);
    let node = Node::spawn(options).await.unwrap();
    (database, node)
}

/// A running command of the binary, and the lines that it prints.
pub(crate) struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
    readers: [std::thread::JoinHandle<()>; 2],
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::program(command)
    }

    /// Another program than the binary.
    pub(crate) fn program(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.env_remove("DATABASE_URL");
        let mut child = process::spawn(command, process::SIGKILL).unwrap();
        let (lines, errors) = (Arc::default(), Arc::default());
        let readers = [
            collect(child.stdout.take().unwrap(), &lines),
            collect(child.stderr.take().unwrap(), &errors),
        ];
        Self {
            child,
            lines,
            errors,
            readers,
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn errors(&self) -> String {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// Waits for so many lines on standard output.
    pub(crate) async fn wait_lines(&self, count: usize) -> Vec<String> {
        let enough = eventually(SOON, || async {
            let lines = self.lines();
            if lines.len() >= count {
                Ok(lines)
            } else {
                Err(format!("{lines:?}; {}", self.errors()))
            }
        });
        enough.await.unwrap()
    }

    /// Waits until it has ended by itself, and its last words are read.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = process::wait_exit(&mut self.child, SOON).await;
        let status = ended.unwrap_or_else(|error| panic!("{error:#}: {}", self.errors()));
        let read = async || self.readers.iter().all(std::thread::JoinHandle::is_finished);
        eventually(SOON, read).await.unwrap();
        status
    }

    pub(crate) async fn stop(&mut self, signal: i32) -> std::process::ExitStatus {
        process::signal_if_running(&mut self.child, signal);
        process::wait_exit(&mut self.child, SOON).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGTERM, SOON);
        if !std::thread::panicking() {
            assert_untold(&self.errors());
        }
    }
}

fn collect(
    stream: impl std::io::Read + Send + 'static,
    lines: &Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

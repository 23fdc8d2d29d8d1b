//! Runs the `pregon` binary as a user would, on a port of its own, and keeps what it prints.
//!
//! The environment's own `DATABASE_URL`, `PREGON_*` and so on are taken away, so that a test means what it says.
//! A panicking test prints the node's log.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;

use crate::{client::http, process, wait::eventually};

/// Starting includes applying triggers on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What tests write into rows, payloads and claims so that a log that quotes them is found: no program may log it unless it is asked for
/// its debug lines. Every node's log is searched for it when the node ends.
pub const PLANTED: &str = "plantado-9c41f";
/// Variables of the product; a test gives those that it means.
const OWN_VARIABLES: [&str; 11] = [
    "DATABASE_URL",
    "REDIS_URL",
    "REDIS_ADDR",
    "REDIS_PASSWORD",
    "JWT_SECRET",
    "PORT",
    "MESSAGE_KEY",
    "WHATSAPP_APP_SECRET",
    "WHATSAPP_VERIFY_TOKEN",
    "WHATSAPP_TOKEN",
    "WHATSAPP_GRAPH_URL",
];

/// How to start a node.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    config: Option<Config>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    binary: Option<PathBuf>,
    command: Option<String>,
    unready: bool,
}

#[derive(Debug, Clone)]
enum Config {
    Text(String),
    File(PathBuf),
}

impl NodeOptions {
    /// A configuration given as TOML text.
    pub fn text(config: impl Into<String>) -> Self {
        Self {
            config: Some(Config::Text(config.into())),
            ..Self::default()
        }
    }

    /// A configuration file that exists.
    pub fn file(config: impl Into<PathBuf>) -> Self {
        Self {
            config: Some(Config::File(config.into())),
            ..Self::default()
        }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Adds an argument after the command and `--config FILE`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// The binary to run unless `PREGON_BIN` is set: `env!("CARGO_BIN_EXE_pregon")` where that exists.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// The command to run instead of `serve`, such as `router`.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Do not wait for `/readyz`, only for the port.
    #[must_use]
    pub fn not_ready(mut self) -> Self {
        self.unready = true;
        self
    }
}

/// A node, running or stopped.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    binary: PathBuf,
    folder: PathBuf,
    config: PathBuf,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    child: Option<Child>,
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub async fn spawn(options: NodeOptions) -> anyhow::Result<Self> {
        let binary = find_binary(options.binary.as_deref())?;
        let folder = process::scratch("node", None)?;
        let config = match &options.config {
            Some(Config::File(path)) => {
                fs::canonicalize(path).with_context(|| format!("no file {}", path.display()))?
            }
            _ => folder.join("pregon.toml"),
        };
        if let Some(Config::Text(text)) = &options.config {
            fs::write(&config, text)?;
        }
        let port = process::free_port()?;
        let lines = Arc::default();
        let mut node = Self {
            options,
            binary,
            folder,
            config,
            port,
            lines,
            child: None,
        };
        node.launch().await?;
        Ok(node)
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let seen = self.lines().len();
        let mut child = process::spawn(self.command(), process::SIGKILL)
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let collectors = [
            collect(child.stdout.take(), &self.lines),
            collect(child.stderr.take(), &self.lines),
        ];
        let pid = self.child.insert(child).id();
        let started = self.wait_started(seen).await;
        if started.is_err() && !process::is_running(pid) {
            // What it said last may still be on its way here.
            for collector in collectors.into_iter().flatten() {
                let _ = collector.join();
            }
        }
        started.with_context(|| format!("the node did not start; its log:\n{}", self.log()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(self.options.command.as_deref().unwrap_or("serve"))
            .arg("--config")
            .arg(&self.config)
            .args(&self.options.args);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PREGON_") || OWN_VARIABLES.contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command.env("PREGON_LISTEN", format!("127.0.0.1:{}", self.port));
        command.env("PREGON_DATA", self.folder.join("data"));
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn wait_started(&mut self, seen: usize) -> anyhow::Result<()> {
        let lines = Arc::clone(&self.lines);
        let child = Mutex::new(self.child.as_mut().context("a child")?);
        let port = eventually(PATIENCE, || async {
            let text = lines.lock().unwrap_or_else(PoisonError::into_inner);
            let found = text.iter().skip(seen).find_map(|line| listening_port(line));
            let gone = child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
            match (found, gone) {
                (Some(port), _) => Ok(Ok(port)),
                (None, Ok(Some(status))) => Ok(Err(anyhow::anyhow!("it ended with {status}"))),
                (None, _) => Err("no line that says where it listens"),
            }
        });
        self.port = port.await??;
        if self.options.unready {
            Ok(())
        } else {
            self.wait_ready(PATIENCE).await
        }
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_ready(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let url = self.url("/readyz");
        eventually(timeout, || async {
            let answer = http::get(&url).await?;
            anyhow::ensure!(
                answer.status() == 200,
                "/readyz is {}: {}",
                answer.status(),
                answer.body
            );
            Ok(())
        })
        .await
    }

    /// The port that it listens on; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:port` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `ws://127.0.0.1:port` and a path.
    pub fn ws_url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// The address for a proxy's upstream.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process number while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The folder that it runs in; `data` in it is `PREGON_DATA`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a new configuration, for [`Node::sighup`] or [`Node::restart`]; only for nodes started from text.
    pub fn rewrite_config(&self, text: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.config.starts_with(&self.folder),
            "{} is not ours to write",
            self.config.display()
        );
        Ok(fs::write(&self.config, text)?)
    }

    /// Changes the environment for the next start.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.options.env.retain(|(key, _)| key != name);
        self.options.env.push((name.to_owned(), value.into()));
    }

    /// All that it has printed, over restarts, standard output and error mixed by lines.
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }

    /// The lines of [`Node::log`].
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it was asked for lines of debug, which may quote values.
    fn tells_values(&self) -> bool {
        let verbose = |text: &str| text.contains("debug") || text.contains("trace");
        let given = self.options.env.iter().map(|(_, value)| value.as_str());
        given
            .chain(self.options.args.iter().map(String::as_str))
            .any(verbose)
            || std::env::var("RUST_LOG").is_ok_and(|filter| verbose(&filter))
    }

    /// Waits until a line contains `text` and returns it.
    pub async fn wait_for_log(&self, text: &str, timeout: Duration) -> anyhow::Result<String> {
        let look = || async { self.lines().into_iter().find(|line| line.contains(text)) };
        eventually(timeout, look)
            .await
            .with_context(|| format!("no log line with {text:?}:\n{}", self.log()))
    }

    /// Kills it; returns when it is gone.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        self.end(process::SIGKILL).await.map(drop)
    }

    /// Asks it to stop and returns how it ended; `None` if it was not running.
    pub async fn sigterm(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.end(process::SIGTERM).await
    }

    /// Asks it to read its configuration again.
    pub fn sighup(&mut self) {
        if let Some(child) = &mut self.child {
            process::signal_if_running(child, process::SIGHUP);
        }
    }

    /// Stops it from running (SIGSTOP), as a machine without a processor for it would.
    pub fn freeze(&mut self) {
        if let Some(child) = &mut self.child {
            process::signal_if_running(child, process::SIGSTOP);
        }
    }

    /// Lets it run on.
    pub fn thaw(&mut self) {
        if let Some(child) = &mut self.child {
            process::signal_if_running(child, process::SIGCONT);
        }
    }

    async fn end(&mut self, signal: i32) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        process::signal_if_running(child, signal);
        let status = process::wait_exit(child, PATIENCE).await?;
        self.child = None;
        Ok(Some(status))
    }

    /// Starts it again on the same port, after stopping it in an orderly way if it still runs.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.sigterm().await?;
        self.launch().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            process::end(child, process::SIGKILL, PATIENCE);
        }
        if std::thread::panicking() {
            eprintln!(
                "--- log of the node on port {} ---\n{}\n---",
                self.port,
                self.log()
            );
        }
        let _ = fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() && !self.tells_values() {
            assert_untold(&self.log());
        }
    }
}

/// Panics if a log quotes what a test has planted.
#[expect(clippy::panic, reason = "it fails the test that owns what wrote the log")]
pub fn assert_untold(log: &str) {
    if let Some(line) = log.lines().find(|line| line.contains(PLANTED)) {
        panic!("a value of a row, a payload or a claim stands in the log: {line}");
    }
}

fn collect(
    stream: Option<impl Read + Send + 'static>,
    lines: &Arc<Mutex<Vec<String>>>,
) -> Option<std::thread::JoinHandle<()>> {
    let stream = stream?;
    let lines = Arc::clone(lines);
    Some(std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }))
}

fn listening_port(line: &str) -> Option<u16> {
    let (_, address) = line.split_once("listening on http://")?;
    let end = address
        .find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))
        .unwrap_or(address.len());
    address.get(..end)?.rsplit(':').next()?.parse().ok()
}

/// `PREGON_BIN`, what the caller names, then the release or debug build beside the running test.
fn find_binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("PREGON_BIN") {
        return Ok(PathBuf::from(path));
    }
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let test = std::env::current_exe()?;
    let builds = test
        .ancestors()
        .flat_map(|at| ["release/pregon", "debug/pregon"].map(|build| at.join(build)));
    let found = builds.into_iter().find(|path| path.is_file());
    found.context("no pregon binary: build it (cargo build --release -p pregon) or set PREGON_BIN")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn finds_the_port_in_plain_and_json_lines() {
        assert_eq!(listening_port("listening on http://127.0.0.1:8000"), Some(8000));
        assert_eq!(
            listening_port(r#"{"message":"listening on http://[::1]:81"}"#),
            Some(81)
        );
        assert_eq!(
            listening_port("2026 INFO listening on http://127.0.0.1:8000 epoch=3"),
            Some(8000)
        );
        assert_eq!(listening_port("listening"), None);
    }

    /// Stands for the binary: a script that serves `/readyz` and appends its signals to its output.
    const STAND_IN: &str = r#"#!/usr/bin/env python3
import http.server, os, signal, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
host, port = os.environ["PREGON_LISTEN"].split(":")
signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
signal.signal(signal.SIGHUP, lambda *a: print("reloaded", open(sys.argv[3]).read(), flush=True))
http.server.HTTPServer.allow_reuse_address = True
server = http.server.HTTPServer((host, int(port)), H)
print(f"listening on http://{host}:{server.server_port}", flush=True)
server.serve_forever()
"#;

    fn stand_in() -> PathBuf {
        let path = process::scratch("standin", None).unwrap().join("pregon");
        fs::write(&path, STAND_IN).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn starts_reloads_restarts_and_stops() {
        let mut node = Node::spawn(NodeOptions::text("one").binary(stand_in()))
            .await
            .unwrap();
        let port = node.port();
        node.rewrite_config("two").unwrap();
        node.sighup();
        node.wait_for_log("reloaded two", PATIENCE).await.unwrap();
        node.kill9().await.unwrap();
        assert!(http::get(&node.url("/readyz")).await.is_err());
        node.restart().await.unwrap();
        assert_eq!(node.port(), port);
        assert_eq!(node.sigterm().await.unwrap().unwrap().code(), Some(0));
    }

    #[test]
    #[should_panic(expected = "stands in the log")]
    fn a_log_that_quotes_a_planted_value_fails_its_test() {
        assert_untold(&format!("fine\nerror: no integer: \"{PLANTED}\"\nfine"));
    }

    #[tokio::test]
    async fn a_node_that_ends_at_start_is_reported_with_its_log() {
        let failed = Node::spawn(NodeOptions::text("x").binary("/bin/ls").arg("/nonexistent"))
            .await
            .unwrap_err();
        assert!(format!("{failed:#}").contains("it ended with"), "{failed:#}");
    }
}

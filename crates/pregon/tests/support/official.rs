//! Official clients, emitters and suites: processes of node or Python in `conformance/` that lines of JSON steer.
//!
//! The head of each driver there lists its commands and lines. A missing installation fails the test: a check that
//! is passed over in silence is none.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use pregon_testkit::{eventually, process};
use serde_json::{Value, json};

use super::{SOON, collect};

/// The drivers of both official clients.
pub(crate) const CLIENTS: [&str; 2] = ["socketio/client.mjs", "socketio/client.py"];
/// What a client may be told to use.
pub(crate) const TRANSPORTS: [&[&str]; 3] = [&["polling"], &["websocket"], &["polling", "websocket"]];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance")
}

/// A command that runs a file of `conformance/` with what is installed there.
fn command(file: &str, arguments: &[&str]) -> Command {
    let (program, installed) = if Path::new(file).extension().is_some_and(|end| end == "py") {
        let python = folder().join(".venv/bin/python");
        (python.clone(), python)
    } else {
        ("node".into(), folder().join("node_modules/socket.io-client"))
    };
    assert!(
        installed.exists(),
        "{} is missing: run scripts/setup",
        installed.display()
    );
    let mut command = Command::new(program);
    command
        .arg(folder().join(file))
        .args(arguments)
        .env_remove("NODE_OPTIONS");
    command
}

/// A running driver or server, and the lines that it prints.
pub(crate) struct Official {
    child: Child,
    input: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
    /// Which lines were waited for already.
    taken: Vec<bool>,
}

impl Official {
    /// Starts a file of `conformance/`, such as `emitters/redis.mjs`.
    pub(crate) fn start(file: &str, arguments: &[&str]) -> Self {
        let mut command = command(file, arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command, process::SIGKILL).unwrap();
        let (lines, errors) = (Arc::default(), Arc::default());
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &errors);
        Self {
            input: child.stdin.take().unwrap(),
            child,
            lines,
            errors,
            taken: Vec::new(),
        }
    }

    /// A client that connects to `url` (`http://…`); `more` are further words of the command. Its "connect" is not
    /// waited for.
    pub(crate) fn client(file: &str, url: &str, transports: &[&str], more: &Value) -> Self {
        let mut command = json!({"do": "connect", "url": url, "transports": transports});
        for (key, value) in more.as_object().into_iter().flatten() {
            command[key] = value.clone();
        }
        let mut client = Self::start(file, &[]);
        client.send(&command);
        client
    }

    pub(crate) fn send(&mut self, command: &Value) {
        writeln!(self.input, "{command}").unwrap_or_else(|error| panic!("{error}: {}", self.story()));
    }

    /// All lines so far; what is not JSON is a text.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line)))
            .collect()
    }

    /// Everything that it has said, for a failure's message.
    pub(crate) fn story(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "{}\n{}",
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .join("\n"),
            errors.join("\n")
        )
    }

    /// The first line that holds and was not waited for before, whatever else comes before it.
    pub(crate) async fn wait_for(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let found = eventually(SOON, || async {
            let lines = self.lines();
            let fresh = |number: usize| !self.taken.get(number).copied().unwrap_or(false);
            let mut numbered = lines.into_iter().enumerate();
            numbered
                .find(|(number, line)| fresh(*number) && holds(line))
                .ok_or_else(|| self.story())
        });
        let (number, line) = found.await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        if self.taken.len() <= number {
            self.taken.resize(number + 1, false);
        }
        self.taken[number] = true;
        line
    }

    /// The next line of a kind: "connect", "disconnect", "connect_error", "done" and so on.
    pub(crate) async fn wait(&mut self, kind: &str) -> Value {
        self.wait_for(kind, |line| line["on"] == kind).await
    }

    /// The arguments of the next event of that name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let event = self.wait_for(name, |line| line["on"] == "event" && line["event"] == name);
        event.await["args"].take()
    }

    pub(crate) fn emit(&mut self, event: &str, args: &Value) {
        self.send(&json!({"do": "emit", "event": event, "args": args}));
    }

    /// Emits and waits for the acknowledgement's arguments; only one may be under way.
    pub(crate) async fn ask(&mut self, event: &str, args: &Value) -> Value {
        self.send(&json!({"do": "emit", "event": event, "args": args, "ack": true}));
        let mut ack = self.wait("ack").await;
        assert!(ack["error"].is_null(), "{event}: {ack}");
        ack["args"].take()
    }

    /// Where a server of ours or theirs says that it listens.
    pub(crate) async fn address(&mut self) -> String {
        let says = |line: &Value| Some(line.as_str()?.split_once("listening on ")?.1.trim().to_owned());
        let line = self.wait_for("an address", |line| says(line).is_some()).await;
        says(&line).unwrap()
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGTERM, SOON);
    }
}

/// Runs `engineio` or `socketio` of our suites against a server and requires that every case passes.
pub(crate) async fn pass_suite(name: &str, url: &str, words: &[&str]) {
    let arguments: Vec<&str> = [url].into_iter().chain(words.iter().copied()).collect();
    let mut command = command(&format!("{name}/suite.mjs"), &arguments);
    let run = tokio::task::spawn_blocking(move || -> std::io::Result<Output> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        process::spawn(command, process::SIGKILL)?.wait_with_output()
    });
    let output = run.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok ")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name}:\n{}\n{errors}",
        failed.join("\n")
    );
}

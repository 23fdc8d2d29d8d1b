//! The servers that are measured: how each is started, and its end. `kind` says which there are.
//!
//! A server is one process; it says `listening on http://ADDRESS` on its standard output, takes `POST /api/publish` and
//! dies with the runner or when its value is dropped.

mod kind;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use pregon_testkit::process;

pub(crate) use kind::{Kind, pregon};

use crate::{load::API_KEY, usage};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts a server; `extra` is added to our configuration, `core` is where it may run.
    pub(crate) fn start(kind: Kind, extra: &str, core: Option<usize>) -> anyhow::Result<Self> {
        Self::start_with(kind, extra, core, &[])
    }

    /// Starts a server of ours on a log that outlives it.
    pub(crate) fn start_on(
        kind: Kind,
        extra: &str,
        core: Option<usize>,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let data = data.to_string_lossy().into_owned();
        Self::start_with(kind, extra, core, &[("PREGON_DATA", data)])
    }

    /// As [`Running::start`], with variables of the environment: where a peer finds its database.
    pub(crate) fn start_with(
        kind: Kind,
        extra: &str,
        core: Option<usize>,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let folder = process::scratch("bench", None)?;
        let config = folder.join("pregon.toml");
        fs::write(&config, configuration(kind, extra))?;
        let mut command = command(kind, &config, core);
        command
            .current_dir(&folder)
            .env("PREGON_DATA", folder.join("data"))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("stderr"))?);
        let mut child = process::spawn(command, process::SIGKILL)
            .with_context(|| format!("starting {}", kind.program().display()))?;
        let address = address_of(&mut child);
        let mut running = Self {
            child,
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        running.address = address.with_context(|| format!("{}: {}", kind.name(), running.log()))?;
        if kind.is_ours() {
            running.wait_ready()?;
        }
        Ok(running)
    }

    /// Waits until our server says that all its sources are attached.
    fn wait_ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match get(self.address, "/readyz") {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
                answer if Instant::now() > end => bail!("not ready: {answer:?}\n{}", self.log()),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The value of one metric of ours.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = get(self.address, "/metrics")?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .with_context(|| format!("no metric {name}"))?
            .trim()
            .parse()
            .context("a metric's value")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGKILL, Duration::from_secs(5));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program with its arguments, on its core, without what the environment might tell it.
fn command(kind: Kind, config: &Path, core: Option<usize>) -> Command {
    let mut command = match core {
        Some(core) if usage::cores() > 1 => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(kind.program());
            command
        }
        _ => Command::new(kind.program()),
    };
    command.args(kind.arguments(config));
    for name in [
        "DATABASE_URL",
        "PREGON_ADMIN_URL",
        "REDIS_URL",
        "REDIS_ADDR",
        "REDIS_PASSWORD",
        "JWT_SECRET",
        "MESSAGE_KEY",
        "PREGON_API_KEY",
        "PREGON_LISTEN",
        "PORT",
    ] {
        command.env_remove(name);
    }
    command
}

fn configuration(kind: Kind, extra: &str) -> String {
    format!(
        r#"[server]
listen = "127.0.0.1:0"
api_key = "{API_KEY}"
# Clients cannot answer while other servers have their turn.
ping = "60s"
pong_timeout = "60s"

{}
[[endpoint]]
path = "/ws/bench"
channels = ["bench"]
token = "none"

[[channel]]
name = "bench"
publish = "true"

{}
{extra}
"#,
        limits(kind),
        kind.configuration()
    )
}

/// All clients come from one address, and nobody is slowed.
fn limits(kind: Kind) -> &'static str {
    match kind {
        Kind::OursLimited => "",
        _ => {
            "[limits]\nconnections = 100000\nper_address = 0\nqueue = \"16MiB\"\npublishes_per_second = 4000000\ncommands_per_second = 4000000\nper_address_commands = 0\n"
        }
    }
}

/// Reads the child's output up to its address; the rest is thrown away as it comes.
fn address_of(child: &mut Child) -> anyhow::Result<SocketAddr> {
    let mut out = BufReader::new(child.stdout.take().context("a child's output")?);
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        if out.read_line(&mut line)? == 0 {
            bail!("it ended without saying where it listens: {seen}");
        }
        if let Some((_, rest)) = line.split_once("listening on http://") {
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)))
                .unwrap_or(rest.len());
            let address = rest.get(..end).unwrap_or_default().parse()?;
            std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
            return Ok(address);
        }
        seen.push_str(&line);
    }
}

/// A whole HTTP answer as text.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

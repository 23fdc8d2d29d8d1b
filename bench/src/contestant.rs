//! The servers that are measured: how each is started, which path its clients take, and its end.
//!
//! A server is one process; it says `listening on http://ADDRESS` on its standard output, takes `POST /api/publish` and
//! dies with the runner or when its value is dropped.

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

use crate::{
    load::{API_KEY, Protocol},
    usage,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Floor,
    FloorJoined,
    /// pregón, bare endpoint: the payload alone, as the floor sends it.
    Ours,
    /// pregón, the full protocol.
    OursFull,
    /// pregón, server-sent events.
    OursSse,
    Bun,
    NodeWs,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: one write per frame",
            Self::FloorJoined => "floor: frames joined",
            Self::Ours => "pregón, bare endpoint",
            Self::OursFull => "pregón, full protocol",
            Self::OursSse => "pregón, SSE",
            Self::Bun => "bun server (µWebSockets)",
            Self::NodeWs => "Node ws",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::OursFull => Protocol::Full,
            Self::OursSse => Protocol::Sse,
            _ => Protocol::Bare,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::OursFull => "/ws",
            Self::OursSse => "/sse?channel=bench",
            _ => "/ws/bench",
        }
    }

    /// Why it cannot run here, if so.
    pub(crate) fn obstacle(self) -> Option<String> {
        let program = self.program();
        let there = if program.is_absolute() {
            program.is_file()
        } else {
            on_path(&program)
        };
        let modules = peers().join("node_modules/ws");
        match self {
            Self::NodeWs if there && !modules.is_dir() => Some("npm packages are not installed".into()),
            _ if there => None,
            _ => Some(format!("{} is not there", program.display())),
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Floor | Self::FloorJoined => beside("pregon-floor"),
            Self::Ours | Self::OursFull | Self::OursSse => pregon(),
            // The package's own file: `bin/bun` needs an install script, and scripts of packages stay off.
            Self::Bun => peers().join("node_modules/@oven/bun-linux-x64/bin/bun"),
            Self::NodeWs => "node".into(),
        }
    }

    fn arguments(self, config: &Path) -> Vec<PathBuf> {
        match self {
            Self::Floor => Vec::new(),
            Self::FloorJoined => vec!["--joined".into()],
            Self::Ours | Self::OursFull | Self::OursSse => {
                vec!["serve".into(), "--config".into(), config.to_owned()]
            }
            Self::Bun => vec![peers().join("bun.js")],
            Self::NodeWs => vec![peers().join("ws.js")],
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursFull | Self::OursSse)
    }
}

/// The folder of the peers' scripts.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Our binary: `PREGON_BIN`, or the one beside this program.
pub(crate) fn pregon() -> PathBuf {
    std::env::var_os("PREGON_BIN").map_or_else(|| beside("pregon"), PathBuf::from)
}

fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

fn on_path(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts a server; `extra` is added to our configuration, `core` is where it may run.
    pub(crate) fn start(kind: Kind, extra: &str, core: Option<usize>) -> anyhow::Result<Self> {
        let folder = process::scratch("bench", None)?;
        let data = folder.join("data");
        Self::start_in(kind, extra, core, folder, &data)
    }

    /// Starts a server of ours on a log that outlives it.
    pub(crate) fn start_on(
        kind: Kind,
        extra: &str,
        core: Option<usize>,
        data: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_in(kind, extra, core, process::scratch("bench", None)?, data)
    }

    fn start_in(
        kind: Kind,
        extra: &str,
        core: Option<usize>,
        folder: PathBuf,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let config = folder.join("pregon.toml");
        fs::write(&config, configuration(extra))?;
        let mut command = match core {
            Some(core) if usage::cores() > 1 => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(kind.program());
                command
            }
            _ => Command::new(kind.program()),
        };
        command.args(kind.arguments(&config)).current_dir(&folder);
        for name in [
            "DATABASE_URL",
            "PREGON_ADMIN_URL",
            "REDIS_URL",
            "JWT_SECRET",
            "PREGON_LISTEN",
            "PORT",
        ] {
            command.env_remove(name);
        }
        command.env("PREGON_DATA", data).env_remove("PREGON_API_KEY");
        command
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

fn configuration(extra: &str) -> String {
    format!(
        r#"[server]
listen = "127.0.0.1:0"
api_key = "{API_KEY}"

[limits]
connections = 100000
per_address = 0
queue = "16MiB"

[[endpoint]]
path = "/ws/bench"
channels = ["bench"]
token = "none"

[[channel]]
name = "bench"

{extra}
"#
    )
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

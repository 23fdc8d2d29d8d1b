//! A hermetic Redis: own folder and port, dies with us, gone when dropped. With `sentinel` and `cluster` also several.

pub mod cluster;
pub mod sentinel;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    postgres::tls::{Authority, Certificate},
    process,
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// What a Redis is like; the default is empty, without a password, and forgets everything when it stops.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// What clients have to know.
    pub password: Option<String>,
    /// Writes and syncs every command, so that a kill loses nothing.
    pub append_only: bool,
    /// Listens with TLS too, on a port of its own, with a certificate for 127.0.0.1 and localhost.
    pub tls: bool,
    /// More arguments for the program.
    pub args: Vec<String>,
}

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    port: u16,
    options: RedisOptions,
    tls: Option<Tls>,
    child: Option<Child>,
}

#[derive(Debug)]
struct Tls {
    port: u16,
    authority: Authority,
    certificate: Certificate,
}

impl Redis {
    /// Starts an empty server without a password.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_as(RedisOptions::default()).await
    }

    /// Starts an empty server; `append_only` writes and syncs every command, so that a kill loses nothing.
    pub async fn start_with(password: Option<&str>, append_only: bool) -> anyhow::Result<Self> {
        let options = RedisOptions {
            password: password.map(str::to_owned),
            append_only,
            ..RedisOptions::default()
        };
        Self::start_as(options).await
    }

    /// Starts an empty server.
    pub async fn start_as(options: RedisOptions) -> anyhow::Result<Self> {
        let folder = process::scratch("redis", None)?;
        let port = process::free_port()?;
        let tls = options.tls.then(|| Tls::make(&folder)).transpose()?;
        let mut redis = Self {
            folder,
            port,
            options,
            tls,
            child: None,
        };
        redis.launch().await?;
        Ok(redis)
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let mut command = server(&self.folder, self.port, None)?;
        command.args(["--save", ""]).arg("--dir").arg(&self.folder);
        if self.options.append_only {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        if let Some(password) = &self.options.password {
            command.args(["--requirepass", password, "--masterauth", password]);
        }
        if let Some(tls) = &self.tls {
            tls.serve(&mut command, tls.port);
        }
        command.args(&self.options.args);
        let child =
            process::spawn(command, process::SIGKILL).context("starting redis-server (is it installed?)")?;
        self.child = Some(child);
        let answered = eventually(PATIENCE, || self.command(&["PING"])).await;
        answered
            .map(drop)
            .with_context(|| format!("redis-server did not start: {}", self.log()))
    }

    /// The port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://[:password@]127.0.0.1:port/0`.
    pub fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/0", self.login(), self.port)
    }

    /// `rediss://[:password@]127.0.0.1:port/0`, of a server with TLS.
    pub fn tls_url(&self) -> Option<String> {
        let tls = self.tls.as_ref()?;
        Some(format!("rediss://{}127.0.0.1:{}/0", self.login(), tls.port))
    }

    /// The authority to trust, of a server with TLS.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|tls| tls.authority.ca_file())
    }

    fn login(&self) -> String {
        let password = self.options.password.as_ref();
        password
            .map(|password| format!(":{password}@"))
            .unwrap_or_default()
    }

    /// The address for a proxy's upstream.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default()
    }

    /// Sends one command on a new connection and returns the raw first part of its reply; error replies are errors.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        if let Some(password) = &self.options.password {
            exchange(&mut stream, &["AUTH", password]).await?;
        }
        exchange(&mut stream, words).await
    }

    /// Publishes a message; answers how many subscribers there were.
    pub async fn publish(&self, channel: &str, message: &str) -> anyhow::Result<u64> {
        let reply = self.command(&["PUBLISH", channel, message]).await?;
        Ok(reply.trim_start_matches(':').trim().parse()?)
    }

    /// Orderly shutdown.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.end(process::SIGTERM).await
    }

    /// Kills it.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        self.end(process::SIGKILL).await
    }

    async fn end(&mut self, signal: i32) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            process::signal_if_running(&mut child, signal);
            process::wait_exit(&mut child, PATIENCE).await?;
        }
        Ok(())
    }

    /// Starts again on the same port and folder, stopping first if need be.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.launch().await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            process::end(child, process::SIGKILL, PATIENCE);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Tls {
    fn make(folder: &Path) -> anyhow::Result<Self> {
        let authority = Authority::create(folder)?;
        Ok(Self {
            port: process::free_port()?,
            certificate: authority.issue("server", "DNS:localhost,IP:127.0.0.1")?,
            authority,
        })
    }

    /// Lets a program listen with TLS too.
    fn serve(&self, command: &mut Command, port: u16) {
        command.arg("--tls-port").arg(port.to_string());
        command.arg("--tls-cert-file").arg(&self.certificate.cert);
        command.arg("--tls-key-file").arg(&self.certificate.key);
        command.arg("--tls-ca-cert-file").arg(self.authority.ca_file());
        command.args(["--tls-auth-clients", "no"]);
    }
}

/// The program with its port, writing into the folder's log; a configuration file has to be its first argument.
fn server(folder: &Path, port: u16, config: Option<&Path>) -> anyhow::Result<Command> {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("redis.log"))?;
    let mut command = Command::new("redis-server");
    command
        .args(config)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

async fn exchange(stream: &mut TcpStream, words: &[&str]) -> anyhow::Result<String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes()).await?;
    let mut reply = vec![0; 64 * 1024];
    let length = stream.read(&mut reply).await?;
    reply.truncate(length);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    anyhow::ensure!(
        !reply.is_empty() && !reply.starts_with('-'),
        "redis answered {reply:?}"
    );
    Ok(reply)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn restarts_on_the_same_port_and_keeps_what_it_synced() {
        let mut redis = Redis::start_with(None, true).await.unwrap();
        redis.command(&["SET", "key", "value"]).await.unwrap();
        redis.kill9().await.unwrap();
        assert!(redis.command(&["PING"]).await.is_err());
        redis.restart().await.unwrap();
        assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), "$5\r\nvalue\r\n");
        assert_eq!(redis.publish("events", "{}").await.unwrap(), 0);
    }

    #[tokio::test]
    async fn asks_for_the_password() {
        let redis = Redis::start_with(Some("clave"), false).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
        assert!(
            exchange(&mut stream, &["PING"])
                .await
                .unwrap_err()
                .to_string()
                .contains("NOAUTH")
        );
        assert!(redis.command(&["PING"]).await.unwrap().contains("PONG"));
        assert!(redis.url().contains(":clave@"));
    }
}

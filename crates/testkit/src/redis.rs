//! A hermetic Redis: own folder and port, dies with us, gone when dropped.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{process, wait::eventually};

const PATIENCE: Duration = Duration::from_secs(10);

/// A running Redis. Its data is lost when it stops, unless `append_only` was asked for.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    port: u16,
    password: Option<String>,
    append_only: bool,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty server without a password.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(None, false).await
    }

    /// Starts an empty server; `append_only` writes and syncs every command, so that a kill loses nothing.
    pub async fn start_with(password: Option<&str>, append_only: bool) -> anyhow::Result<Self> {
        let folder = process::scratch("redis", None)?;
        let password = password.map(str::to_owned);
        let port = process::free_port()?;
        let mut redis = Self {
            folder,
            port,
            password,
            append_only,
            child: None,
        };
        redis.launch().await?;
        Ok(redis)
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("redis.log"))?;
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]);
        command.arg("--dir").arg(&self.folder);
        if self.append_only {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
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
        let login = self
            .password
            .as_ref()
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        format!("redis://{login}127.0.0.1:{}/0", self.port)
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
        if let Some(password) = &self.password {
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

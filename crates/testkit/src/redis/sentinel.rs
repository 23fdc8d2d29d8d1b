//! A sentinel that watches over a master, and puts a replica in its place soon after it died.

use std::{fs, path::PathBuf, process::Child};

use anyhow::Context;
use tokio::net::TcpStream;

use super::{PATIENCE, Redis, exchange, server};
use crate::{process, wait::eventually};

/// A running sentinel; alone it is the majority.
#[derive(Debug)]
pub struct Sentinel {
    folder: PathBuf,
    port: u16,
    /// Of one that listens with TLS too, and asks for a password.
    secure: Option<u16>,
    child: Child,
}

impl Sentinel {
    /// The name that it gives to its master.
    pub const MASTER: &'static str = "principal";
    /// What a secure one asks for.
    pub const PASSWORD: &'static str = "guardia";

    /// Starts one for a master and waits until it knows that one's replica.
    pub async fn start(master: &Redis) -> anyhow::Result<Self> {
        let sentinel = Self::launch(master, None)?;
        let name = Self::MASTER;
        let knows = eventually(PATIENCE, || async {
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", name]).await?;
            anyhow::ensure!(replicas.contains("master-link-status\r\n$2\r\nok"), "{replicas}");
            Ok(())
        });
        knows.await.with_context(|| sentinel.told())?;
        Ok(sentinel)
    }

    /// Starts one with TLS and [`Sentinel::PASSWORD`], for a master with TLS and a password.
    pub async fn start_secure(master: &Redis) -> anyhow::Result<Self> {
        let sentinel = Self::launch(master, Some(process::free_port()?))?;
        let sees = eventually(PATIENCE, || async {
            let seen = sentinel.command(&["SENTINEL", "MASTER", Self::MASTER]).await?;
            anyhow::ensure!(seen.contains("flags\r\n$6\r\nmaster\r\n"), "{seen}");
            Ok(())
        });
        sees.await.with_context(|| sentinel.told())?;
        Ok(sentinel)
    }

    fn launch(master: &Redis, secure: Option<u16>) -> anyhow::Result<Self> {
        let folder = process::scratch("sentinel", None)?;
        let port = process::free_port()?;
        let name = Self::MASTER;
        let config = folder.join("sentinel.conf");
        let tls = master.tls.as_ref().zip(secure);
        let watched = tls.map_or(master.port, |(tls, _)| tls.port);
        let mut text = format!(
            "sentinel monitor {name} 127.0.0.1 {watched} 1\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 2000\n"
        );
        if let Some(password) = &master.options.password {
            text.push_str(&format!("sentinel auth-pass {name} {password}\n"));
        }
        fs::write(&config, text)?;
        let mut command = server(&folder, port, Some(&config))?;
        if let Some((tls, port)) = tls {
            tls.serve(&mut command, port);
            command.args(["--tls-replication", "yes", "--requirepass", Self::PASSWORD]);
        }
        command.arg("--sentinel");
        let child = process::spawn(command, process::SIGKILL).context("starting the sentinel")?;
        Ok(Self {
            folder,
            port,
            secure,
            child,
        })
    }

    fn told(&self) -> String {
        let log = fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default();
        format!("the sentinel told: {log}")
    }

    /// `redis+sentinel://127.0.0.1:port/MASTER`.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{}", self.port, Self::MASTER)
    }

    /// `127.0.0.1:port/MASTER` of a secure one, behind `rediss+sentinel://` and the login of its master.
    pub fn secure_address(&self) -> Option<String> {
        Some(format!("127.0.0.1:{}/{}", self.secure?, Self::MASTER))
    }

    /// Sends it one command.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        if self.secure.is_some() {
            exchange(&mut stream, &["AUTH", Self::PASSWORD]).await?;
        }
        exchange(&mut stream, words).await
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGKILL, PATIENCE);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

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
    child: Child,
}

impl Sentinel {
    /// The name that it gives to its master.
    pub const MASTER: &'static str = "principal";

    /// Starts one for a master and waits until it knows that one's replica.
    pub async fn start(master: &Redis) -> anyhow::Result<Self> {
        let folder = process::scratch("sentinel", None)?;
        let port = process::free_port()?;
        let name = Self::MASTER;
        let config = folder.join("sentinel.conf");
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {} 1\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 2000\n",
            master.port()
        );
        fs::write(&config, text)?;
        let mut command = server(&folder, port, Some(&config))?;
        command.arg("--sentinel");
        let child = process::spawn(command, process::SIGKILL).context("starting the sentinel")?;
        let sentinel = Self { folder, port, child };
        let knows = eventually(PATIENCE, || async {
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", name]).await?;
            anyhow::ensure!(replicas.contains("master-link-status\r\n$2\r\nok"), "{replicas}");
            Ok(())
        });
        knows.await?;
        Ok(sentinel)
    }

    /// `redis+sentinel://127.0.0.1:port/MASTER`.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{}", self.port, Self::MASTER)
    }

    /// Sends it one command.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        exchange(&mut stream, words).await
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGKILL, PATIENCE);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

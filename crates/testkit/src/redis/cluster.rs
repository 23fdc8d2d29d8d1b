//! A cluster of masters without replicas.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;

use super::{Redis, RedisOptions};
use crate::{process, wait::eventually};

/// Meeting and agreeing takes some rounds of gossip.
const PATIENCE: Duration = Duration::from_secs(30);

const SLOTS: usize = 16_384;

/// Running nodes that have shared out all slots.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts a cluster of so many nodes.
    pub async fn start(count: usize) -> anyhow::Result<Self> {
        Self::start_as(count, &RedisOptions::default()).await
    }

    /// Starts a cluster of so many nodes with a password, which listen with TLS too.
    pub async fn start_secure(count: usize) -> anyhow::Result<Self> {
        let options = RedisOptions {
            password: Some("clave".to_owned()),
            tls: true,
            // Otherwise nodes tell clients the ports without TLS.
            args: ["--tls-cluster", "yes"].map(str::to_owned).to_vec(),
            ..RedisOptions::default()
        };
        Self::start_as(count, &options).await
    }

    async fn start_as(count: usize, options: &RedisOptions) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for index in 0..count {
            let bus = process::free_port()?.to_string();
            let args = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                "--cluster-port",
                &bus,
            ];
            let options = RedisOptions {
                args: [options.args.clone(), args.map(str::to_owned).to_vec()].concat(),
                ..options.clone()
            };
            let node = Redis::start_as(options).await?;
            let (first, last) = (index * SLOTS / count, (index + 1) * SLOTS / count - 1);
            let epoch = (index + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            let slots = [first.to_string(), last.to_string()];
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &slots[0], &slots[1]])
                .await?;
            nodes.push(node);
            buses.push(bus);
        }
        let cluster = Self { nodes };
        if options.tls {
            cluster.trust_each_other().await?;
        }
        cluster.meet(&buses).await?;
        eventually(PATIENCE, || cluster.agreed()).await?;
        Ok(cluster)
    }

    async fn trust_each_other(&self) -> anyhow::Result<()> {
        let file = self.ca_file()?.display().to_string();
        for node in &self.nodes {
            let trust = ["CONFIG", "SET", "tls-ca-cert-file", &file];
            node.command(&trust).await?;
        }
        Ok(())
    }

    async fn meet(&self, buses: &[String]) -> anyhow::Result<()> {
        let (first, others) = self.nodes.split_first().context("a cluster needs a node")?;
        for (node, bus) in others.iter().zip(buses.iter().skip(1)) {
            let port = node.tls.as_ref().map_or(node.port, |tls| tls.port).to_string();
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, bus];
            first.command(&meet).await?;
        }
        Ok(())
    }

    async fn agreed(&self) -> anyhow::Result<()> {
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for node in &self.nodes {
            let info = node.command(&["CLUSTER", "INFO"]).await?;
            anyhow::ensure!(
                info.contains("cluster_state:ok") && info.contains(&known),
                "{info}"
            );
        }
        Ok(())
    }

    /// The nodes.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// `redis+cluster://127.0.0.1:port,127.0.0.1:port`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(Redis::address).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// `rediss+cluster://:password@127.0.0.1:port,127.0.0.1:port` of a secure one.
    pub fn secure_url(&self) -> Option<String> {
        let ports = self.nodes.iter().map(|node| Some(node.tls.as_ref()?.port));
        let hosts: Option<Vec<String>> = ports.map(|port| Some(format!("127.0.0.1:{}", port?))).collect();
        let login = self.nodes.first().map(Redis::login).unwrap_or_default();
        Some(format!("rediss+cluster://{login}{}", hosts?.join(",")))
    }

    /// A file with the authorities of all nodes of a secure one.
    pub fn ca_file(&self) -> anyhow::Result<PathBuf> {
        let first = self.nodes.first().context("a cluster needs a node")?;
        let mut all = String::new();
        for file in self.nodes.iter().filter_map(Redis::ca_file) {
            all.push_str(&fs::read_to_string(file)?);
        }
        let file = first.folder.join("authorities.pem");
        fs::write(&file, all)?;
        Ok(file)
    }

    /// Sends a command to the node that has its key.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut refused = anyhow::anyhow!("a cluster without nodes");
        for node in &self.nodes {
            match node.command(words).await {
                Ok(reply) => return Ok(reply),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

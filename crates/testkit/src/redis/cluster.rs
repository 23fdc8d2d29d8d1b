//! A cluster of masters without replicas.

use std::time::Duration;

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
                args: args.map(str::to_owned).to_vec(),
                ..RedisOptions::default()
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
        let (first, others) = nodes.split_first().context("a cluster needs a node")?;
        for (node, bus) in others.iter().zip(buses.iter().skip(1)) {
            let port = node.port().to_string();
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, bus];
            first.command(&meet).await?;
        }
        let cluster = Self { nodes };
        eventually(PATIENCE, || cluster.agreed()).await?;
        Ok(cluster)
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

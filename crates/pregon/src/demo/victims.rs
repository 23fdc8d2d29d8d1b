//! The parts that a page may kill: PostgreSQL, Redis and the gateways, by SIGKILL, each back after a pause.
//!
//! A kill is a task of the demo's own, so that a page which closes leaves nothing dead. Whoever kills holds the part's lock until
//! it is back, and a second kill of the same part is refused meanwhile. `away` says what is down; pages follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pregon_testkit::postgres::Server;
use pregon_testkit::{Node, Redis};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};

/// How long a part stays away: long enough to see it, short enough to wait for.
const PAUSE: Duration = Duration::from_secs(2);

/// A kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Victim {
    Postgres,
    Redis,
    Gateway,
}

impl Victim {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Gateway => "gateway",
        }
    }
}

/// What is down; a gateway with its example.
pub(super) type Away = BTreeSet<(Victim, Option<&'static str>)>;

/// Why nothing was killed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotKilled {
    #[error("there is no such part here")]
    Unknown,
    #[error("it is down already, wait until it is back")]
    Down,
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// The parts, which it owns.
#[derive(Debug)]
pub(super) struct Victims {
    server: Mutex<Server>,
    redis: Option<Mutex<Redis>>,
    gateways: BTreeMap<&'static str, Mutex<Node>>,
    away: watch::Sender<Away>,
}

impl Victims {
    pub(super) fn new(
        server: Server,
        redis: Option<Redis>,
        gateways: impl Iterator<Item = (&'static str, Node)>,
    ) -> Self {
        Self {
            server: Mutex::new(server),
            redis: redis.map(Mutex::new),
            gateways: gateways.map(|(name, node)| (name, Mutex::new(node))).collect(),
            away: watch::Sender::default(),
        }
    }

    pub(super) fn away(&self) -> watch::Receiver<Away> {
        self.away.subscribe()
    }

    /// Kills a part and brings it back.
    pub(super) async fn kill(&self, victim: Victim, example: &str) -> Result<(), NotKilled> {
        match victim {
            Victim::Postgres => self.kill_postgres().await,
            Victim::Redis => self.kill_redis().await,
            Victim::Gateway => self.kill_gateway(example).await,
        }
    }

    async fn kill_postgres(&self) -> Result<(), NotKilled> {
        let mut server = self.server.try_lock().map_err(|_| NotKilled::Down)?;
        let down = self.down((Victim::Postgres, None));
        server.kill9().await?;
        tokio::time::sleep(PAUSE).await;
        server.restart().await?;
        drop(down);
        Ok(())
    }

    async fn kill_redis(&self) -> Result<(), NotKilled> {
        let redis = self.redis.as_ref().ok_or(NotKilled::Unknown)?;
        let mut redis = redis.try_lock().map_err(|_| NotKilled::Down)?;
        let down = self.down((Victim::Redis, None));
        redis.kill9().await?;
        tokio::time::sleep(PAUSE).await;
        redis.restart().await?;
        drop(down);
        Ok(())
    }

    async fn kill_gateway(&self, example: &str) -> Result<(), NotKilled> {
        let found = self.gateways.get_key_value(example);
        let (name, gateway) = found.ok_or(NotKilled::Unknown)?;
        let mut gateway = gateway.try_lock().map_err(|_| NotKilled::Down)?;
        let down = self.down((Victim::Gateway, Some(name)));
        gateway.kill9().await?;
        tokio::time::sleep(PAUSE).await;
        gateway.restart().await?;
        drop(down);
        Ok(())
    }

    /// It counts as down until the value goes, also when it does not come back: then nobody waits for it.
    fn down(&self, part: (Victim, Option<&'static str>)) -> impl Drop {
        self.away.send_modify(|away| {
            away.insert(part);
        });
        Down {
            away: self.away.clone(),
            part,
        }
    }

    /// Lets the gateways leave in order.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        for gateway in self.gateways.values() {
            gateway.lock().await.sigterm().await?;
        }
        Ok(())
    }
}

struct Down {
    away: watch::Sender<Away>,
    part: (Victim, Option<&'static str>),
}

impl Drop for Down {
    fn drop(&mut self) {
        self.away.send_modify(|away| {
            away.remove(&self.part);
        });
    }
}

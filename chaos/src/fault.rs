//! Faults: what happens to the servers and the lines between them while writers write and clients flap.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::stage::Stage;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillGateway,
    StopGateway,
    KillPostgres,
    FreezePostgres,
    CutClients,
    SlowClients,
    SilentClients,
    CutPostgres,
    SlowPostgres,
    SilentPostgres,
    FullDisk,
    ClockJump,
}

/// Each as often as it is here: kills above all.
const FAULTS: [Fault; 17] = [
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::StopGateway,
    Fault::KillPostgres,
    Fault::KillPostgres,
    Fault::FreezePostgres,
    Fault::CutClients,
    Fault::SlowClients,
    Fault::SilentClients,
    Fault::CutPostgres,
    Fault::SlowPostgres,
    Fault::SilentPostgres,
    Fault::FullDisk,
    Fault::ClockJump,
    Fault::ClockJump,
];

/// How long a fault lasts that has a length, milliseconds.
const LENGTH: std::ops::Range<u64> = 200..2_500;
/// A slow line, bytes a second.
const SLOW: usize = 40_000;

impl Fault {
    /// One that this stage can let happen.
    pub(crate) fn random(stage: &Stage, random: &mut StdRng) -> Self {
        let possible = |fault: &Self| match fault {
            Self::FullDisk => stage.disk.is_some(),
            Self::ClockJump => stage.clock.is_some(),
            _ => true,
        };
        let drawn = std::iter::from_fn(|| FAULTS.choose(random).copied());
        drawn
            .take(FAULTS.len())
            .find(possible)
            .unwrap_or(Self::KillGateway)
    }

    /// Lets it happen, and ends it.
    pub(crate) async fn happen(self, stage: &mut Stage, random: &mut StdRng) -> anyhow::Result<()> {
        let length = Duration::from_millis(random.random_range(LENGTH));
        match self {
            Self::KillGateway => {
                stage.node.kill9().await?;
                // Half of the time somebody is quick to start it again.
                if random.random_bool(0.5) {
                    tokio::time::sleep(length).await;
                }
                stage.node.restart().await?;
            }
            Self::StopGateway => stage.node.restart().await?,
            Self::KillPostgres => {
                stage.server.kill9().await?;
                tokio::time::sleep(length).await;
                stage.server.restart().await?;
            }
            Self::FreezePostgres => {
                stage.server.freeze();
                tokio::time::sleep(length).await;
                stage.server.thaw();
            }
            Self::CutClients => stage.to_node.cut().await,
            Self::SlowClients => {
                stage.to_node.slow(SLOW);
                tokio::time::sleep(length).await;
            }
            Self::SilentClients => {
                stage.to_node.black_hole(true);
                tokio::time::sleep(length).await;
            }
            Self::CutPostgres => stage.to_postgres.cut().await,
            Self::SlowPostgres => {
                stage.to_postgres.slow(SLOW);
                tokio::time::sleep(length).await;
            }
            Self::SilentPostgres => {
                stage.to_postgres.black_hole(true);
                tokio::time::sleep(length).await;
            }
            Self::FullDisk => {
                if let Some(disk) = &stage.disk {
                    disk.fill()?;
                    tokio::time::sleep(length).await;
                    disk.free()?;
                }
            }
            Self::ClockJump => {
                if let Some(clock) = &stage.clock {
                    clock.jump(random)?;
                }
            }
        }
        stage.to_node.restore().await;
        stage.to_postgres.restore().await;
        Ok(())
    }
}

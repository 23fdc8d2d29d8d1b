//! Makes slot and publication again when they have gone, where the gateway may run DDL itself.

use crate::catalog::names::literal;
use crate::connect::Settings;
use crate::install::{self, Target};

/// The installation, ready to be run again.
#[derive(Debug, Clone)]
pub struct Repair {
    /// Of a role that may run DDL.
    pub settings: Settings,
    pub target: Target,
}

impl Repair {
    /// Installs what is missing; with `renew` the slot is made anew even if it is there.
    pub async fn run(&self, renew: bool) -> Result<(), String> {
        let session = self.settings.open().await.map_err(|error| error.to_string())?;
        if renew {
            let name = literal(&self.target.slot);
            let sql = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {name} AND NOT active"
            );
            session
                .batch_execute(&sql)
                .await
                .map_err(|error| error.to_string())?;
        }
        let plan = install::plan(&session, &self.target)
            .await
            .map_err(|error| error.to_string())?;
        // Nobody has asked this gateway to take over from whoever has installed it since.
        if !plan.unseats.is_empty() {
            return Err(format!(
                "another configuration has installed {}",
                plan.unseats.join(", ")
            ));
        }
        install::apply(&session, &plan, &mut |step| {
            // Each is the record of what was done: see `lines.rs` of pregon.
            tracing::info!(name: "pregon.record", object = step.object, reason = step.reason, "installed");
        })
        .await
        .map_err(|error| error.to_string())
    }
}

//! From the configuration to the router's part of the database: who connects, and what shall be there.

use anyhow::Context as _;
use pregon_capture::connect::Session;
use pregon_capture::install::{self, Plan};
use pregon_capture::query::{Pool, PoolOptions};
use pregon_capture::router::{self, RouterSpec, TableName};

use crate::config::{Apply, Config, Router};
use crate::lines;

/// The section, which the commands need.
pub fn section(config: &Config) -> anyhow::Result<&Router> {
    config
        .router
        .as_ref()
        .context("nothing is configured for the router: add a [router] section")
}

/// What shall be in the database. The router's role is the user of `[postgres] url`.
pub fn spec(config: &Config) -> anyhow::Result<RouterSpec> {
    let router = section(config)?;
    Ok(RouterSpec {
        contacts: TableName::parse(&router.contacts),
        conversations: TableName::parse(&router.conversations),
        messages: TableName::parse(&router.messages),
        agents: router.agents.as_deref().map(TableName::parse),
        area: router.area.clone(),
        mode: crate::install::mode(config),
        role: crate::install::settings(config)?.user().map(str::to_owned),
    })
}

/// A pool for one purpose.
pub fn pool(config: &Config, name: &str, size: usize) -> anyhow::Result<Pool> {
    let postgres = config.postgres.clone().unwrap_or_default();
    let mut options = PoolOptions::new(crate::install::settings(config)?.with_name(name));
    options.size = size;
    options.statement_timeout = postgres.statement_timeout.0;
    options.pooler = section(config)?.pooler;
    // A delivery is answered when it is kept.
    options.durable = true;
    Ok(Pool::new(options))
}

/// Brings the database to what the router needs, or says what is missing.
pub(super) async fn prepare(config: &Config, session: &Session) -> anyhow::Result<()> {
    let plan = router::plan(session, &spec(config)?).await?;
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    if plan.is_empty() {
        return Ok(());
    }
    let apply = config
        .postgres
        .as_ref()
        .map_or(Apply::Manual, |postgres| postgres.apply);
    if apply == Apply::Manual {
        anyhow::bail!(
            "the database lacks, or has otherwise, {} of the router: run `pregon router db plan` to see the SQL and \
             `pregon router db apply` to install it, or set [postgres] apply = \"auto\"",
            plan.summary()
        );
    }
    carry_out(session, &plan).await
}

async fn carry_out(session: &Session, plan: &Plan) -> anyhow::Result<()> {
    install::apply(session, plan, &mut |step| {
        tracing::info!(name: lines::RECORD, object = step.object, reason = step.reason, "installed");
    })
    .await?;
    Ok(())
}

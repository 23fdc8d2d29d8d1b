//! The plan that removes what is the router's own. The application's tables and rows stay.

use tokio_postgres::Client;

use super::{MARK, SCHEMA};
use crate::install::{InstallError, Plan, Step, StepKind};

/// Plans the removal; [`crate::install::apply`] runs it.
pub async fn drop(client: &Client) -> Result<Plan, InstallError> {
    let mut plan = Plan::default();
    let facts = super::facts::read(client).await?;
    match facts.schema {
        None => return Ok(plan),
        Some(false) => {
            plan.warnings.push(format!(
                "schema {SCHEMA} stays: its comment does not begin with \"{}\"",
                MARK.trim_end()
            ));
            return Ok(plan);
        }
        Some(true) => {}
    }
    if facts.tables.iter().any(|table| table == "work") {
        let sql = "SELECT count(*) FROM pregon_router.work";
        let waiting: i64 = client.query_one(sql, &[]).await?.try_get(0)?;
        if waiting > 0 {
            plan.warnings.push(format!(
                "{waiting} items wait to be processed and are lost with the inbox"
            ));
        }
    }
    plan.steps.push(Step {
        sql: format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"),
        reason: "it is ours; the tables of the application stay".into(),
        object: format!("schema {SCHEMA}"),
        kind: StepKind::Drop,
    });
    Ok(plan)
}

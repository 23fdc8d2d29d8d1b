//! Publishing through the database: `pregon.publish` in SQL, for callers that hold a connection string and no API key.

use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::query::{Param, Pool, QueryError, TextParam};

/// Publishes one event. It reaches the gateways when the statement has committed, which it has when this returns.
pub async fn publish(pool: &Pool, channel: &str, event: &str, data: &Value) -> Result<(), QueryError> {
    let (channel, event) = (TextParam(Some(channel)), TextParam(Some(event)));
    // JSON null is data too, and must not become SQL's NULL.
    let null = TextParam(Some("null"));
    let json = Param(data);
    let data: &(dyn ToSql + Sync) = if data.is_null() { &null } else { &json };
    pool.query_text(
        "SELECT pregon.publish($1, $2, $3)::text",
        &[&channel, &event, data],
    )
    .await?;
    Ok(())
}

//! The gateways that are at work in this database: what they were installed with is theirs.

use tokio_postgres::Client;

use crate::query::{Pool, QueryError, TextParam};

/// Gateways carry `pregon-` and eight digits in the names of their connections, or `wal`, whatever stands before it.
const SQL: &str = "
    SELECT format('%s (pid %s%s)', a.application_name, a.pid, ' from ' || host(a.client_addr)) FROM pg_stat_activity a
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
       AND a.application_name ~ '/(pregon-[0-9a-f]{8}|wal)(/|$)' ORDER BY a.application_name";

/// Connections of gateways that serve, in words.
pub async fn rivals(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client.query(SQL, &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Whether another gateway than `node` waits for its turn at the outbox, or reads it.
pub async fn is_awaited(pool: &Pool, node: &str) -> Result<bool, QueryError> {
    const SQL: &str = "
        SELECT '' FROM pg_stat_activity WHERE datname = current_database()
           AND application_name ~ '/pregon-[0-9a-f]{8}/outbox$' AND strpos(application_name, $1) = 0 LIMIT 1";
    let rows = pool.query_text(SQL, &[&TextParam(Some(node))]).await?;
    Ok(!rows.is_empty())
}

//! Enrichment of many events by one statement.
//!
//! The user's SQL runs once per input row inside a lateral join, with typed references to the input's columns where it names
//! parameters. The types are those that the server finds when it prepares the SQL alone; the input crosses as one JSON array.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Lease, NamedSql, Pool, QueryError, TextParam, column_text, ident, parse};

impl Pool {
    /// Runs the SQL for every row in one statement and gives the first row of each answer, in the order of the input; `None`
    /// where the SQL found nothing. `:name` takes the row's key of that name, NULL if there is none.
    pub async fn query_batch(
        &self,
        sql: &NamedSql,
        rows: &[Value],
    ) -> Result<Vec<Option<Value>>, QueryError> {
        let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        let found = self.query_batch_raw(sql, &rows).await?;
        found
            .iter()
            .map(|json| {
                json.as_deref()
                    .map(|json| parse(&String::from_utf8_lossy(json)))
                    .transpose()
            })
            .collect()
    }

    /// The same with rows as JSON text, in and out: no number changes on its way.
    pub async fn query_batch_raw<R: AsRef<[u8]>>(
        &self,
        sql: &NamedSql,
        rows: &[R],
    ) -> Result<Vec<Option<Bytes>>, QueryError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let input = json_array(rows)?;
        let work = async {
            let mut lease = self.get().await?;
            match run(&mut lease, sql, &input).await {
                // The table may have changed under the prepared statement: 42 is the class of wrong types and names.
                Err(QueryError::Sql { code, .. }) if code.starts_with("42") => {
                    lease.forget(&sql.numbered());
                    run(&mut lease, sql, &input).await
                }
                done => done,
            }
        };
        let found = tokio::time::timeout(self.patience(), work)
            .await
            .map_err(|_| QueryError::Timeout)??;
        if found.len() != rows.len() {
            let (asked, got) = (rows.len(), found.len());
            return Err(QueryError::Value(format!("{got} answers for {asked} rows")));
        }
        found
            .iter()
            .map(|row| Ok(column_text(row, 0)?.map(Bytes::from)))
            .collect()
    }
}

async fn run(lease: &mut Lease, sql: &NamedSql, input: &str) -> Result<Vec<Row>, QueryError> {
    let types = lease.parameters(&sql.numbered()).await?;
    let params: [&(dyn ToSql + Sync); 1] = [&TextParam(Some(input))];
    lease.query(&batched(sql, &types), &params).await
}

/// Joins rows that are JSON already. One that is none would shift all that follow, so it is an error.
fn json_array<R: AsRef<[u8]>>(rows: &[R]) -> Result<String, QueryError> {
    let mut array = String::from("[");
    for row in rows {
        let row: &serde_json::value::RawValue = serde_json::from_slice(row.as_ref())
            .map_err(|error| QueryError::Value(format!("a row to enrich is not JSON: {error}")))?;
        if array.len() > 1 {
            array.push(',');
        }
        array.push_str(row.get());
    }
    array.push(']');
    Ok(array)
}

/// The one statement. The alias is quoted and odd, so that it hides nothing of the user's.
fn batched(sql: &NamedSql, types: &[Type]) -> String {
    let inner = sql.render(|index| {
        let name = sql.names().get(index).map(String::as_str).unwrap_or_default();
        format!("\"pregon in\".{}", ident(name))
    });
    let mut record = String::new();
    for (name, ty) in sql.names().iter().zip(types) {
        let separator = if record.is_empty() { "" } else { ", " };
        let _ = write!(
            record,
            "{separator}{} {}.{}",
            ident(name),
            ident(ty.schema()),
            ident(ty.name())
        );
    }
    let source = if record.is_empty() {
        String::new()
    } else {
        format!(
            "CROSS JOIN LATERAL pg_catalog.json_to_record(\"pregon row\".value) AS \"pregon in\"({record}) "
        )
    };
    format!(
        "SELECT pg_catalog.row_to_json(\"pregon out\")::text \
         FROM pg_catalog.json_array_elements($1::json) WITH ORDINALITY AS \"pregon row\"(value, nr) {source}\
         LEFT JOIN LATERAL (SELECT * FROM ({inner}\n) AS \"pregon sql\" LIMIT 1) AS \"pregon out\" ON true \
         ORDER BY \"pregon row\".nr"
    )
}

//! Reads what did not fit a notification: a row by its key, or a stored payload.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::catalog::pieces::{equality, equality_name};
use crate::decode::WatchTable;
use crate::query::{Pool, QueryError, TextParam, column_text, ident};

/// The search path that the trigger functions have: a condition means the same here.
pub const SEARCH_PATH: &str = "pg_catalog, pg_temp";

/// Reads a row by its key, with the columns of the watch. `None` if the row has gone, or does not match the condition of the
/// watch: any role may notify, so a key proves nothing, and a row may have changed since.
pub async fn by_key(pool: &Pool, table: &WatchTable, key: &Bytes) -> Result<Option<Bytes>, QueryError> {
    let key: BTreeMap<String, &RawValue> = serde_json::from_slice(key)
        .map_err(|error| QueryError::Value(format!("the key is not a JSON object: {error}")))?;
    if key.is_empty() {
        return Err(QueryError::Value("the key has no column".to_owned()));
    }
    let texts: Vec<Option<String>> = key.values().map(|value| text_of(value)).collect();
    let values: Vec<TextParam<'_>> = texts.iter().map(|text| TextParam(text.as_deref())).collect();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let usual = pool
        .query_text(&select(table, key.keys(), &BTreeMap::new()), &values)
        .await;
    let rows = match usual {
        // There is no such operator on our search path: the type is an extension's.
        Err(QueryError::Sql { code, .. }) if code == "42883" => {
            let operators = operators(pool, table).await?;
            pool.query_text(&select(table, key.keys(), &operators), &values)
                .await?
        }
        done => done?,
    };
    rows.first()
        .map_or(Ok(None), |row| Ok(column_text(row, 0)?.map(Bytes::from)))
}

/// Reads a payload that was stored by reference. `None` if it was too old and is deleted.
pub async fn stored(pool: &Pool, id: i64) -> Result<Option<String>, QueryError> {
    let id = id.to_string();
    let rows = pool
        .query_text(
            "SELECT payload FROM pregon.stored WHERE id = $1",
            &[&TextParam(Some(&id))],
        )
        .await?;
    rows.first().map_or(Ok(None), |row| column_text(row, 0))
}

/// The operators that compare the columns of the primary key, as its index does.
async fn operators(pool: &Pool, table: &WatchTable) -> Result<BTreeMap<String, String>, QueryError> {
    const OPERATORS: &str = concat!(
        "SELECT a.attname::text, ",
        equality_name!(),
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index x ON x.indrelid = c.oid AND x.indisprimary
          CROSS JOIN LATERAL unnest(x.indkey::int2[], x.indclass::oid[]) AS k (attnum, class)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum",
        equality!(),
        "WHERE n.nspname = $1 AND c.relname = $2"
    );
    let names: [&(dyn ToSql + Sync); 2] = [&TextParam(Some(&table.schema)), &TextParam(Some(&table.table))];
    let rows = pool.query_text(OPERATORS, &names).await?;
    let pair = |row: &Row| Ok(column_text(row, 0)?.zip(column_text(row, 1)?));
    let pairs: Vec<_> = rows.iter().map(pair).collect::<Result<_, QueryError>>()?;
    Ok(pairs.into_iter().flatten().collect())
}

/// A JSON scalar as PostgreSQL reads it. Numbers keep their digits.
fn text_of(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

fn select<'a>(
    table: &WatchTable,
    key: impl Iterator<Item = &'a String>,
    operators: &BTreeMap<String, String>,
) -> String {
    // The table goes by its own name, as in the trigger, so that a condition may qualify its columns.
    let name = ident(&table.table);
    let columns = match &table.columns {
        Some(columns) => columns
            .iter()
            .map(|column| format!("{name}.{}", ident(column)))
            .collect::<Vec<_>>()
            .join(", "),
        None => format!("{name}.*"),
    };
    let mut conditions: Vec<String> = key
        .enumerate()
        .map(|(index, column)| {
            let equals = operators.get(column).map_or("=", String::as_str);
            format!("{name}.{} {equals} ${}", ident(column), index + 1)
        })
        .collect();
    if let Some(condition) = &table.condition {
        // On lines of its own: it may end with a comment.
        conditions.push(format!("(\n{}\n)", condition.trim()));
    }
    format!(
        "SELECT pg_catalog.row_to_json(pregon_row.*)::text FROM (SELECT {columns} FROM {}.{name} AS {name} WHERE {} LIMIT 1) AS pregon_row",
        ident(&table.schema),
        conditions.join(" AND ")
    )
}

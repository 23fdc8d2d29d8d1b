//! Whether the triggers of watches are there and fire: one cheap query that any role may run, for a gateway that asks again
//! and again. It compares no definitions; a plan does.

use tokio_postgres::types::ToSql;

use super::spec::WatchSpec;
use super::watch::{TRUNCATE, function_name, type_bits};
use crate::catalog::names::spelt;
use crate::query::{Pool, QueryError, TextParam, column_text};

/// Tables that inherit and partitions have to have the row triggers as well. Function and trigger are matched by their names,
/// so that the query does not depend on whether the schema may be used.
const SQL: &str = "
    WITH RECURSIVE wanted AS (
      SELECT w->>'watch' AS watch, w->>'schema' AS schema, w->>'table' AS name, w->>'function_schema' AS function_schema,
             w->>'function' AS function, (w->>'bits')::int AS bits
        FROM json_array_elements($1::json) AS w
    ), spot AS (
      SELECT w.watch, w.schema, w.name, w.function_schema, w.function, w.bits, c.oid
        FROM wanted w LEFT JOIN pg_namespace n ON n.nspname = w.schema
        LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
      UNION
      SELECT s.watch, n.nspname::text COLLATE \"default\", c.relname::text COLLATE \"default\", s.function_schema, s.function,
             s.bits & ~$2::int, c.oid
        FROM spot s JOIN pg_inherits i ON i.inhparent = s.oid
        JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relpersistence <> 't'
    ), lacking AS (
      SELECT s.watch, s.schema, s.name, s.oid, s.bits & ~coalesce((
               SELECT bit_or(t.tgtype::int) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                 JOIN pg_namespace n ON n.oid = p.pronamespace
                WHERE t.tgrelid = s.oid AND t.tgenabled IN ('O', 'A') AND p.proname = s.function
                  AND n.nspname = s.function_schema), 0) AS bits
        FROM spot s
    )
    SELECT watch, schema, name, (oid IS NULL)::text, bits::text FROM lacking WHERE bits <> 0 ORDER BY 1, 2, 3";

/// What is missing for these watches to be captured, in words; empty when every trigger is there and enabled.
pub async fn missing_triggers(pool: &Pool, watches: &[WatchSpec]) -> Result<Vec<String>, QueryError> {
    let wanted: Vec<_> = watches.iter().map(wanted).collect();
    let (wanted, truncate) = (serde_json::Value::from(wanted).to_string(), TRUNCATE.to_string());
    let params: [&(dyn ToSql + Sync); 2] = [&TextParam(Some(&wanted)), &TextParam(Some(&truncate))];
    let rows = pool.query_text(SQL, &params).await?;
    let mut missing = Vec::new();
    for row in &rows {
        let text = |index| Ok::<_, QueryError>(column_text(row, index)?.unwrap_or_default());
        let table = format!("{}.{}", spelt(&text(1)?), spelt(&text(2)?));
        let bits: i16 = text(4)?.parse().unwrap_or_default();
        missing.push(if text(3)? == "true" {
            format!("watch \"{}\": there is no table {table}", text(0)?)
        } else {
            format!(
                "watch \"{}\": no enabled trigger for {} on {table}",
                text(0)?,
                super::watch::events(bits).join(", ")
            )
        });
    }
    Ok(missing)
}

fn wanted(spec: &WatchSpec) -> serde_json::Value {
    let (function_schema, function) = function_name(spec);
    serde_json::json!({
        "watch": spec.name,
        "schema": spec.schema,
        "table": spec.table,
        "function_schema": function_schema,
        "function": function,
        "bits": type_bits(&spec.operations),
    })
}

//! Whether the triggers of watches are there and fire, and which tables a watch consists of: one cheap query that any role may run, for
//! a gateway that asks again and again. It compares no definitions; a plan does.

use tokio_postgres::types::ToSql;

use super::MARK;
use super::spec::WatchSpec;
use super::watch::{COMPUTES, TRUNCATE, function_name, type_bits};
use crate::catalog::names::{fingerprint, spelt};
use crate::query::{Pool, QueryError, TextParam, column_text};

/// Tables that inherit and partitions have to have the row triggers as well: a row that is written through a root fires only the row
/// triggers of the table that holds it. Function and trigger are matched by their names, so that the query does not depend on whether
/// the schema may be used. A table was born where it stands if its columns are as old as the table: attaching rewrites them.
const SQL: &str = "
    WITH RECURSIVE wanted AS (
      SELECT w->>'watch' AS watch, w->>'schema' AS schema, w->>'table' AS name, w->>'function_schema' AS function_schema,
             w->>'function' AS function, (w->>'bits')::int AS bits
        FROM json_array_elements($1::json) AS w
    ), spot AS (
      SELECT w.watch, w.schema, w.name, w.function_schema, w.function, w.bits, c.oid, coalesce(c.relispartition, false) AS by_row
        FROM wanted w LEFT JOIN pg_namespace n ON n.nspname = w.schema
        LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
      UNION
      SELECT s.watch, n.nspname::text COLLATE \"default\", c.relname::text COLLATE \"default\", s.function_schema, s.function,
             s.bits & ~$2::int, c.oid, true
        FROM spot s JOIN pg_inherits i ON i.inhparent = s.oid
        JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relpersistence <> 't'
    ), known AS (
      SELECT s.watch, s.schema, s.name, s.oid, s.bits,
             coalesce(bit_or(t.bits) FILTER (WHERE t.tgenabled IN ('O', 'A')), 0) AS firing, coalesce(bit_or(t.bits), 0) AS there
        FROM spot s
        LEFT JOIN LATERAL (
          SELECT t.tgenabled, CASE WHEN s.by_row AND t.tgtype & 1 = 0 THEN t.tgtype & $2::int ELSE t.tgtype::int END AS bits
            FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE t.tgrelid = s.oid AND p.proname = s.function AND n.nspname = s.function_schema) AS t ON true
       GROUP BY s.watch, s.schema, s.name, s.oid, s.bits
    )
    SELECT watch, schema, name, oid::text, (bits & ~firing)::text, (bits & ~there)::text,
           (SELECT count(DISTINCT (a.xmin::text, a.cmin::text)) = 1 FROM pg_attribute a WHERE a.attrelid = k.oid)::text,
           (SELECT string_agg(a.attname || ' ' || pg_get_expr(d.adbin, d.adrelid), ',' ORDER BY a.attnum)
              FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = k.oid AND a.attgenerated = 'v' AND NOT a.attisdropped),
           (SELECT coalesce(substring(p.prosrc FROM $3 || '([0-9a-f]+)'), '') FROM wanted w JOIN pg_namespace n ON n.nspname = w.function_schema
              JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = w.function
             WHERE w.watch = k.watch AND w.schema = k.schema AND w.name = k.name
               AND obj_description(p.oid, 'pg_proc') LIKE $4 || '%')
      FROM known k ORDER BY 1, 2, 3";

/// Whether any of these tables has rows. It may wait for a lock, therefore it is asked apart, and rarely.
const ROWS: &str = "
    SELECT (coalesce(max(pg_catalog.pg_relation_size(c.oid)), 0) > 0)::text
      FROM json_array_elements_text($1::json) AS o (oid) JOIN pg_class c ON c.oid = o.oid::oid WHERE c.relkind <> 'p'";

/// What the database has of these watches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// What is missing for them to be captured, in words; empty when every trigger is there and enabled.
    pub missing: Vec<String>,
    /// A trigger is not there at all, or a function is out of date, which an installation mends; a trigger that somebody disabled is
    /// that person's to enable.
    pub is_mendable: bool,
    /// The tables that they consist of: their own, partitions, and tables that inherit.
    pub members: Vec<Member>,
}

/// A table that a watch captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub watch: String,
    pub oid: u32,
    /// It was made where it stands, so that it had no row before. A table that was attached may have had some.
    pub is_born_there: bool,
}

/// Looks at the triggers and tables of these watches.
pub async fn coverage(pool: &Pool, watches: &[WatchSpec]) -> Result<Coverage, QueryError> {
    let wanted: Vec<_> = watches.iter().map(wanted).collect();
    let (wanted, truncate) = (serde_json::Value::from(wanted).to_string(), TRUNCATE.to_string());
    let params: [&(dyn ToSql + Sync); 4] = [
        &TextParam(Some(&wanted)),
        &TextParam(Some(&truncate)),
        &TextParam(Some(COMPUTES)),
        &TextParam(Some(MARK)),
    ];
    let rows = pool.query_text(SQL, &params).await?;
    let mut coverage = Coverage::default();
    for row in &rows {
        let text = |index| Ok::<_, QueryError>(column_text(row, index)?.unwrap_or_default());
        let bits = |index| Ok::<_, QueryError>(text(index)?.parse::<i16>().unwrap_or_default());
        let (watch, table) = (text(0)?, format!("{}.{}", spelt(&text(1)?), spelt(&text(2)?)));
        let Ok(oid) = text(3)?.parse() else {
            coverage
                .missing
                .push(format!("watch \"{watch}\": there is no table {table}"));
            continue;
        };
        let lacking = bits(4)?;
        if lacking != 0 {
            let events = super::watch::events(lacking).join(", ");
            coverage.missing.push(format!(
                "watch \"{watch}\": no enabled trigger for {events} on {table}"
            ));
        }
        coverage.is_mendable |= bits(5)? != 0;
        let computed = column_text(row, 7)?.map(|virtuals| fingerprint(&virtuals));
        if column_text(row, 8)?.is_some_and(|by| by != computed.unwrap_or_default()) {
            coverage.missing.push(format!(
                "watch \"{watch}\": its function computes the virtual columns of {table} by former expressions"
            ));
            coverage.is_mendable = true;
        }
        coverage.members.push(Member {
            watch,
            oid,
            is_born_there: text(6)? == "true",
        });
    }
    Ok(coverage)
}

/// Whether any of these tables has rows.
pub async fn have_rows(pool: &Pool, tables: &[u32]) -> Result<bool, QueryError> {
    let tables = serde_json::json!(tables.iter().map(ToString::to_string).collect::<Vec<_>>()).to_string();
    let rows = pool.query_text(ROWS, &[&TextParam(Some(&tables))]).await?;
    let answer = rows.first().map(|row| column_text(row, 0)).transpose()?.flatten();
    Ok(answer.as_deref() == Some("true"))
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

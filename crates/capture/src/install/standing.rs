//! Whether what a running gateway was installed with still stands: the functions' bodies, and whether anybody has touched a function or a
//! trigger since the last look. One cheap query that any role may run.
//!
//! A catalogue row that is changed gets a new `xmin`, even if it is changed back: a trigger that was disabled for a moment, or dropped
//! and made again, is known by that. New triggers are no finding: each new partition gets one.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::spec::{Mode, Target, WatchSpec};
use super::watch::{DesiredWatch, function_name};
use super::{InstallError, MARK, late};
use crate::catalog;
use crate::catalog::names::fingerprint;
use crate::query::{Pool, QueryError, TextParam, column_text};

/// The function of a watch as a gateway expects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub watch: String,
    schema: String,
    name: String,
    body: String,
    spec: String,
    table: (String, String),
    /// Why a row that a trigger has written cannot be read again.
    unreadable: Option<&'static str>,
}

/// What was found for one watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why its changes are not captured as this gateway's configuration says.
    pub wrong: Option<String>,
    /// Why the order of a row's changes can become a gap: triggers of others, and no way to read the row.
    pub open: Option<String>,
    /// Identity of function and triggers, and the transactions that wrote them last.
    touched: BTreeMap<String, String>,
}

impl Standing {
    /// Whether something that was there before has been changed or replaced since, so that writes between may be missing.
    pub fn is_touched_since(&self, before: &Self) -> bool {
        before
            .touched
            .iter()
            .any(|(object, version)| self.touched.get(object) != Some(version))
    }
}

/// What the functions of this target's watches should be, from the tables as they are now.
pub async fn expected(client: &Client, target: &Target) -> Result<Vec<Expected>, InstallError> {
    let mut list = Vec::new();
    for spec in target.watches.iter().filter(|_| target.mode != Mode::Wal) {
        let Some(table) = catalog::table_facts(client, &spec.schema, &spec.table).await? else {
            continue;
        };
        let watch = DesiredWatch::new(spec, table, target.mode);
        list.push(Expected {
            watch: spec.name.clone(),
            table: (spec.schema.clone(), spec.table.clone()),
            unreadable: late::unreadable(&watch.table),
            schema: watch.function_schema,
            name: watch.function_name,
            body: watch.body,
            spec: identity(spec, target.mode),
        });
    }
    Ok(list)
}

/// What tells the function of one configuration from that of another, whatever version writes it.
pub(crate) fn identity(spec: &WatchSpec, mode: Mode) -> String {
    let mode = match mode {
        Mode::Notify => "notify",
        Mode::Outbox => "outbox",
        Mode::Wal => "wal",
    };
    let mut operations: Vec<&str> = spec.operations.iter().map(|op| op.as_str()).collect();
    operations.sort_unstable();
    let (schema, name) = function_name(spec);
    let value = serde_json::json!([
        mode,
        spec.schema,
        spec.table,
        operations,
        spec.condition,
        spec.columns,
        spec.old,
        schema,
        name
    ]);
    fingerprint(&value.to_string())
}

/// The body only where it is not the expected one: it is long.
const SQL: &str = "
    SELECT w->>'watch', CASE WHEN p.prosrc <> w->>'body' THEN p.prosrc END,
           coalesce(obj_description(p.oid, 'pg_proc'), ''),
           (SELECT string_agg(format('%s %s', o.id, o.version), ',') FROM (
              SELECT 'f' || p.oid AS id, p.xmin::text AS version WHERE p.oid IS NOT NULL
              UNION ALL
              SELECT 't' || t.oid, t.xmin::text FROM pg_trigger t WHERE t.tgfoid = p.oid) AS o),
           (SELECT string_agg(t.tgname, ', ' ORDER BY t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
              JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE s.nspname = w->>'table_schema' AND c.relname = w->>'table' AND NOT t.tgisinternal
               AND t.tgtype & 66 = 0 AND t.tgtype & 28 <> 0
               AND coalesce(obj_description(t.tgfoid, 'pg_proc'), '') NOT LIKE 'pregon: %')
      FROM json_array_elements($1::json) AS w
      LEFT JOIN pg_namespace n ON n.nspname = w->>'schema'
      LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = w->>'name' AND p.pronargs = 0";

/// Looks at the functions and triggers of the watches; by their names.
pub async fn standing(pool: &Pool, expected: &[Expected]) -> Result<BTreeMap<String, Standing>, QueryError> {
    let wanted: Vec<_> = expected
        .iter()
        .map(|one| {
            let (table_schema, table) = &one.table;
            serde_json::json!({
                "watch": one.watch, "schema": one.schema, "name": one.name, "body": one.body,
                "table_schema": table_schema, "table": table,
            })
        })
        .collect();
    let wanted = serde_json::Value::from(wanted).to_string();
    let params: [&(dyn ToSql + Sync); 1] = [&TextParam(Some(&wanted))];
    let mut found = BTreeMap::new();
    for row in &pool.query_text(SQL, &params).await? {
        let watch = column_text(row, 0)?.unwrap_or_default();
        let other = column_text(row, 1)?;
        let comment = column_text(row, 2)?.unwrap_or_default();
        let touched = column_text(row, 3)?.unwrap_or_default();
        let known = expected.iter().find(|one| one.watch == watch);
        let wrong = other
            .zip(known)
            .and_then(|(body, known)| known.finding(&body, &comment));
        let touched = touched.split(',').filter_map(|one| one.split_once(' '));
        let others = column_text(row, 4)?.zip(known.and_then(|known| known.unreadable));
        let standing = Standing {
            wrong,
            open: others.map(|(names, why)| format!("triggers may write its rows ({names}), and {why}")),
            touched: touched
                .map(|(object, version)| (object.to_owned(), version.to_owned()))
                .collect(),
        };
        found.insert(watch, standing);
    }
    Ok(found)
}

impl Expected {
    /// What to say of a body that is not the expected one.
    fn finding(&self, body: &str, comment: &str) -> Option<String> {
        let part = |key: &str| comment.strip_prefix(MARK)?.split_once(key)?.1.split(' ').next();
        let function = format!("function {}.{}", self.schema, self.name);
        if part("body=") != Some(fingerprint(body).as_str()) {
            return Some(format!("{function} was changed by hand"));
        }
        // Another version writes another text for the same watch.
        (part("spec=") != Some(self.spec.as_str()))
            .then(|| format!("{function} was installed by another configuration"))
    }
}

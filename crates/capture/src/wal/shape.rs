//! What a table's changes become for each watch of it: kinds of the columns, the chosen ones, and what the server has to be asked.
//!
//! Made once for each description of a table in the stream (the first, and one after every change of its definition).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::ask::{Ask, Form, Source};
use super::json;
use super::known::Identities;
use super::pgoutput::{Cell, Relation, Tuple};
use super::types::{self, Composites, Kind};
use crate::catalog::names::{ident, ident_list, qualified};
use crate::install::WatchSpec;
use crate::query::{Pool, QueryError};

/// One column as the stream has it.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The name of its type, of a domain that of what it is made of.
    type_name: String,
    /// Every old row has it.
    pub(super) key: bool,
    /// `"name":`
    label: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) relation: Arc<Relation>,
    pub(super) identities: Identities,
    pub(super) columns: Vec<Column>,
    pub(super) composites: Composites,
    pub(super) watches: Vec<Bound>,
}

/// One watch on this table.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) name: Arc<str>,
    pub(super) spec: WatchSpec,
    /// Places of the chosen columns.
    pub(super) chosen: Vec<usize>,
    /// What only the server can say.
    pub(super) ask: Option<Ask>,
    /// A column that the watch names and the table did not have: it is never left out in silence.
    pub(super) absent: Option<String>,
    /// Why rows of this shape cannot be asked about any more: the table has changed since they were written.
    pub(super) former: Option<String>,
    /// The condition reads no column outside of the replica identity, so it can be told from a key.
    pub(super) key_condition: bool,
}

impl Bound {
    /// Whether a value of this column matters.
    pub(super) fn reads(&self, column: usize) -> bool {
        self.ask.is_some() || self.chosen.contains(&column)
    }
}

/// A column of the watched table today.
#[derive(Debug, Deserialize)]
struct Today {
    name: String,
    type_oid: u32,
    generated: bool,
    /// How it is computed, where that runs nothing but functions of PostgreSQL.
    expression: Option<String>,
}

/// A table that this one is, or inherits from.
#[derive(Debug, Deserialize)]
struct Above {
    oid: u32,
    schema: String,
    name: String,
}

const ABOVE: &str = "
    WITH RECURSIVE above AS (
      SELECT $1::oid AS oid UNION SELECT i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid)
    SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name
      FROM above a JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace";

// A function of somebody else's would run with the rights of the gateway.
const TODAY: &str = "
    SELECT a.attname::text AS name, a.atttypid::bigint AS type_oid, a.attgenerated <> '' AS generated,
           CASE WHEN NOT EXISTS (SELECT 1 FROM pg_depend p WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
                                    AND p.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass))
                THEN pg_get_expr(d.adbin, d.adrelid) END AS expression
      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

impl Shape {
    /// Looks up what the stream does not say.
    pub(super) async fn load(
        pool: &Pool,
        relation: &Arc<Relation>,
        watches: &[WatchSpec],
    ) -> Result<Self, QueryError> {
        let oids: Vec<u32> = relation.columns.iter().map(|column| column.type_oid).collect();
        let kinds = types::kinds(pool, &oids).await?;
        let composites = match kinds.iter().any(Kind::is_composite) {
            true => Composites::load(pool, &oids).await?,
            false => Composites::default(),
        };
        let kinds = kinds.into_iter().zip(types::names(pool, &oids).await?);
        let identities = Identities::load(pool, relation).await?;
        let columns = relation
            .columns
            .iter()
            .zip(kinds)
            .map(|(column, (kind, type_name))| {
                let mut label = Vec::new();
                json::string(&mut label, &column.name);
                label.push(b':');
                Column {
                    name: column.name.clone(),
                    kind,
                    type_name,
                    key: identities.is_key(column),
                    label,
                }
            });
        let mut shape = Self {
            relation: Arc::clone(relation),
            columns: columns.collect(),
            identities,
            composites,
            watches: Vec::new(),
        };
        let above: Vec<Above> = typed(pool, ABOVE, relation.oid).await?;
        for spec in watches {
            // By its name when it was changed, or through its parent; it may be gone or renamed by now.
            let itself =
                (relation.schema == spec.schema && relation.name == spec.table).then_some(relation.oid);
            let parent = above.iter().find(|table| {
                table.oid != relation.oid && table.schema == spec.schema && table.name == spec.table
            });
            if let Some(watched) = itself.or(parent.map(|table| table.oid)) {
                let today: Vec<Today> = typed(pool, TODAY, watched).await?;
                let bound = shape.bind(pool, spec, &today).await?;
                shape.watches.push(bound);
            }
        }
        Ok(shape)
    }

    async fn bind(&self, pool: &Pool, spec: &WatchSpec, today: &[Today]) -> Result<Bound, QueryError> {
        let inherits = (&spec.schema, &spec.table) != (&self.relation.schema, &self.relation.name);
        let wanted: Vec<&str> = match &spec.columns {
            Some(chosen) => chosen.iter().map(String::as_str).collect(),
            // The watch is about the columns of its own table.
            None if inherits => today.iter().map(|column| column.name.as_str()).collect(),
            None => self.columns.iter().map(|column| column.name.as_str()).collect(),
        };
        let place = |name: &str| self.columns.iter().position(|column| column.name == name);
        let chosen: Vec<usize> = wanted.iter().filter_map(|name| place(name)).collect();
        let generated = |name: &str| today.iter().any(|column| column.generated && column.name == name);
        let mut named = spec.columns.iter().flatten();
        let absent = named.find(|name| place(name).is_none() && !generated(name));
        let foreign = chosen.iter().any(|place| {
            self.columns
                .get(*place)
                .is_some_and(|column| column.kind.is_foreign())
        });
        let computed = |column: &Today| {
            let wanted = spec
                .columns
                .as_ref()
                .is_none_or(|chosen| chosen.contains(&column.name));
            column.generated && column.expression.is_some() && wanted && place(&column.name).is_none()
        };
        let rendered = foreign || today.iter().any(computed);
        let (ask, former) = self.question(pool, spec, today, rendered, inherits).await?;
        Ok(Bound {
            name: Arc::from(spec.name.as_str()),
            absent: absent.cloned(),
            chosen,
            former,
            key_condition: self.is_key_condition(pool, spec).await?,
            ask,
            spec: spec.clone(),
        })
    }

    /// What the server has to be asked. Rows have the columns of their moment; only where that is no answer (a condition that takes the whole
    /// row, a type whose schema is closed to the gateway) they are rows of the table, as long as it is what it was. Otherwise the reason why
    /// nobody can say any more what they were.
    async fn question(
        &self,
        pool: &Pool,
        spec: &WatchSpec,
        today: &[Today],
        rendered: bool,
        inherits: bool,
    ) -> Result<(Option<Ask>, Option<String>), QueryError> {
        let (table, alias) = (qualified(&spec.schema, &spec.table), ident(&spec.table));
        let streamed = |name: &str| self.columns.iter().any(|column| column.name == name);
        let ask = |form, row: String| {
            Ask::new(Source {
                form,
                alias: &alias,
                condition: spec.condition.as_deref(),
                row: rendered.then_some(row.as_str()),
            })
        };
        let definitions = self.definitions(|_| true);
        let row = self.expressions(spec, today, inherits);
        let Some(of_columns) = ask(Form::Columns(&definitions), row) else {
            return Ok((None, None));
        };
        let error = match of_columns.try_out(pool).await {
            Ok(()) => return Ok((Some(of_columns), None)),
            Err(error) if error.is_permanent() => error,
            Err(error) => return Err(error),
        };
        if !self.is_as_today(today, inherits) {
            return Ok((
                None,
                Some(format!(
                    "the table has changed since this row was written: {error}"
                )),
            ));
        }
        let row = expressions(spec, today, &streamed);
        Ok((ask(Form::Table(&table), row), None))
    }

    /// Whether rows of this shape are rows of the table as it is by now.
    fn is_as_today(&self, today: &[Today], inherits: bool) -> bool {
        let ours = self.relation.columns.iter();
        let ours: Vec<(&str, u32)> = ours
            .map(|column| (column.name.as_str(), column.type_oid))
            .collect();
        let now = today
            .iter()
            .map(|column| (column.name.as_str(), column.type_oid, column.generated))
            .filter(|(name, _, generated)| !generated || ours.iter().any(|(own, _)| own == name));
        let now: Vec<(&str, u32)> = now.map(|(name, kind, _)| (name, kind)).collect();
        match inherits {
            // A table that inherits has more, and in another order.
            true => now.iter().all(|column| ours.contains(column)),
            false => now == ours,
        }
    }

    /// Whether one of the columns at these places is a composite, or has one within.
    pub(super) fn has_composite(&self, places: &[usize]) -> bool {
        let mut columns = places.iter().filter_map(|place| self.columns.get(*place));
        columns.any(|column| column.kind.is_composite())
    }

    /// A list of columns with their types.
    pub(super) fn definitions(&self, wanted: impl Fn(&Column) -> bool) -> String {
        let columns = self.columns.iter().filter(|column| wanted(column));
        let defined = columns.map(|column| format!("{} {}", ident(&column.name), column.type_name));
        defined.collect::<Vec<_>>().join(", ")
    }

    /// The columns of the rendered row: those of its moment, and computed ones of today with their expression, at their places.
    fn expressions(&self, spec: &WatchSpec, today: &[Today], inherits: bool) -> String {
        let streamed = |name: &str| self.columns.iter().any(|column| column.name == name);
        if spec.columns.is_some() || inherits {
            let known: Vec<&Today> = today
                .iter()
                .filter(|column| column.generated || streamed(&column.name))
                .collect();
            return expressions(spec, &known, &streamed);
        }
        let mut computed = today
            .iter()
            .enumerate()
            .filter_map(|(place, column)| {
                let expression = column
                    .expression
                    .as_ref()
                    .filter(|_| column.generated && !streamed(&column.name))?;
                Some((place, format!("({expression}) AS {}", ident(&column.name))))
            })
            .peekable();
        let mut list = Vec::new();
        for column in &self.columns {
            let place = today.iter().position(|now| now.name == column.name);
            while let Some((_, expression)) =
                computed.next_if(|(before, _)| place.is_some_and(|place| *before < place))
            {
                list.push(expression);
            }
            list.push(ident(&column.name));
        }
        list.extend(computed.map(|(_, expression)| expression));
        list.join(", ")
    }

    /// Whether the condition compiles with the columns of the replica identity alone.
    async fn is_key_condition(&self, pool: &Pool, spec: &WatchSpec) -> Result<bool, QueryError> {
        let Some(condition) = &spec.condition else {
            return Ok(true);
        };
        let keys: Vec<&str> = self
            .columns
            .iter()
            .filter(|column| column.key)
            .map(|column| column.name.as_str())
            .collect();
        let definitions = self.definitions(|column| column.key);
        let of_columns = (!keys.is_empty()).then(|| {
            format!(
                "pg_catalog.json_to_record('{{}}') AS {}({definitions})",
                ident(&spec.table)
            )
        });
        let of_table = format!(
            "(SELECT {} FROM (SELECT (NULL::{}).*) AS pregon_all) AS {}",
            ident_list(keys.iter().copied()),
            qualified(&spec.schema, &spec.table),
            ident(&spec.table),
        );
        for rows in of_columns.into_iter().chain([of_table]) {
            let sql = format!("SELECT (\n{}\n)::text FROM {rows}", condition.trim());
            match pool.query_text(&sql, &[]).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_permanent() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The row as JSON with the columns at `places`; of a key only those that it has.
    pub(super) fn render(&self, tuple: &Tuple, places: &[usize]) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(64 + places.len() * 24);
        out.push(b'{');
        for place in places {
            let (Some(column), Some(cell)) = (self.columns.get(*place), tuple.cells.get(*place)) else {
                continue;
            };
            // No column of a key is null: such a value is not known.
            if tuple.key_only && (*cell == Cell::Null || !(column.key || self.identities.differ)) {
                continue;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&column.label);
            match cell.text() {
                Some(text) if json::write(&mut out, &column.kind, readable(column, text)?) => {}
                Some(_) => {
                    return Err(format!(
                        "column {}: its composite type has other fields by now",
                        column.name
                    ));
                }
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
        Ok(out)
    }

    /// The row as `json_populate_record` reads it back without a loss: texts, which go through the types' own input.
    pub(super) fn texts(&self, tuple: &Tuple, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(b'{');
        let mut first = true;
        for (column, cell) in self.columns.iter().zip(&tuple.cells) {
            let Cell::Text(text) = cell else { continue };
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(&column.label);
            let text = readable(column, text)?;
            match column.kind {
                // A text would become a JSON string.
                Kind::Json => out.extend_from_slice(text.as_bytes()),
                _ => json::string(out, text),
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// A database without an encoding keeps whatever bytes it gets.
fn readable<'a>(column: &Column, text: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(text).map_err(|_| format!("column {} has text that is not UTF-8", column.name))
}

/// The columns of the rendered row, computed ones with their expression.
fn expressions<T: std::borrow::Borrow<Today>>(
    spec: &WatchSpec,
    today: &[T],
    streamed: &dyn Fn(&str) -> bool,
) -> String {
    let mut list: Vec<String> = Vec::new();
    let mut add = |column: &Today| {
        let name = ident(&column.name);
        match (&column.expression, column.generated && !streamed(&column.name)) {
            (Some(expression), true) => list.push(format!("({expression}) AS {name}")),
            (None, true) => {}
            _ => list.push(name),
        }
    };
    match &spec.columns {
        None => today.iter().map(T::borrow).for_each(&mut add),
        Some(chosen) => {
            let found = |name: &String| today.iter().map(T::borrow).find(|column| column.name == *name);
            chosen.iter().filter_map(found).for_each(&mut add);
        }
    }
    list.join(", ")
}

pub(super) async fn typed<T: serde::de::DeserializeOwned>(
    pool: &Pool,
    sql: &str,
    oid: u32,
) -> Result<Vec<T>, QueryError> {
    let rows = pool.query_json(sql, &[json!(oid)]).await?;
    let read = |row| serde_json::from_value(row).map_err(|error| QueryError::Value(error.to_string()));
    rows.into_iter().map(read).collect()
}

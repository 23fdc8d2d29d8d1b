//! How the text of each type becomes JSON. The rules are those of `row_to_json`; what they depend on is read from the catalogue.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::catalog::pieces::types_with_parts;
use crate::query::{Pool, QueryError};

/// The first number that PostgreSQL does not use itself.
const FIRST_USER_OID: u32 = 16_384;
/// Types that contain others that contain others: no sane schema goes deeper.
const DEEPEST: usize = 16;

/// A way to write a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    /// A number as it is, unless it is none (`NaN`, `Infinity`).
    Number,
    Timestamp,
    TimestampTz,
    /// JSON already.
    Json,
    Array {
        delimiter: char,
        element: Arc<Kind>,
    },
    /// `1 2 3`, of the old catalogue types.
    Vector(Arc<Kind>),
    Row(Arc<[(String, Kind)]>),
    /// A type with a cast to json of its own: only the server can tell.
    Foreign,
    Text,
}

impl Kind {
    /// Whether only the server can render it.
    pub(super) fn is_foreign(&self) -> bool {
        match self {
            Self::Foreign => true,
            Self::Array { element, .. } | Self::Vector(element) => element.is_foreign(),
            Self::Row(fields) => fields.iter().any(|(_, kind)| kind.is_foreign()),
            _ => false,
        }
    }

    /// Whether it is a composite type or has one within.
    pub(super) fn is_composite(&self) -> bool {
        match self {
            Self::Row(_) => true,
            Self::Array { element, .. } | Self::Vector(element) => element.is_composite(),
            _ => false,
        }
    }

    fn builtin(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Self::Bool,
            20 | 21 | 23 | 700 | 701 | 1700 => Self::Number,
            114 | 3802 => Self::Json,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            22 => Self::Vector(Arc::new(Self::Number)),
            30 => Self::Vector(Arc::new(Self::Text)),
            _ => return None,
        })
    }
}

/// What the catalogue says of a type.
#[derive(Debug, Deserialize)]
struct Described {
    oid: u32,
    base: u32,
    element: u32,
    delimiter: char,
    /// Names and types of a row type's attributes.
    fields: Option<Vec<(String, u32)>>,
    to_json: bool,
}

const DESCRIBE: &str = concat!(
    types_with_parts!(),
    "SELECT t.oid::bigint AS oid, CASE t.typtype WHEN 'd' THEN t.typbasetype::bigint ELSE 0 END AS base,
           CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem::bigint ELSE 0 END AS element,
           t.typdelim AS delimiter,
           (SELECT json_agg(json_build_array(a.attname, a.atttypid::bigint) ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) AS fields,
           EXISTS (SELECT 1 FROM pg_cast c WHERE c.castsource = t.oid AND c.casttarget = 'json'::regtype AND c.castmethod = 'f')
             AS to_json
      FROM wanted w JOIN pg_type t ON t.oid = w.oid"
);

/// The names of these types, in their order, as a list of columns takes them: of a domain what it is made of, because a row that is a key alone
/// has nulls where a domain may have none.
pub(super) async fn names(pool: &Pool, oids: &[u32]) -> Result<Vec<String>, QueryError> {
    const NAMES: &str = "
        WITH RECURSIVE part AS (
          SELECT o.nr, o.oid FROM unnest($1::oid[]) WITH ORDINALITY AS o (oid, nr)
          UNION ALL SELECT p.nr, t.typbasetype FROM part p JOIN pg_type t ON t.oid = p.oid AND t.typtype = 'd')
        SELECT p.nr, CASE WHEN t.oid IS NULL THEN 'text' ELSE format_type(t.oid, -1) END AS name
          FROM part p LEFT JOIN pg_type t ON t.oid = p.oid WHERE t.typtype IS DISTINCT FROM 'd' ORDER BY p.nr";
    let rows = pool.query_json(NAMES, &[json!(oids)]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            row.get("name")
                .and_then(|name| name.as_str())
                .unwrap_or("text")
                .to_owned()
        })
        .collect())
}

/// The composite types among some types, as they are by now: they are altered without a word in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Composites {
    /// Changes with whatever is altered.
    print: String,
    /// The newest transaction that has altered one, if that is not long ago.
    altered: Option<u32>,
}

impl Composites {
    pub(super) async fn load(pool: &Pool, oids: &[u32]) -> Result<Self, QueryError> {
        const COMPOSITES: &str = concat!(
    types_with_parts!(),
    "SELECT coalesce(string_agg(format('%s %s %s %s', a.attrelid, a.attnum, a.attname, a.xmin), ',' ORDER BY a.attrelid, a.attnum), '') AS print,
                   (array_agg(a.xmin::text::bigint ORDER BY age(a.xmin)) FILTER (WHERE age(a.xmin) BETWEEN 0 AND 1000000000))[1] AS altered
              FROM wanted w JOIN pg_type t ON t.oid = w.oid AND t.typtype = 'c' JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0"
);
        let rows = pool.query_json(COMPOSITES, &[json!(oids)]).await?;
        let read = |row| serde_json::from_value(row).map_err(|error| QueryError::Value(error.to_string()));
        rows.into_iter().next().map_or_else(|| Ok(Self::default()), read)
    }

    pub(super) fn is_none(&self) -> bool {
        self.print.is_empty()
    }

    /// Whether a change of this transaction may have been made before they were as they are now. Numbers of transactions go round.
    pub(super) fn may_differ(&self, xid: u32) -> bool {
        self.altered
            .is_some_and(|altered| altered.wrapping_sub(xid) < u32::MAX / 2)
    }
}

/// The kinds of these types, in their order. One that the catalogue no longer has is text.
pub(super) async fn kinds(pool: &Pool, oids: &[u32]) -> Result<Vec<Kind>, QueryError> {
    let mut described = HashMap::new();
    let rows = pool.query_json(DESCRIBE, &[json!(oids)]).await?;
    for row in rows {
        let row: Described = serde_json::from_value(row)
            .map_err(|error| QueryError::Value(format!("a type could not be read: {error}")))?;
        described.insert(row.oid, row);
    }
    Ok(oids.iter().map(|oid| kind(*oid, &described, 0)).collect())
}

fn kind(oid: u32, described: &HashMap<u32, Described>, depth: usize) -> Kind {
    if let Some(kind) = Kind::builtin(oid) {
        return kind;
    }
    let Some(this) = described.get(&oid).filter(|_| depth < DEEPEST) else {
        return Kind::Text;
    };
    if this.base != 0 {
        return kind(this.base, described, depth + 1);
    }
    if this.element != 0 {
        let delimiter = described
            .get(&this.element)
            .map_or(',', |element| element.delimiter);
        let element = Arc::new(kind(this.element, described, depth + 1));
        return Kind::Array { delimiter, element };
    }
    if let Some(fields) = &this.fields {
        let fields = fields
            .iter()
            .map(|(name, oid)| (name.clone(), kind(*oid, described, depth + 1)));
        return Kind::Row(fields.collect());
    }
    if this.to_json && oid >= FIRST_USER_OID {
        return Kind::Foreign;
    }
    Kind::Text
}

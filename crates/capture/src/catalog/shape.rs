//! What JSON makes of a table's columns: domains are resolved, arrays and enums known.

use tokio_postgres::{Client, Row};

/// The JSON of a value that is not null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Number,
    /// `bigint`: beyond 2^53 a JavaScript number no longer tells neighbours apart.
    BigInteger,
    /// `numeric`: a JavaScript number keeps 15 to 17 digits of it, and no zeros behind them.
    Decimal,
    Boolean,
    Text,
    /// One of an enum's labels.
    OneOf(Vec<String>),
    /// JSON itself, or a composite type.
    Any,
}

/// One column as `row_to_json` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub shape: Shape,
    /// An array of such values, which may be null each, of one or more dimensions.
    pub array: bool,
    pub not_null: bool,
}

impl Shape {
    /// Whether `row_to_json` writes a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Number | Self::BigInteger | Self::Decimal)
    }
}

// A constraint NOT NULL that is NOT VALID (PostgreSQL 18) binds new rows only; `attnotnull` says nothing of that.
// Each column's type is followed through domains and arrays to what is neither. That a domain inside of an array is not null says
// nothing of the column.
const FIELDS: &str = "
    WITH RECURSIVE step AS (
      SELECT attnum, attname::text AS name, attnotnull AND NOT EXISTS (
               SELECT FROM pg_constraint k WHERE k.conrelid = attrelid AND k.contype = 'n' AND NOT k.convalidated
                 AND attnum = ANY (k.conkey)) AS required, atttypid AS type, false AS list
        FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
      UNION ALL
      SELECT s.attnum, s.name, s.required OR t.typnotnull AND NOT s.list,
             CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END, s.list OR t.typtype <> 'd'
        FROM step s JOIN pg_type t ON t.oid = s.type
       WHERE t.typtype = 'd' OR t.typcategory = 'A' AND t.typelem <> 0)
    SELECT s.name, s.required, s.list, t.typtype::text, format_type(t.oid, NULL),
           ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
      FROM step s JOIN pg_type t ON t.oid = s.type
     WHERE NOT (t.typtype = 'd' OR t.typcategory = 'A' AND t.typelem <> 0) ORDER BY s.attnum";

/// The columns of the relation with that oid, in their order.
pub async fn fields(client: &Client, oid: u32) -> Result<Vec<Field>, tokio_postgres::Error> {
    let rows = client.query(FIELDS, &[&oid]).await?;
    rows.iter().map(field).collect()
}

fn field(row: &Row) -> Result<Field, tokio_postgres::Error> {
    Ok(Field {
        name: row.try_get(0)?,
        not_null: row.try_get(1)?,
        array: row.try_get(2)?,
        shape: shape(row.try_get(3)?, row.try_get(4)?, row.try_get(5)?),
    })
}

/// As `row_to_json` decides (json.c, `json_categorize_type`).
fn shape(kind: &str, name: &str, labels: Vec<String>) -> Shape {
    match (kind, name) {
        ("e", _) => Shape::OneOf(labels),
        ("c", _) | (_, "json" | "jsonb") => Shape::Any,
        (_, "smallint" | "integer" | "real" | "double precision") => Shape::Number,
        (_, "bigint") => Shape::BigInteger,
        (_, "numeric") => Shape::Decimal,
        (_, "boolean") => Shape::Boolean,
        _ => Shape::Text,
    }
}

//! What PostgreSQL's catalogue says about tables. Reads only, and works for a role without any privilege on the tables.

pub mod names;
pub(crate) mod pieces;
pub mod shape;
pub mod survey;

use tokio_postgres::{Client, Row};

use pieces::{equality, equality_name};

/// What kind of relation a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary table.
    Plain,
    /// The root (or an inner node) of a partitioned table.
    Partitioned,
    View,
    MaterializedView,
    Foreign,
    /// Anything else: an index, a sequence, a composite type.
    Other,
}

impl Kind {
    fn from_code(code: &str) -> Self {
        match code {
            "r" => Self::Plain,
            "p" => Self::Partitioned,
            "v" => Self::View,
            "m" => Self::MaterializedView,
            "f" => Self::Foreign,
            _ => Self::Other,
        }
    }

    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "table",
            Self::Partitioned => "partitioned table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Foreign => "foreign table",
            Self::Other => "other relation",
        }
    }
}

/// How long the rows of a table live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    Permanent,
    /// Emptied after a crash.
    Unlogged,
    /// Seen by one session only.
    Temporary,
}

/// What of the old row the WAL carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    Default,
    Nothing,
    Full,
    Index,
}

/// Whether a column is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Generated {
    No,
    Stored,
    /// PostgreSQL 18: computed when read, NULL inside triggers. With its expression, as `pg_get_expr` spells it: the server allows
    /// no functions and types but its own there.
    Virtual(String),
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As `format_type` spells it, for example `numeric(10,2)`.
    pub type_name: String,
    pub not_null: bool,
    pub generated: Generated,
}

/// Everything that capture asks about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub owner: String,
    pub kind: Kind,
    pub persistence: Persistence,
    pub replica_identity: ReplicaIdentity,
    pub row_security: bool,
    /// It is a leaf or an inner node of a partitioned table.
    pub is_partition: bool,
    /// It inherits from another table (or is a partition).
    pub is_child: bool,
    /// Other tables inherit from it (or are its partitions).
    pub has_children: bool,
    pub columns: Vec<Column>,
    /// In key order; empty without a primary key.
    pub primary_key: Vec<String>,
    /// Tables that inherit from it, also through others; not the partitions of a partitioned table.
    pub heirs: Vec<Heir>,
    /// The operator that compares each column of the primary key, as its index does: `OPERATOR(pg_catalog.=)`.
    pub key_operators: Vec<String>,
    /// AFTER triggers of others, in the order of their names, which is the order in which they fire.
    pub others: Vec<OtherTrigger>,
    /// Subscriptions that write it.
    pub subscriptions: Vec<String>,
}

/// A trigger that is not ours and fires after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherTrigger {
    pub name: String,
    /// As `pg_trigger.tgtype` has them.
    pub type_bits: i16,
}

/// A table that inherits from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heir {
    pub oid: u32,
    pub schema: String,
    pub name: String,
}

impl TableFacts {
    /// The column of that exact name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Quoted and qualified, for SQL.
    pub fn quoted(&self) -> String {
        names::qualified(&self.schema, &self.name)
    }

    /// `schema.table` for messages.
    pub fn plain_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether a statement trigger of it sees all rows that are inserted into it, and may read them.
    pub fn allows_statements(&self) -> bool {
        self.kind == Kind::Plain
            && !self.is_child
            && !self.has_children
            && !self.is_partition
            // PostgreSQL 18 raises an error when a transition table's virtual column is read.
            && !self.has_virtual_columns()
    }

    /// Columns that are generated virtually, each with its expression.
    pub fn virtual_columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().filter_map(|column| match &column.generated {
            Generated::Virtual(expression) => Some((column.name.as_str(), expression.as_str())),
            Generated::No | Generated::Stored => None,
        })
    }

    /// Tells whether expressions of virtual columns have changed; `None` without such columns. `install::coverage` makes the same in SQL.
    pub fn virtuals(&self) -> Option<String> {
        let list: Vec<String> = self
            .virtual_columns()
            .map(|(column, expression)| format!("{column} {expression}"))
            .collect();
        (!list.is_empty()).then(|| list.join(","))
    }

    /// Whether any column is generated virtually (transition tables must not be read then).
    pub fn has_virtual_columns(&self) -> bool {
        self.virtual_columns().next().is_some()
    }
}

// pg_class is joined by hand because `to_regclass` raises an error for a schema without USAGE.
const TABLE: &str = concat!(
    "
    SELECT c.oid, n.nspname::text, c.relname::text, pg_get_userbyid(c.relowner)::text, c.relkind::text,
           c.relpersistence::text, c.relreplident::text, c.relrowsecurity, c.relispartition,
           EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid),
           EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid),
           ARRAY(SELECT a.attname::text FROM pg_index x
                   CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                  WHERE x.indrelid = c.oid AND x.indisprimary ORDER BY k.place),
           ARRAY(SELECT ",
    equality_name!(),
    " FROM pg_index x
                   CROSS JOIN LATERAL unnest(x.indclass::oid[]) WITH ORDINALITY AS k(class, place)",
    equality!(),
    "WHERE x.indrelid = c.oid AND x.indisprimary ORDER BY k.place),
           ARRAY(SELECT t.tgtype || ' ' || t.tgname FROM pg_trigger t
                  WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 66 = 0
                    AND coalesce(obj_description(t.tgfoid, 'pg_proc'), '') NOT LIKE 'pregon: %' ORDER BY t.tgname),
           ARRAY(SELECT DISTINCT s.subname::text FROM pg_subscription_rel r JOIN pg_stat_subscription s ON s.subid = r.srsubid
                  WHERE r.srrelid = c.oid ORDER BY 1)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2"
);

const COLUMNS: &str = "
    SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, attgenerated::text,
           CASE attgenerated WHEN 'v' THEN
             (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = attrelid AND d.adnum = attnum) END
      FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

// A partitioned table hands its triggers down itself. Another session's temporary table cannot be touched.
const HEIRS: &str = "
    WITH RECURSIVE heir AS (
      SELECT i.inhrelid AS oid FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
       WHERE i.inhparent = $1 AND p.relkind <> 'p'
      UNION
      SELECT i.inhrelid FROM pg_inherits i JOIN heir h ON h.oid = i.inhparent)
    SELECT c.oid, n.nspname::text, c.relname::text
      FROM heir h JOIN pg_class c ON c.oid = h.oid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relpersistence <> 't' ORDER BY 2, 3";

/// Facts of one table, or `None` when there is no relation of that name.
pub async fn table_facts(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Option<TableFacts>, tokio_postgres::Error> {
    let Some(row) = client.query_opt(TABLE, &[&schema, &table]).await? else {
        return Ok(None);
    };
    let oid: u32 = row.try_get(0)?;
    let columns = client.query(COLUMNS, &[&oid]).await?;
    let heirs = client.query(HEIRS, &[&oid]).await?;
    facts_from(&row, &columns, &heirs).map(Some)
}

fn facts_from(row: &Row, columns: &[Row], heirs: &[Row]) -> Result<TableFacts, tokio_postgres::Error> {
    Ok(TableFacts {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        owner: row.try_get(3)?,
        kind: Kind::from_code(row.try_get(4)?),
        persistence: match row.try_get::<_, &str>(5)? {
            "u" => Persistence::Unlogged,
            "t" => Persistence::Temporary,
            _ => Persistence::Permanent,
        },
        replica_identity: match row.try_get::<_, &str>(6)? {
            "n" => ReplicaIdentity::Nothing,
            "f" => ReplicaIdentity::Full,
            "i" => ReplicaIdentity::Index,
            _ => ReplicaIdentity::Default,
        },
        row_security: row.try_get(7)?,
        is_partition: row.try_get(8)?,
        is_child: row.try_get(9)?,
        has_children: row.try_get(10)?,
        primary_key: row.try_get(11)?,
        key_operators: row.try_get(12)?,
        others: others_from(&row.try_get::<_, Vec<&str>>(13)?),
        subscriptions: row.try_get(14)?,
        columns: columns.iter().map(column_from).collect::<Result<_, _>>()?,
        heirs: heirs.iter().map(heir_from).collect::<Result<_, _>>()?,
    })
}

fn others_from(texts: &[&str]) -> Vec<OtherTrigger> {
    let parts = texts.iter().filter_map(|text| text.split_once(' '));
    parts
        .map(|(bits, name)| OtherTrigger {
            name: name.to_owned(),
            type_bits: bits.parse().unwrap_or_default(),
        })
        .collect()
}

fn column_from(row: &Row) -> Result<Column, tokio_postgres::Error> {
    Ok(Column {
        name: row.try_get(0)?,
        type_name: row.try_get(1)?,
        not_null: row.try_get(2)?,
        generated: match row.try_get::<_, &str>(3)? {
            "s" => Generated::Stored,
            "v" => Generated::Virtual(row.try_get::<_, Option<String>>(4)?.unwrap_or_default()),
            _ => Generated::No,
        },
    })
}

fn heir_from(row: &Row) -> Result<Heir, tokio_postgres::Error> {
    Ok(Heir {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
    })
}

//! A first look at a database that nobody has configured yet: its tables, what may be done with them, and who notifies already.
//! Reads only; a role without any right on the tables sees them all the same.

use tokio_postgres::{Client, Row};

/// What a first configuration is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Name of the database.
    pub database: String,
    /// Who asked.
    pub role: String,
    /// Whether that role may install: it is a superuser, or may make a schema here.
    pub may_install: bool,
    /// `replica` or `logical`, which `wal` needs.
    pub wal_level: String,
    pub tables: Vec<SurveyedTable>,
    /// Channels that functions of this database notify.
    pub channels: Vec<String>,
}

/// A table that could be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedTable {
    pub schema: String,
    pub name: String,
    /// As the last ANALYZE counted; `None` where there was none yet.
    pub rows: Option<u64>,
    /// What its rows take on the disk, partitions included.
    pub bytes: u64,
    /// In key order; empty without a primary key.
    pub primary_key: Vec<String>,
    pub columns: Vec<String>,
    /// Whether the role may put triggers on it.
    pub may_trigger: bool,
}

// An ANALYZE of a partitioned table is rare, so its partitions are added up.
const TABLES: &str = "
    SELECT n.nspname::text, c.relname::text, size.rows, size.bytes, has_table_privilege(c.oid, 'TRIGGER'),
           ARRAY(SELECT a.attname::text FROM pg_index x
                   CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                  WHERE x.indrelid = c.oid AND x.indisprimary ORDER BY k.place),
           ARRAY(SELECT a.attname::text FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL (
        SELECT sum(CASE WHEN l.reltuples >= 0 AND (l.reltuples > 0 OR l.relpages > 0) THEN l.reltuples END)::bigint AS rows,
               coalesce(sum(pg_relation_size(l.oid)), 0)::bigint AS bytes
          FROM pg_class l
         WHERE l.oid = c.oid AND c.relkind = 'r'
            OR c.relkind = 'p' AND l.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf)) size
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pregon') AND n.nspname !~ '^pg_(toast|temp)'
       AND NOT EXISTS (SELECT 1 FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     ORDER BY n.nspname <> 'public', 1, 2";

const DATABASE: &str = "
    SELECT current_database()::text, current_user::text, r.rolsuper OR has_database_privilege(current_database(), 'CREATE'),
           coalesce(current_setting('effective_wal_level', true), current_setting('wal_level'))
      FROM pg_roles r WHERE r.rolname = current_user";

// A channel that is built at run time is not found.
const CHANNELS: &str = r"
    SELECT DISTINCT m[1] FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     CROSS JOIN LATERAL regexp_matches(p.prosrc, 'pg_notify\s*\(\s*''([^''\\]{1,63})''\s*,', 'gi') AS m
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pregon') ORDER BY 1";

/// Looks around.
pub async fn survey(client: &Client) -> Result<Survey, tokio_postgres::Error> {
    let about = client.query_one(DATABASE, &[]).await?;
    let tables = client.query(TABLES, &[]).await?;
    let channels = client.query(CHANNELS, &[]).await?;
    Ok(Survey {
        database: about.try_get(0)?,
        role: about.try_get(1)?,
        may_install: about.try_get(2)?,
        wal_level: about.try_get(3)?,
        tables: tables.iter().map(table).collect::<Result<_, _>>()?,
        channels: channels
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?,
    })
}

fn table(row: &Row) -> Result<SurveyedTable, tokio_postgres::Error> {
    let rows: Option<i64> = row.try_get(2)?;
    let bytes: i64 = row.try_get(3)?;
    Ok(SurveyedTable {
        schema: row.try_get(0)?,
        name: row.try_get(1)?,
        rows: rows.and_then(|rows| u64::try_from(rows).ok()),
        bytes: u64::try_from(bytes).unwrap_or_default(),
        may_trigger: row.try_get(4)?,
        primary_key: row.try_get(5)?,
        columns: row.try_get(6)?,
    })
}

//! The tables of a watch, and whether their replica identity tells enough.
//!
//! A publication makes the application's own UPDATE and DELETE fail where a table has none.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Row};

use super::error::Problem;
use super::plan::{Step, StepKind};
use super::spec::WatchSpec;
use super::watch::DesiredWatch;
use super::{InstallError, SCHEMA, narrow};
use crate::catalog::Kind;
use crate::catalog::names::{ident, ident_list, literal, qualified, spelt};
use crate::change::Op;

/// One table that a watch covers: its own, a partition, or one that inherits.
struct Covered {
    oid: u32,
    schema: String,
    table: String,
    kind: String,
    identity: String,
    persistence: String,
    /// UPDATE and DELETE can name their row.
    identified: bool,
    index: Option<String>,
    key: Vec<String>,
    /// Has columns that no publication can have (PostgreSQL 18).
    virtuals: bool,
    /// Has a primary key, which partitions that come later have too; a replica identity is not handed down.
    keyed: bool,
}

// The columns of INCLUDE are in the index and not in the identity: the WAL has no old value of them.
const COVERED: &str = "
    WITH RECURSIVE covered AS (
      SELECT $1::oid AS oid UNION SELECT i.inhrelid FROM covered c JOIN pg_inherits i ON i.inhparent = c.oid)
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, c.relpersistence::text,
           c.relreplident = 'f' OR x.indexrelid IS NOT NULL,
           CASE WHEN c.relreplident = 'i' THEN (SELECT relname::text FROM pg_class WHERE oid = x.indexrelid) END,
           ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])),
           EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated = 'v' AND NOT a.attisdropped),
           EXISTS (SELECT 1 FROM pg_index k WHERE k.indrelid = c.oid AND k.indisprimary)
      FROM covered JOIN pg_class c ON c.oid = covered.oid JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indisvalid
       AND ((c.relreplident = 'd' AND x.indisprimary) OR (c.relreplident = 'i' AND x.indisreplident))
     WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'f') ORDER BY 1";

impl Covered {
    async fn of(client: &Client, oid: u32) -> Result<Vec<Self>, tokio_postgres::Error> {
        let read = |row: &Row| {
            Ok(Self {
                oid: row.try_get(0)?,
                schema: row.try_get(1)?,
                table: row.try_get(2)?,
                kind: row.try_get(3)?,
                identity: row.try_get(4)?,
                persistence: row.try_get(5)?,
                identified: row.try_get(6)?,
                index: row.try_get(7)?,
                key: row.try_get(8)?,
                virtuals: row.try_get(9)?,
                keyed: row.try_get(10)?,
            })
        };
        client.query(COVERED, &[&oid]).await?.iter().map(read).collect()
    }

    fn quoted(&self) -> String {
        qualified(&self.schema, &self.table)
    }

    fn plain_name(&self) -> String {
        format!("{}.{}", spelt(&self.schema), spelt(&self.table))
    }

    /// Whole old rows with a virtually generated column: the server then refuses UPDATE and DELETE of a published table.
    fn unpublishable(&self, watch: &str, asked: bool) -> Problem {
        let remedy = match asked {
            true => "leave `old` and the condition out of this watch, or capture it with triggers (capture = \"outbox\")".to_owned(),
            false => format!(
                "ALTER TABLE {} REPLICA IDENTITY DEFAULT (with a primary key), or capture it with triggers (capture = \"outbox\")",
                self.quoted()
            ),
        };
        let name = self.plain_name();
        Problem::new(
            watch,
            format!(
                "{name} has virtually generated columns, and with whole old rows in a publication its UPDATE and DELETE would fail"
            ),
            remedy,
        )
    }

    /// A partition that is made later is published at once, and has no replica identity.
    fn unidentified_later(&self, watch: &str) -> Problem {
        Problem::new(
            watch,
            format!(
                "{} is partitioned and has no primary key: a partition that comes later would have no replica identity, and its UPDATE and DELETE would fail",
                self.plain_name()
            ),
            "add a primary key to it, or capture it with triggers (capture = \"outbox\")".to_owned(),
        )
    }

    /// Its rows are written at another server, whose WAL is not read.
    fn elsewhere(&self, watch: &str) -> Problem {
        let name = self.plain_name();
        Problem::new(
            watch,
            format!(
                "{name} is a foreign table under the watched one: what is written to it is not in this server's WAL"
            ),
            format!(
                "detach it (ALTER TABLE … DETACH PARTITION {0}, or ALTER FOREIGN TABLE {0} NO INHERIT …), or watch each table of this server by itself",
                self.quoted()
            ),
        )
    }

    /// Makes the WAL carry whole old rows, and remembers how it was.
    fn make_full(&self, watch: &str) -> Step {
        let before = Identity {
            schema: self.schema.clone(),
            table: self.table.clone(),
            index: self.index.clone(),
            nothing: self.identity == "n",
        };
        let value = serde_json::to_string(&before).unwrap_or_default();
        Step {
            sql: format!(
                "ALTER TABLE ONLY {} REPLICA IDENTITY FULL;\nINSERT INTO {SCHEMA}.meta (key, value) VALUES ({}, {})\nON CONFLICT (key) DO NOTHING",
                self.quoted(),
                literal(&format!("identity:{}", self.quoted())),
                literal(&value)
            ),
            reason: format!(
                "watch \"{watch}\" needs old rows; every update then writes them too, about twice the WAL"
            ),
            object: format!("replica identity of {}.{}", self.schema, self.table),
            kind: StepKind::Replace,
        }
    }
}

/// The replica identity that a table had.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    schema: String,
    table: String,
    #[serde(default)]
    index: Option<String>,
    #[serde(default)]
    nothing: bool,
}

impl Identity {
    /// Puts it back.
    pub(crate) fn restore(&self) -> Step {
        let identity = match (&self.index, self.nothing) {
            (Some(index), _) => format!("USING INDEX {}", ident(index)),
            (None, true) => "NOTHING".to_owned(),
            (None, false) => "DEFAULT".to_owned(),
        };
        Step {
            sql: format!(
                "ALTER TABLE IF EXISTS ONLY {} REPLICA IDENTITY {identity}",
                qualified(&self.schema, &self.table)
            ),
            reason: "it was changed for a watch".into(),
            object: format!("replica identity of {}.{}", self.schema, self.table),
            kind: StepKind::Drop,
        }
    }
}

/// Checks and prepares the tables of a watch; gives those that have to be in the publication `own`.
pub(crate) async fn cover(
    client: &Client,
    own: &str,
    watch: &DesiredWatch<'_>,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<u32>, InstallError> {
    let spec = watch.spec;
    let covered = Covered::of(client, watch.table.oid).await?;
    let full = needs_old_rows(client, watch, &covered).await?;
    let mut published = Vec::new();
    for table in &covered {
        let name = table.plain_name();
        if table.kind == "f" {
            problems.push(table.elsewhere(&spec.name));
            continue;
        }
        if table.kind == "p" && !table.keyed {
            problems.push(table.unidentified_later(&spec.name));
        }
        if table.persistence != "p" {
            problems.push(Problem::new(
                &spec.name,
                format!("{name} is unlogged, so its changes are not in the WAL"),
                format!(
                    "ALTER TABLE {} SET LOGGED, or capture it with triggers",
                    table.quoted()
                ),
            ));
        }
        let through_root = watch.table.kind == Kind::Partitioned;
        if !through_root || table.oid == watch.table.oid {
            published.push(table.oid);
        }
        let whole = full || table.identity == "f";
        if whole && table.virtuals && table.kind == "r" {
            problems.push(table.unpublishable(&spec.name, full));
        } else if full && table.identity != "f" {
            problems.extend(narrow::problem(client, own, &spec.name, (table.oid, &name)).await?);
            let step = table.make_full(&spec.name);
            if !steps.iter().any(|known| known.object == step.object) {
                steps.push(step);
            }
        } else if !table.identified && table.kind == "r" {
            problems.push(Problem::new(
                &spec.name,
                format!("{name} has no replica identity, and in a publication its UPDATE and DELETE would fail"),
                format!(
                    "add a primary key, or ALTER TABLE {0} REPLICA IDENTITY USING INDEX … (a unique one, NOT NULL), or ALTER TABLE {0} REPLICA IDENTITY FULL",
                    table.quoted()
                ),
            ));
        }
    }
    Ok(published)
}

/// A generated column is not in the stream, before PostgreSQL 18 or if it is virtual. It is computed again, unless that would run a
/// function that is not PostgreSQL's.
pub(crate) async fn uncomputed(
    client: &Client,
    watch: &DesiredWatch<'_>,
) -> Result<Option<String>, InstallError> {
    const SQL: &str = "
        SELECT a.attname::text FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = $1 AND (a.attgenerated = 'v' OR a.attgenerated = 's' AND current_setting('server_version_num')::int < 180000)
           AND EXISTS (
           SELECT 1 FROM pg_depend p WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
              AND p.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass))";
    let rows = client.query(SQL, &[&watch.table.oid]).await?;
    let names = rows
        .iter()
        .map(|row| row.try_get::<_, String>(0))
        .collect::<Result<Vec<_>, _>>()?;
    let chosen = |name: &String| {
        watch
            .spec
            .columns
            .as_ref()
            .is_none_or(|chosen| chosen.contains(name))
    };
    let names: Vec<String> = names.into_iter().filter(chosen).collect();
    Ok((!names.is_empty()).then(|| {
        format!(
            "watch \"{}\": generated columns that use functions of yours are not in the WAL and stay out of the row: {}",
            watch.spec.name,
            names.join(", ")
        )
    }))
}

/// Whether the WAL has to have whole old rows: for updates that carry them, and where the condition has to be decided for them.
async fn needs_old_rows(
    client: &Client,
    watch: &DesiredWatch<'_>,
    covered: &[Covered],
) -> Result<bool, InstallError> {
    let spec: &WatchSpec = watch.spec;
    let has = |op: Op| spec.operations.contains(&op);
    if spec.old && has(Op::Update) {
        return Ok(true);
    }
    let Some(condition) = spec
        .condition
        .as_deref()
        .filter(|_| has(Op::Update) || has(Op::Delete))
    else {
        return Ok(false);
    };
    let Some(key) = covered
        .first()
        .map(|table| &table.key)
        .filter(|key| !key.is_empty())
    else {
        return Ok(true);
    };
    // Compiles with the key alone: then the key is all that has to be known.
    let sql = format!(
        "SELECT 1 FROM (SELECT {} FROM {}) AS {} WHERE (\n{}\n)",
        ident_list(key.iter().map(String::as_str)),
        watch.table.quoted(),
        ident(&watch.table.name),
        condition.trim()
    );
    client
        .batch_execute("SAVEPOINT key; SET LOCAL search_path = pg_catalog, pg_temp")
        .await?;
    let prepared = client.prepare(&sql).await;
    client.batch_execute("ROLLBACK TO SAVEPOINT key").await?;
    match prepared {
        Ok(_) => Ok(false),
        Err(error) if error.as_db_error().is_some() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

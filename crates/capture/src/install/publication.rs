//! What capture from the WAL needs: a publication, a slot, replica identities that tell enough, and a role that may replicate.
//!
//! A publication can make the application's own UPDATE and DELETE fail, where a table has no replica identity. That is looked at while
//! planning, and again in the transaction that changes the publication.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Row};

use super::error::Problem;
use super::plan::{Step, StepKind};
use super::spec::{Mode, Target, WatchSpec};
use super::watch::DesiredWatch;
use super::{InstallError, MARK, SCHEMA};
use crate::catalog::names::{ident, ident_list, literal, qualified, spelt};
use crate::change::Op;

/// A name that is good for both a slot and a publication.
pub fn is_slot_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.len() <= 63 && name.chars().all(allowed)
}

/// A publication as it is.
#[derive(Debug)]
pub(crate) struct PublicationFacts {
    pub(crate) name: String,
    pub(crate) ours: bool,
    /// Every operation, through the root, a plain list of tables.
    plain: bool,
    tables: Vec<u32>,
}

/// A slot as it is.
#[derive(Debug)]
pub(crate) struct SlotFacts {
    pub(crate) name: String,
    here: bool,
    lost: bool,
}

/// What the server has of both.
#[derive(Debug)]
pub(crate) struct WalFacts {
    level: String,
    version: i32,
    pub(crate) publications: Vec<PublicationFacts>,
    pub(crate) slots: Vec<SlotFacts>,
}

const PUBLICATIONS: &str = "
    SELECT p.pubname::text, coalesce(obj_description(p.oid, 'pg_publication'), '') LIKE $1 || '%',
           p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot AND NOT p.puballtables
             AND NOT EXISTS (SELECT 1 FROM pg_publication_rel r WHERE r.prpubid = p.oid
                                AND (to_jsonb(r)->>'prqual' IS NOT NULL OR to_jsonb(r)->>'prattrs' IS NOT NULL)),
           ARRAY(SELECT r.prrelid FROM pg_publication_rel r WHERE r.prpubid = p.oid ORDER BY 1)
      FROM pg_publication p ORDER BY p.pubname";

const SLOTS: &str = "
    SELECT slot_name::text, database = current_database() AND plugin = 'pgoutput' AND NOT temporary,
           coalesce(wal_status, 'lost') = 'lost'
      FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1";

impl WalFacts {
    pub(crate) async fn read(client: &Client) -> Result<Self, tokio_postgres::Error> {
        const SERVER: &str = "SELECT coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')), \
                                     current_setting('server_version_num')::int";
        let server = client.query_one(SERVER, &[]).await?;
        let publications = client.query(PUBLICATIONS, &[&MARK]).await?;
        let slots = client.query(SLOTS, &[]).await?;
        let publication = |row: &Row| {
            Ok::<_, tokio_postgres::Error>(PublicationFacts {
                name: row.try_get(0)?,
                ours: row.try_get(1)?,
                plain: row.try_get(2)?,
                tables: row.try_get(3)?,
            })
        };
        let slot = |row: &Row| {
            Ok::<_, tokio_postgres::Error>(SlotFacts {
                name: row.try_get(0)?,
                here: row.try_get(1)?,
                lost: row.try_get(2)?,
            })
        };
        Ok(Self {
            level: server.try_get(0)?,
            version: server.try_get(1)?,
            publications: publications.iter().map(publication).collect::<Result<_, _>>()?,
            slots: slots.iter().map(slot).collect::<Result<_, _>>()?,
        })
    }

    fn publication(&self, name: &str) -> Option<&PublicationFacts> {
        self.publications.iter().find(|one| one.name == name)
    }

    fn slot(&self, name: &str) -> Option<&SlotFacts> {
        self.slots.iter().find(|one| one.name == name)
    }
}

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
}

const COVERED: &str = "
    WITH RECURSIVE covered AS (
      SELECT $1::oid AS oid UNION SELECT i.inhrelid FROM covered c JOIN pg_inherits i ON i.inhparent = c.oid)
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, c.relpersistence::text,
           c.relreplident = 'f' OR x.indexrelid IS NOT NULL,
           CASE WHEN c.relreplident = 'i' THEN (SELECT relname::text FROM pg_class WHERE oid = x.indexrelid) END,
           ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey::int2[]))
      FROM covered JOIN pg_class c ON c.oid = covered.oid JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indisvalid
       AND ((c.relreplident = 'd' AND x.indisprimary) OR (c.relreplident = 'i' AND x.indisreplident))
     WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p') ORDER BY 1";

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

/// Steps in the transaction, then those of the slot: dropped before it, made after it.
pub(crate) async fn steps(
    client: &Client,
    target: &Target,
    watches: &[DesiredWatch<'_>],
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<(), InstallError> {
    let facts = WalFacts::read(client).await?;
    let name = &target.slot;
    if target.mode != Mode::Wal {
        let stale = facts.publication(name).filter(|found| found.ours && target.prune);
        if stale.is_some() {
            removal(&facts, name, "changes are captured in another way", steps);
        }
        return Ok(());
    }
    if facts.level != "logical" {
        problems.push(Problem::general(
            format!(
                "wal_level is {}, and capture = \"wal\" needs logical",
                facts.level
            ),
            "ALTER SYSTEM SET wal_level = logical and restart PostgreSQL (RDS: rds.logical_replication = 1)",
        ));
    }
    if !is_slot_name(name) {
        problems.push(Problem::general(
            format!("{name:?} cannot name a slot"),
            "use lower-case letters, digits and underscores, at most 63",
        ));
        return Ok(());
    }
    replication(client, target, steps, problems).await?;
    let mut tables = Vec::new();
    for watch in watches {
        warnings.extend(uncomputed(client, watch).await?);
        tables.extend(cover(client, watch, steps, problems).await?);
    }
    let made = publication(&facts, name, watches, &tables, steps, problems);
    slot(&facts, name, made, steps, problems);
    Ok(())
}

/// Checks and prepares the tables of a watch; gives those that have to be in the publication.
async fn cover(
    client: &Client,
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
        let through_root = watch.table.kind == crate::catalog::Kind::Partitioned;
        if !through_root || table.oid == watch.table.oid {
            published.push(table.oid);
        }
        if full && table.identity != "f" {
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

/// A generated column is not in the WAL. It is computed again, unless that would run a function that is not PostgreSQL's.
async fn uncomputed(client: &Client, watch: &DesiredWatch<'_>) -> Result<Option<String>, InstallError> {
    const SQL: &str = "
        SELECT a.attname::text FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = $1 AND a.attgenerated <> '' AND EXISTS (
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

async fn replication(
    client: &Client,
    target: &Target,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) -> Result<(), InstallError> {
    let role = target
        .replication_role
        .as_deref()
        .or(target.gateway_role.as_deref());
    let Some(role) = role else { return Ok(()) };
    // Some services have a role in place of the attribute.
    const MAY: &str = "
        SELECT r.rolreplication OR r.rolsuper OR EXISTS (
                 SELECT 1 FROM pg_roles s WHERE s.rolname = 'rds_replication' AND pg_has_role(r.oid, s.oid, 'MEMBER')),
               (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
          FROM pg_roles r WHERE r.rolname = $1";
    let Some(row) = client.query_opt(MAY, &[&role]).await? else {
        problems.push(Problem::general(
            format!("there is no role {role} that could read the slot"),
            format!("CREATE ROLE {} LOGIN REPLICATION PASSWORD '…'", ident(role)),
        ));
        return Ok(());
    };
    let (may, superuser): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if may {
        return Ok(());
    }
    if !superuser {
        problems.push(Problem::general(
            format!("role {role} may not replicate"),
            format!(
                "ALTER ROLE {0} REPLICATION as a superuser (RDS: GRANT rds_replication TO {0})",
                ident(role)
            ),
        ));
        return Ok(());
    }
    steps.push(Step {
        sql: format!(
            "ALTER ROLE {} REPLICATION;\nINSERT INTO {SCHEMA}.meta (key, value) VALUES ({}, {})\nON CONFLICT (key) DO NOTHING",
            ident(role),
            literal(&format!("replication:{role}")),
            literal(role)
        ),
        reason: "it reads the slot; such a role can read every change of the server: guard its password".into(),
        object: format!("role {role}"),
        kind: StepKind::Grant,
    });
    Ok(())
}

/// Takes the attribute back.
pub(crate) fn revoke_replication(role: &str) -> Step {
    Step {
        sql: format!("ALTER ROLE {} NOREPLICATION", ident(role)),
        reason: "it was given for the slot".into(),
        object: format!("role {role}"),
        kind: StepKind::Drop,
    }
}

/// Whether the publication is made anew.
fn publication(
    facts: &WalFacts,
    name: &str,
    watches: &[DesiredWatch<'_>],
    tables: &[u32],
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) -> bool {
    let mut names: Vec<String> = watches.iter().map(|watch| watch.table.quoted()).collect();
    names.sort_unstable();
    names.dedup();
    let list = names.join(", ");
    let options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
    let mut add = |sql: String, reason: &str, kind| {
        steps.push(Step {
            sql,
            reason: reason.to_owned(),
            object: format!("publication {name}"),
            kind,
        });
    };
    let quoted = ident(name);
    let Some(found) = facts.publication(name) else {
        let tables = if names.is_empty() {
            String::new()
        } else {
            format!(" FOR TABLE {list}")
        };
        add(
            format!(
                "{}CREATE PUBLICATION {quoted}{tables} WITH ({options});\nCOMMENT ON PUBLICATION {quoted} IS {}",
                preflight(&names),
                literal(&format!("{MARK}tables of the watches"))
            ),
            "it names the tables whose changes are read from the WAL",
            StepKind::Create,
        );
        return true;
    };
    if !found.ours {
        problems.push(Problem::general(
            format!("publication {name} exists and is not ours"),
            "choose another name with [postgres] slot",
        ));
        return false;
    }
    let mut wanted = tables.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut present = found.tables.clone();
    present.sort_unstable();
    if found.plain && wanted == present {
        return false;
    }
    let tables = match names.is_empty() {
        // A list cannot be set to nothing.
        true => format!(
            "DROP PUBLICATION {quoted};\nCREATE PUBLICATION {quoted} WITH ({options});\nCOMMENT ON PUBLICATION {quoted} IS {}",
            literal(&format!("{MARK}tables of the watches"))
        ),
        false => format!(
            "ALTER PUBLICATION {quoted} SET TABLE {list};\nALTER PUBLICATION {quoted} SET ({options})"
        ),
    };
    add(
        format!("{}{tables}", preflight(&names)),
        "its tables or options differ from the watches",
        StepKind::Replace,
    );
    names.is_empty()
}

/// Raises an error where a table's own UPDATE and DELETE would fail once it is published.
fn preflight(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let tables: Vec<String> = names
        .iter()
        .map(|name| format!("{}::regclass", literal(name).trim_start()))
        .collect();
    format!(
        "DO $pregon$ DECLARE broken text; BEGIN
  WITH RECURSIVE covered AS (
    SELECT unnest(ARRAY[{}])::oid AS oid UNION SELECT i.inhrelid FROM covered c JOIN pg_inherits i ON i.inhparent = c.oid)
  SELECT string_agg(c.oid::regclass::text, ', ') INTO broken FROM covered JOIN pg_class c ON c.oid = covered.oid
   WHERE c.relkind = 'r' AND c.relreplident <> 'f' AND NOT EXISTS (
     SELECT 1 FROM pg_index x WHERE x.indrelid = c.oid AND x.indisvalid
        AND ((c.relreplident = 'd' AND x.indisprimary) OR (c.relreplident = 'i' AND x.indisreplident)));
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'UPDATE and DELETE would fail on %: it has no replica identity', broken USING ERRCODE = '55000';
  END IF;
END $pregon$;\n",
        tables.join(", ")
    )
}

fn slot(facts: &WalFacts, name: &str, renewed: bool, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    if let Some(found) = facts.slot(name) {
        if !found.here {
            problems.push(Problem::general(
                format!("slot {name} exists, for another database or plugin"),
                "choose another name with [postgres] slot",
            ));
            return;
        }
        if found.lost {
            steps.insert(0, drop_slot(name, "the server has removed WAL that it needs"));
        } else if renewed {
            // Decoding looks for the publication as it was when the change was made.
            steps.insert(0, drop_slot(name, "it is older than the publication"));
        } else {
            return;
        }
    }
    // A failover slot goes with a standby that synchronises slots, and costs nothing without one.
    let failover = if facts.version >= 170_000 {
        ", failover => true"
    } else {
        ""
    };
    steps.push(Step {
        sql: format!(
            "SELECT pg_create_logical_replication_slot({0}, 'pgoutput'{failover})\n WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = {0})",
            literal(name).trim_start()
        ),
        reason: "it keeps the WAL until the gateway has read it; it waits for the running writes".into(),
        object: format!("slot {name}"),
        kind: StepKind::CreateSlot,
    });
}

/// Removes a slot, and with it the WAL that it keeps.
pub(crate) fn drop_slot(name: &str, reason: &str) -> Step {
    Step {
        sql: format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {}",
            literal(name).trim_start()
        ),
        reason: reason.to_owned(),
        object: format!("slot {name}"),
        kind: StepKind::DropSlot,
    }
}

/// Removes a publication of ours and the slot of its name.
pub(crate) fn removal(facts: &WalFacts, name: &str, reason: &str, steps: &mut Vec<Step>) {
    if facts.slot(name).is_some_and(|slot| slot.here) {
        steps.insert(0, drop_slot(name, reason));
    }
    steps.push(Step {
        sql: format!("DROP PUBLICATION IF EXISTS {}", ident(name)),
        reason: reason.to_owned(),
        object: format!("publication {name}"),
        kind: StepKind::Drop,
    });
}

//! What capture from the WAL needs: a publication, a slot, replica identities that tell enough, and a role that may replicate.

use tokio_postgres::{Client, Row};

use super::error::Problem;
use super::plan::{Step, StepKind};
use super::spec::{Mode, Target};
use super::watch::DesiredWatch;
use super::{InstallError, MARK, SCHEMA, identity, nested, publication};
use crate::catalog::names::{ident, literal};

/// A name that is good for both a slot and a publication.
pub fn is_slot_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.len() <= 63 && name.chars().all(allowed)
}

/// What to do where the server may not load the plugin of the slot. Each name has quotes of its own: within one pair `ALTER SYSTEM` makes one name of all of them.
pub(crate) const PLUGIN_REMEDY: &str = "add pgoutput to it as a superuser (ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'test_decoding', …), then SELECT pg_reload_conf()";

/// Whether a value of `output_plugin_libraries` leaves out the plugin of our slot.
pub(crate) fn lacks_pgoutput(list: &str) -> bool {
    // The server compares exactly: another case, a path or a pattern is another library.
    !names_of(list).iter().any(|name| name == "pgoutput")
}

/// The names of a list of the server; commas within double quotes part none, and two double quotes stand for one.
fn names_of(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => name.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            other if !quoted && other.is_whitespace() => {}
            other => name.push(other),
        }
    }
    names.push(name);
    names
}

/// A publication as it is.
#[derive(Debug)]
pub(crate) struct PublicationFacts {
    pub(crate) name: String,
    pub(crate) ours: bool,
    pub(crate) oid: String,
    /// Every operation, through the root, a plain list of tables.
    pub(crate) plain: bool,
    /// Its options are ours, whatever its tables.
    pub(crate) optioned: bool,
    pub(crate) tables: Vec<u32>,
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
    /// What the server may load, where it has such a list.
    plugins: Option<String>,
    pub(crate) publications: Vec<PublicationFacts>,
    pub(crate) slots: Vec<SlotFacts>,
    /// The publication that our slot was made for, where that is known.
    pub(crate) recorded: Option<String>,
}

const PUBLICATIONS: &str = "
    SELECT p.pubname::text, coalesce(obj_description(p.oid, 'pg_publication'), '') LIKE $1 || '%', o.optioned AND NOT p.puballtables
             AND NOT EXISTS (SELECT 1 FROM pg_publication_rel r WHERE r.prpubid = p.oid
                                AND (to_jsonb(r)->>'prqual' IS NOT NULL OR to_jsonb(r)->>'prattrs' IS NOT NULL)),
           ARRAY(SELECT r.prrelid FROM pg_publication_rel r WHERE r.prpubid = p.oid ORDER BY 1), p.oid::text, o.optioned
      FROM pg_publication p CROSS JOIN LATERAL (SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot
             AND coalesce(to_jsonb(p)->>'pubgencols', 's') = 's' AS optioned) AS o
     ORDER BY p.pubname";

const SLOTS: &str = "
    SELECT slot_name::text, database = current_database() AND plugin = 'pgoutput' AND NOT temporary,
           coalesce(wal_status, 'lost') = 'lost'
      FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1";

impl WalFacts {
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Self, tokio_postgres::Error> {
        const SERVER: &str = "SELECT coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')), \
                                     current_setting('server_version_num')::int, current_setting('output_plugin_libraries', true)";
        let server = client.query_one(SERVER, &[]).await?;
        let publications = client.query(PUBLICATIONS, &[&MARK]).await?;
        let slots = client.query(SLOTS, &[]).await?;
        let publication = |row: &Row| {
            Ok::<_, tokio_postgres::Error>(PublicationFacts {
                name: row.try_get(0)?,
                ours: row.try_get(1)?,
                plain: row.try_get(2)?,
                tables: row.try_get(3)?,
                oid: row.try_get(4)?,
                optioned: row.try_get(5)?,
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
            recorded: recorded(client, name).await?,
            level: server.try_get(0)?,
            version: server.try_get(1)?,
            plugins: server.try_get(2)?,
            publications: publications.iter().map(publication).collect::<Result<_, _>>()?,
            slots: slots.iter().map(slot).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn publication(&self, name: &str) -> Option<&PublicationFacts> {
        self.publications.iter().find(|one| one.name == name)
    }

    /// Whether a publication can have generated columns.
    pub(crate) fn publishes_generated(&self) -> bool {
        self.version >= 180_000
    }

    fn slot(&self, name: &str) -> Option<&SlotFacts> {
        self.slots.iter().find(|one| one.name == name)
    }
}

async fn recorded(client: &Client, name: &str) -> Result<Option<String>, tokio_postgres::Error> {
    const THERE: &str = "
        SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = 'pregon' AND c.relname = 'meta'
                          AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))";
    if !client.query_one(THERE, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let sql = format!("SELECT value FROM {SCHEMA}.meta WHERE key = $1");
    let row = client.query_opt(&sql, &[&publication::recorded(name)]).await?;
    row.map(|row| row.try_get(0)).transpose()
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
    let name = &target.slot;
    let facts = WalFacts::read(client, name).await?;
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
    if let Some(list) = facts.plugins.as_deref().filter(|list| lacks_pgoutput(list)) {
        problems.push(Problem::general(
            format!("output_plugin_libraries is {list:?}, so the server loads no pgoutput for the slot"),
            PLUGIN_REMEDY,
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
    nested::check(client, watches, problems).await?;
    let mut tables = Vec::new();
    for watch in watches {
        warnings.extend(identity::uncomputed(client, watch).await?);
        tables.extend(identity::cover(client, name, watch, steps, problems).await?);
    }
    let made = publication::step(&facts, name, watches, &tables, steps, problems);
    slot(&facts, name, made, steps, problems);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_plugins_is_read_as_the_server_reads_it() {
        for list in [
            "pgoutput, test_decoding",
            "wal2json,pgoutput",
            "\"pgoutput\", \"wal2json\"",
            " pgoutput ",
        ] {
            assert!(!lacks_pgoutput(list), "{list}");
        }
        for list in [
            "",
            "wal2json",
            "test_decoding, pgoutput2",
            "$libdir/pgoutput",
            "*",
            "PGOUTPUT",
            // What `ALTER SYSTEM SET … = 'pgoutput, wal2json'` makes of it.
            "\"pgoutput, wal2json\"",
            "\"a\"\"pgoutput\"",
        ] {
            assert!(lacks_pgoutput(list), "{list}");
        }
    }
}

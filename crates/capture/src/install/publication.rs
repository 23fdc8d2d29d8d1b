//! The publication: a plain list of the watched tables, every operation, through the partition root.

use super::error::Problem;
use super::plan::{Step, StepKind};
use super::wal::WalFacts;
use super::watch::DesiredWatch;
use super::{MARK, SCHEMA};
use crate::catalog::names::{ident, literal};

const OPTIONS: &str = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";

/// Since 18 a table with `REPLICA IDENTITY FULL` refuses UPDATE and DELETE while a generated column is not published.
const OPTIONS_18: &str = ", publish_generated_columns = stored";

fn options(facts: &WalFacts) -> String {
    let more = if facts.publishes_generated() {
        OPTIONS_18
    } else {
        ""
    };
    format!("{OPTIONS}{more}")
}

/// Makes the publication or brings it to what the watches want; whether it is made anew.
pub(crate) fn step(
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
    let mut add = |sql: String, reason: &str, kind| {
        steps.push(Step {
            sql: format!("{}{sql}", preflight(&names)),
            reason: reason.to_owned(),
            object: format!("publication {name}"),
            kind,
        });
    };
    let Some(found) = facts.publication(name) else {
        let reason = "it names the tables whose changes are read from the WAL";
        add(create(facts, name, &names), reason, StepKind::Create);
        return true;
    };
    if !found.ours {
        problems.push(foreign(facts, name));
        return false;
    }
    // Up to 17 changes are looked up in the publication of their moment.
    let anew = facts.recorded.as_ref().is_some_and(|oid| *oid != found.oid) && !facts.publishes_generated();
    if anew {
        add(
            record(name),
            "somebody made it anew, and the slot is older",
            StepKind::Replace,
        );
    }
    let mut wanted = tables.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut present = found.tables.clone();
    present.sort_unstable();
    if found.plain && wanted == present {
        return anew;
    }
    let sql = replacement(facts, name, &names, found.optioned);
    let reason = "its tables or options differ from the watches";
    add(sql, reason, StepKind::Replace);
    anew || names.is_empty()
}

fn foreign(facts: &WalFacts, name: &str) -> Problem {
    let remedy = match facts.recorded.as_deref() {
        Some(_) => format!(
            "somebody made it anew: DROP PUBLICATION {}, then run `pregon db apply`",
            ident(name)
        ),
        None => "choose another name with [postgres] slot".to_owned(),
    };
    Problem::general(format!("publication {name} exists and is not ours"), remedy)
}

fn replacement(facts: &WalFacts, name: &str, tables: &[String], optioned: bool) -> String {
    let quoted = ident(name);
    if tables.is_empty() {
        // A list cannot be set to nothing.
        return format!("DROP PUBLICATION {quoted};\n{}", create(facts, name, tables));
    }
    // An altered publication is a gap to whoever reads, so what is right is left as it is.
    let list = format!("ALTER PUBLICATION {quoted} SET TABLE {}", tables.join(", "));
    match optioned {
        true => list,
        false => format!("{list};\nALTER PUBLICATION {quoted} SET ({})", options(facts)),
    }
}

fn create(facts: &WalFacts, name: &str, tables: &[String]) -> String {
    let quoted = ident(name);
    let list = match tables.is_empty() {
        true => String::new(),
        false => format!(" FOR TABLE {}", tables.join(", ")),
    };
    let comment = literal(&format!("{MARK}tables of the watches"));
    format!(
        "CREATE PUBLICATION {quoted}{list} WITH ({});\nCOMMENT ON PUBLICATION {quoted} IS {comment};\n{}",
        options(facts),
        record(name)
    )
}

/// Remembers which publication the slot was made for.
fn record(name: &str) -> String {
    format!(
        "INSERT INTO {SCHEMA}.meta (key, value) SELECT {}, oid::text FROM pg_publication WHERE pubname ={}\nON CONFLICT (key) DO UPDATE SET value = excluded.value",
        literal(&recorded(name)).trim_start(),
        literal(name)
    )
}

/// The key of that memory.
pub(super) fn recorded(name: &str) -> String {
    format!("publication:{name}")
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

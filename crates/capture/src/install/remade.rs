//! A gap in the place of the changes that nobody captured: triggers that are made again where some were missing or did not fire.
//!
//! It is a part of the installation, so that it comes before all that the new triggers capture, whoever installs them and whether a
//! gateway runs or not.

use super::found::{Found, FunctionFacts, TriggerFacts};
use super::plan::{Step, StepKind};
use super::watch::{DELETE, DesiredTrigger, DesiredWatch, INSERT, ROW, TRUNCATE, UPDATE};
use super::{MARK, Mode};
use crate::catalog::names::literal;

const MISSING: &str = "its triggers were missing or did not fire until now";
const COMPUTED: &str = "a virtual column was computed by its former expression until now";

/// The step that tells it, for a watch that was captured before and lacked something.
pub(crate) fn gap_step(found: &Found, watch: &DesiredWatch<'_>, mode: Mode) -> Option<Step> {
    let function = found.functions.iter().find(|function| {
        function.schema == watch.function_schema && function.name == watch.function_name && function.is_ours()
    })?;
    if function.watch() != Some(watch.spec.name.as_str()) || !readable(found, mode) {
        return None;
    }
    if is_moved(found, function, watch) {
        return None;
    }
    let lacking = watch
        .triggers
        .iter()
        .find(|want| !fires(found, function, watch, want));
    let (reason, message) = match lacking {
        Some(want) => (
            format!("changes of {} were not captured until now", want.plain_table()),
            MISSING,
        ),
        None if computes_otherwise(function, watch) => {
            let table = watch.table.plain_name();
            (
                format!("virtual columns of {table} are computed otherwise until now"),
                COMPUTED,
            )
        }
        None => return None,
    };
    Some(Step {
        sql: sql(&watch.spec.name, mode, message)?,
        reason,
        object: format!("gap of watch {}", watch.spec.name),
        kind: StepKind::Create,
    })
}

/// Whether the watch was one of other tables only: then nothing of these was captured before.
fn is_moved(found: &Found, function: &FunctionFacts, watch: &DesiredWatch<'_>) -> bool {
    let wants = |trigger: &&TriggerFacts| {
        let mut wanted = watch.triggers.iter();
        wanted.any(|want| want.schema == trigger.schema && want.table == trigger.table)
    };
    let mut own = found
        .triggers
        .iter()
        .filter(|trigger| trigger.function_oid == function.oid)
        .peekable();
    own.peek().is_some() && !own.any(|trigger| wants(&trigger))
}

/// Whether a function of this version and this watch was made for other expressions of virtual columns: nothing else can differ.
fn computes_otherwise(function: &FunctionFacts, watch: &DesiredWatch<'_>) -> bool {
    let version = format!("{MARK}{} ", env!("CARGO_PKG_VERSION"));
    watch.table.has_virtual_columns()
        && function.comment.starts_with(&version)
        && function.identity() == Some(watch.identity.as_str())
        && function.body != watch.body
}

/// Whether there is something that carries it: an outbox that is made now was read by nobody.
fn readable(found: &Found, mode: Mode) -> bool {
    mode != Mode::Outbox || found.relations.iter().any(|relation| relation.name == "outbox")
}

/// Whether all that the trigger captures is captured, by whatever triggers of the function. Only row triggers fire for rows that are
/// written through another table.
fn fires(found: &Found, function: &FunctionFacts, watch: &DesiredWatch<'_>, want: &DesiredTrigger) -> bool {
    let by_row = want.type_bits & ROW != 0 && (watch.table.is_partition || want.table_oid != watch.table.oid);
    let firing = found.triggers.iter().filter(|trigger| {
        trigger.function_oid == function.oid
            && trigger.schema == want.schema
            && trigger.table == want.table
            && matches!(trigger.enabled.as_str(), "O" | "A")
            && (!by_row || trigger.type_bits & ROW != 0)
    });
    let bits = firing.fold(0, |bits, trigger| bits | trigger.type_bits);
    want.type_bits & (INSERT | UPDATE | DELETE | TRUNCATE) & !bits == 0
}

fn sql(watch: &str, mode: Mode, text: &str) -> Option<String> {
    let (name, message) = (literal(watch), literal(text));
    match mode {
        Mode::Wal => None,
        Mode::Outbox => Some(format!(
            "INSERT INTO pregon.outbox (watch, op, row) VALUES ({}, 'E', {})",
            name.trim_start(),
            message.trim_start()
        )),
        Mode::Notify => {
            let payload = serde_json::json!({ "w": watch, "s": 0, "t": 0, "op": "U", "err": text });
            let payload = literal(&payload.to_string());
            Some(format!(
                "SELECT pg_catalog.pg_notify('pregon', {})",
                payload.trim_start()
            ))
        }
    }
}

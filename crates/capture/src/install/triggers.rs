//! The triggers of one watch, as steps: those that are missing or different, and those that it has no longer.
//!
//! A table can be captured rightly by triggers of another level or name than would be installed today, because which level is best
//! depends on the application's own triggers. Then the steps only put in order.

use super::Problem;
use super::found::{Found, FunctionFacts, TriggerFacts};
use super::plan::{Step, StepKind};
use super::watch::{DELETE, DesiredTrigger, DesiredWatch, INSERT, ROW, TRUNCATE, UPDATE};
use crate::catalog::names::{ident, qualified};

/// Why a trigger is not what it should be, and whether that makes capture wrong.
type Difference = (&'static str, StepKind);

const LEVEL: Difference = ("its events or its level differ", StepKind::Replace);

/// Steps for the triggers that the watch wants.
pub(crate) fn steps(
    found: &Found,
    watch: &DesiredWatch<'_>,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    for want in &watch.triggers {
        let existing = found.triggers.iter().find(|trigger| want.is_at(trigger));
        let of_table = present(found, watch, &want.schema, &want.table);
        let settle = |kind: StepKind, word| match captures(watch, &of_table, want) {
            true => StepKind::Tidy(word),
            false => kind,
        };
        let step = |reason: &str, kind| Step {
            sql: sql(found, watch, want, &of_table),
            reason: reason.to_owned(),
            object: format!("trigger {} on {}", want.name, want.plain_table()),
            kind,
        };
        let Some(existing) = existing else {
            let reason = if of_table.is_empty() {
                "it is missing"
            } else {
                "it is missing, or has another name"
            };
            steps.push(step(reason, settle(StepKind::Create, "create")));
            continue;
        };
        let function = found
            .functions
            .iter()
            .find(|function| function.oid == existing.function_oid);
        if !function.is_some_and(FunctionFacts::is_ours) && !watch.spec.adopt {
            problems.push(not_ours(watch, want, existing));
            continue;
        }
        let right_function = function.is_some_and(|function| is_of(watch, function));
        if let Some((reason, kind)) = difference(existing, want, watch, right_function) {
            if existing.constraint {
                // A constraint trigger cannot be replaced in place.
                steps.push(drop_step(
                    existing,
                    "a constraint trigger cannot be replaced",
                    StepKind::Drop,
                ));
            }
            let kind = if reason == LEVEL.0 {
                settle(kind, "replace")
            } else {
                kind
            };
            steps.push(step(reason, kind));
        }
    }
}

/// Steps for the triggers of the watch's function that the watch does not want.
pub(crate) fn stale(
    found: &Found,
    function: &FunctionFacts,
    watch: &DesiredWatch<'_>,
    steps: &mut Vec<Step>,
) {
    let of_function = found
        .triggers
        .iter()
        .filter(|trigger| trigger.function_oid == function.oid);
    for trigger in of_function.filter(|trigger| !watch.triggers.iter().any(|want| want.is_at(trigger))) {
        let of_table = present(found, watch, &trigger.schema, &trigger.table);
        let mut wanted = watch.triggers.iter();
        let captured = wanted
            .find(|want| want.schema == trigger.schema && want.table == trigger.table)
            .is_some_and(|want| captures(watch, &of_table, want));
        let kind = if captured {
            StepKind::Tidy("drop")
        } else {
            StepKind::Drop
        };
        steps.push(drop_step(trigger, "the watch no longer has it", kind));
    }
}

/// Why a trigger is not what it should be.
pub(crate) fn difference(
    existing: &TriggerFacts,
    want: &DesiredTrigger,
    watch: &DesiredWatch<'_>,
    right_function: bool,
) -> Option<Difference> {
    if !right_function {
        return Some(("it runs another function", StepKind::Replace));
    }
    if existing.condition || existing.constraint {
        return Some((
            "it has a condition, or is a constraint trigger",
            StepKind::Replace,
        ));
    }
    if existing.type_bits != want.type_bits || existing.rows_alias.as_deref() != want.rows_alias {
        return Some(LEVEL);
    }
    if existing.argument != watch.spec.name {
        return Some(("its argument differs", StepKind::Replace));
    }
    // `A` (ENABLE ALWAYS) is a wish of the table's owner and stays.
    (!existing.fires()).then_some(("it is disabled", StepKind::Replace))
}

/// The triggers on a table that run the watch's function.
fn present<'a>(
    found: &'a Found,
    watch: &DesiredWatch<'_>,
    schema: &str,
    table: &str,
) -> Vec<&'a TriggerFacts> {
    let ours = |trigger: &TriggerFacts| {
        let function = found
            .functions
            .iter()
            .find(|function| function.oid == trigger.function_oid);
        function.is_some_and(|function| is_of(watch, function))
    };
    let on_table = found
        .triggers
        .iter()
        .filter(|trigger| trigger.schema == schema && trigger.table == table);
    on_table.filter(|trigger| ours(trigger)).collect()
}

fn is_of(watch: &DesiredWatch<'_>, function: &FunctionFacts) -> bool {
    function.is_ours() && function.schema == watch.function_schema && function.name == watch.function_name
}

/// Whether each operation that is wanted on the table of `want` is captured once, at a level that misses nothing there. A name that
/// somebody has configured is more than a difference.
fn captures(watch: &DesiredWatch<'_>, present: &[&TriggerFacts], want: &DesiredTrigger) -> bool {
    let of_table: Vec<_> = watch
        .triggers
        .iter()
        .filter(|other| other.table_oid == want.table_oid)
        .collect();
    let named = |other: &&&DesiredTrigger| present.iter().any(|trigger| other.is_at(trigger));
    if watch.spec.trigger.is_some() && !of_table.iter().any(|other| named(&other)) {
        return false;
    }
    let wanted = of_table.iter().fold(0, |bits, other| bits | other.type_bits);
    [INSERT, UPDATE, DELETE, TRUNCATE].into_iter().all(|event| {
        let mut firing = present
            .iter()
            .filter(|trigger| trigger.fires() && trigger.type_bits & event != 0);
        let (first, second) = (firing.next(), firing.next());
        match (first, second) {
            (None, None) => wanted & event == 0,
            (Some(one), None) => wanted & event != 0 && is_sound(watch, one, event, want.table_oid),
            _ => false,
        }
    })
}

fn is_sound(watch: &DesiredWatch<'_>, trigger: &TriggerFacts, event: i16, table_oid: u32) -> bool {
    let table = &watch.table;
    if trigger.condition || trigger.constraint || trigger.argument != watch.spec.name {
        return false;
    }
    match event {
        TRUNCATE => trigger.type_bits & ROW == 0,
        _ if trigger.type_bits & ROW != 0 => true,
        // A subscription fires no statement trigger, and one that is to fire for it says so.
        INSERT => {
            table.oid == table_oid
                && table.allows_statements()
                && (table.subscriptions.is_empty() || trigger.enabled == "O")
                && trigger.rows_alias.is_some()
        }
        _ => false,
    }
}

/// Creates or replaces it. What its owner wished of a trigger that it replaces stays, whatever that was called.
fn sql(found: &Found, watch: &DesiredWatch<'_>, want: &DesiredTrigger, present: &[&TriggerFacts]) -> String {
    let create = watch.trigger_sql(want, found.version);
    let events = want.type_bits & !ROW;
    let always = |trigger: &&&TriggerFacts| trigger.enabled == "A" && trigger.type_bits & events != 0;
    if present.iter().any(|trigger| always(&trigger)) {
        let table = qualified(&want.schema, &want.table);
        return format!(
            "{create};\nALTER TABLE {table} ENABLE ALWAYS TRIGGER {}",
            ident(&want.name)
        );
    }
    create
}

fn not_ours(watch: &DesiredWatch<'_>, want: &DesiredTrigger, existing: &TriggerFacts) -> Problem {
    Problem::new(
        &watch.spec.name,
        format!(
            "trigger {} on {} exists, runs {} and is not ours",
            want.name,
            want.plain_table(),
            existing.function
        ),
        "choose another name, or set adopt = true to have it replaced",
    )
}

fn drop_step(trigger: &TriggerFacts, reason: &str, kind: StepKind) -> Step {
    Step {
        sql: format!(
            "DROP TRIGGER IF EXISTS {} ON {}",
            ident(&trigger.name),
            qualified(&trigger.schema, &trigger.table)
        ),
        reason: reason.to_owned(),
        object: format!("trigger {} on {}.{}", trigger.name, trigger.schema, trigger.table),
        kind,
    }
}

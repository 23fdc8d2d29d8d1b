//! What a plan says about others that write a watched table: triggers of the application, and subscriptions.

use super::found::Found;
use super::late;
use super::spec::WatchSpec;
use super::watch::{DELETE, DesiredWatch, INSERT, ROW, TRUNCATE, UPDATE, trigger_names};
use crate::catalog::names::{ident, qualified};
use crate::catalog::{OtherTrigger, TableFacts};

/// Triggers beside ours: where they leave the order of a row's changes open, and where they are heard first.
pub(crate) fn warnings(spec: &WatchSpec, table: &TableFacts, warnings: &mut Vec<String>) {
    let own = trigger_names(spec);
    let others = table
        .others
        .iter()
        .filter(|other| other.type_bits & TRUNCATE == 0 && !own.contains(&other.name));
    let others: Vec<&OtherTrigger> = others.collect();
    if others.is_empty() {
        return;
    }
    let (watch, name) = (&spec.name, table.plain_name());
    let names = |list: &[&OtherTrigger]| {
        let names: Vec<&str> = list.iter().map(|other| other.name.as_str()).collect();
        let word = if names.len() == 1 { "trigger" } else { "triggers" };
        format!("{word} {}", names.join(", "))
    };
    if let Some(reason) = late::unreadable(table) {
        warnings.push(format!(
            "watch \"{watch}\": {} on {name} may write its rows, and {reason}: where they write a row whose own change was not told yet, \
             followers get a gap",
            names(&others)
        ));
    }
    let [base, ..] = own;
    let changes = INSERT | UPDATE | DELETE;
    let first = others
        .into_iter()
        .filter(|other| other.name < base && other.type_bits & ROW != 0 && other.type_bits & changes != 0);
    let first: Vec<&OtherTrigger> = first.collect();
    if !first.is_empty() {
        warnings.push(format!(
            "watch \"{watch}\": {} on {name} fires before {base}: what it writes is told before the change that it answers to, and the \
             row's present state once more after it; without `trigger` the name comes before any usual one",
            names(&first)
        ));
    }
}

/// Subscriptions fire only triggers that are ENABLE ALWAYS, and only those of rows.
pub(crate) fn subscriptions(found: &Found, watch: &DesiredWatch<'_>, warnings: &mut Vec<String>) {
    let table = &watch.table;
    if table.subscriptions.is_empty() {
        return;
    }
    let is_always = |name: &str| {
        let mut triggers = found.triggers.iter();
        triggers.any(|one| {
            (&one.schema, &one.table) == (&table.schema, &table.name)
                && one.name == name
                && one.enabled == "A"
        })
    };
    let of_table = watch.triggers.iter().filter(|want| want.table_oid == table.oid);
    let deaf: Vec<String> = of_table
        .filter(|want| !is_always(&want.name))
        .map(|want| format!("ENABLE ALWAYS TRIGGER {}", ident(&want.name)))
        .collect();
    if !deaf.is_empty() {
        warnings.push(format!(
            "watch \"{}\": subscription {} writes {}, and what it writes is not captured: run `ALTER TABLE {} {}` after `pregon db apply` \
             if it should be",
            watch.spec.name,
            table.subscriptions.join(", "),
            table.plain_name(),
            qualified(&table.schema, &table.name),
            deaf.join(", ")
        ));
    }
}

//! Draws triggers of the application: names before and after ours, row and statement, every operation, between two tables.
//!
//! What they do must not depend on the order of rows, because the control beside the watched schema may store rows in
//! another order: they add, set what follows from the row, or delete by a fixed rule.

use super::dice::Dice;
use super::schema::{Shape, Table};

/// Names around those of ours; a name that sorts before every usual one is not among them.
const NAMES: &[&str] = &[
    "0",
    "A",
    "Z_last",
    "_a",
    "a",
    "aaa_after",
    "handle_new_row",
    "notify",
    "on_change",
    "pregon",
    "pregon_a",
    "pregon_zz",
    "q",
    "trg",
    "zz_last",
    "zzzz",
    "~",
    "ñandú",
    "trigger 1",
];

/// How deep triggers may fire triggers; each level multiplies the writes.
const DEPTH: &str = "pg_trigger_depth() < 3";

/// Statements that make one trigger, or that make it anew; they may fail.
pub(crate) fn draw(dice: &mut Dice, tables: &[Table], number: usize) -> Vec<String> {
    let at = dice.below(tables.len());
    let (Some(table), Some(other)) = (tables.get(at), tables.get((at + 1) % tables.len().max(1))) else {
        return Vec::new();
    };
    let name = format!("\"{}\"", dice.word(NAMES));
    let function = format!("f{number}");
    if dice.chance(20) {
        return before(dice, table, other, &name, &function);
    }
    if dice.chance(25) {
        return statement(dice, table, other, &name, &function);
    }
    after(dice, table, other, &name, &function)
}

/// Takes one away, switches one off or on, or gives one another name.
pub(crate) fn change(dice: &mut Dice, tables: &[Table]) -> String {
    let (name, table) = (dice.word(NAMES), dice.pick(tables).name);
    match dice.below(5) {
        0 => format!("ALTER TABLE {table} DISABLE TRIGGER \"{name}\""),
        1 => format!("ALTER TABLE {table} ENABLE TRIGGER \"{name}\""),
        2 => format!(
            "ALTER TRIGGER \"{name}\" ON {table} RENAME TO \"{}\"",
            dice.word(NAMES)
        ),
        _ => format!("DROP TRIGGER IF EXISTS \"{name}\" ON {table}"),
    }
}

fn function(name: &str, body: &str) -> String {
    format!("CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $f$ {body} $f$")
}

fn events(dice: &mut Dice) -> String {
    let all = ["INSERT", "UPDATE", "DELETE"];
    let mut some = dice.some(&all, 50);
    if some.is_empty() {
        some.push(dice.word(&all));
    }
    some.join(" OR ")
}

fn after(dice: &mut Dice, table: &Table, other: &Table, name: &str, called: &str) -> Vec<String> {
    let events = events(dice);
    let row = match events.contains("DELETE") {
        true => "OLD",
        false => "NEW",
    };
    // With DELETE among the operations, an INSERT has no OLD.
    let events = match row {
        "OLD" => events.replace("INSERT OR ", ""),
        _ => events,
    };
    // A trigger that fires at the commit is at the first level again: it writes nothing, because
    // no statement_timeout runs during a commit.
    let deferred = table.shape != Shape::Partitioned && dice.chance(15);
    let (kind, late, effects) = match deferred {
        true => ("CREATE CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED ", 1),
        false => ("CREATE TRIGGER", "", 9),
    };
    let effect = effect(dice, effects, table, other, row);
    let body = format!("BEGIN IF {DEPTH} THEN {effect}; END IF; RETURN NULL; END");
    let when = match dice.chance(25) {
        true => format!("WHEN ({row}.n % 2 = 1) "),
        false => String::new(),
    };
    vec![
        function(called, &body),
        format!(
            "{kind} {name} AFTER {events} ON {} {late}FOR EACH ROW {when}EXECUTE FUNCTION {called}()",
            table.name
        ),
    ]
}

/// What an AFTER trigger for a row does; the first writes nothing.
fn effect(dice: &mut Dice, effects: usize, table: &Table, other: &Table, row: &str) -> String {
    let own = same_key(table, row);
    let (name, second) = (table.name, other.name);
    match dice.below(effects) {
        0 => format!("IF {row}.n = 13 THEN RAISE EXCEPTION 'not thirteen'; END IF"),
        1 => format!("DELETE FROM {second} WHERE n % 9 = 4"),
        2 => format!("DELETE FROM {name} WHERE {own} AND n % 7 = 3"),
        3 | 4 => {
            format!("UPDATE {name} SET m = {row}.n * 10 WHERE {own} AND m IS DISTINCT FROM {row}.n * 10")
        }
        5 => format!(
            "UPDATE {name} SET txt = 'by a trigger' WHERE {own} AND n % 3 = 1 AND coalesce(txt, '') NOT LIKE 'by%'"
        ),
        6 => format!("UPDATE {name} SET m = coalesce(m, 0) + 1 WHERE {own} AND coalesce(m, 0) < 3"),
        7 => format!("UPDATE {second} SET m = coalesce(m, 0) + 1 WHERE n % 3 = {row}.n % 3"),
        _ => {
            let key: Vec<String> = other.key.iter().map(|column| column.value(dice)).collect();
            let list = other.key_list();
            format!(
                "INSERT INTO {second} ({list}, n) VALUES ({}, 6) ON CONFLICT ({list}) DO UPDATE SET m = coalesce({second}.m, 0) + 1",
                key.join(", ")
            )
        }
    }
}

fn statement(dice: &mut Dice, table: &Table, other: &Table, name: &str, called: &str) -> Vec<String> {
    let event = dice.word(&["INSERT", "UPDATE", "DELETE"]);
    let (own, second) = (table.name, other.name);
    // A transition table that names the rows, or a rule about all of them.
    let (transition, effect) = match dice.below(4) {
        0 if event != "DELETE" => (
            "REFERENCING NEW TABLE AS filas ",
            format!(
                "UPDATE {own} SET m = filas.n * 10 FROM filas WHERE {} AND {own}.m IS DISTINCT FROM filas.n * 10",
                table
                    .key
                    .iter()
                    .map(|k| format!("{own}.{0} = filas.{0}", k.quoted()))
                    .collect::<Vec<_>>()
                    .join(" AND ")
            ),
        ),
        1 => (
            "",
            format!("UPDATE {own} SET m = coalesce(m, 0) + 1 WHERE n % 4 = 2 AND coalesce(m, 0) < 5"),
        ),
        2 => ("", format!("DELETE FROM {own} WHERE n % 11 = 5")),
        _ => (
            "",
            format!("UPDATE {second} SET m = (SELECT count(*) FROM {own})::int % 7 WHERE n % 2 = 0"),
        ),
    };
    let body = format!("BEGIN IF {DEPTH} THEN {effect}; END IF; RETURN NULL; END");
    vec![
        function(called, &body),
        format!(
            "CREATE TRIGGER {name} AFTER {event} ON {own} {transition}FOR EACH STATEMENT EXECUTE FUNCTION {called}()"
        ),
    ]
}

fn before(dice: &mut Dice, table: &Table, other: &Table, name: &str, called: &str) -> Vec<String> {
    let effect = match dice.below(4) {
        0 => "NEW.txt := left(coalesce(NEW.txt, '') || '+', 20)".to_owned(),
        1 => "IF NEW.n % 11 = 5 THEN RETURN NULL; END IF".to_owned(),
        2 => "NEW.m := coalesce(NEW.m, NEW.n)".to_owned(),
        _ => format!(
            "IF {DEPTH} THEN UPDATE {} SET m = coalesce(m, 0) + 1 WHERE n % 5 = NEW.n % 5; END IF",
            other.name
        ),
    };
    vec![
        function(called, &format!("BEGIN {effect}; RETURN NEW; END")),
        format!(
            "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {called}()",
            table.name
        ),
    ]
}

fn same_key(table: &Table, row: &str) -> String {
    let same = table
        .key
        .iter()
        .map(|column| format!("{0} = {row}.{0}", column.quoted()));
    same.collect::<Vec<_>>().join(" AND ")
}

//! The function and the triggers of one watch, as SQL. Pure: what the catalogue said is an argument.
//!
//! One function serves all of a watch's triggers, at either level. Inserts into an ordinary table are captured per statement (half the
//! cost in bulk); everything else per row, because a statement trigger misses rows that are written straight into a partition or
//! a child table, or by a subscription, and because a trigger that changes the inserted row again would be heard first. A row fires only
//! the triggers of the table that holds it, so that each table that inherits from a watched one gets the row trigger as well.
//!
//! Triggers of one event fire in the order of their names, byte by byte: ours come before any usual one, so that a change is told
//! before what others make of it. Where that is not enough, and for configured names, `late` has the rest.

use crate::catalog::names::{dollar_quote, fingerprint, ident, literal, qualified, shorten, split_qualified};
use crate::catalog::{OtherTrigger, TableFacts};
use crate::change::Op;

use super::found::TriggerFacts;
use super::late::Late;
use super::spec::{Mode, WatchSpec};
use super::standing::identity;
use super::{MARK, SCHEMA};

/// Rendering must not depend on the writer's session, nor names on the writer's search path.
pub(crate) const SETTINGS: [&str; 6] = [
    "search_path=pg_catalog, pg_temp",
    "TimeZone=UTC",
    "DateStyle=ISO, MDY",
    "IntervalStyle=postgres",
    "bytea_output=hex",
    "extra_float_digits=1",
];

// Bits of pg_trigger.tgtype.
pub(crate) const ROW: i16 = 1;
pub(crate) const INSERT: i16 = 4;
pub(crate) const DELETE: i16 = 8;
pub(crate) const UPDATE: i16 = 16;
pub(crate) const TRUNCATE: i16 = 32;

/// The first version with `CREATE OR REPLACE TRIGGER`.
const REPLACES: i32 = 140_000;

const ROWS_ALIAS: &str = "pregon_rows";

/// A trigger that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredTrigger {
    pub(crate) table_oid: u32,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) type_bits: i16,
    pub(crate) rows_alias: Option<&'static str>,
}

impl DesiredTrigger {
    /// Whether the trigger that was found stands in its place.
    pub(crate) fn is_at(&self, found: &TriggerFacts) -> bool {
        found.schema == self.schema && found.table == self.table && found.name == self.name
    }

    /// `schema.table` for messages.
    pub(crate) fn plain_table(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// Everything of one watch that should exist.
#[derive(Debug)]
pub(crate) struct DesiredWatch<'a> {
    pub(crate) spec: &'a WatchSpec,
    pub(crate) table: TableFacts,
    pub(crate) function_schema: String,
    pub(crate) function_name: String,
    pub(crate) body: String,
    pub(crate) identity: String,
    pub(crate) triggers: Vec<DesiredTrigger>,
}

/// Schema and name of a watch's function.
pub(crate) fn function_name(spec: &WatchSpec) -> (String, String) {
    match spec.function.as_deref() {
        Some(name) => {
            let (schema, name) = split_qualified(name);
            (schema.unwrap_or_else(|| SCHEMA.to_owned()), name)
        }
        None => (SCHEMA.to_owned(), shorten(&format!("notify_{}", spec.name))),
    }
}

impl<'a> DesiredWatch<'a> {
    pub(crate) fn new(spec: &'a WatchSpec, table: TableFacts, mode: Mode) -> Self {
        let (function_schema, function_name) = function_name(spec);
        let triggers = match mode {
            Mode::Wal => Vec::new(),
            Mode::Notify | Mode::Outbox => triggers(spec, &table),
        };
        let body = body(spec, &table, mode);
        Self {
            spec,
            table,
            function_schema,
            function_name,
            body,
            identity: identity(spec, mode),
            triggers,
        }
    }

    pub(crate) fn function(&self) -> String {
        qualified(&self.function_schema, &self.function_name)
    }

    /// The statement that creates or replaces the function, with its owner, rights and mark.
    pub(crate) fn function_sql(&self, owner: &str) -> String {
        function_sql(&FunctionSql {
            signature: format!("{}()", self.function()),
            result: "trigger",
            definer: true,
            volatility: "VOLATILE",
            settings: &SETTINGS,
            body: &self.body,
            owner,
            comment: &self.comment(),
        })
    }

    /// Tells also whose function it is: another configuration's watch of that name has another `spec`.
    fn comment(&self) -> String {
        format!(
            "{} spec={} watch={}",
            mark(&self.body),
            self.identity,
            self.spec.name
        )
    }

    /// The statements that create or replace one of the triggers on a server of this version.
    pub(crate) fn trigger_sql(&self, trigger: &DesiredTrigger, version: i32) -> String {
        let rows = trigger
            .rows_alias
            .map(|alias| format!(" REFERENCING NEW TABLE AS {alias}"))
            .unwrap_or_default();
        let level = if trigger.type_bits & ROW != 0 {
            "ROW"
        } else {
            "STATEMENT"
        };
        let (name, table) = (ident(&trigger.name), qualified(&trigger.schema, &trigger.table));
        let create = if version < REPLACES {
            format!("DROP TRIGGER IF EXISTS {name} ON {table};\nCREATE TRIGGER")
        } else {
            "CREATE OR REPLACE TRIGGER".to_owned()
        };
        format!(
            "{create} {name} AFTER {} ON {table}{rows} FOR EACH {level} EXECUTE FUNCTION {}({})",
            events(trigger.type_bits).join(" OR "),
            self.function(),
            literal(&self.spec.name),
        )
    }
}

/// The events that a trigger of these bits has.
pub(crate) fn events(type_bits: i16) -> Vec<&'static str> {
    let words = [
        (INSERT, "INSERT"),
        (UPDATE, "UPDATE"),
        (DELETE, "DELETE"),
        (TRUNCATE, "TRUNCATE"),
    ];
    let has = words.into_iter().filter(|(bit, _)| type_bits & bit != 0);
    has.map(|(_, word)| word).collect()
}

/// The bits of all triggers that capture these operations, without those that say how.
pub(crate) fn type_bits(operations: &[Op]) -> i16 {
    let bit = |op: &Op| match op {
        Op::Insert => INSERT,
        Op::Update => UPDATE,
        Op::Delete => DELETE,
        Op::Truncate => TRUNCATE,
    };
    operations.iter().fold(0, |bits, op| bits | bit(op))
}

/// What a `CREATE FUNCTION` of ours consists of.
pub(crate) struct FunctionSql<'a> {
    pub(crate) signature: String,
    pub(crate) result: &'a str,
    pub(crate) definer: bool,
    pub(crate) volatility: &'a str,
    pub(crate) settings: &'a [&'a str],
    pub(crate) body: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) comment: &'a str,
}

/// Creates or replaces a function; the rights are withdrawn in the same step so that no moment leaves it open.
pub(crate) fn function_sql(function: &FunctionSql<'_>) -> String {
    let signature = &function.signature;
    // The arguments of the definition carry names, those of the other statements may too.
    let mut sql = format!(
        "CREATE OR REPLACE FUNCTION {signature} RETURNS {} LANGUAGE plpgsql {}",
        function.result, function.volatility
    );
    sql.push_str(if function.definer {
        " SECURITY DEFINER"
    } else {
        " SECURITY INVOKER"
    });
    for setting in function.settings {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        // search_path is a list of names, the others are single values.
        let value = if name == "search_path" {
            value.to_owned()
        } else {
            literal(value)
        };
        sql.push_str(&format!("\n  SET {name} = {value}"));
    }
    sql.push_str(&format!("\nAS {};\n", dollar_quote(function.body)));
    sql.push_str(&format!("REVOKE ALL ON FUNCTION {signature} FROM PUBLIC;\n"));
    sql.push_str(&format!(
        "ALTER FUNCTION {signature} OWNER TO {};\n",
        ident(function.owner)
    ));
    sql.push_str(&format!(
        "COMMENT ON FUNCTION {signature} IS {}",
        literal(function.comment)
    ));
    sql
}

/// The comment that marks a function as ours.
pub(crate) fn mark(body: &str) -> String {
    format!("{MARK}{} body={}", env!("CARGO_PKG_VERSION"), fingerprint(body))
}

/// What the name of a trigger begins with where none is configured: `!` stands before letters, digits and `_`, and before
/// `RI_ConstraintTrigger`, which is a foreign key.
const FIRST: &str = "!pregon_";

/// The names that a watch's triggers may take, whatever it needs today.
pub(crate) fn trigger_names(spec: &WatchSpec) -> [String; 4] {
    let base = spec
        .trigger
        .clone()
        .unwrap_or_else(|| shorten(&format!("{FIRST}{}", spec.name)));
    let with = |suffix: &str| match spec.trigger {
        Some(_) => format!("{base}{suffix}"),
        None => shorten(&format!("{FIRST}{}{suffix}", spec.name)),
    };
    [base.clone(), with("_update"), with("_delete"), with("_truncate")]
}

fn triggers(spec: &WatchSpec, table: &TableFacts) -> Vec<DesiredTrigger> {
    let names = trigger_names(spec);
    let [base, on_update, on_delete, on_truncate] = &names;
    let has = |op: Op| spec.operations.contains(&op);
    let mut row_bits = 0;
    let mut triggers: Vec<DesiredTrigger> = Vec::new();
    let mut add = |suffixed: &String, type_bits: i16, rows_alias| {
        let name = if triggers.is_empty() { base } else { suffixed };
        triggers.push(DesiredTrigger {
            table_oid: table.oid,
            schema: table.schema.clone(),
            table: table.name.clone(),
            name: name.clone(),
            type_bits,
            rows_alias,
        });
    };
    if has(Op::Insert) && insert_per_statement(table, &names) {
        add(base, INSERT, Some(ROWS_ALIAS));
    } else if has(Op::Insert) {
        row_bits |= INSERT;
    }
    for (op, bit) in [(Op::Update, UPDATE), (Op::Delete, DELETE)] {
        if has(op) {
            row_bits |= bit;
        }
    }
    if row_bits != 0 {
        let suffixed = if row_bits & UPDATE != 0 {
            on_update
        } else {
            on_delete
        };
        add(suffixed, ROW | row_bits, None);
    }
    if has(Op::Truncate) {
        add(on_truncate, TRUNCATE, None);
    }
    // Not the TRUNCATE trigger: one of the parent truncates all of them.
    let row = triggers.iter().find(|one| one.type_bits & ROW != 0).cloned();
    triggers.extend(row.iter().flat_map(|row| {
        table.heirs.iter().map(|heir| DesiredTrigger {
            table_oid: heir.oid,
            schema: heir.schema.clone(),
            table: heir.name.clone(),
            ..row.clone()
        })
    }));
    triggers
}

fn insert_per_statement(table: &TableFacts, names: &[String; 4]) -> bool {
    let [name, ..] = names;
    table.allows_statements()
        // A subscription fires row triggers only.
        && table.subscriptions.is_empty()
        // One of these names is to be adopted.
        && !table.others.iter().any(|other| !names.contains(&other.name) && comes_between(other, name))
}

/// Whether a trigger fires after an INSERT and before a statement trigger of that name.
fn comes_between(other: &OtherTrigger, name: &str) -> bool {
    other.type_bits & INSERT != 0 && (other.type_bits & ROW != 0 || other.name.as_str() < name)
}

/// The templates of one mode.
struct Templates {
    body: &'static str,
    statement: &'static str,
}

impl Templates {
    fn of(mode: Mode) -> Self {
        match mode {
            // From the WAL there are no triggers that would run it.
            Mode::Notify | Mode::Wal => Self {
                body: include_str!("../../sql/watch.sql"),
                statement: include_str!("../../sql/watch_statement.sql"),
            },
            Mode::Outbox => Self {
                body: include_str!("../../sql/outbox_watch.sql"),
                statement: include_str!("../../sql/outbox_statement.sql"),
            },
        }
    }
}

/// What stands in more than one place of the outbox's templates.
const PARTS: [(&str, &str); 5] = [
    ("{{write}}", include_str!("../../sql/outbox_write.sql")),
    ("{{look}}", include_str!("../../sql/outbox_look.sql")),
    ("{{doubt}}", include_str!("../../sql/outbox_doubt.sql")),
    ("{{lost}}", include_str!("../../sql/outbox_lost.sql")),
    ("{{ring}}", include_str!("../../sql/outbox_ring.sql")),
];

/// Puts the parts in, each as deep as its mark stands.
fn with_parts(template: &str) -> String {
    let mut out = String::with_capacity(2 * template.len());
    for line in template.split_inclusive('\n') {
        let mark = line.trim();
        let Some((_, part)) = PARTS.iter().find(|(name, _)| *name == mark) else {
            out.push_str(line);
            continue;
        };
        let depth = line.len() - line.trim_start().len();
        for inner in with_parts(part).lines() {
            out.push_str(&" ".repeat(depth));
            out.push_str(inner);
            out.push('\n');
        }
    }
    out
}

fn body(spec: &WatchSpec, table: &TableFacts, mode: Mode) -> String {
    let templates = Templates::of(mode);
    // The beginning of every notified payload up to the sequence number; JSON inside an SQL literal.
    let head = literal(&format!(
        "{{\"w\":{},\"s\":",
        serde_json::Value::from(spec.name.as_str())
    ));
    let watch = literal(&spec.name);
    let alias = ident(&table.name);
    // The row of a table that inherits has more columns; the watch is about those of its own table.
    let [new, old] = ["NEW", "OLD"].map(|word| match table.heirs.is_empty() {
        true => word.to_owned(),
        false => format!("({word}::{})", table.quoted()),
    });
    let fill = |template: &str| {
        with_parts(template)
            .replace("{{head}}", head.trim_start())
            .replace("{{alias}}", &alias)
            .replace("{{new}}", &new)
            .replace("{{old}}", &old)
            .replace("{{watch}}", watch.trim_start())
    };
    let condition = spec.condition.as_deref().map(str::trim);
    let late = Late::new(spec, table, mode);
    let filter = |open: &str, close: &str| {
        condition
            .map(|text| format!("\n       {open} (\n{text}\n{close}"))
            .unwrap_or_default()
    };
    // Whatever level the triggers have: with the triggers of others that may change, and the function does not.
    let statement = fill(templates.statement)
        .replace("{{key}}", &key(table, &alias))
        .replace("{{row}}", &row(spec, &alias, true))
        .replace("{{where}}", &filter("WHERE", ")"))
        .replace("{{filter}}", &filter("FILTER (WHERE", "))"))
        .replace("{{late}}", &late.statement(&fill));
    let update = if spec.old {
        format!(
            "    ELSIF pregon_op = 'U' THEN\n      pregon_rest := ',\"n\":' || {}::text || ',\"o\":' || {}::text || '}}';\n",
            row(spec, &new, false),
            row(spec, &old, false)
        )
    } else {
        String::new()
    };
    let entering = condition
        .map(|text| fill(include_str!("../../sql/watch_condition.sql")).replace("{{condition}}", text))
        .unwrap_or_default();
    // User text goes in last, so that a template mark inside it stays what it is.
    fill(templates.body)
        .replace("{{update}}", &update)
        .replace("{{old_row}}", &row(spec, &old, false))
        .replace("{{new_row}}", &row(spec, &new, false))
        .replace("{{with_old}}", if spec.old { "'D', 'U'" } else { "'D'" })
        .replace("{{new_key}}", &key(table, "NEW"))
        .replace("{{statement}}", &statement)
        .replace("{{computed}}", &computed(spec, table, [&new, &old]))
        .replace("{{condition}}", &entering)
        .replace("{{late}}", &late.row(&fill, &row(spec, &new, false)))
}

/// What stands in a function before the fingerprint of the expressions that it computes virtual columns by.
pub(crate) const COMPUTES: &str = "-- Virtual columns are null in triggers. Their expressions: ";

/// Sets the virtual columns that the watch needs, which are null in triggers. `rows`: the new and the old row, as of the watched table.
fn computed(spec: &WatchSpec, table: &TableFacts, rows: [&str; 2]) -> String {
    let chosen = |column: &str| {
        spec.columns
            .as_ref()
            .is_none_or(|chosen| chosen.iter().any(|name| name == column))
    };
    let condition = spec.condition.as_deref().unwrap_or_default().to_lowercase();
    let needed: Vec<_> = table
        .virtual_columns()
        .filter(|(column, _)| chosen(column) || condition.contains(&column.to_lowercase()))
        .collect();
    let Some(virtuals) = table.virtuals() else {
        return String::new();
    };
    let mut sql = format!("    {COMPUTES}{}\n", fingerprint(&virtuals));
    if needed.is_empty() {
        return sql;
    }
    let alias = ident(&table.name);
    for (word, has, row) in [("NEW", "pregon_new", rows[0]), ("OLD", "pregon_old", rows[1])] {
        sql.push_str(&format!("    IF {has} AND TG_OP <> 'TRUNCATE' THEN\n"));
        for (column, expression) in &needed {
            sql.push_str(&format!(
                "      {word}.{} := (SELECT ({expression}) FROM (SELECT ({row}).*) AS {alias});\n",
                ident(column)
            ));
        }
        sql.push_str("    END IF;\n");
    }
    sql
}

/// The expression that renders the row. `row_to_json` and not `to_jsonb`: that one fails on `json` with `\u0000`.
pub(crate) fn row(spec: &WatchSpec, from: &str, relation: bool) -> String {
    let Some(columns) = &spec.columns else {
        return if relation {
            format!("row_to_json({from}.*)")
        } else {
            format!("row_to_json({from})")
        };
    };
    let list: Vec<String> = columns
        .iter()
        .map(|column| format!("{from}.{0} AS {0}", ident(column)))
        .collect();
    format!(
        "(SELECT row_to_json(pregon_row.*) FROM (SELECT {}) AS pregon_row)",
        list.join(", ")
    )
}

/// The expression that renders the primary key, for rows that do not fit a notification. Where tables inherit, a key may be
/// there more than once.
fn key(table: &TableFacts, from: &str) -> String {
    if table.primary_key.is_empty() || !table.heirs.is_empty() {
        return "NULL".to_owned();
    }
    let pairs: Vec<String> = table
        .primary_key
        .iter()
        .map(|column| format!("{}, {from}.{}", literal(column).trim_start(), ident(column)))
        .collect();
    format!("json_build_object({})::text", pairs.join(", "))
}

//! Whether a watch can be installed at all: its names, its table, its columns, its condition. Nothing is executed here:
//! a condition is only prepared, inside the planner's read-only transaction.

use std::collections::HashSet;

use tokio_postgres::{Client, error::SqlState};

use super::base;
use super::error::{Problem, server_words};
use super::spec::{Mode, Target, WatchSpec};
use super::watch::{DesiredWatch, function_name};
use super::{InstallError, SCHEMA};
use crate::catalog::names::{MAX_NAME, ident, ident_list, spelt};
use crate::catalog::{self, Kind, Persistence, TableFacts};
use crate::change::Op;

/// Names that are too long, empty or used twice.
pub(crate) fn names(target: &Target) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut watches = HashSet::new();
    let mut functions = HashSet::new();
    for spec in &target.watches {
        let mut add =
            |message: String, remedy: &str| problems.push(Problem::new(&spec.name, message, remedy));
        if spec.name.is_empty() {
            add("it has no name".into(), "name it");
        }
        if !watches.insert(&spec.name) {
            add("the name is used twice".into(), "rename one of the two");
        }
        let (schema, function) = function_name(spec);
        for (word, name) in [
            ("schema", schema.as_str()),
            ("function", function.as_str()),
            ("trigger", spec.trigger.as_deref().unwrap_or("t")),
        ] {
            if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
                add(
                    format!("the {word} name {name:?} is empty or longer than {MAX_NAME} bytes"),
                    "shorten it: PostgreSQL would cut it silently",
                );
            }
        }
        if schema == SCHEMA && base::NAMES.contains(&function.as_str()) {
            add(
                format!("{schema}.{function} is a name that pregón needs itself"),
                "choose another function name",
            );
        }
        if !functions.insert((schema, function)) {
            add(
                "another watch has the same function name".into(),
                "give each watch its own",
            );
        }
        if spec.operations.is_empty() {
            add(
                "it has no operations".into(),
                "name at least one of insert, update, delete, truncate",
            );
        }
        if spec.operations.contains(&Op::Truncate) && spec.operations.len() > 4 {
            add("an operation is named twice".into(), "name each once");
        }
        if spec.columns.as_ref().is_some_and(Vec::is_empty) {
            add(
                "its list of columns is empty".into(),
                "name a column, or leave `columns` out for all",
            );
        }
    }
    problems
}

/// Facts of the watch's table, if it can be watched.
pub(crate) async fn table(
    client: &Client,
    spec: &WatchSpec,
    mode: Mode,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<Option<TableFacts>, InstallError> {
    let name = format!("{}.{}", spelt(&spec.schema), spelt(&spec.table));
    let Some(table) = catalog::table_facts(client, &spec.schema, &spec.table).await? else {
        let near = similar(client, spec).await?;
        let remedy = near.unwrap_or_else(|| SPELLING.to_owned());
        problems.push(Problem::new(
            &spec.name,
            format!("there is no table {name}"),
            remedy,
        ));
        return Ok(None);
    };
    let before = problems.len();
    let mut add = |message: String, remedy: &str| problems.push(Problem::new(&spec.name, message, remedy));
    let kind = table.kind.as_str();
    match table.kind {
        Kind::Plain | Kind::Partitioned => {}
        Kind::View | Kind::MaterializedView => {
            add(
                format!("{name} is a {kind}, which has no row triggers"),
                "watch the tables that it reads",
            );
        }
        Kind::Foreign => add(
            format!("{name} is a {kind}: changes made at its own server fire nothing here"),
            "watch the table at its own server",
        ),
        Kind::Other => add(format!("{name} is not a table"), "name a table"),
    }
    if table.persistence == Persistence::Temporary {
        add(format!("{name} is temporary"), "watch an ordinary table");
    }
    if spec.schema == SCHEMA || spec.schema == "pg_catalog" || spec.schema == "information_schema" {
        add(format!("{name} is a system table"), "watch a table of yours");
    }
    columns(spec, &table, problems);
    if mode != Mode::Wal {
        of_triggers(spec, mode, &table, warnings);
    }
    inheritance(spec, &table, warnings);
    Ok((problems.len() == before).then_some(table))
}

fn columns(spec: &WatchSpec, table: &TableFacts, problems: &mut Vec<Problem>) {
    for name in spec.columns.iter().flatten() {
        if table.column(name).is_none() {
            let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            problems.push(Problem::new(
                &spec.name,
                format!("{} has no column {name}", table.plain_name()),
                format!("its columns are {}", known.join(", ")),
            ));
        }
    }
}

/// What triggers cannot do.
fn of_triggers(spec: &WatchSpec, mode: Mode, table: &TableFacts, warnings: &mut Vec<String>) {
    if mode == Mode::Notify && table.primary_key.is_empty() {
        warnings.push(format!(
            "watch \"{}\": {} has no primary key: rows too big for NOTIFY are stored for ten minutes instead of read by key",
            spec.name,
            table.plain_name()
        ));
    }
}

fn inheritance(spec: &WatchSpec, table: &TableFacts, warnings: &mut Vec<String>) {
    let name = table.plain_name();
    if !table.heirs.is_empty() {
        warnings.push(format!(
            "watch \"{}\": tables inherit from {name} and are captured with it; one that is made later only after the next \
             `pregon db apply`",
            spec.name
        ));
    }
    if table.has_children && spec.operations.contains(&Op::Truncate) {
        warnings.push(format!(
            "watch \"{}\": TRUNCATE of a single partition or child of {name} is not captured, only of the whole table",
            spec.name
        ));
    }
}

const SPELLING: &str = "create it, or correct the name: letters count as they are written, capitals too, and a part with a space or a dot \
    stands in double quotes, as in table = '\"My Schema\".\"my.table\"' (a double quote inside them is doubled)";

const SIMILAR: &str = "
    SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND lower(c.relname) = lower($1) ORDER BY 1, 2 LIMIT 3";

async fn similar(client: &Client, spec: &WatchSpec) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client.query(SIMILAR, &[&spec.table]).await?;
    let mut names = Vec::new();
    for row in rows {
        names.push(format!("{}.{}", spelt(row.try_get(0)?), spelt(row.try_get(1)?)));
    }
    Ok((!names.is_empty()).then(|| format!("did you mean {}", names.join(" or "))))
}

/// Whether the condition compiles under the search path that the trigger function has.
pub(crate) async fn condition(
    client: &Client,
    spec: &WatchSpec,
    table: &TableFacts,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<(), InstallError> {
    let Some(condition) = spec.condition.as_deref() else {
        return Ok(());
    };
    if condition.trim().is_empty() || condition.contains('\0') {
        problems.push(Problem::new(
            &spec.name,
            "the condition is empty",
            "remove `where` or write one",
        ));
        return Ok(());
    }
    // A sub-select of the plain columns: system columns do not exist in a trigger's NEW. WHERE forbids aggregates.
    let columns = ident_list(table.columns.iter().map(|column| column.name.as_str()));
    let sql = format!(
        "SELECT 1 FROM (SELECT {columns} FROM {}) AS {} WHERE (\n{}\n)",
        table.quoted(),
        ident(&table.name),
        condition.trim()
    );
    client
        .batch_execute("SAVEPOINT condition; SET LOCAL search_path = pg_catalog, pg_temp")
        .await?;
    let prepared = client.prepare(&sql).await;
    client.batch_execute("ROLLBACK TO SAVEPOINT condition").await?;
    match prepared {
        Ok(statement) if statement.params().is_empty() => {}
        Ok(_) => problems.push(Problem::new(
            &spec.name,
            "the condition has a parameter ($1)",
            "write the value itself",
        )),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => warnings.push(format!(
            "watch \"{}\": the condition could not be checked with this role ({})",
            spec.name,
            server_words(&error)
        )),
        Err(error) if error.as_db_error().is_some() => problems.push(Problem::new(
            &spec.name,
            format!("the condition does not compile ({})", server_words(&error)),
            "use the table's columns; functions and operators outside pg_catalog need their schema, as in app.is_open(state)",
        )),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Trigger names with their suffixes must fit, and two watches of a table must not want the same one.
pub(crate) fn trigger_names_fit(watches: &[DesiredWatch<'_>], problems: &mut Vec<Problem>) {
    let mut taken = HashSet::new();
    for watch in watches {
        for trigger in &watch.triggers {
            if trigger.name.len() > MAX_NAME {
                problems.push(Problem::new(
                    &watch.spec.name,
                    format!(
                        "the trigger name {} is longer than {MAX_NAME} bytes",
                        trigger.name
                    ),
                    "shorten `trigger`: the watch needs more than one, told apart by a suffix",
                ));
            }
            if !taken.insert((trigger.table_oid, trigger.name.as_str())) {
                problems.push(Problem::new(
                    &watch.spec.name,
                    format!(
                        "another watch of {} has the trigger name {}",
                        trigger.plain_table(),
                        trigger.name
                    ),
                    "give each watch its own",
                ));
            }
        }
    }
}

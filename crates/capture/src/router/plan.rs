//! What has to be made or changed before the router can work, as ordered steps of SQL. Reads only.

use tokio_postgres::Client;

use super::facts::{self, Facts};
use super::functions;
use super::schema::{self, Table};
use super::{MARK, RouterSpec, SCHEMA, TableName};
use crate::catalog::names::{ident, literal};
use crate::install::{
    self, InstallError, Mode, PUBLISHER_ROLE, Plan, Problem, PublishSpec, Step, StepKind, Target,
};

/// Compares the database with what the router needs, `pregon.publish` included. Everything wrong is reported at once.
pub async fn plan(client: &Client, spec: &RouterSpec) -> Result<Plan, InstallError> {
    let mut problems = Vec::new();
    let mut plan = publisher(client, spec, &mut problems).await?;
    let facts = facts::read(client).await?;
    own_schema(&facts, &mut plan, &mut problems);
    for table in schema::tables(spec) {
        application_table(client, &table, &mut plan, &mut problems).await?;
    }
    messages_once(client, &spec.messages, &mut plan, &mut problems).await?;
    if let Some(agents) = &spec.agents {
        known_agents(client, agents, &mut problems).await?;
    }
    for function in functions::wanted(spec) {
        let found = facts.functions.iter().find(|(name, _)| name == function.name);
        let (reason, kind) = match found {
            Some((_, body)) if *body == function.body => continue,
            Some(_) => ("its definition differs", StepKind::Replace),
            None => ("it is missing", StepKind::Create),
        };
        let object = format!("function {SCHEMA}.{}", function.name);
        plan.steps.push(step(function.sql(), reason, object, kind));
    }
    if let Some(role) = &spec.role {
        rights(client, spec, role, &mut plan).await?;
    }
    if problems.is_empty() {
        Ok(plan)
    } else {
        Err(InstallError::Invalid(problems))
    }
}

/// `pregon.publish`. One that is there stays as it is: it is the gateway's, whose way of capturing it serves.
async fn publisher(
    client: &Client,
    spec: &RouterSpec,
    problems: &mut Vec<Problem>,
) -> Result<Plan, InstallError> {
    let mut plan = Plan::default();
    if !facts::publishes(client).await? {
        if spec.mode == Mode::Wal {
            problems.push(Problem::general(
                "pregon.publish is not installed, and with capture = \"wal\" it belongs to the gateway's slot",
                "run `pregon db apply` first",
            ));
            return Ok(plan);
        }
        let target = Target {
            publish: PublishSpec {
                roles: spec.role.iter().cloned().collect(),
            },
            gateway_role: spec.role.clone(),
            mode: spec.mode,
            prune: false,
            ..Target::default()
        };
        return install::plan(client, &target).await;
    }
    let Some(role) = &spec.role else { return Ok(plan) };
    const MAY: &str = "
        SELECT has_schema_privilege(r.oid, 'pregon', 'USAGE')
           AND has_function_privilege(r.oid, 'pregon.publish(text, text, jsonb)', 'EXECUTE')";
    if facts::lacks(client, role, MAY).await? {
        plan.steps.push(step(
            format!("GRANT {PUBLISHER_ROLE} TO {}", ident(role)),
            "the router publishes what it stores",
            format!("role {role}"),
            StepKind::Grant,
        ));
    }
    Ok(plan)
}

fn step(sql: String, reason: &str, object: String, kind: StepKind) -> Step {
    Step {
        sql,
        reason: reason.to_owned(),
        object,
        kind,
    }
}

fn own_schema(facts: &Facts, plan: &mut Plan, problems: &mut Vec<Problem>) {
    if facts.schema == Some(false) {
        problems.push(Problem::general(
            format!("schema {SCHEMA} exists and is not ours"),
            "rename or drop it",
        ));
    }
    if facts.schema.is_none() {
        let comment = literal(&format!("{MARK}inbox and functions"));
        plan.steps.push(step(
            format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA};\nCOMMENT ON SCHEMA {SCHEMA} IS {comment}"),
            "holds everything that belongs to the router",
            format!("schema {SCHEMA}"),
            StepKind::Create,
        ));
    }
    let wanted = [
        "inbox",
        "work",
        "dead_letter",
        "alias",
        "status",
        "event",
        "turn",
        "pace",
        "outgoing",
        "place",
    ];
    if !wanted
        .iter()
        .all(|name| facts.tables.iter().any(|found| found == name))
    {
        plan.steps.push(step(
            include_str!("../../sql/router/tables.sql").trim_end().to_owned(),
            "deliveries are kept here before they are answered",
            format!("tables {SCHEMA}.*"),
            StepKind::Create,
        ));
    }
}

/// A table of the application: made, or given the columns and indexes that it lacks.
async fn application_table(
    client: &Client,
    table: &Table<'_>,
    plan: &mut Plan,
    problems: &mut Vec<Problem>,
) -> Result<(), InstallError> {
    let known: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let found = facts::table(client, table.name, &known).await?;
    let plain = table.name.plain();
    let (mut has, mut indexes) = (known.clone(), Vec::new());
    match &found {
        None => plan.steps.push(step(
            table.create(),
            "it is missing",
            format!("table {plain}"),
            StepKind::Create,
        )),
        Some(found) => {
            has = found.columns.iter().map(String::as_str).collect();
            indexes.clone_from(&found.indexes);
            if !found.demanding.is_empty() {
                plan.warnings.push(format!(
                    "{plain} wants a value for {}, which the router does not give: add a default",
                    found.demanding.join(", ")
                ));
            }
        }
    }
    missing_columns(table, &has, plan, problems);
    for (column, order) in table.indexes {
        let (name, sql) = table.index(column, order);
        if !indexes.contains(&name) {
            plan.steps.push(step(
                sql,
                "the inbox is read by it",
                format!("index {name}"),
                StepKind::Create,
            ));
        }
    }
    Ok(())
}

fn missing_columns(table: &Table<'_>, has: &[&str], plan: &mut Plan, problems: &mut Vec<Problem>) {
    let plain = table.name.plain();
    for column in table.columns.iter().filter(|column| !has.contains(&column.name)) {
        let Some(kind) = column.added else {
            problems.push(Problem::general(
                format!("table {plain} has no column {}", column.name),
                "add it, or name another table in [router]",
            ));
            continue;
        };
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {kind}",
            table.name.sql(),
            ident(column.name)
        );
        plan.steps.push(step(
            sql,
            "the router fills it",
            format!("column {plain}.{}", column.name),
            StepKind::Create,
        ));
    }
}

/// The index that keeps a message from being stored twice.
async fn messages_once(
    client: &Client,
    messages: &TableName,
    plan: &mut Plan,
    problems: &mut Vec<Problem>,
) -> Result<(), InstallError> {
    if let Some(found) = facts::table(client, messages, &[]).await? {
        if found.indexes.iter().any(|index| index == "unique numero,wamid") {
            return Ok(());
        }
        let both = ["numero", "wamid"]
            .iter()
            .all(|name| found.columns.iter().any(|column| column == name));
        if both && facts::has_repeats(client, messages).await? {
            problems.push(Problem::general(
                format!("{} has messages with the same numero and wamid", messages.plain()),
                "remove the copies: a message must be there once",
            ));
            return Ok(());
        }
    }
    plan.steps.push(step(
        schema::unique(messages),
        "a message that is delivered twice is stored once",
        format!("index on {}", messages.plain()),
        StepKind::Create,
    ));
    Ok(())
}

/// The table of agents is the application's: it is read, never changed.
async fn known_agents(
    client: &Client,
    agents: &TableName,
    problems: &mut Vec<Problem>,
) -> Result<(), InstallError> {
    let found = facts::table(client, agents, &[]).await?;
    let columns = found.map(|found| found.columns).unwrap_or_default();
    for name in ["id", "area", "en_linea"] {
        if !columns.iter().any(|column| column == name) {
            problems.push(Problem::general(
                format!("the table of agents {} has no column {name}", agents.plain()),
                "it needs id, area and en_linea (boolean): add them, make a view, or remove [router] agents",
            ));
        }
    }
    Ok(())
}

/// What the router's role may do: fill the three tables, keep its own, publish. No DDL, no reading of anything else.
async fn rights(client: &Client, spec: &RouterSpec, role: &str, plan: &mut Plan) -> Result<(), InstallError> {
    own_rights(client, role, plan).await?;
    let filled = [&spec.contacts, &spec.conversations, &spec.messages];
    for table in filled {
        table_rights(client, role, table, &["SELECT", "INSERT", "UPDATE"], plan).await?;
    }
    // Of two contacts that turn out to be one person, one goes.
    table_rights(client, role, &spec.contacts, &["DELETE"], plan).await?;
    if let Some(agents) = &spec.agents {
        table_rights(client, role, agents, &["SELECT"], plan).await?;
    }
    for sequence in facts::sequences(client, spec).await? {
        let question = format!(
            "SELECT has_sequence_privilege(r.oid, {}, 'USAGE')",
            literal(&sequence)
        );
        if facts::lacks(client, role, &question).await? {
            plan.steps.push(step(
                format!("GRANT USAGE ON SEQUENCE {sequence} TO {}", ident(role)),
                "new rows take their ids from it",
                format!("sequence {sequence}"),
                StepKind::Grant,
            ));
        }
    }
    Ok(())
}

async fn own_rights(client: &Client, role: &str, plan: &mut Plan) -> Result<(), InstallError> {
    const TABLES: &str = "
        SELECT bool_and(has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_table_privilege(r.oid, c.oid, 'DELETE'))
          FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
         WHERE n.nspname = 'pregon_router' AND c.relkind = 'r'";
    const FUNCTIONS: &str = "
        SELECT bool_and(has_function_privilege(r.oid, p.oid, 'EXECUTE'))
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pregon_router'";
    let changes = plan.steps.iter().any(|step| step.object.contains(SCHEMA));
    let lacks = facts::lacks(client, role, TABLES).await?
        || facts::lacks(client, role, FUNCTIONS).await?
        || (changes && facts::lacks(client, role, "NULL::boolean").await?);
    if lacks {
        let grantee = ident(role);
        let sql = format!(
            "GRANT USAGE ON SCHEMA {SCHEMA} TO {grantee};\n\
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {grantee};\n\
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {grantee};\n\
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {grantee}"
        );
        plan.steps.push(step(
            sql,
            "the router's role works in it",
            format!("schema {SCHEMA}"),
            StepKind::Grant,
        ));
    }
    Ok(())
}

async fn table_rights(
    client: &Client,
    role: &str,
    table: &TableName,
    wanted: &[&str],
    plan: &mut Plan,
) -> Result<(), InstallError> {
    let each: Vec<String> = wanted
        .iter()
        .map(|right| format!("has_table_privilege(r.oid, c.oid, '{right}')"))
        .collect();
    let question = format!(
        "SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') AND {} FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
        each.join(" AND "),
        literal(&table.schema),
        literal(&table.name)
    );
    if facts::lacks(client, role, &question).await? {
        let sql = format!(
            "GRANT USAGE ON SCHEMA {} TO {grantee};\nGRANT {} ON {} TO {grantee}",
            ident(&table.schema),
            wanted.join(", "),
            table.sql(),
            grantee = ident(role)
        );
        plan.steps.push(step(
            sql,
            "the router's role works with it",
            format!("table {}", table.plain()),
            StepKind::Grant,
        ));
    }
    Ok(())
}

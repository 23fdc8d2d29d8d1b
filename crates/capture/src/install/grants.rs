//! Who may do what: the gateway reads what it fetches and nothing else, publishers call one function.
//!
//! Grants on tables of the user are remembered (see `granted`), so that a removal takes back exactly what was given.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::found::Found;
use super::granted::{Granted, Wanted};
use super::plan::{Step, StepKind};
use super::spec::{Mode, Target};
use super::watch::DesiredWatch;
use super::{InstallError, PUBLISHER_ROLE, Problem, SCHEMA, late, own, partitions, revoke, types};
use crate::catalog::TableFacts;
use crate::catalog::names::ident;

/// Steps for every right that is missing; warnings about those that cannot be given.
pub(crate) async fn steps(
    client: &Client,
    found: &Found,
    owner: &str,
    target: &Target,
    watches: &[DesiredWatch<'_>],
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<String>, InstallError> {
    publisher(client, found, target, steps, problems).await?;
    partitions::steps(client, watches, steps).await?;
    let mut wanted = Vec::new();
    conditions(client, owner, watches, &mut wanted).await?;
    let mut warnings = Vec::new();
    if target.mode != Mode::Wal {
        late_reads(client, owner, watches, &mut wanted).await?;
        for watch in watches {
            warnings
                .extend(types::schemas(client, owner, watch, &fetched_columns(watch), &mut wanted).await?);
        }
    }
    // What only the owner to be would need, or what becomes a gap without it, is no reason to refuse.
    let harmless = |wanted: &Wanted| {
        let granted = &wanted.granted;
        if wanted.reason == types::REASON {
            return true;
        }
        let mut functions = found.functions.iter().filter(|function| function.is_ours());
        let owns = functions.any(|function| function.owner == owner);
        granted.role == owner
            && target.gateway_role.as_deref() != Some(owner)
            && (granted.table.is_some() || !owns)
    };
    let Some(role) = target.gateway_role.as_deref() else {
        exchange(&wanted, &[], &harmless, steps);
        return Ok(warnings);
    };
    if !role_exists(client, role).await? {
        problems.push(Problem::general(
            format!("there is no role {role} for the gateway"),
            format!("CREATE ROLE {} LOGIN PASSWORD '…'", ident(role)),
        ));
        return Ok(warnings);
    }
    own::steps(client, found, target, role, steps).await?;
    // Rows of any size are in the outbox: with it the gateway reads no table of the user.
    if target.mode != Mode::Outbox {
        conditions(client, role, watches, &mut wanted).await?;
        for watch in watches {
            match target.mode {
                Mode::Wal => wal_tables(client, role, watch, &mut wanted).await?,
                _ => gateway_table(client, role, watch, &mut wanted).await?,
            }
            warnings.extend(types::schemas(client, role, watch, &fetched_columns(watch), &mut wanted).await?);
        }
    }
    let stale = revoke::stale(client, found, target, &[owner, role], &wanted).await?;
    exchange(&wanted, &stale, &harmless, steps);
    Ok(warnings)
}

/// What is no longer needed goes first: to take back a right on a table takes those on its columns with it.
fn exchange(
    wanted: &[Wanted],
    stale: &[Granted],
    harmless: &impl Fn(&Wanted) -> bool,
    steps: &mut Vec<Step>,
) {
    steps.extend(stale.iter().map(Granted::withdraw));
    for one in wanted {
        let lost = stale.iter().any(|stale| stale.overlaps(&one.granted));
        let mut step = one.granted.step(one.reason);
        if harmless(one) {
            step.kind = StepKind::Tidy("grant");
        }
        if (!one.held || lost) && !steps.iter().any(|known| known.sql == step.sql) {
            steps.push(step);
        }
    }
}

async fn role_exists(client: &Client, role: &str) -> Result<bool, tokio_postgres::Error> {
    Ok(client
        .query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role])
        .await?
        .is_some())
}

async fn publisher(
    client: &Client,
    found: &Found,
    target: &Target,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) -> Result<(), InstallError> {
    if found.publisher.is_none() && !found.me.superuser && !found.me.create_role {
        return Ok(());
    }
    // An unknown role or function gives no row, which means that the grant is needed.
    const MAY: &str = "
        SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
          FROM pg_roles r, pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE r.rolname = $1 AND n.nspname = $2 AND p.proname = 'publish'
           AND pg_get_function_identity_arguments(p.oid) = 'channel text, event text, data jsonb'";
    let may = client.query_opt(MAY, &[&PUBLISHER_ROLE, &SCHEMA]).await?;
    if !may
        .map(|row| row.try_get::<_, bool>(0))
        .transpose()?
        .unwrap_or(false)
    {
        steps.push(Step {
            sql: format!(
                "GRANT USAGE ON SCHEMA {SCHEMA} TO {PUBLISHER_ROLE};\n\
                 GRANT EXECUTE ON FUNCTION {SCHEMA}.publish(text, text, jsonb) TO {PUBLISHER_ROLE}"
            ),
            reason: "its members may call pregon.publish".into(),
            object: format!("role {PUBLISHER_ROLE}"),
            kind: StepKind::Tidy("grant"),
        });
    }
    for role in &target.publish.roles {
        if !role_exists(client, role).await? {
            problems.push(Problem::general(
                format!("there is no role {role} that could publish"),
                "create it or remove it from the list",
            ));
            continue;
        }
        const MEMBER: &str = "SELECT pg_has_role($1::name, oid, 'MEMBER') FROM pg_roles WHERE rolname = $2";
        let member = client.query_opt(MEMBER, &[role, &PUBLISHER_ROLE]).await?;
        if !member
            .map(|row| row.try_get::<_, bool>(0))
            .transpose()?
            .unwrap_or(false)
        {
            steps.push(Step {
                sql: format!("GRANT {PUBLISHER_ROLE} TO {}", ident(role)),
                reason: "the configuration lets it publish".into(),
                object: format!("role {role}"),
                kind: StepKind::Grant,
            });
        }
    }
    Ok(())
}

/// A condition that calls `app.f()` runs as the owner of the trigger function, and as the gateway when it reads a big row:
/// both need USAGE on that schema. A row of a table that inherits is rendered as one of its parent, whose type has to be named.
async fn conditions(
    client: &Client,
    role: &str,
    watches: &[DesiredWatch<'_>],
    wanted: &mut Vec<Wanted>,
) -> Result<(), InstallError> {
    const SCHEMAS: &str = "
        SELECT n.nspname::text, coalesce(has_schema_privilege(r.oid, n.oid, 'USAGE'), false)
          FROM pg_namespace n LEFT JOIN pg_roles r ON r.rolname = $1
         WHERE n.nspname !~ '^pg_' AND n.nspname <> 'pregon' AND n.nspname <> 'information_schema' ORDER BY 1";
    if watches
        .iter()
        .all(|watch| watch.spec.condition.is_none() && watch.table.heirs.is_empty())
    {
        return Ok(());
    }
    for row in client.query(SCHEMAS, &[&role]).await? {
        let schema: String = row.try_get(0)?;
        let named = |condition: &str| {
            condition.contains(&format!("{schema}.")) || condition.contains(&format!("{}.", ident(&schema)))
        };
        let mut conditions = watches.iter().filter_map(|watch| watch.spec.condition.as_deref());
        // From the WAL a condition is asked about a row of the table's type.
        let inherits = |watch: &DesiredWatch<'_>| {
            (!watch.table.heirs.is_empty() || watch.triggers.is_empty()) && watch.table.schema == schema
        };
        if conditions.any(named) || watches.iter().any(inherits) {
            wanted.push(Wanted {
                held: row.try_get(1)?,
                granted: usage(role, &schema),
                reason: "a condition or a trigger uses it",
            });
        }
    }
    Ok(())
}

/// The columns that a condition may read. Too many rather than too few: names in comments and texts count.
fn named_columns(condition: &str, table: &TableFacts) -> Vec<String> {
    let words: HashSet<String> = condition
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
        .map(str::to_lowercase)
        .collect();
    let quoted = |name: &str| condition.contains(&ident(name));
    let names = table.columns.iter().map(|column| &column.name);
    names
        .filter(|name| words.contains(&name.to_lowercase()) || quoted(name))
        .cloned()
        .collect()
}

/// The columns that a read by key needs: the chosen ones, the key, and those that the condition names. Empty means all.
fn fetched_columns(watch: &DesiredWatch<'_>) -> Vec<String> {
    let table = &watch.table;
    let Some(chosen) = &watch.spec.columns else {
        return Vec::new();
    };
    let mut columns = chosen.clone();
    let condition = watch.spec.condition.as_deref().unwrap_or_default();
    for name in table
        .primary_key
        .iter()
        .cloned()
        .chain(named_columns(condition, table))
    {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}

/// A row that did not fit is read by its key: the chosen columns, the key and what the condition reads, or all columns.
async fn gateway_table(
    client: &Client,
    role: &str,
    watch: &DesiredWatch<'_>,
    wanted: &mut Vec<Wanted>,
) -> Result<(), InstallError> {
    let table = &watch.table;
    if table.primary_key.is_empty() || !table.heirs.is_empty() {
        return Ok(());
    }
    let columns = fetched_columns(watch);
    let reason = "rows too big for NOTIFY are read by their key";
    wanted.push(use_of(client, role, &table.schema, reason).await?);
    wanted.push(
        read_of(
            client,
            role,
            (&table.schema, &table.name, table.oid),
            columns,
            reason,
        )
        .await?,
    );
    Ok(())
}

/// Large values that an update left alone are read by the replica identity, whatever it is, from the table that the change was made in; and the
/// server is asked with the table's type. The WAL shows every column to the gateway in any case.
async fn wal_tables(
    client: &Client,
    role: &str,
    watch: &DesiredWatch<'_>,
    wanted: &mut Vec<Wanted>,
) -> Result<(), InstallError> {
    let table = &watch.table;
    let heirs = table
        .heirs
        .iter()
        .map(|heir| (&heir.schema, &heir.name, heir.oid));
    for (schema, name, oid) in std::iter::once((&table.schema, &table.name, table.oid)).chain(heirs) {
        wanted.push(use_of(client, role, schema, "the watched table is in it").await?);
        let reason = "values that are not in the WAL are read from it";
        wanted.push(read_of(client, role, (schema, name, oid), Vec::new(), reason).await?);
    }
    Ok(())
}

/// A row that a trigger of the application has written is read by its key, to be told as it is (see `late`). Who installs may lack
/// the right to grant that: such a row becomes a gap then.
async fn late_reads(
    client: &Client,
    owner: &str,
    watches: &[DesiredWatch<'_>],
    wanted: &mut Vec<Wanted>,
) -> Result<(), InstallError> {
    const MAY_GRANT: &str = "
        SELECT has_table_privilege($1::oid, 'SELECT WITH GRANT OPTION')
               AND (has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION')
                    OR (SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_roles r WHERE r.rolname = $2)),
               EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $2)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let reason = "rows that other triggers write are told as they are in the end";
    for watch in watches {
        let table = &watch.table;
        if late::unreadable(table).is_some() {
            continue;
        }
        let row = client.query_one(MAY_GRANT, &[&table.oid, &owner]).await?;
        let may_grant = row.try_get::<_, Option<bool>>(0)?.unwrap_or(false);
        let (columns, spot) = (fetched_columns(watch), (&table.schema, &table.name, table.oid));
        let (using, reading) = if row.try_get(1)? {
            let using = use_of(client, owner, &table.schema, reason).await?;
            (using, read_of(client, owner, spot, columns, reason).await?)
        } else {
            let granted = |table: Option<&String>, columns| Granted {
                table: table.cloned(),
                columns,
                ..usage(owner, &watch.table.schema)
            };
            let wanted = |granted| Wanted {
                granted,
                held: false,
                reason,
            };
            (
                wanted(granted(None, Vec::new())),
                wanted(granted(Some(&table.name), columns)),
            )
        };
        if may_grant || (using.held && reading.held) {
            wanted.extend([using, reading]);
        }
    }
    Ok(())
}

/// The right to use a schema.
pub(crate) fn usage(role: &str, schema: &str) -> Granted {
    Granted {
        role: role.to_owned(),
        schema: schema.to_owned(),
        table: None,
        columns: Vec::new(),
    }
}

async fn use_of(
    client: &Client,
    role: &str,
    schema: &str,
    reason: &'static str,
) -> Result<Wanted, InstallError> {
    const HELD: &str =
        "SELECT has_schema_privilege($1::name, oid, 'USAGE') FROM pg_namespace WHERE nspname = $2";
    let held = client.query_one(HELD, &[&role, &schema]).await?.try_get(0)?;
    Ok(Wanted {
        granted: usage(role, schema),
        held,
        reason,
    })
}

async fn read_of(
    client: &Client,
    role: &str,
    (schema, table, oid): (&String, &String, u32),
    columns: Vec<String>,
    reason: &'static str,
) -> Result<Wanted, InstallError> {
    const HELD: &str = "
        SELECT has_table_privilege($1::name, $2::oid, 'SELECT')
            OR (cardinality($3::text[]) > 0
                AND (SELECT bool_and(has_column_privilege($1::name, $2::oid, c, 'SELECT')) FROM unnest($3::text[]) c))";
    let held = client
        .query_one(HELD, &[&role, &oid, &columns])
        .await?
        .try_get(0)?;
    Ok(Wanted {
        granted: Granted {
            table: Some(table.clone()),
            columns,
            ..usage(role, schema)
        },
        held,
        reason,
    })
}

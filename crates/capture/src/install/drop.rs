//! The plan that removes everything of ours: triggers go with their functions, grants are taken back, and a role stays
//! when we did not make it or something else still depends on it.

use tokio_postgres::Client;

use super::base::BaseRelation;
use super::found::{self, Found, RoleFacts};
use super::granted::Granted;
use super::identity::Identity;
use super::plan::{Plan, Step, StepKind, check_server, drop_function};
use super::wal::{self, WalFacts, revoke_replication};
use super::{InstallError, OWNER_ROLE, PUBLISHER_ROLE, SCHEMA, roles};
use crate::catalog::names::ident;

/// Plans the removal; [`super::apply`] runs it.
pub async fn drop(client: &Client) -> Result<Plan, InstallError> {
    // Roles of ours may go while they are read (see `roles`).
    let mut left = roles::AGAIN;
    loop {
        let done = once(client).await;
        if !roles::went_meanwhile(&done, &mut left) {
            return done;
        }
    }
}

async fn once(client: &Client) -> Result<Plan, InstallError> {
    found::begin(client).await?;
    let plan = removal(client).await;
    found::end(client, plan).await
}

async fn removal(client: &Client) -> Result<Plan, InstallError> {
    let found = found::read(client, &[], &[]).await?;
    check_server(&found)?;
    let mut plan = Plan::default();
    // In reverse of creation, so that `fit` goes after those who call it.
    for function in found.functions.iter().filter(|function| function.is_ours()).rev() {
        plan.steps
            .push(drop_function(function, "it is ours; its triggers go with it"));
    }
    revoke(client, &found, &mut plan).await?;
    of_wal(client, &found, &mut plan).await?;
    schema(client, &found, &mut plan).await?;
    for (name, role) in [(PUBLISHER_ROLE, &found.publisher), (OWNER_ROLE, &found.owner)] {
        if let Some(role) = role {
            drop_role(client, &found, name, role, &mut plan).await?;
        }
    }
    Ok(plan)
}

async fn revoke(client: &Client, found: &Found, plan: &mut Plan) -> Result<(), InstallError> {
    for (key, value) in found.meta.iter().flatten() {
        if !key.starts_with("grant:") {
            continue;
        }
        let Ok(granted) = serde_json::from_str::<Granted>(value) else {
            plan.warnings.push(format!(
                "the note about {key} cannot be read: take that right back by hand"
            ));
            continue;
        };
        if granted.is_there(client).await? {
            plan.steps.push(granted.revoke());
        }
    }
    Ok(())
}

/// Publications of ours with their slots, replica identities that were changed, and the right to replicate.
async fn of_wal(client: &Client, found: &Found, plan: &mut Plan) -> Result<(), InstallError> {
    let facts = WalFacts::read(client, "").await?;
    for publication in facts.publications.iter().filter(|one| one.ours) {
        wal::removal(&facts, &publication.name, "it is ours", &mut plan.steps);
    }
    for (key, value) in found.meta.iter().flatten() {
        if key.starts_with("identity:")
            && let Ok(identity) = serde_json::from_str::<Identity>(value)
        {
            plan.steps.push(identity.restore());
        }
        if key.starts_with("replication:") && found.me.superuser {
            plan.steps.push(revoke_replication(value));
        }
    }
    Ok(())
}

async fn schema(client: &Client, found: &Found, plan: &mut Plan) -> Result<(), InstallError> {
    for ours in BaseRelation::all() {
        let mut relations = found.relations.iter();
        if relations.any(|relation| relation.name == ours.name && relation.kind == ours.kind) {
            plan.steps.push(ours.drop_step("it is ours"));
        }
    }
    let Some(schema) = found.schema.as_ref() else {
        return Ok(());
    };
    // Row types and TOAST belong to their tables; what counts is what stands by itself.
    const FOREIGN: &str = "
        SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = $1 AND relkind <> 'i'
                   AND relname <> ALL ('{seq,stored,meta,stored_id_seq,outbox,outbox_id_seq,bell,cursor,log,log_frame}'))
             + (SELECT count(*) FROM pg_proc p WHERE pronamespace = $1
                   AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE 'pregon: %')
             + (SELECT count(*) FROM pg_type WHERE typnamespace = $1 AND typtype IN ('e', 'd', 'r'))";
    let foreign: i64 = client.query_one(FOREIGN, &[&schema.oid]).await?.try_get(0)?;
    if foreign > 0 || !schema.marked {
        plan.warnings.push(format!(
            "schema {SCHEMA} stays: it was there before, or holds objects that are not ours"
        ));
        return Ok(());
    }
    plan.steps.push(Step {
        sql: format!("DROP SCHEMA IF EXISTS {SCHEMA}"),
        reason: "nothing is left in it".into(),
        object: format!("schema {SCHEMA}"),
        kind: StepKind::Drop,
    });
    Ok(())
}

async fn drop_role(
    client: &Client,
    found: &Found,
    name: &str,
    role: &RoleFacts,
    plan: &mut Plan,
) -> Result<(), InstallError> {
    if !role.marked {
        return Ok(());
    }
    if !found.me.superuser && !found.me.create_role {
        plan.warnings
            .push(format!("role {name} stays: {} may not drop roles", found.me.name));
        return Ok(());
    }
    // What depends on the role here beside what this plan drops, what depends on it elsewhere, and its members.
    const USES: &str = "
        SELECT (SELECT count(*) FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = $1
                   AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                   AND NOT d.objid = ANY($2))
             + (SELECT count(*) FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = $1
                   AND d.dbid NOT IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))),
               (SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
                 WHERE m.roleid = $1 AND r.rolname <> current_user AND NOT r.rolsuper)";
    let mut going: Vec<u32> = found.relations.iter().map(|relation| relation.oid).collect();
    going.extend(
        found
            .functions
            .iter()
            .filter(|function| function.is_ours())
            .map(|function| function.oid),
    );
    going.extend(found.schema.as_ref().map(|schema| schema.oid));
    going.extend(granted_objects(client, found, name).await?);
    let row = client.query_one(USES, &[&role.oid, &going]).await?;
    let (uses, members): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if uses > 0 || members > 0 {
        plan.warnings.push(format!(
            "role {name} stays: other objects, databases or members depend on it"
        ));
        return Ok(());
    }
    plan.steps.push(Step {
        // Roles belong to the whole server: another database may have come to use it since this was planned.
        sql: format!(
            "DO $pregon$ BEGIN DROP ROLE IF EXISTS {};\nEXCEPTION WHEN dependent_objects_still_exist THEN \
             RAISE NOTICE 'the role stays: another database uses it'; END $pregon$",
            ident(name)
        ),
        reason: "it is ours and nothing depends on it".into(),
        object: format!("role {name}"),
        kind: StepKind::Drop,
    });
    Ok(())
}

/// What the role got rights on from us: schemas and tables; the plan takes those rights back before the role goes.
async fn granted_objects(client: &Client, found: &Found, role: &str) -> Result<Vec<u32>, InstallError> {
    const SQL: &str = "
        SELECT coalesce(c.oid, n.oid) FROM unnest($1::text[], $2::text[]) AS g (schema, name)
          JOIN pg_namespace n ON n.nspname = g.schema
          LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = g.name";
    let (schemas, tables): (Vec<String>, Vec<Option<String>>) = found
        .meta
        .iter()
        .flatten()
        .filter_map(|(_, value)| serde_json::from_str::<Granted>(value).ok())
        .filter(|granted| granted.role == role)
        .map(|granted| (granted.schema, granted.table))
        .unzip();
    let rows = client.query(SQL, &[&schemas, &tables]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

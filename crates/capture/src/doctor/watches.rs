//! W1 to W6, P1 and P2: what is installed, and who may use it.

use tokio_postgres::Client;

use super::server::texts;
use super::{Check, DoctorInput, Id};
use crate::catalog;
use crate::install::{self, InstallError, Mode, PUBLISHER_ROLE, Plan, Step, StepKind};

const TABLES: Id = Id("W1", "watched tables");
const LIMITS: Id = Id("W2", "limits of the watches");
const OBJECTS: Id = Id("W3", "functions and triggers");
const DEFINERS: Id = Id("W4", "definer functions");
const SCHEMA: Id = Id("W5", "schema rights");
const REPLICA: Id = Id("W6", "writes without triggers");
const GATEWAY: Id = Id("P1", "gateway rights");
const PUBLISHER: Id = Id("P2", "publish rights");

type Outcome = Result<Check, tokio_postgres::Error>;

pub(super) async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut grants = GATEWAY.skip("there is no [[watch]]");
    if input.target.watches.is_empty() {
        for id in [TABLES, LIMITS, OBJECTS] {
            checks.push(id.skip("there is no [[watch]]"));
        }
    } else {
        match install::plan(client, &input.target).await {
            Ok(plan) => {
                checks.push(TABLES.ok(format!(
                    "{} can be watched",
                    count(input.target.watches.len(), "table")
                )));
                checks.push(LIMITS.settle(limits(client, input, &plan).await));
                checks.push(objects(&plan));
                grants = gateway(&plan);
            }
            Err(error) => {
                checks.push(cannot_plan(&error));
                checks.push(LIMITS.skip("see W1"));
                checks.push(OBJECTS.skip("see W1"));
                grants = GATEWAY.skip("see W1");
            }
        }
    }
    checks.push(DEFINERS.settle(definers(client).await));
    checks.push(SCHEMA.settle(schema(client).await));
    checks.push(REPLICA.settle(replica(client).await));
    checks.push(grants);
    checks.push(PUBLISHER.settle(publisher(client).await));
    checks
}

fn count(number: usize, word: &str) -> String {
    if number == 1 {
        format!("1 {word}")
    } else {
        format!("{number} {word}s")
    }
}

fn cannot_plan(error: &InstallError) -> Check {
    let InstallError::Invalid(problems) = error else {
        return TABLES.fail(crate::connect::chain(error), "repair that first");
    };
    let about = |problem: &install::Problem| match &problem.watch {
        Some(watch) => format!("watch \"{watch}\": {}", problem.message),
        None => problem.message.clone(),
    };
    let details: Vec<String> = problems.iter().map(about).collect();
    let remedies: Vec<&str> = problems.iter().map(|problem| problem.remedy.as_str()).collect();
    TABLES.fail(details.join("; "), remedies.join("; "))
}

async fn limits(client: &Client, input: &DoctorInput, plan: &Plan) -> Outcome {
    let mut findings: Vec<String> = plan.warnings.clone();
    for watch in &input.target.watches {
        let facts = catalog::table_facts(client, &watch.schema, &watch.table).await?;
        if facts.is_some_and(|table| table.row_security) {
            let more = match input.target.mode {
                Mode::Notify => ", and rows too big for NOTIFY are read with the gateway's policies",
                Mode::Outbox => "",
                Mode::Wal => ", and values that the WAL leaves out are read with the gateway's policies",
            };
            findings.push(format!(
                "watch \"{}\": {}.{} has row security, which triggers do not know: the routes decide who sees a row{more}",
                watch.name, watch.schema, watch.table
            ));
        }
    }
    Ok(if findings.is_empty() {
        LIMITS.ok("none")
    } else {
        LIMITS.warn(findings.join("; "), "nothing, if that is what you want")
    })
}

fn objects(plan: &Plan) -> Check {
    let steps = plan
        .steps
        .iter()
        .filter(|step| !matches!(step.kind, StepKind::Grant | StepKind::Revoke));
    let (harmless, needed): (Vec<_>, Vec<_>) = steps.partition(|step| step.kind.is_harmless());
    let words = |steps: &[&Step]| {
        let words: Vec<String> = steps
            .iter()
            .map(|step| format!("{} ({})", step.object, step.reason))
            .collect();
        words.join("; ")
    };
    let remedy = "pregon db plan shows the SQL, pregon db apply runs it";
    if !needed.is_empty() {
        let all: Vec<&Step> = needed.into_iter().chain(harmless).collect();
        OBJECTS.fail(words(&all), remedy)
    } else if harmless.is_empty() {
        OBJECTS.ok("all are there, unchanged")
    } else {
        OBJECTS.warn(
            format!(
                "not quite as they would be installed, though all changes are captured: {}",
                words(&harmless)
            ),
            remedy,
        )
    }
}

fn gateway(plan: &Plan) -> Check {
    let missing: Vec<&str> = plan
        .steps
        .iter()
        .filter(|step| step.kind == StepKind::Grant)
        .filter_map(|step| step.sql.split(";\n").next())
        .collect();
    let needless: Vec<&str> = plan
        .steps
        .iter()
        .filter(|step| step.kind == StepKind::Revoke)
        .map(|step| step.object.as_str())
        .collect();
    if missing.is_empty() && !needless.is_empty() {
        GATEWAY.warn(
            format!("more than it needs: {}", needless.join(", ")),
            "pregon db apply takes it back",
        )
    } else if missing.is_empty() {
        GATEWAY.ok("all that it needs")
    } else {
        GATEWAY.fail(
            format!("missing: {}", missing.join("; ")),
            "pregon db apply grants them",
        )
    }
}

async fn definers(client: &Client) -> Outcome {
    const SQL: &str = "
        SELECT format('%s.%s %s', n.nspname, p.proname, CASE WHEN r.rolsuper THEN 'runs as a superuser'
                 WHEN NOT EXISTS (SELECT 1 FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%') THEN 'has no search_path'
                 ELSE 'may be executed by everybody' END)
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
         WHERE p.prosecdef AND (n.nspname = 'pregon' OR obj_description(p.oid, 'pg_proc') LIKE 'pregon: %')
           AND (r.rolsuper OR NOT EXISTS (SELECT 1 FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')
                OR EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0))
         ORDER BY 1";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        DEFINERS.ok("none can be misused")
    } else {
        DEFINERS.fail(
            list.join("; "),
            "pregon db apply as a role that may create pregon_owner",
        )
    })
}

async fn schema(client: &Client) -> Outcome {
    const SQL: &str = "SELECT DISTINCT a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
        WHERE n.nspname = 'pregon' AND a.grantee = 0 ORDER BY 1";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        SCHEMA.ok("nobody but the roles that need it")
    } else {
        SCHEMA.fail(
            format!("everybody has {}", list.join(", ")),
            "REVOKE ALL ON SCHEMA pregon FROM PUBLIC",
        )
    })
}

async fn replica(client: &Client) -> Outcome {
    // pg_subscription shows its harmless columns to everybody.
    const SQL: &str = "
        SELECT format('role %s sets session_replication_role', coalesce(nullif(s.setrole, 0)::regrole::text, 'of the database'))
          FROM pg_db_role_setting s
         WHERE EXISTS (SELECT 1 FROM unnest(s.setconfig) c WHERE c LIKE 'session_replication_role=%' AND c NOT LIKE '%=origin')
        UNION ALL
        SELECT format('subscription %s', s.subname) FROM pg_subscription s
         WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let list = texts(client, SQL).await?;
    Ok(if list.is_empty() {
        REPLICA.ok("no role or subscription writes without firing triggers")
    } else {
        REPLICA.warn(
            list.join("; "),
            "rows written there fire no triggers: ALTER TABLE … ENABLE ALWAYS TRIGGER … for every trigger of the watch, if they should \
             (W2 has the statement for a table that a subscription writes); with `pregon db apply` before it, because only triggers of \
             rows fire there",
        )
    })
}

async fn publisher(client: &Client) -> Outcome {
    const SQL: &str = "
        SELECT has_function_privilege(r.oid, p.oid, 'EXECUTE') AND has_schema_privilege(r.oid, n.oid, 'USAGE'),
               (SELECT count(*) FROM pg_auth_members m WHERE m.roleid = r.oid)
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace LEFT JOIN pg_roles r ON r.rolname = $1
         WHERE n.nspname = 'pregon' AND p.proname = 'publish'";
    let Some(row) = client.query_opt(SQL, &[&PUBLISHER_ROLE]).await? else {
        return Ok(PUBLISHER.skip("pregon.publish is not installed"));
    };
    let members: i64 = row.try_get(1)?;
    Ok(match row.try_get::<_, Option<bool>>(0)? {
        Some(true) => PUBLISHER.ok(format!("members of {PUBLISHER_ROLE}: {members}")),
        Some(false) => PUBLISHER.fail(
            format!("{PUBLISHER_ROLE} may not call pregon.publish"),
            "pregon db apply grants it",
        ),
        None => PUBLISHER.warn(
            format!("there is no role {PUBLISHER_ROLE}"),
            "pregon db apply as a role with CREATEROLE",
        ),
    })
}

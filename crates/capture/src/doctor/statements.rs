//! P3: whether the gateway's role may run the queries of the configuration. They are planned, never run: only planning for
//! execution asks for privileges.

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use super::{Check, DoctorInput, Id};
use crate::catalog::names::ident;

const QUERIES: Id = Id("P3", "queries of the configuration");

pub(super) async fn run(client: &Client, input: &DoctorInput) -> Vec<Check> {
    if input.statements.is_empty() {
        return vec![QUERIES.skip("there is no allow_sql or enrich")];
    }
    vec![QUERIES.settle(examine(client, &input.statements).await)]
}

async fn examine(client: &Client, statements: &[(String, String)]) -> Result<Check, tokio_postgres::Error> {
    let role: String = client
        .query_one("SELECT current_user::text", &[])
        .await?
        .try_get(0)?;
    let (mut details, mut remedies) = (Vec::new(), Vec::new());
    for (number, (key, sql)) in statements.iter().enumerate() {
        let Err(error) = plan(client, number, sql).await else {
            continue;
        };
        let Some(refusal) = error.as_db_error() else {
            return Err(error);
        };
        details.push(format!(
            "{key}: {} ({})",
            refusal.message(),
            refusal.code().code()
        ));
        let remedy = remedy(refusal, &role);
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    Ok(if details.is_empty() {
        QUERIES.ok(format!("{role} may run all {}", statements.len()))
    } else {
        QUERIES.fail(details.join("; "), remedies.join("; "))
    })
}

/// Plans one statement as the gateway would have it executed. The generic plan is asked for because a NULL for a parameter could
/// let the planner leave out what the query reads.
async fn plan(client: &Client, number: usize, sql: &str) -> Result<(), tokio_postgres::Error> {
    let parameters = client.prepare(sql).await?.params().len();
    let name = format!("pregon_doctor_{number}");
    let arguments = match parameters {
        0 => String::new(),
        several => format!("({})", vec!["NULL"; several].join(", ")),
    };
    // Line breaks, because the query may end with a comment.
    let prepare = format!("PREPARE {name} AS {sql}\n");
    client.batch_execute(&prepare).await?;
    let explain = format!(
        "BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_generic_plan; EXPLAIN EXECUTE {name}{arguments}"
    );
    let explained = client.batch_execute(&explain).await;
    client
        .batch_execute(&format!("ROLLBACK; DEALLOCATE {name}"))
        .await?;
    explained
}

fn remedy(refusal: &DbError, role: &str) -> String {
    if *refusal.code() != SqlState::INSUFFICIENT_PRIVILEGE {
        return "correct the query, or create what it names".to_owned();
    }
    let object = refusal.message().strip_prefix("permission denied for ");
    let right = object
        .and_then(|object| object.split_once(' '))
        .and_then(|(kind, name)| match kind {
            "table" | "view" => Some(format!("SELECT ON {name}")),
            "schema" => Some(format!("USAGE ON SCHEMA {name}")),
            "function" => Some(format!("EXECUTE ON FUNCTION {name}")),
            _ => None,
        });
    match right {
        Some(right) => format!("GRANT {right} TO {}", ident(role)),
        None => format!("GRANT {} what the query uses", ident(role)),
    }
}

//! What the gateway's role may do with what is installed.

use tokio_postgres::Client;

use super::found::Found;
use super::plan::{Step, StepKind};
use super::spec::{Mode, Target};
use super::{InstallError, SCHEMA};
use crate::catalog::names::ident;

const MAY_USE: &str = "SELECT has_schema_privilege($1::name, $2::oid, 'USAGE')";
const MAY_SEE: &str = "SELECT has_sequence_privilege($1::name, $2::oid, 'SELECT')";
const MAY_READ: &str = "SELECT has_table_privilege($1::name, $2::oid, 'SELECT')";
const MAY_DELETE: &str = "SELECT has_table_privilege($1::name, $2::oid, 'SELECT') AND has_table_privilege($1::name, $2::oid, 'DELETE')";
const MAY_UPDATE: &str = "SELECT has_table_privilege($1::name, $2::oid, 'SELECT') AND has_table_privilege($1::name, $2::oid, 'UPDATE')";
const MAY_CALL: &str = "SELECT has_function_privilege($1::name, $2::oid, 'EXECUTE')";

/// A right of the gateway in our own schema.
struct Right {
    /// Asks whether role `$1` has it on object `$2`.
    query: &'static str,
    oid: Option<u32>,
    right: String,
    object: String,
}

/// What there is in our own schema.
struct Own<'a>(&'a Found);

impl Own<'_> {
    fn relation(&self, name: &str) -> Option<u32> {
        let mut relations = self.0.relations.iter();
        relations.find(|one| one.name == name).map(|one| one.oid)
    }

    fn table(&self, query: &'static str, verbs: &str, name: &str) -> Right {
        Right {
            query,
            oid: self.relation(name),
            right: format!("{verbs} ON {SCHEMA}.{name}"),
            object: format!("table {SCHEMA}.{name}"),
        }
    }

    fn sequence(&self, name: &str) -> Right {
        Right {
            query: MAY_SEE,
            oid: self.relation(name),
            right: format!("SELECT ON SEQUENCE {SCHEMA}.{name}"),
            object: format!("sequence {SCHEMA}.{name}"),
        }
    }

    fn function(&self, name: &str, arguments: &str) -> Right {
        let mut functions = self.0.functions.iter();
        let found = functions.find(|one| one.schema == SCHEMA && one.name == name);
        Right {
            query: MAY_CALL,
            oid: found.map(|found| found.oid),
            right: format!("EXECUTE ON FUNCTION {SCHEMA}.{name}({arguments})"),
            object: format!("function {SCHEMA}.{name}"),
        }
    }

    /// What the gateway may do: look, keep its place in the outbox, delete what is in the log, and append to a log that it shares.
    fn rights(&self, target: &Target) -> Vec<Right> {
        let mut rights = vec![
            Right {
                query: MAY_USE,
                oid: self.0.schema.as_ref().map(|schema| schema.oid),
                right: format!("USAGE ON SCHEMA {SCHEMA}"),
                object: format!("schema {SCHEMA}"),
            },
            self.sequence("seq"),
            self.table(MAY_READ, "SELECT", "stored"),
            self.table(MAY_READ, "SELECT", "meta"),
        ];
        if target.mode == Mode::Outbox {
            rights.extend([
                self.table(MAY_DELETE, "SELECT, DELETE", "outbox"),
                self.table(MAY_UPDATE, "SELECT, UPDATE", "bell"),
                self.table(MAY_UPDATE, "SELECT, UPDATE", "cursor"),
                self.sequence("outbox_id_seq"),
                self.function("trim", "bigint"),
                self.function("mend", ""),
                self.function("flaw", "timestamp with time zone"),
            ]);
        }
        if target.log {
            rights.extend(["log", "log_frame"].map(|name| self.table(MAY_READ, "SELECT", name)));
            rights.extend([
                self.function("log_open", "text"),
                self.function("log_append", "text, bigint, text, text, bigint, bytea, bytea"),
                self.function("log_renew", "text, bigint, bigint"),
                self.function("log_prune", "text, timestamp with time zone, bigint"),
            ]);
        }
        rights
    }
}

/// Steps for every right of the gateway that is missing in our own schema.
pub(super) async fn steps(
    client: &Client,
    found: &Found,
    target: &Target,
    role: &str,
    steps: &mut Vec<Step>,
) -> Result<(), InstallError> {
    for wanted in Own(found).rights(target) {
        let has = match wanted.oid {
            Some(oid) => client
                .query_one(wanted.query, &[&role, &oid])
                .await?
                .try_get::<_, bool>(0)?,
            None => has_all_rights(client, role).await?,
        };
        if !has {
            steps.push(Step {
                sql: format!("GRANT {} TO {}", wanted.right, ident(role)),
                reason: format!("the gateway's role {role} needs it"),
                object: wanted.object,
                kind: StepKind::Grant,
            });
        }
    }
    Ok(())
}

async fn has_all_rights(client: &Client, role: &str) -> Result<bool, tokio_postgres::Error> {
    client
        .query_one("SELECT rolsuper FROM pg_roles WHERE rolname = $1", &[&role])
        .await?
        .try_get(0)
}

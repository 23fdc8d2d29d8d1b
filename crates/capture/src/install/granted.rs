//! A right outside of our own schema, as it is given, remembered in `pregon.meta`, and taken back.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::SCHEMA;
use super::plan::{Step, StepKind};
use crate::catalog::names::{ident, ident_list, literal, qualified};

/// Something that was granted outside of our schema. `columns` empty means the whole table, `table` empty the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Granted {
    pub(crate) role: String,
    pub(crate) schema: String,
    pub(crate) table: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<String>,
}

impl Granted {
    fn object(&self) -> String {
        match &self.table {
            Some(table) => format!("table {}.{table}", self.schema),
            None => format!("schema {}", self.schema),
        }
    }

    fn right(&self) -> String {
        match &self.table {
            Some(table) if self.columns.is_empty() => format!("SELECT ON {}", qualified(&self.schema, table)),
            Some(table) => {
                let columns = ident_list(self.columns.iter().map(String::as_str));
                format!("SELECT ({columns}) ON {}", qualified(&self.schema, table))
            }
            None => format!("USAGE ON SCHEMA {}", ident(&self.schema)),
        }
    }

    /// Under which it is remembered.
    fn key(&self) -> String {
        format!("grant:{}:{}", self.role, self.right())
    }

    /// Grants it, and remembers that in the same step.
    pub(crate) fn step(&self, reason: &str) -> Step {
        let value = serde_json::to_string(self).unwrap_or_default();
        Step {
            sql: format!(
                "GRANT {} TO {};\nINSERT INTO {SCHEMA}.meta (key, value) VALUES ({}, {})\nON CONFLICT (key) DO NOTHING",
                self.right(),
                ident(&self.role),
                literal(&self.key()),
                literal(&value)
            ),
            reason: reason.to_owned(),
            object: self.object(),
            kind: StepKind::Grant,
        }
    }

    /// Takes it back.
    pub(crate) fn revoke(&self) -> Step {
        Step {
            sql: format!("REVOKE {} FROM {}", self.right(), ident(&self.role)),
            reason: format!("it was granted to {}", self.role),
            object: self.object(),
            kind: StepKind::Revoke,
        }
    }

    /// Takes it back and forgets it, because nothing needs it.
    pub(crate) fn withdraw(&self) -> Step {
        let step = self.revoke();
        Step {
            sql: format!(
                "{};\nDELETE FROM {SCHEMA}.meta WHERE key = {}",
                step.sql,
                literal(&self.key())
            ),
            reason: format!("no watch needs it any more, and it was granted to {}", self.role),
            ..step
        }
    }

    /// Whether it is about the same table of the same role: to take one back would take the other with it.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        (&self.role, &self.schema, &self.table) == (&other.role, &other.schema, &other.table)
    }

    /// The role, the schema or the table may be gone meanwhile, and the grant with it.
    pub(crate) async fn is_there(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        const THERE: &str = "
            SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)
               AND EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $2)
               AND ($3::text IS NULL OR EXISTS (
                 SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = $2 AND c.relname = $3
                    AND $4::text[] <@ ARRAY(SELECT attname::text FROM pg_attribute a
                                             WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped)))";
        client
            .query_one(THERE, &[&self.role, &self.schema, &self.table, &self.columns])
            .await?
            .try_get(0)
    }
}

/// A right outside of our schema that a watch needs.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) granted: Granted,
    /// The role has it already, from whomever.
    pub(crate) held: bool,
    pub(crate) reason: &'static str,
}

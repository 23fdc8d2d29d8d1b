//! `[postgres]`, `[[watch]]`, `[[listen]]` and `[[route]]`: what is captured and where it goes.

use std::collections::BTreeMap;

use pregon_capture::change::Op;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::units::{OneOrMany, Period, Secret};

/// The database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Connection of the gateway's least-privileged role, as `postgres://…` or `host=… user=…`. `DATABASE_URL` overrides it.
    pub url: Option<Secret>,
    /// Connection of a role that may run DDL. `PREGON_ADMIN_URL` overrides it; without either `url` is used.
    pub admin_url: Option<Secret>,
    /// Whether `serve` may install functions and triggers itself (`auto`) or only says what is missing (`manual`):
    /// changing a schema is something to ask for.
    pub apply: Apply,
    /// How changes of watches are captured: `outbox` and `wal` lose nothing, `outbox` by triggers that write a table of ours, `wal` from the
    /// write-ahead log (needs `wal_level = logical`); `notify` tells at most once and needs neither.
    pub capture: Capture,
    /// Name of the slot and of the publication of `capture = "wal"`: lower-case letters, digits and underscores; `pregon_` and the database's name by
    /// default. Each gateway that is to get every change has a slot of its own; those that share one take turns.
    pub slot: Option<String>,
    /// Connection of the role that reads the slot, because REPLICATION is a powerful attribute; `url` by default.
    pub replication_url: Option<Secret>,
    /// Connections for rows, enrichment and `allow_sql`; the LISTEN connection is extra. Small, because the application needs the others.
    pub pool: usize,
    /// Longest time that one of our statements may run.
    pub statement_timeout: Period,
    /// Pause between round trips that prove that the LISTEN connection still delivers.
    pub heartbeat: Period,
    /// The table of captured changes.
    pub outbox: Outbox,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: None,
            admin_url: None,
            apply: Apply::Manual,
            capture: Capture::Outbox,
            slot: None,
            replication_url: None,
            pool: 4,
            statement_timeout: Period::seconds(5),
            heartbeat: Period::seconds(5),
            outbox: Outbox::default(),
        }
    }
}

impl Postgres {
    /// The connection for DDL: `admin_url`, otherwise `url`.
    pub fn admin(&self) -> Option<&Secret> {
        self.admin_url.as_ref().or(self.url.as_ref())
    }

    /// The connection that reads the slot.
    pub fn replication(&self) -> Option<&Secret> {
        self.replication_url.as_ref().or(self.url.as_ref())
    }
}

/// Who installs functions and triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Apply {
    Manual,
    Auto,
}

/// How changes reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    Notify,
    Outbox,
    Wal,
}

/// A table whose changes are captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["table"]))]
pub struct Watch {
    /// Name for routes and logs; the table's name by default.
    pub name: String,
    /// The table, `"table"` or `"schema.table"`.
    pub table: String,
    /// Operations to capture; TRUNCATE only when it is named, because it carries no rows.
    pub operations: Vec<Operation>,
    /// SQL condition over the row's columns; only rows that match it are captured. An update into the condition counts as an
    /// insert, one out of it as a delete.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Columns to carry; all by default.
    pub columns: Option<Vec<String>>,
    /// Whether updates carry the old row too.
    pub old: bool,
    /// Name of the trigger function, used verbatim.
    pub function: Option<String>,
    /// Name of the trigger, used verbatim.
    pub trigger: Option<String>,
    /// Whether a function or trigger of that name that is not ours may be replaced.
    pub adopt: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            name: String::new(),
            table: String::new(),
            operations: vec![Operation::Insert, Operation::Update, Operation::Delete],
            condition: None,
            columns: None,
            old: false,
            function: None,
            trigger: None,
            adopt: false,
        }
    }
}

/// What can happen to a row or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl From<Operation> for Op {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Insert => Self::Insert,
            Operation::Update => Self::Update,
            Operation::Delete => Self::Delete,
            Operation::Truncate => Self::Truncate,
        }
    }
}

/// A NOTIFY channel that triggers of the application already use. Needs no DDL.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["channel"]))]
pub struct Listen {
    /// The channel, exactly as the trigger spells it.
    pub channel: String,
    /// Name for routes and logs; the channel's by default.
    pub name: String,
}

/// One rule: which events go to which channels, under which name and with what payload. A source that no route names
/// publishes everything on a channel of its own name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct Route {
    /// Name of a watch, a listen or a source of Redis, or a list of them.
    pub from: OneOrMany,
    /// Condition over `row`, `old`, `op`, `message` and `channel`, for example `"row.tipo_acceso == 'miembro'"`.
    pub when: Option<String>,
    /// Channels as templates over the row: `["conversation_{conversation_id}"]`. A template with a missing, null or empty
    /// value addresses nobody.
    pub to: OneOrMany,
    /// Name of the event as clients see it, a template too: `"message:new"` or `"{op}"`. By default the operation of a
    /// watch (`insert`, `update`, `delete`, `truncate`) and `message` for a listen.
    pub event: Option<String>,
    /// Columns that the payload keeps; all by default.
    pub fields: Option<Vec<String>>,
    /// A payload built of expressions: `{ id = "row.id", text = "row.message" }`.
    pub payload: Option<BTreeMap<String, String>>,
    /// Keys of the payload whose numbers are sent as texts (`"10.50"`), or `"*"` for all of them: a JavaScript number keeps 15 to 17 digits,
    /// so that a large `bigint` or a `numeric` would be another one for a page.
    pub as_text: OneOrMany,
    /// A query that adds columns to the row: after `when`, before the channels, the event's name and the payload.
    pub enrich: Option<Enrich>,
}

/// A query that adds columns to the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["sql"]))]
pub struct Enrich {
    /// One SELECT; the row's columns are named parameters: `"SELECT nombre FROM miembros WHERE id_miembro = :id_miembro"`.
    pub sql: String,
    /// How long the query may take; after that the event goes on without it and is counted.
    pub timeout: Period,
}

impl Default for Enrich {
    fn default() -> Self {
        Self {
            sql: String::new(),
            timeout: Period::seconds(2),
        }
    }
}

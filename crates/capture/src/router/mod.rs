//! What the webhook router has in a database: its inbox, the application's three tables, and the functions that fill them.
//!
//! ```text
//! accept.sql: deliveries and items ─▶ inbox, work ─▶ drain() ─▶ store() ─▶ contact, conversation, message, pregon.publish
//!                                                       └─▶ fail() ─▶ again later, or dead_letter
//! ```
//!
//! An item's lane is a hash of its contact. Whoever drains a lane holds an advisory lock of the transaction, so that one
//! contact's items are stored in order whatever number of processes work; no state of a session is needed, and a process that
//! dies gives everything back. Everything that an item causes is one transaction with its removal from the work.

mod facts;
mod functions;
mod plan;
mod removal;
mod schema;

pub use plan::plan;
pub use removal::drop;

/// The schema of everything that belongs to the router.
pub const SCHEMA: &str = "pregon_router";

/// Lanes that the work is spread over: enough for some processes with some connections each, few enough to be looked at often.
pub const LANES: u16 = 64;

/// Keeps deliveries: `$1` bodies as `bytea[]`, `$2` items as JSON; gives how many there were.
pub const ACCEPT: &str = include_str!("../../sql/router/accept.sql");

/// Drains lanes: `$1` lanes as `int[]`, `$2` most items, `$3` attempts before an item is a dead letter; gives one JSON object.
pub const DRAIN: &str = "SELECT pregon_router.drain($1::int[], $2::int, $3::int)::text";

/// Sets the first item of lanes aside that takes too long by itself: `$1` lanes, `$2` why, `$3` attempts.
pub const GIVE_UP: &str = "SELECT pregon_router.give_up($1::int[], $2::text, $3::int)::text";

/// Stores what waits in Redis: `$1` lanes as `int[]`, `$2` entries as JSON, `$3` which Redis, `$4` how, `$5` attempts before an item is a
/// dead letter; gives one JSON object.
pub const TAKE: &str = "SELECT pregon_router.take($1::int[], $2::jsonb, $3::text, $4::text, $5::int)::text";

/// Takes what is to be sent: `$1` how many, `$2` kinds as `text[]`; gives id, kind, target, key, body, attempts and whether it is too late.
pub const CLAIM: &str = include_str!("../../sql/router/claim.sql");

/// Notes that something was sent: `$1` its id, `$2` the new message's id.
pub const SENT: &str = "SELECT pregon_router.sent($1::bigint, $2::text)::text";

/// Notes what was handed over: `$1` ids that were, `$2` all that were taken.
pub const SENT_ALL: &str = include_str!("../../sql/router/sent_all.sql");

/// Notes that something was not sent: `$1` its id, `$2` why, `$3` whether for good.
pub const UNSENT: &str = include_str!("../../sql/router/unsent.sql");

/// The key of the advisory locks of lanes: any number that nobody else uses.
const LOCK: i32 = 0x7072_6f75;

/// Comments of our functions and of our schema begin with this. Not the gateway's mark: its installation must leave them alone.
const MARK: &str = "pregon router: ";

/// A table of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    /// Reads `table` or `schema.table`; without a schema it is `public`.
    pub fn parse(text: &str) -> Self {
        let (schema, name) = crate::catalog::names::split_qualified(text);
        Self {
            schema: schema
                .filter(|schema| !schema.is_empty())
                .unwrap_or_else(|| "public".into()),
            name,
        }
    }

    /// As SQL.
    pub(crate) fn sql(&self) -> String {
        crate::catalog::names::qualified(&self.schema, &self.name)
    }

    /// As people say it.
    pub(crate) fn plain(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSpec {
    pub contacts: TableName,
    pub conversations: TableName,
    pub messages: TableName,
    /// Who conversations are assigned to: a table with `id`, `area` and `en_linea`, which is only read.
    pub agents: Option<TableName>,
    /// The area of conversations that no rule gave to another.
    pub area: String,
    /// How the gateway captures, for the installation of `pregon.publish` where there is none yet.
    pub mode: crate::install::Mode,
    /// The role that the router connects with; it gets the least that it needs.
    pub role: Option<String>,
}

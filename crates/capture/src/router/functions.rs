//! The router's functions, as SQL: bodies with the names of the application's tables put in.

use crate::catalog::names::{dollar_quote, fingerprint, literal};

use super::{LOCK, MARK, RouterSpec, SCHEMA, TableName};

/// A function as it should be.
pub(super) struct Function {
    pub(super) name: &'static str,
    arguments: String,
    result: String,
    /// Called from outside, so that it sets the search path for itself and all that it calls; and the plans: what is asked is always few rows of
    /// an index, whatever the tables were when somebody last counted. A table that has no index then looks so dear that the server would
    /// compile the statement, which takes longer than all the rest.
    entry: bool,
    pub(super) body: String,
}

impl Function {
    /// The statement that makes it what it should be.
    pub(super) fn sql(&self) -> String {
        let signature = format!("{SCHEMA}.{}({})", self.name, self.arguments);
        let settings = if self.entry {
            " SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off"
        } else {
            ""
        };
        format!(
            "CREATE OR REPLACE FUNCTION {signature} RETURNS {} LANGUAGE plpgsql VOLATILE{settings} AS {};\n\
             REVOKE ALL ON FUNCTION {signature} FROM PUBLIC;\n\
             COMMENT ON FUNCTION {signature} IS {}",
            self.result,
            dollar_quote(&self.body),
            literal(&format!("{MARK}body={}", fingerprint(&self.body)))
        )
    }
}

/// Name, arguments, result and body.
type Template = (&'static str, &'static str, &'static str, &'static str);

const ASSIGN: &str = include_str!("../../sql/router/assign.sql");
const NOBODY: &str = include_str!("../../sql/router/nobody.sql");

/// All functions, callees first.
#[rustfmt::skip]
const TEMPLATES: [Template; 14] = [
    ("state_of", "rank smallint, error jsonb", "text", include_str!("../../sql/router/state_of.sql")),
    ("tell", "talk jsonb, message jsonb, name text, area text", "void", include_str!("../../sql/router/tell.sql")),
    ("contact", "telefono text, user_id text, nombre text", "{{contactos}}", include_str!("../../sql/router/contact.sql")),
    ("rename", "old text, new text", "void", include_str!("../../sql/router/rename.sql")),
    ("assign", "area text, how text, present text", "text", ASSIGN),
    ("apply_rules", "talk {{conversaciones}}, item jsonb, stored jsonb, fresh boolean", "{{conversaciones}}",
        include_str!("../../sql/router/apply_rules.sql")),
    ("store_message", "item jsonb", "jsonb", include_str!("../../sql/router/store_message.sql")),
    ("store_status", "item jsonb", "jsonb", include_str!("../../sql/router/store_status.sql")),
    ("store", "item jsonb, delivery bigint", "jsonb", include_str!("../../sql/router/store.sql")),
    ("fail", "item_id bigint, reason text, patience integer", "jsonb", include_str!("../../sql/router/fail.sql")),
    ("give_up", "lanes integer[], reason text, patience integer", "void", include_str!("../../sql/router/give_up.sql")),
    ("drain", "lanes integer[], most integer, patience integer", "jsonb", include_str!("../../sql/router/drain.sql")),
    ("take", "lanes integer[], entries jsonb, era text, how text, patience integer", "jsonb",
        include_str!("../../sql/router/take.sql")),
    ("sent", "id bigint, wamid text", "void", include_str!("../../sql/router/sent.sql")),
];

/// The functions for these tables.
pub(super) fn wanted(spec: &RouterSpec) -> Vec<Function> {
    let make = |(name, arguments, result, body): &Template| Function {
        name,
        arguments: fill(spec, arguments),
        result: fill(spec, result),
        entry: ["drain", "give_up", "take", "sent"].contains(name),
        body: match (*name, &spec.agents) {
            ("assign", None) => NOBODY.to_owned(),
            _ => fill(spec, body),
        },
    };
    TEMPLATES.iter().map(make).collect()
}

fn fill(spec: &RouterSpec, text: &str) -> String {
    let agents = spec.agents.as_ref().map(TableName::sql).unwrap_or_default();
    text.replace("{{contactos}}", &spec.contacts.sql())
        .replace("{{conversaciones}}", &spec.conversations.sql())
        .replace("{{mensajes}}", &spec.messages.sql())
        .replace("{{agentes}}", &agents)
        .replace("{{area}}", &literal(&spec.area))
        .replace("{{lock}}", &LOCK.to_string())
}

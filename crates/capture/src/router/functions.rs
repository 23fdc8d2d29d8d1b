//! The router's functions, as SQL: bodies with the names of the application's tables put in.

use crate::catalog::names::{dollar_quote, fingerprint, literal};

use super::{LOCK, MARK, RouterSpec, SCHEMA, TableName};

/// A function as it should be.
pub(super) struct Function {
    pub(super) name: &'static str,
    arguments: String,
    result: String,
    /// Called from outside, so that it sets the search path for itself and all that it calls.
    entry: bool,
    pub(super) body: String,
}

impl Function {
    /// The statement that makes it what it should be.
    pub(super) fn sql(&self) -> String {
        let signature = format!("{SCHEMA}.{}({})", self.name, self.arguments);
        let settings = if self.entry {
            " SET search_path = pg_catalog, pg_temp"
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

/// All functions, callees first.
pub(super) fn wanted(spec: &RouterSpec) -> Vec<Function> {
    let make = |name, arguments: &str, result: &str, body: &str| Function {
        name,
        arguments: arguments.to_owned(),
        result: result.to_owned(),
        entry: ["drain", "sent"].contains(&name),
        body: fill(spec, body),
    };
    let (contact, conversation) = (spec.contacts.sql(), spec.conversations.sql());
    vec![
        make(
            "state_of",
            "rank smallint, error jsonb",
            "text",
            include_str!("../../sql/router/state_of.sql"),
        ),
        make(
            "tell",
            "talk jsonb, message jsonb, name text, area text",
            "void",
            include_str!("../../sql/router/tell.sql"),
        ),
        make(
            "contact",
            "telefono text, user_id text, nombre text",
            &contact,
            include_str!("../../sql/router/contact.sql"),
        ),
        make(
            "rename",
            "old text, new text",
            "void",
            include_str!("../../sql/router/rename.sql"),
        ),
        make(
            "assign",
            "area text, how text, present text",
            "text",
            match spec.agents {
                Some(_) => include_str!("../../sql/router/assign.sql"),
                None => include_str!("../../sql/router/nobody.sql"),
            },
        ),
        make(
            "apply_rules",
            &format!("talk {conversation}, item jsonb, stored jsonb, fresh boolean"),
            &conversation,
            include_str!("../../sql/router/apply_rules.sql"),
        ),
        make(
            "store_message",
            "item jsonb",
            "jsonb",
            include_str!("../../sql/router/store_message.sql"),
        ),
        make(
            "store_status",
            "item jsonb",
            "jsonb",
            include_str!("../../sql/router/store_status.sql"),
        ),
        make(
            "store",
            "item jsonb, delivery bigint",
            "jsonb",
            include_str!("../../sql/router/store.sql"),
        ),
        make(
            "fail",
            "item_id bigint, reason text, patience integer",
            "jsonb",
            include_str!("../../sql/router/fail.sql"),
        ),
        make(
            "drain",
            "lanes integer[], most integer, patience integer",
            "jsonb",
            include_str!("../../sql/router/drain.sql"),
        ),
        make(
            "sent",
            "id bigint, wamid text",
            "void",
            include_str!("../../sql/router/sent.sql"),
        ),
    ]
}

fn fill(spec: &RouterSpec, body: &str) -> String {
    body.replace("{{contactos}}", &spec.contacts.sql())
        .replace("{{conversaciones}}", &spec.conversations.sql())
        .replace("{{mensajes}}", &spec.messages.sql())
        .replace(
            "{{agentes}}",
            &spec.agents.as_ref().map(TableName::sql).unwrap_or_default(),
        )
        .replace("{{area}}", &literal(&spec.area))
        .replace("{{lock}}", &LOCK.to_string())
}

//! What is installed for a log that gateways share: its tables, and the functions by which alone they are changed.

use super::base::{BaseFunction, BaseRelation, PATH};

/// What a shared log consists of. Never removed but with everything: another configuration's gateways may share it.
pub(super) const RELATIONS: [BaseRelation; 2] = [
    BaseRelation {
        name: "log",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/log/log.sql"),
        reason: "says which history a log has that gateways share",
    },
    BaseRelation {
        name: "log_frame",
        kind: "r",
        word: "table",
        create: include_str!("../../sql/log/log_frame.sql"),
        reason: "keeps the frames of a log that gateways share",
    },
];

/// What gateways call that share a log: they may read its tables and change nothing in them but by these.
const fn of_log(
    name: &'static str,
    arguments: &'static str,
    result: &'static str,
    body: &'static str,
) -> BaseFunction {
    BaseFunction {
        name,
        arguments,
        result,
        definer: true,
        volatility: "VOLATILE",
        settings: PATH,
        body,
    }
}

/// See [`Target::log`](super::Target).
pub(super) const FUNCTIONS: [BaseFunction; 4] = [
    of_log(
        "log_append",
        "log_name text, history bigint, frame text, source_name text, behind bigint, place bytea, body bytea",
        "bigint",
        include_str!("../../sql/log/log_append.sql"),
    ),
    of_log(
        "log_renew",
        "log_name text, history bigint, given bigint",
        "boolean",
        include_str!("../../sql/log/log_renew.sql"),
    ),
    of_log(
        "log_open",
        "log_name text",
        "void",
        include_str!("../../sql/log/log_open.sql"),
    ),
    of_log(
        "log_prune",
        "log_name text, older timestamp with time zone, most bigint",
        "bigint",
        include_str!("../../sql/log/log_prune.sql"),
    ),
];

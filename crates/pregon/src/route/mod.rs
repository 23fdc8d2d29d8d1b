//! The router: events in, publications out, and who may follow them. Pure: no clock, no database, no tasks.
//!
//! `template` renders and recognises names, `expr` is the expression language, `naming` refuses names that would be taken apart wrongly,
//! `scope` is what both look at, a `target` is a text of a rule, `rule` makes publications and counts them in `outcome`, `explain` says why, for a `sample` too, `grant` decides who may subscribe and publish.

pub(crate) mod template;
pub(crate) mod json;
pub(crate) mod expr;
pub(crate) mod scope;
pub(crate) mod naming;
mod target;
mod seal;
mod numbers;
mod object;
pub(crate) mod rule;
pub(crate) mod outcome;
pub(crate) mod sample;
pub(crate) mod explain;
pub(crate) mod grant;

use pregon_capture::query::SqlError;

pub(crate) use expr::ExprError;
pub(crate) use grant::Decision;
pub(crate) use rule::{Routes, Rule};
pub(crate) use scope::Scope;
pub(crate) use template::{Template, TemplateError};

/// Why rules, rights or the judging of names cannot be built. `pregon check` finds all of these first, with their lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("{0}")]
    Template(#[from] TemplateError),
    #[error("{0}")]
    Expr(#[from] ExprError),
    #[error("{0}")]
    Sql(#[from] SqlError),
}

#[cfg(test)]
mod tests;

//! The router: events in, publications out, and who may follow them. Pure: no clock, no database, no tasks.
//!
//! `template` renders and recognises names, `expr` is the expression language, `naming` refuses names that would be taken apart wrongly,
//! `scope` is what both look at, a `target` is a text of a rule, `rule` makes publications and counts them in `outcome`, `explain` says why, for a `sample` too, `grant` decides who may subscribe and publish.

pub mod template;
pub(crate) mod json;
pub mod expr;
pub mod scope;
pub mod naming;
mod target;
mod seal;
mod numbers;
mod object;
pub mod rule;
pub mod outcome;
pub mod sample;
pub mod explain;
pub mod grant;

use pregon_capture::query::SqlError;

pub use expr::{Expr, ExprError};
pub use grant::{Decision, Rights, SqlQuestion};
pub use outcome::Routed;
pub use rule::{Router, Rule};
pub use scope::Scope;
pub use template::{Pattern, Template, TemplateError};

/// Why rules, rights or the judging of names cannot be built. `pregon check` finds all of these first, with their lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("{0}")]
    Template(#[from] TemplateError),
    #[error("{0}")]
    Expr(#[from] ExprError),
    #[error("{0}")]
    Sql(#[from] SqlError),
}

#[cfg(test)]
mod tests;

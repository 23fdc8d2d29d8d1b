//! The router: events in, publications out, and who may follow them. Pure: no clock, no database, no tasks.
//!
//! `template` renders and recognises names, `expr` is the expression language,
//! `scope` is what both look at, `rule` makes publications, `explain` says why, `grant` decides who may subscribe and publish.

pub mod template;
pub(crate) mod json;
pub mod expr;
pub mod scope;
mod seal;
pub mod rule;
pub mod explain;
pub mod grant;

pub use expr::{Expr, ExprError};
pub use grant::{Decision, Rights, SqlQuestion};
pub use rule::{Routed, Router, Rule};
pub use scope::Scope;
pub use template::{Pattern, Template};

#[cfg(test)]
mod tests;

//! The router: events in, publications out, and who may follow them. Pure: no clock, no database, no tasks.
//!
//! `template` renders and recognises names, `expr` is the expression language,
//! `scope` is what both look at, `rule` makes publications and counts them in `outcome`, `explain` says why, for a `sample` too, `grant` decides who may subscribe and publish.

pub mod template;
pub(crate) mod lenient;
pub(crate) mod json;
pub mod expr;
pub mod scope;
mod seal;
mod numbers;
mod object;
pub mod rule;
pub mod outcome;
pub mod sample;
pub mod explain;
pub mod grant;

pub use expr::{Expr, ExprError};
pub use grant::{Decision, Rights, SqlQuestion};
pub use outcome::Routed;
pub use rule::{Router, Rule};
pub use scope::Scope;
pub use template::{Pattern, Template};

#[cfg(test)]
mod tests;

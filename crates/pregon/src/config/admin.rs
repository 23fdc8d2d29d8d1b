//! `[admin]`: the dashboard of operators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Secret;

/// Shortest token, characters: it is guessed against a limit of attempts, but it shows every payload and ends every session.
pub(crate) const SHORTEST: usize = 16;

/// The dashboard at `/admin` and its API: live sessions, sources, routes, a tail of the log, why somebody got an event or did not. Off
/// without a token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whoever has it sees everything that clients see and may end their sessions; at least 16 characters, for example from
    /// `openssl rand -hex 32`. `PREGON_ADMIN_TOKEN` overrides it, also without the section.
    pub token: Option<Secret>,
}

/// What is wrong with a token, if anything.
pub(crate) fn weakness(token: &Secret) -> Option<&'static str> {
    (token.reveal().chars().count() < SHORTEST).then_some("is too short to be a secret")
}

/// What to do about it.
pub(crate) const REMEDY: &str =
    "take at least 16 characters, for example from `openssl rand -hex 32`, or remove it for no dashboard";

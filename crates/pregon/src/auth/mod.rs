//! Who a client is: finding its token, verifying it, and the claims in it.
//!
//! `token` finds the token in a request, `verify` checks it against the keys (`keys`, `jwks`), `claims` is what comes out,
//! `mint` makes and opens tokens for development. Tokens, claims and secrets never reach `Debug` or a log.

pub(crate) mod token;
pub(crate) mod keys;
pub(crate) mod jwks;
mod jwt;
pub(crate) mod verify;
pub(crate) mod claims;
pub(crate) mod mint;
pub(crate) mod revoked;

pub(crate) use claims::Claims;
pub(crate) use revoked::Revoked;
pub(crate) use token::same_key;
pub(crate) use verify::{AuthError, SetupError, Verifier};

#[cfg(test)]
mod tests;

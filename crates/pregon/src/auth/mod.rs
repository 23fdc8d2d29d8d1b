//! Who a client is: finding its token, verifying it, and the claims in it.
//!
//! `token` finds the token in a request, `verify` checks it against the keys (`keys`, `jwks`), `claims` is what comes out,
//! `mint` makes and opens tokens for development. Tokens, claims and secrets never reach `Debug` or a log.

pub mod token;
pub mod keys;
pub mod jwks;
mod jwt;
pub mod verify;
pub mod claims;
pub mod mint;
pub mod revoked;

pub use claims::Claims;
pub use revoked::Revoked;
pub use token::{Token, Via, same_key};
pub use verify::{AuthError, SetupError, Verifier};

#[cfg(test)]
mod tests;

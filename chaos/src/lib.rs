//! Proofs of the gateway as a whole that tests and long runs share.

pub mod converge;

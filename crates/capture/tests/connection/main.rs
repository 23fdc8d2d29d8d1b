//! Connecting, listening, querying and catching up, against real servers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod pooler;
mod support;

mod connect;
mod listen;
mod faults;
mod watched;
mod query;
mod catch_up;

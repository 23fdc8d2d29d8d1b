//! Capture from the WAL against a real server: every type, every interruption, and what is installed for it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod identities;
mod published;
mod refusals;
mod kit;

mod types;
mod moments;
mod interruptions;
mod installation;
mod connections;

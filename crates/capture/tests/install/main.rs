//! The installed SQL against a real server: what the triggers send, what a plan does, who may do what.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod kit;

mod checks;
mod conflicts;
mod harmless;
mod order;
mod subscriptions;
mod payloads;
mod partitions;
mod types;
mod neighbours;
mod plans;
mod rights;
mod transactions;

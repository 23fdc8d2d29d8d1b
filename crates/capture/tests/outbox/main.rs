//! The outbox against a real PostgreSQL: order, losses, faults, rights.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod kit;
mod stress;
mod reading;
mod writes;
mod keeping;
mod rights;
mod harm;
mod copies;
mod setback;
mod unreadable;
mod switching;

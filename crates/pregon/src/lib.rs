//! pregón: a realtime gateway for PostgreSQL.
//!
//! ```text
//! a SOURCE captures an EVENT; the ROUTER addresses it to CHANNELS as a PUBLICATION; the LOG gives it a POSITION
//! and keeps it; the HUB hands it to every SESSION that may see it; a CODEC turns it into the client's own protocol;
//! a TRANSPORT writes it.
//! ```
//!
//! The modules are declared in that order, so that this file reads as the sentence.

pub mod event;
pub mod route;
pub mod auth;
pub mod config;

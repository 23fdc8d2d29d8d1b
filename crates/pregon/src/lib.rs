//! pregón: a realtime gateway for PostgreSQL.
//!
//! ```text
//! a SOURCE captures an EVENT; the ROUTER addresses it to CHANNELS as a PUBLICATION; the LOG gives it a POSITION
//! and keeps it; the HUB hands it to every SESSION that may see it; a CODEC turns it into the client's own protocol;
//! a TRANSPORT writes it.
//!
//!  Source ──Event──▶ Router ──Publication──▶ Log ──Entry──▶ Hub ──▶ Session ──▶ Codec ──▶ Transport ──▶ client
//!    ▲      (enrich)   (pure)   (append + tail)      (fan-out)      (one client)  (bytes)  (socket)
//!    └──────────────── Receipt ◀───────────┘                            ▲ Command │
//! ```
//!
//! The modules are declared in that order, so that this file reads as the sentence. The codecs are the crate `pregon_wire`,
//! the capture of PostgreSQL is the crate `pregon_capture`.

pub mod node;
pub mod event;
mod standby;
pub mod source;
pub mod pipeline;
pub mod decrypt;
pub mod route;
pub mod log;
pub mod hub;
pub mod session;
pub mod transport;
pub mod desk;
pub mod limits;
mod abort;
pub mod auth;
pub mod api;
pub mod admin;
pub mod config;
pub mod install;
pub mod columns;
pub mod router;
pub mod metrics;
pub mod lines;
mod exposition;
pub mod serve;
pub mod conformance;
pub mod demo;
pub mod cli;

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
//! A module imports only modules that are declared below it (the test `structure` compares). The codecs are the crate
//! `pregon_wire`, the capture of PostgreSQL is the crate `pregon_capture`.

pub mod cli;
pub mod demo;
pub mod router;
pub mod conformance;
pub mod serve;
pub mod node;
pub mod columns;
pub mod check;
pub mod admin;
pub mod api;
pub mod source;
mod exposition;
pub mod install;
pub mod transport;
pub mod hub;
pub mod desk;
pub mod pipeline;
pub mod decrypt;
pub mod session;
pub mod log;
pub mod route;
mod standby;
pub mod metrics;
pub mod event;
pub mod auth;
mod lenient;
pub mod limits;
mod reason;
pub mod config;
pub mod lines;
mod abort;

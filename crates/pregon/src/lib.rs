//! pregón: a realtime gateway for PostgreSQL.
//!
//! ```text
//! a SOURCE captures an EVENT; the ROUTES address it to CHANNELS as a PUBLICATION; the LOG gives it a POSITION
//! and keeps it; the HUB hands it to every SESSION that may see it; a CODEC turns it into the client's own protocol;
//! a TRANSPORT writes it.
//!
//!  Source ──Event──▶ Routes ──Publication──▶ Log ──Entry──▶ Hub ──▶ Session ──▶ Codec ──▶ Transport ──▶ client
//!    ▲      (enrich)   (pure)   (append + tail)      (fan-out)      (one client)  (bytes)  (socket)
//!    └──────────────── Receipt ◀───────────┘                            ▲ Command │
//! ```
//!
//! A module imports only modules that are declared below it (the test `structure` compares). The codecs are the crate
//! `pregon_wire`, the capture of PostgreSQL is the crate `pregon_capture`.

pub mod cli;
mod demo;
pub mod whatsapp;
mod conformance;
mod serve;
mod node;
mod columns;
pub mod check;
mod admin;
mod api;
mod source;
mod exposition;
mod install;
mod transport;
mod hub;
mod desk;
mod pipeline;
pub mod decrypt;
mod session;
pub mod log;
mod route;
mod standby;
pub mod metrics;
pub mod event;
mod auth;
mod lenient;
pub mod limits;
mod reason;
pub mod config;
mod lines;
mod abort;

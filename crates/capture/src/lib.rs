//! PostgreSQL to changes: everything that pregón knows about the database, and nothing about channels or clients.
//!
//! ```text
//!  install ──▶ triggers ──NOTIFY──▶ listen ──▶ decode ──▶ Captured ──▶ the gateway
//!  (once)   │                         │                      ▲
//!           │                         └── big rows ── fetch ─┘      query: enrichment and rights
//!           └──▶ publication, slot ──────▶ wal ──▶ Captured
//! ```
//!
//! Only this crate (and the test kit) imports the driver. [`connect`] makes every connection, [`listen`] owns the one that
//! listens, [`query`] a small pool beside it.

mod backoff;
pub mod connect;
mod tls;

pub mod fault;
pub mod change;
pub mod decode;
pub mod fetch;
pub mod attachment;
pub mod listen;
pub mod outbox;
pub mod wal;

pub mod frames;

pub mod publish;
pub mod query;

pub mod catch_up;

pub mod catalog;
pub mod doctor;
pub mod install;
pub mod router;

pub use backoff::Backoff;

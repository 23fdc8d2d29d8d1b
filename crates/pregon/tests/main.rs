//! Tests of the binary as its users meet it: each with its own database and its own node on a port of its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod support;
mod live_sales;
mod turnstile;
mod listen;
mod pos;
mod cli;
mod protocol;
mod replay;
mod since;
mod disk;
mod sse;
mod http_api;
mod rights;
mod reload;
mod tenants;
mod limits;
mod hostile;
mod planted;
mod lines;
mod watch;
mod tables;
mod pooler;
mod defaults;
mod outbox;
mod wal;
mod slots;
mod standby;
mod cluster;
mod parity;
mod converge;
mod names;
mod routes;
mod values;
mod decrypt;
mod lifecycle;
mod demo;
mod docs;
mod deploy;
mod official;
mod socketio;
mod centrifuge;
mod recovery;
mod returning;
mod presence;
mod redis;
mod emitters;
mod chat_inbox;
mod marketplace;
mod router;
mod webhooks;
mod admin;
mod structure;

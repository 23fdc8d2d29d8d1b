//! `pregon router`: webhooks of WhatsApp become contacts, conversations and messages, in a process of its own.
//!
//! ```text
//!  HTTP ──verified──▶ payload::read ──items──▶ inbox (group commit) ──▶ 200
//!                                                  │ lanes that have work
//!                                                  ▼
//!                          sweep ──▶ lanes ──▶ workers: one statement stores, publishes and removes a batch
//! ```
//!
//! With `[router.queue] kind = "redis"` the inbox is in Redis (`stream`) and takers store what comes from there (`taker`); what fails becomes work
//! in the database as above.
//!
//! The answer waits for the inbox only. A delivery's contacts decide its lanes; a lane is worked on by one worker at a time, so
//! that a contact's messages are stored in the order of their arrival while contacts go on side by side. What a process leaves
//! behind when it dies stands in the database, and the sweep of any process finds it.
//!
//! Rules are judged before the inbox and carried out by the same statement that stores; what they want sent is written down by it
//! and sent by the sender.
//!
//! Stopping: the door closes; requests under way are answered; the inbox takes what they brought; workers finish what is
//! known to wait, at most for the drain time.

pub mod payload;
mod rules;
mod http;
mod listener;
mod stream;
mod inbox;
mod lanes;
mod worker;
mod taker;
mod sweep;
mod mode;
mod sender;
mod bullmq;
pub mod media;
pub mod simulate;
mod metrics;
pub mod database;
mod run;

pub use run::{Running, run};

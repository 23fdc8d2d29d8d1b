//! Capture from the write-ahead log: one slot, one publication, no trigger.
//!
//! ```text
//!  attach ──▶ frame ──▶ pgoutput ──▶ transaction ──RawBatch──▶ finish ──▶ Captured ──▶ the gateway
//!  (where to begin)     (messages)   (places)       (queue)     │  ▲                       │
//!     ▲                                                         ▼  │                       │
//!     └── status: up to where everything is kept ◀── kept       shape, ask, unchanged ◀── server
//! ```
//!
//! `frame`, `pgoutput`, `transaction`, `literal`, `json` and `continuity` do no I/O. The [`Reader`] owns the connection; the [`Finisher`] belongs
//! to whoever takes batches from it, so that a slow query holds up the queue and never the answers to the server.

mod lsn;
mod frame;
pub mod pgoutput;
mod transaction;
mod literal;
mod types;
mod json;
mod known;
mod shape;
mod ask;
mod unchanged;
mod visible;
mod finish;
mod continuity;
mod denied;
mod attach;
mod health;
mod repair;
mod reader;

pub use continuity::Known;
pub(crate) use denied::is_unsendable;
pub use finish::Finisher;
pub(crate) use health::OLDEST;
pub use health::{Health, health};
pub use lsn::{Lsn, Place};
pub use reader::{Kept, PREFIX, Reader, Step, WalOptions};
pub use repair::Repair;
pub use transaction::{Assembler, OutOfOrder, RawBatch, RawChange, What};
pub use visible::wait_visible;
